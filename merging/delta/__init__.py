"""The only border to Delta Lake: nothing else imports deltalake, obstore or pyroaring.

Reading starts with `open_snapshot`; `locate`, `fetch` and `scan_sql` read rows with DuckDB. Writing is
`prepare` (files, invisible), `commit` (one put-if-absent on the next version) and `verify`, or `discard`.
"""

from __future__ import annotations

from merging.delta.committing import Commit, commit, discard, verify
from merging.delta.creating import create_table
from merging.delta.log import DataFile
from merging.delta.reading import Located, fetch, locate, scan_sql
from merging.delta.schema import duckdb_type, literal, quote
from merging.delta.snapshot import FoundTransaction, Snapshot, Strategy, open_snapshot
from merging.delta.writing import PreparedCommit, RowChanges, prepare

__all__ = [
    "Commit",
    "DataFile",
    "FoundTransaction",
    "Located",
    "PreparedCommit",
    "RowChanges",
    "Snapshot",
    "Strategy",
    "commit",
    "create_table",
    "discard",
    "duckdb_type",
    "fetch",
    "literal",
    "locate",
    "open_snapshot",
    "prepare",
    "quote",
    "scan_sql",
    "verify",
]
