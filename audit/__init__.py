"""The trail: append-only, hash-chained events and the audit files. One writer, ``audit.services``."""
