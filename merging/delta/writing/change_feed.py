"""The change data feed of a commit (PROTOCOL.md, "Add CDC File")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from merging.delta.writing.asked import NewFile
from merging.delta.writing.builder import CommitBuilder
from merging.delta.writing.changes import RowChanges, classify
from merging.delta.writing.file_names import log_path
from merging.delta.writing.new_rows import cast_columns
from merging.delta.writing.partitioning import Partition, partitions_of
from merging.sql.quoting import literal, quote


def write_change_feed(builder: CommitBuilder, changes: RowChanges) -> None:
    """The change data feed of the commit (PROTOCOL.md, "Add CDC File"): inserts too, since readers that find a
    feed in a commit look at nothing else."""
    classified = classify(builder.connection, builder.snapshot, builder.schema, changes)
    kinds = (
        ("insert", classified.inserted),
        ("update_preimage", classified.updated_before),
        ("update_postimage", classified.updated_after),
        ("delete", classified.deleted),
    )
    feed = " UNION ALL ".join(
        f"SELECT {cast_columns(builder.schema)}, {literal(kind)} AS change_type FROM {relation}"
        for kind, relation in kinds
        if relation is not None
    )
    if not feed:
        return
    relation = f"headgate_feed_{builder.attempt_id}"
    builder.connection.execute(f"CREATE OR REPLACE TEMP TABLE {quote(relation)} AS {feed}")
    columns = builder.columns_in_files(builder.schema)
    values: dict[str, dict[str, str | None]] = {}

    def files(partitions: Iterable[Partition]) -> Iterator[NewFile]:
        for part in partitions:
            # In no folder of the partition: delta-rs decodes no path of a change file, and found none in an odd one.
            path = f"_change_data/{builder.file_name('cdc')}"
            values[path] = part.values
            [(rows, number)] = part.cut(part.rows)
            yield NewFile(rows, number, path)

    with partitions_of(builder, quote(relation)) as found:
        made = [*builder.write(columns, files(found), ["change_type AS _change_type"])]
    for written in made:
        builder.actions.append(
            {
                "cdc": {
                    "path": log_path(written.path),
                    "partitionValues": values[written.path],
                    "size": written.size,
                    "dataChange": False,
                }
            }
        )
        builder.count("numTargetChangeFilesAdded", 1)
    builder.connection.execute(f"DROP TABLE {quote(relation)}")
