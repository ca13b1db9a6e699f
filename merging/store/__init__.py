"""Where bytes live: local folders and object stores behind one small interface, and full disks told apart."""
