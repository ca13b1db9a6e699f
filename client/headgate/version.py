"""The version of the client."""

#: As its distribution has it.
VERSION = "0.1.0"
