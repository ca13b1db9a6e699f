"""Faults at named steps of a merge, against real servers and separate processes. See ``docs/reliability.md``."""
