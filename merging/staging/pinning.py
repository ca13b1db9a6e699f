"""Where the staged rows stood at the base, so that a merge looks only at what came into the table since.

A data file never changes once it is written, and a deletion vector only grows (RESTORE is the exception). So a staged
row whose file is still active and whose row number is still alive is the row whose base image was pinned: nothing of
the table has to be read for it. Its key, or a key that was absent at the base, can be elsewhere only in a file that
the base did not have, or had with more rows marked as gone: only those are searched.

``rows.parquet`` says of each row ``base_file`` (index in ``base_files.parquet``, ``ABSENT`` where the base had no such
key, NULL where it is not known) and ``base_row`` (its number in that file).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from merging.delta import (
    ActiveFiles,
    Snapshot,
    VectorDescriptor,
    among_dead,
    candidate_files,
    only_grew,
)
from merging.engines import Images, Keys, Rows, TableReader
from merging.errors import DuplicateKeys
from merging.sql.quoting import column_sql
from merging.sql.session import Session
from merging.staging.staged import BASE_FILES, Staged, key_columns_sql
from merging.store.publishing import flush_file

ABSENT = -1
"""``base_file`` of a row whose key the base did not have."""

_UNKNOWN = -2
#: A variable of the session: the snapshot's index of each base file in which a staged row stood, -1 where it is gone.
_FILES = "headgate_standing_files"
_AT_A_TIME = 8_192
#: Of rows that may be gone.
_ROWS_AT_A_TIME = 1 << 20
_TOLD = pa.schema([("path", pa.string()), ("vector", pa.string())])


@dataclass(frozen=True)
class Standing:
    """Where the staged rows are in a version of the table.

    ``found`` rows were found by their keys. With ``pinned`` the others stand where they stood at the base, ``held`` in
    number: all of them (``lost`` is 0), or those in the table ``held`` (n, file_index, row_number).
    """

    pinned: bool
    found: Rows
    held: int
    lost: int

    @property
    def untouched(self) -> bool:
        """No staged row moved, went or came since the base: nothing can be in conflict."""
        return self.pinned and not self.found.number and not self.lost


def write_base_files(folder: Path, files: ActiveFiles) -> None:
    """Note the active files of the base, flushed to disk."""
    with pq.ParquetWriter(folder / BASE_FILES, _TOLD, compression="zstd") as writer:
        for batch in files.told():
            writer.write_batch(batch)
    flush_file(folder / BASE_FILES)


def find_standing(
    opened: Session,
    staged: Staged,
    reader: TableReader,
    columns: Sequence[str],
    images: Images | None = None,
) -> Standing:
    """Find the staged rows in a version of their table, reading as few of its files as may be; those that are found by
    their keys with the ``columns``, the keys among them. Where base images tell all that a row holds, ``images`` are
    they: an engine may then tell which of the rows that moved are the same, which count as ``held``.

    Raises DuplicateKeys when the table holds several rows of a staged key.
    """
    snapshot = reader.snapshot
    stood = _stood(opened, staged)
    keys = list(staged.primary_keys)
    wanted = Keys(f"(SELECT {key_columns_sql(staged)} FROM {staged.source_sql()})", keys)
    if _UNKNOWN in stood:
        found = reader.rows_of(wanted, columns)
        refuse_duplicates(opened, found.sql, keys)
        return Standing(False, found, 0, 0)
    needed = np.array(sorted(stood.keys() - {ABSENT}), np.int64)
    files, elsewhere = _still_standing(opened, staged, snapshot, wanted, needed)
    # Those behind the last in which a staged row stood are asked for by nobody. As one list, which is not taken apart.
    asked = files[: needed.max(initial=-1) + 1]
    standing = pa.ListArray.from_arrays([0, len(asked)], pa.array(asked, pa.int64()))
    opened.connection.register("standing_files", pa.table({"files": standing}))
    opened.execute(f"SET VARIABLE {_FILES} = (SELECT files FROM standing_files)")
    opened.connection.unregister("standing_files")
    expected, lost = _hold_alive(opened, staged, snapshot, stood, files)
    classified = reader.classified(images, elsewhere) if images is not None and elsewhere else None
    if classified is not None:
        found, same = classified.others, classified.same
    else:
        found, same = reader.rows_of(wanted, columns, elsewhere) if elsewhere else reader.no_rows(columns), ""
    held = expected - lost
    if found.number or same:
        listed, of_staged = ", ".join(map(column_sql, keys)), f"SELECT {key_columns_sql(staged)} FROM "
        rows = staged.source_sql()
        relations = [f"SELECT {listed} FROM {found.sql}"]
        relations.append(f"{of_staged}{rows} " + ("JOIN held USING (n)" if lost else "WHERE op <> 'insert'"))
        if same:
            relations.append(f"{of_staged}{rows} JOIN {same} USING (n)")
        opened.execute(f"CREATE OR REPLACE TEMP VIEW all_found AS {' UNION ALL '.join(relations)}")
        refuse_duplicates(opened, "all_found", keys)
    if same and lost:
        opened.execute(f"INSERT INTO held SELECT n, file_index, row_number FROM {same}")
        held += opened.number(f"SELECT count(*) FROM {same}")
    return Standing(True, found, held, lost)


def _stood(opened: Session, staged: Staged) -> dict[int, int]:
    """How many staged rows stood in each base file: in ``ABSENT`` those that the base did not have."""
    found = opened.connection.execute(
        f"SELECT coalesce(base_file, {_UNKNOWN}), count(*) FROM {staged.source_sql()} GROUP BY ALL"
    ).fetchall()
    return dict(found)


def _still_standing(
    opened: Session, staged: Staged, snapshot: Snapshot, keys: Keys, needed: np.ndarray
) -> tuple[np.ndarray, list[int]]:
    """The snapshot's index of each base file whose live rows of the base can only have become fewer, else -1; and the
    indexes of the files that may hold what the base did not. ``needed`` are the base files in which staged rows stood.

    The last entry stands for no file, so that ``ABSENT`` finds -1 too.
    """
    with pq.ParquetFile(os.path.join(staged.location, BASE_FILES), pre_buffer=False) as file:
        twins = snapshot.files.twins_of(file.iter_batches(_AT_A_TIME, use_threads=False))
    places, changed = twins.places, twins.changed
    is_needed = np.isin(changed, needed)
    # A file in which no staged row stood matters where it may hold one of their keys today.
    candidates = candidate_files(
        opened.connection, snapshot, keys.sql, keys.columns, places[changed[~is_needed]].tolist()
    )
    matters = np.flatnonzero(is_needed | np.isin(places[changed], candidates))
    files = snapshot.files.at(places[changed[matters]])
    for place, number, file in zip(changed[matters], matters, files, strict=True):
        text = twins.vectors[int(number)]
        vector = VectorDescriptor.from_log(json.loads(text)) if text else None
        if not only_grew(snapshot.store, vector, file.vector):
            places[place] = -1
    elsewhere = np.setdiff1d(np.arange(len(snapshot.files)), places)
    return np.append(places, -1), elsewhere.tolist()


def _hold_alive(
    opened: Session, staged: Staged, snapshot: Snapshot, stood: Mapping[int, int], files: np.ndarray
) -> tuple[int, int]:
    """How many rows the base had, and how many of these do not stand there any more; if any, the others are in the
    table ``held``. ``files`` are the snapshot's indexes of the base files.
    """
    there = {base: int(files[base]) for base in stood if base != ABSENT}
    expected = sum(stood[base] for base in there)
    standing = [base for base, index in there.items() if index >= 0]
    lost = expected - sum(stood[base] for base in standing)
    having_vectors = snapshot.files.having_vectors()
    holed = {base: there[base] for base in standing if having_vectors[there[base]]}
    if holed:
        lost += _note_dead(opened, staged, snapshot, holed)
    if lost:
        index = file_index_sql()
        alive = " ANTI JOIN gone g ON g.n = s.n" if holed else ""
        opened.execute(
            f"CREATE OR REPLACE TEMP TABLE held AS SELECT s.n, {index} AS file_index, s.base_row AS row_number "
            f"FROM {staged.source_sql()} s{alive} WHERE s.base_file >= 0 AND {index} >= 0"
        )
    return expected, lost


def _note_dead(opened: Session, staged: Staged, snapshot: Snapshot, holed: Mapping[int, int]) -> int:
    """Note in the table ``gone`` which staged rows today's vectors mark, of base files by their indexes in the
    snapshot; returns how many. Rows come in portions, file by file: no more of them are held than in one.
    """
    opened.execute("CREATE OR REPLACE TEMP TABLE gone (n BIGINT)")
    number = 0
    with opened.connection.cursor() as asking:
        portions = asking.sql(
            f"SELECT base_file, base_row, n FROM {staged.source_sql()} "
            f"WHERE base_file IN ({', '.join(map(str, sorted(holed)))}) ORDER BY base_file"
        ).to_arrow_reader(_ROWS_AT_A_TIME)
        for portion in portions:
            bases, rows, numbers = (column.to_numpy() for column in portion.columns)
            there = np.unique(bases)
            dead = np.zeros(len(portion), bool)
            files = snapshot.files.at([holed[base] for base in there.tolist()])
            for base, file in zip(there, files, strict=True):
                if file.vector is not None:
                    mine = np.flatnonzero(bases == base)
                    dead[mine] = among_dead(snapshot.store, file.vector, rows[mine])
            if dead.any():
                number += int(np.count_nonzero(dead))
                opened.connection.register("gone_rows", pa.table({"n": numbers[dead]}))
                opened.execute("INSERT INTO gone SELECT n FROM gone_rows")
                opened.connection.unregister("gone_rows")
    return number


def refuse_duplicates(opened: Session, located: str, keys: Sequence[str]) -> None:
    """Raise DuplicateKeys when ``located`` has several rows of one key."""
    listed = ", ".join(column_sql(name) for name in keys)
    grouped = f"SELECT {listed} FROM {located} GROUP BY ALL HAVING count(*) > 1"
    total = opened.number(f"SELECT count(*) FROM ({grouped})")
    if total:
        raise DuplicateKeys(opened.user_rows(f"{grouped} ORDER BY ALL LIMIT 20"), total)


def read_held(
    opened: Session, staged: Staged, standing: Standing, reader: TableReader, columns: Sequence[str]
) -> Rows:
    """The rows that stand where they stood, read with these columns: for whoever needs more than their base images."""
    if standing.lost:
        return reader.rows_at("held", columns)
    places = f"{file_index_sql()} AS file_index, s.base_row AS row_number"
    opened.execute(
        f"CREATE TEMP TABLE held AS SELECT {places} FROM {staged.source_sql()} s WHERE op <> 'insert'"
    )
    return reader.rows_at("held", columns)


def file_index_sql() -> str:
    """SQL (over ``rows.parquet`` as ``s``) of the snapshot's index of a pinned row's file."""
    return f"getvariable('{_FILES}')[s.base_file + 1]"
