"""Writing what a merge changed: vectors for rows that go, one new file per partition for rows that come.

Nothing here is visible to readers: files get fresh names that carry the attempt, and only `committing` names
them in the log.

`preparing` writes the files of a commit and is what others call; it fills a `builder` (the commit being prepared) with
what the subjects give: `new_rows` and their `partitioning`, `marking` by vectors, `rewriting` of files, the
`change_feed`, a `new_schema`. What is `asked` of whoever writes the files is the same for every engine; `by_duckdb` is
the one that is always there. Under them lie `data_files` (one Parquet file) and `file_names`.
"""

from __future__ import annotations

from merging.delta.writing.asked import FileWriter, NewFile, Rewrite
from merging.delta.writing.by_duckdb import DuckDBFiles
from merging.delta.writing.changes import RowChanges
from merging.delta.writing.data_files import WrittenFile, target_file_size
from merging.delta.writing.file_names import (
    TEMPORARY,
    attempt_mark,
    attempt_marks,
    data_file_name,
    holds_mark,
    log_path,
    temporary_folder,
)
from merging.delta.writing.from_elsewhere import read_alike, written_elsewhere
from merging.delta.writing.prepared import PreparedCommit, Step, no_step
from merging.delta.writing.preparing import prepare, prepare_first, prepare_rewrite
from merging.delta.writing.row_ids import keeps_row_ids

__all__ = [
    "TEMPORARY",
    "DuckDBFiles",
    "FileWriter",
    "NewFile",
    "PreparedCommit",
    "Rewrite",
    "RowChanges",
    "Step",
    "WrittenFile",
    "attempt_mark",
    "attempt_marks",
    "data_file_name",
    "holds_mark",
    "keeps_row_ids",
    "log_path",
    "no_step",
    "prepare",
    "prepare_first",
    "prepare_rewrite",
    "read_alike",
    "target_file_size",
    "temporary_folder",
    "written_elsewhere",
]
