"""The application as a server process: what real clients send, and what they get."""
