"""How staged columns meet the table's columns of today: matched, added, widened, or in a schema conflict.

Columns are matched by the names under which files store them, which no rename changes and no other column ever has
(PROTOCOL.md, "Column Mapping"). Nothing that was staged is left out silently: an edit of a column that the table no
longer has, or has with another type, is a schema conflict.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from merging.delta import Snapshot
from merging.delta.fields import stored_names
from merging.delta.naming import folded, name_problem, nested_name_problem, spelled
from merging.errors import TableChanged
from merging.model import Choice, Conflict, Resolution, SchemaChange, Sides
from merging.sql.equality import differs
from merging.sql.quoting import column_sql
from merging.sql.session import Session
from merging.sql.types import can_widen, cast, null_of, type_name
from merging.staging.staged import Staged


@dataclass(frozen=True)
class MergedColumn:
    """A column of the merged table and where its base, current and proposed values come from.

    ``staged_position`` is its place in ``Staged.schema`` (None for a column the table gained since); ``staged``
    tells whether the content proposes values for it; ``added`` whether this merge adds it to the table. ``filled`` is
    what the table fills the cell of a new row with that says nothing of the column, as SQL (NULL where a later look at
    the rows tells), empty where it fills nothing; ``computed`` tells whether it computes the cells of every row.
    """

    position: int
    name: str
    type: pa.DataType
    nullable: bool
    staged_position: int | None
    staged_type: pa.DataType | None
    in_base: bool
    staged: bool
    added: bool
    filled: str = ""
    computed: bool = False

    @property
    def gained_on_both_sides(self) -> bool:
        """The table gained the column since the base, and the content adds it too."""
        return self.staged and not self.in_base and not self.added


@dataclass(frozen=True)
class Alignment:
    """The merged columns, the schema changes the merge makes, and the schema conflicts nobody resolved."""

    columns: tuple[MergedColumn, ...]
    keys: tuple[str, ...]
    changes: tuple[SchemaChange, ...]
    conflicts: tuple[Conflict, ...]
    left_out: tuple[str, ...]

    @property
    def schema(self) -> pa.Schema:
        """The table's schema after the merge."""
        return pa.schema(
            [
                pa.field(column.name, column.type, nullable=column.nullable or column.added)
                for column in self.columns
            ]
        )

    @property
    def values(self) -> tuple[MergedColumn, ...]:
        """The columns that are no keys."""
        return tuple(column for column in self.columns if column.name not in self.keys)


def align(
    opened: Session,
    staged: Staged,
    snapshot: Snapshot,
    resolutions: Mapping[str | None, Resolution],
    *,
    merge_schema: bool,
) -> Alignment:
    """Match staged with current columns. ``resolutions`` are those of schema conflicts, by column.

    Raises TableChanged when the table was created anew, a key column is gone or cannot hold the staged keys any more,
    or nobody can tell which columns are those that were staged.
    """
    if staged.table_id != snapshot.table_id:
        raise TableChanged(
            "The table was dropped and created anew since the changes were staged; stage them again.",
            data={"staged_table_id": staged.table_id, "table_id": snapshot.table_id},
        )
    current_name = _current_names(staged, snapshot)
    _check_keys(staged, snapshot, current_name)
    return _Aligner(opened, staged, snapshot, current_name, resolutions, merge_schema).run()


def _current_names(staged: Staged, snapshot: Snapshot) -> dict[int, str | None]:
    """What each staged column is called in the table today, by its place; None where the table does not have it."""
    stored, names = stored_names(snapshot.schema_json), snapshot.schema.names
    base = staged.schema.names[: staged.base_column_count]
    mapped_no_longer = staged.stored_names and not stored
    if mapped_no_longer and base != [name for name in names if name in base]:
        raise TableChanged(
            "The table maps its columns no longer, and they are not called as they were when the changes were staged: "
            "which columns the changes edit cannot be told. Stage them again.",
            data={"base": base, "columns": names},
        )
    # Whoever maps the columns of a table that is there already goes on to store each one under the name that it has.
    called = {stored.get(name, name): name for name in names}
    found: dict[int, str | None] = {}
    for position, name in enumerate(staged.schema.names):
        in_base = position < len(base) and not mapped_no_longer
        found[position] = called.get(staged.stored_names.get(name, name)) if in_base else name
        if not in_base and name not in names:
            found[position] = None
    return found


def _check_keys(staged: Staged, snapshot: Snapshot, current_name: Mapping[int, str | None]) -> None:
    for position, name in zip(staged.key_positions, staged.primary_keys, strict=True):
        here = current_name[position]
        if here != name or not can_widen(
            staged.schema.field(position).type, snapshot.schema.field(name).type
        ):
            raise TableChanged(
                f"The key column {name} was dropped, renamed or given another type since the changes were staged.",
                data={"column": name},
            )


class _Aligner:
    def __init__(
        self,
        opened: Session,
        staged: Staged,
        snapshot: Snapshot,
        current_name: Mapping[int, str | None],
        resolutions: Mapping[str | None, Resolution],
        merge_schema: bool,
    ) -> None:
        self.session = opened
        self.staged = staged
        self.snapshot = snapshot
        self.current_name = current_name
        self.resolutions = resolutions
        self.merge_schema = merge_schema
        self.computed = snapshot.generated_columns.keys() - set(staged.primary_keys)
        self.taken = {folded(name): name for name in snapshot.schema.names}
        self.conflicts: list[Conflict] = []
        self.left_out: list[str] = []

    def run(self) -> Alignment:
        staged, current = self.staged, self.snapshot.schema
        position_of = {name: position for position, name in self.current_name.items() if name is not None}
        edited = set(staged.staged_positions)
        columns: list[MergedColumn] = []
        for field in current:
            # What the table computes is nobody's change: it follows from the other cells of the merged row.
            position = None if field.name in self.computed else position_of.get(field.name)
            given = position is not None and position in edited and self._fits(position, field)
            columns.append(self._column(len(columns), field, position, staged=given, added=False))
        changes: list[SchemaChange] = []
        for position, name in self.current_name.items():
            if name is not None:
                continue
            field = staged.schema.field(position)
            if position < staged.base_column_count:
                if position in edited and self._is_edited(position):
                    self._conflict(
                        position,
                        current=None,
                        message=f"The table no longer has the column {field.name}, which the changes edit.",
                    )
                continue
            rival = self._renamed_rival(field)
            unfit = self._unfit_name(field, columns)
            if unfit is not None:
                self._conflict(position, current=None, message=unfit)
            elif rival is not None:
                self._conflict(
                    position,
                    current=rival,
                    message=f"The changes bring {field.name} and lack a column that the table dropped while it "
                    f"gained {rival}: whether one was renamed to the other cannot be told.",
                )
            elif not self.merge_schema:
                self._conflict(
                    position,
                    current=None,
                    message=f"The changes add the column {field.name}, and changes of the schema are not allowed.",
                )
            else:
                columns.append(self._column(len(columns), field, position, staged=True, added=True))
                changes.append(SchemaChange("add_column", field.name, type_name(field.type)))
        return Alignment(
            tuple(columns), staged.primary_keys, tuple(changes), tuple(self.conflicts), tuple(self.left_out)
        )

    def _column(
        self, place: int, field: pa.Field, position: int | None, *, staged: bool, added: bool
    ) -> MergedColumn:
        known = position is not None
        return MergedColumn(
            position=place,
            name=field.name,
            type=field.type,
            nullable=field.nullable,
            staged_position=position,
            staged_type=self.staged.schema.field(position).type if known else None,
            in_base=known and position is not None and position < self.staged.base_column_count,
            staged=staged,
            added=added,
            filled="" if added else self._filled(field),
            computed=field.name in self.computed,
        )

    def _filled(self, field: pa.Field) -> str:
        """What the table fills a new row's cell with, as ``MergedColumn.filled`` has it."""
        rules = self.snapshot.rules
        default = rules.defaults.get(field.name)
        if default is None:
            return null_of(field.type) if field.name in rules.identities else ""
        doubtful = default.doubtful(str)
        return f"CASE WHEN {doubtful} THEN NULL ELSE {default.sql(str)} END"

    def _fits(self, position: int, field: pa.Field) -> bool:
        """Whether staged values of a column can be values of the table's column of today; else a conflict."""
        staged_field = self.staged.schema.field(position)
        if can_widen(staged_field.type, field.type):
            return True
        if position < self.staged.base_column_count and not self._is_edited(position):
            return False
        self._conflict(
            position,
            current=type_name(field.type),
            message=f"The column {field.name} is {type_name(field.type)} in the table now; "
            f"the changes give it as {type_name(staged_field.type)}.",
        )
        return False

    def _is_edited(self, position: int) -> bool:
        """Whether a staged row says anything of the column: an edit, or a value in a new row."""
        base, proposed = self.staged.base_sql(position), f"p{position}"
        data_type = self.staged.schema.field(position).type
        edits = f"op = 'update' AND {differs(base, proposed, data_type)}"
        return bool(
            self.session.number(
                f"SELECT count(*) FROM (SELECT 1 FROM {self.staged.source_sql()} WHERE ({edits}) "
                f"OR (op = 'insert' AND {proposed} IS NOT NULL) LIMIT 1)"
            )
        )

    def _unfit_name(self, field: pa.Field, columns: Sequence[MergedColumn]) -> str | None:
        """Why a new column cannot be added to the table as it is now; it fitted the one it was staged against."""
        namesake = self.taken.get(folded(field.name)) or next(
            (one.name for one in columns if one.added and folded(one.name) == folded(field.name)), None
        )
        if namesake is not None:
            return (
                f"The changes add the column {field.name}; the table has {namesake} now, and many readers cannot tell "
                "the two names apart."
            )
        blanks = self.snapshot.blanks_in_names
        problem = name_problem(field.name, blanks=blanks)
        if problem is not None:
            return f"The changes add the column {spelled(field.name)}, whose name {problem}."
        inside = nested_name_problem(field.type, blanks=blanks)
        return None if inside is None else f"The changes add the column {field.name}: {inside}"

    def _renamed_rival(self, field: pa.Field) -> str | None:
        """A column of the same type that the table gained when it dropped one which the content lacks too."""
        known, given = set(self.current_name.values()), set(self.staged.columns)
        dropped_types = [
            self.staged.schema.field(position).type
            for position, name in self.current_name.items()
            if name is None
            and position < self.staged.base_column_count
            and self.staged.schema.field(position).name not in given
        ]
        if field.type not in dropped_types:
            return None
        gained = [
            one.name for one in self.snapshot.schema if one.name not in known and one.type == field.type
        ]
        return gained[0] if gained else None

    def _conflict(self, position: int, *, current: str | None, message: str) -> None:
        field = self.staged.schema.field(position)
        proposed = type_name(field.type)
        base = proposed if position < self.staged.base_column_count else None
        inputs = hashlib.sha256(
            "\x00".join([field.name, str(base), str(current), proposed, message]).encode()
        ).hexdigest()
        choices: tuple[Choice, ...] = ("current",)
        chosen = self.resolutions.get(field.name)
        if chosen is not None and chosen.inputs_digest == inputs and chosen.choice in choices:
            self.left_out.append(field.name)
            return
        self.conflicts.append(
            Conflict(
                key={},
                column=field.name,
                kind="schema",
                sides=Sides(base, current, proposed),
                inputs_digest=inputs,
                legal_choices=choices,
                message=message + " Choose current to leave the column out of this merge.",
            )
        )


def base_sql(column: MergedColumn, staged: Staged) -> str:
    """SQL (over ``rows.parquet`` as ``s``) of the column's base value in its merged type."""
    if column.staged_position is None or not column.in_base or column.staged_type is None:
        return null_of(column.type)
    return cast(f"s.{staged.base_sql(column.staged_position)}", column.staged_type, column.type)


def proposed_sql(column: MergedColumn) -> str:
    """SQL (over ``rows.parquet`` as ``s``) of the column's proposed value in its merged type."""
    if column.staged_position is None or column.staged_type is None:
        return null_of(column.type)
    return cast(f"s.p{column.staged_position}", column.staged_type, column.type)


def current_sql(column: MergedColumn) -> str:
    """SQL (over the fetched rows as ``c``) of the column's current value."""
    return null_of(column.type) if column.added else f"c.{column_sql(column.name)}"
