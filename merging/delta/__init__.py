"""The only border to Delta Lake: nothing but `merging.store`, below it, imports deltalake, obstore or pyroaring.

Reading starts with `open_snapshot`; `locate`, `fetch` and `scan_sql` read rows with DuckDB. Writing is
`prepare` (files, invisible), `commit` (one put-if-absent on the next version) and `verify`, or `discard`.
"""

from __future__ import annotations

from merging.delta.active_files import ActiveFiles
from merging.delta.committing import Commit, commit, discard, may_still_land, verify, verify_logged
from merging.delta.comparing import ShownApart, pair, schema_of_both, standing_apart, standing_sql
from merging.delta.creating import create_table
from merging.delta.expressions import Expression
from merging.delta.fields import TableField
from merging.delta.history import LogVersion, VersionSize, find_transaction, read_history, read_sizes
from merging.delta.maintenance import (
    Compaction,
    checkpoint_if_due,
    checkpoint_is_due,
    compact,
    files_to_compact,
    find_orphans,
    find_unneeded,
    misspelt_files,
    named_files,
    set_deletion_vectors,
    vacuum,
)
from merging.delta.reach import may_leave, options_of, place_of, reach_of, set_reach
from merging.delta.reading import (
    Located,
    NarrowRows,
    drop_dead,
    engine_paths,
    fetch,
    locate,
    no_rows_sql,
    read_at_one_look,
    scan_sql,
)
from merging.delta.renaming import named_as, stored_otherwise
from merging.delta.snapshot import (
    MARKER_RETENTION,
    FoundTransaction,
    Snapshot,
    open_sealed_snapshot,
    open_snapshot,
)
from merging.delta.statistics import (
    FirstFiles,
    Range,
    candidate_files,
    files_between,
    files_of_first_rows,
    stated_ranges,
)
from merging.delta.vectors import VectorDescriptor, among_dead, only_grew
from merging.delta.writing import (
    DuckDBFiles,
    FileWriter,
    NewFile,
    PreparedCommit,
    Rewrite,
    RowChanges,
    WrittenFile,
    prepare,
)

__all__ = [
    "MARKER_RETENTION",
    "ActiveFiles",
    "Commit",
    "Compaction",
    "DuckDBFiles",
    "Expression",
    "FileWriter",
    "FirstFiles",
    "FoundTransaction",
    "Located",
    "LogVersion",
    "NarrowRows",
    "NewFile",
    "PreparedCommit",
    "Range",
    "Rewrite",
    "RowChanges",
    "ShownApart",
    "Snapshot",
    "TableField",
    "VectorDescriptor",
    "VersionSize",
    "WrittenFile",
    "among_dead",
    "candidate_files",
    "checkpoint_if_due",
    "checkpoint_is_due",
    "commit",
    "compact",
    "create_table",
    "discard",
    "drop_dead",
    "engine_paths",
    "fetch",
    "files_between",
    "files_of_first_rows",
    "files_to_compact",
    "find_orphans",
    "find_transaction",
    "find_unneeded",
    "locate",
    "may_leave",
    "may_still_land",
    "misspelt_files",
    "named_as",
    "named_files",
    "no_rows_sql",
    "only_grew",
    "open_sealed_snapshot",
    "open_snapshot",
    "options_of",
    "pair",
    "place_of",
    "prepare",
    "reach_of",
    "read_at_one_look",
    "read_history",
    "read_sizes",
    "scan_sql",
    "schema_of_both",
    "set_deletion_vectors",
    "set_reach",
    "standing_apart",
    "standing_sql",
    "stated_ranges",
    "stored_otherwise",
    "vacuum",
    "verify",
    "verify_logged",
]
