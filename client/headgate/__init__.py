"""The client of Headgate: pull requests for Delta Lake tables, from Python."""

from headgate.version import VERSION as __version__

__all__ = ["__version__"]
