"""Going back to a version of a table: what would make it so again, as staged content on the table as it is now.

The content merges three-way like any other: what is changed after it was staged conflicts instead of being lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing

from merging.delta import named_as, open_snapshot, stored_otherwise
from merging.errors import StagingRejected, TableChanged
from merging.sql.session import limits, session
from merging.staging.clones import TableComparison
from merging.staging.recipe import stage
from merging.staging.sources.base import BATCH_ROWS
from merging.staging.staged import Staged


def stage_version(
    table_uri: str,
    version: int,
    primary_keys: Sequence[str],
    destination: str,
    *,
    storage_options: Mapping[str, str] | None = None,
) -> Staged:
    """Stage the inverse of everything since a version: its base is the newest version, its proposal that one.

    Rows that came since are deleted, rows that went are added, cells that changed get their old values. Files that both
    versions have are not read, unless the table lost a column that was in them. Columns that the table gained since
    stay as they are, renamed ones are found; those that it lost are new ones, or what took their names.
    Raises TableChanged where the table was made anew since, or has columns now that do not take what the version has in
    them; FileMissing where files of the version are gone; otherwise as ``stage`` does.
    """
    now = open_snapshot(table_uri, storage_options=storage_options)
    then = open_snapshot(table_uri, version=version, storage_options=storage_options)
    if now.table_id != then.table_id:
        raise TableChanged(
            f"The table was dropped and created anew since version {version}; there is no way back to it.",
            data={"version": version},
        )
    then = named_as(then, now)
    try:
        with session(table_uri, memory_limit=limits().staging_memory) as opened:
            opened.expect_columns(len(now.schema) + len(then.schema))
            alike = not stored_otherwise(then, now, then.schema.names)
            comparison = TableComparison(opened, now, then, primary_keys, files_show_alike=alike)
            rows = opened.connection.sql(comparison.query())
            with closing(rows.to_arrow_reader(BATCH_ROWS)) as found:
                return stage(
                    table_uri, found, primary_keys, now.version, destination, storage_options=storage_options
                )
    except StagingRejected as refused:
        raise TableChanged(
            f"The table has columns now that do not take the rows of version {version}: "
            f"{refused.problems[0].describe()} Change the columns back first, or restore the version by what writes "
            "the table (RESTORE in Spark).",
            data={"version": version, "total": refused.total},
        ) from refused
