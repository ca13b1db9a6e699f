"""What reads the data files of a table: callers ask a `TableReader` for rows and hold what it answers.

An engine finds and reads; deciding, vectors, statistics and the commit are the rest of the library's, whichever engine
it was.
"""

from __future__ import annotations

from merging.engines.protocol import Engine, EngineName, Keys, Rows
from merging.engines.reading import TableReader

__all__ = ["Engine", "EngineName", "Keys", "Rows", "TableReader"]
