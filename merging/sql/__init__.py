"""DuckDB as the engine uses it: sessions, quoting, types, equality, and the one form of every value."""
