"""What must be right in the content by itself: known operations, whole keys, no two rows for one key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from merging.sql.equality import digest_of, fingerprint
from merging.sql.quoting import literal
from merging.staging.loading import is_readable
from merging.staging.mapping import Columns
from merging.staging.sources import OPERATION_COLUMN, Problems
from merging.staging.workbench import Fault, Inspection, Relation, Workbench, key_in_words

OPERATIONS = ("upsert", "insert", "update", "delete")
_EXAMPLES = 5


def check_rows(rows: Inspection) -> None:
    """Every row names an operation that there is, and has a value in each key column."""
    rows.refuse([*_unknown_operations(rows.columns), *_missing_keys(rows.columns)])


def _unknown_operations(columns: Columns) -> Iterator[Fault]:
    if columns.operation_place is not None:
        known = ", ".join(literal(name) for name in OPERATIONS)
        yield Fault(
            "unknown_operation",
            f"op NOT IN ({known})",
            f"found {{operation}} as operation; it must be one of {', '.join(OPERATIONS)}.",
            OPERATION_COLUMN,
        )


def _missing_keys(columns: Columns) -> Iterator[Fault]:
    for column in columns.inputs:
        if column.name in columns.keys:
            yield Fault(
                "null_key",
                f"{column.cell} IS NULL AND {is_readable(column)}",
                "the key is missing; every row needs a value in each key column.",
                column.name,
            )


@dataclass(frozen=True)
class Distinct:
    """The rows with a key of their own, and how many repeated another one and are left out."""

    rows: Relation
    repeated: int = 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """What whoever uploads should know of it."""
        if not self.repeated:
            return ()
        are = (
            "row repeats another one exactly and is"
            if self.repeated == 1
            else "rows repeat another one exactly and are"
        )
        return (f"{self.repeated:,} {are} counted once.",)


def collapse_repeated(bench: Workbench, rows: Relation, columns: Columns, problems: Problems) -> Distinct:
    """Rows that stand twice: identical ones collapse to the first, different ones are problems."""
    opened, key = bench.session, ", ".join(columns.key_cells)
    twice = bench.table(
        "twice",
        f"SELECT {key} FROM {rows.sql} WHERE {columns.key_is_whole} GROUP BY ALL HAVING count(*) > 1",
    )
    if not opened.number(f"SELECT count(*) FROM {twice.sql}"):
        return Distinct(rows)
    content = [fingerprint(column.cell, column.type) for column in columns.inputs]
    whole = digest_of(["op", "coalesce(absent::VARCHAR, '')", *content])
    keys = [column for column in columns.inputs if column.name in columns.keys]
    of_deleted = digest_of(["op", *(fingerprint(column.cell, column.type) for column in keys)])
    repeated = bench.table(
        "repeated",
        f"SELECT ordinal, {key}, CASE WHEN op = 'delete' THEN {of_deleted} ELSE {whole} END AS content "
        f"FROM {rows.sql} SEMI JOIN {twice.sql} USING ({key})",
    )
    groups = bench.table(
        "groups",
        f"SELECT {key}, count(DISTINCT content) AS contents, min(ordinal) AS kept, "
        f"list(ordinal ORDER BY ordinal)[:{_EXAMPLES}] AS ordinals, count(*) AS number "
        f"FROM {repeated.sql} GROUP BY {key}",
    )
    different = opened.number(f"SELECT count(*) FROM {groups.sql} WHERE contents > 1")
    if different:
        _list_different(bench, groups, different, columns, problems)
        return Distinct(rows)
    first = rows.made_into(
        f"SELECT * FROM {rows.sql} one WHERE NOT EXISTS (FROM {repeated.sql} r "
        f"WHERE r.ordinal = one.ordinal AND r.ordinal NOT IN (SELECT kept FROM {groups.sql}))"
    )
    return Distinct(first, opened.number(f"SELECT sum(number - 1) FROM {groups.sql}"))


def _list_different(
    bench: Workbench, groups: Relation, total: int, columns: Columns, problems: Problems
) -> None:
    found = bench.session.rows(
        f"SELECT {', '.join(columns.key_cells)}, ordinals, number FROM {groups.sql} WHERE contents > 1 "
        f"ORDER BY kept LIMIT {problems.room}"
    )
    lines = bench.source.lines({ordinal for row in found for ordinal in row["ordinals"]})
    for row in found:
        places = [lines[ordinal] for ordinal in row["ordinals"] if ordinal in lines]
        named = ", ".join(str(place) for place in places[:-1]) + f" and {places[-1]}"
        more = " (and more)" if row["number"] > len(places) else ""
        key = key_in_words(columns.keys, [row[cell] for cell in columns.key_cells])
        problems.add(
            "duplicate_key",
            f"lines {named}{more} give different rows for the key {key}; keep one of them.",
            line=places[0],
            column=", ".join(columns.keys),
        )
    problems.count_only(total - len(found))
