"""Apache Spark as the engine, asked through Spark Connect: what one machine cannot read, a cluster reads.

The cluster opens the table by its own means and at the same version; it is sent keys, and answers where their rows
stand and what they hold. `_metadata.row_index` is the physical row number that deletion vectors count by;
`_metadata.file_path` is URL-encoded once more than the log's paths are. Of few files of a table it reads those alone,
as plain Parquet, and the vectors are looked at here. Delta Lake's reader tells the row number of tables alone that may
have vectors: of others their files are named, too. Where they cannot be, Spark tells the file, and the key columns of
the files with hits are read here. What it writes are Parquet files in a folder that nobody reads: they become ours when
their footers say that they are what was asked for. It commits nothing.

Whatever ends a call here, the operation is ended on the cluster as far as that can still be reached, and its session
with it.
"""

from __future__ import annotations

import contextlib
import queue
import re
import time
import urllib.parse
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from merging.delta import (
    NewFile,
    Rewrite,
    ShownApart,
    Snapshot,
    TableField,
    WrittenFile,
    drop_dead,
    files_between,
)
from merging.delta.content_checks import Rewritten, require_same_content
from merging.delta.features import supported_features
from merging.delta.mapping import stored_sql
from merging.delta.partitions import ZONE_PROPERTY, is_instant
from merging.delta.writing import temporary_folder, written_elsewhere
from merging.engines.duckdb import DuckDBEngine, aggregates_sql, fresh_name
from merging.engines.protocol import (
    Aggregated,
    Aggregates,
    Changes,
    Classified,
    Engine,
    EngineName,
    FirstRows,
    Images,
    Keys,
    NotSaid,
    Rows,
)
from merging.engines.spark_classifying import Classifying
from merging.engines.spark_comparing import Comparing
from merging.engines.spark_exchange import Exchange, Handed
from merging.engines.spark_failures import AWAY, LOST, REFUSED, status
from merging.engines.spark_files import (
    PLAIN_NAME,
    READING,
    PlainFiles,
    Rewriting,
    Work,
    Writing,
    configured,
    files_in,
    quoted,
)
from merging.engines.spark_sessions import LOOK_EVERY, AskedTable, ClusterWork, kept_for, typed
from merging.engines.spark_sql import Said, spark_sql, spark_type
from merging.errors import ClusterFailed, MergeError, TableUnreachable
from merging.sql.quoting import column_label, column_sql, quote
from merging.sql.session import Session
from merging.sql.types import duckdb_type, has_width
from merging.store.stores import each_at_once

_ROWS_AT_ONCE = 100_000
_SENT_AT_ONCE = 1 << 29  # bytes of rows that come
_HELD_AT_ONCE = 64 << 20  # bytes of rows that were found
#: How much larger the cells of a row are than in their files, and how large where the log states no numbers of rows.
_PACKED = 3
_NOT_STATED = 1 << 10
#: Files are named one by one where the table has so many times their bytes: for that their footers are read here.
_LEAST_LEFT_OUT = 2
_LONGEST_SAID = 400

#: What Hadoop calls the stores that we know by other names.
_SCHEMES = {"s3": "s3a", "az": "abfss"}


@dataclass(frozen=True)
class Cluster:
    """A Spark Connect endpoint: ``address`` as ``sc://host:port/;name=value``, ``token`` for whoever asks for one.

    ``seconds`` is what one call may take, from its connection to its last row. ``token_of`` gives a token each time
    that the cluster is asked, in place of one that stays; it raises ClusterFailed where it has none.
    """

    address: str
    token: str = field(default="", repr=False)
    seconds: float = 1_800.0
    token_of: Callable[[], str] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_address(self.address)

    @property
    def host(self) -> str:
        """Where it is, for people."""
        return urllib.parse.urlsplit(self.address).netloc

    @property
    def url(self) -> str:
        """What the client is given; it holds the token. Raises ClusterFailed where none is to be had."""
        token = self.token if self.token_of is None else self.token_of()
        if not token:
            return self.address
        base = self.address if "/;" in self.address else f"{self.address.rstrip('/')}/"
        return f"{base};token={urllib.parse.quote(token, safe='')}"

    def engine(self, opened: Session, while_waiting: Callable[[], None] | None) -> Engine:
        """What asks it for one session; see ``SparkConnectEngine``."""
        return SparkConnectEngine(opened, self, while_waiting)


def require_address(address: str) -> None:
    """Raise ValueError, with a sentence, for what is no address of a cluster, or holds a secret."""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "sc" or not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "The address of a cluster is written sc://host:port, or sc://host:port/;use_ssl=true."
        )
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("The address of a cluster has no such port.") from None
    if not re.fullmatch(r"/?|/(;[A-Za-z0-9_-]+=[^;=]*)+", parts.path):
        raise ValueError("Behind the host of a cluster stand parameters alone: /;name=value;name=value.")
    if re.search(r";token=", parts.path, re.IGNORECASE):
        raise ValueError("The token of a cluster is a secret: it does not belong into the address.")


class SparkConnectEngine:
    """Reads and writes with a cluster, in one session for each here. What comes back is held in the session here.

    ``while_waiting`` is called about twice a second from the thread of the caller; what it raises ends the call.
    Raises ClusterFailed where the cluster cannot be reached or cannot do it, and where what it answers is not of the
    version that was asked for.
    """

    name: EngineName = "spark"

    def __init__(
        self, opened: Session, cluster: Cluster, while_waiting: Callable[[], None] | None = None
    ) -> None:
        self._opened = opened
        self._cluster = cluster
        self._while_waiting = while_waiting
        self._looked = time.monotonic()

    def rows_of(
        self, snapshot: Snapshot, keys: Keys, columns: Sequence[str], files: Collection[int] | None
    ) -> Rows:
        """See ``Engine``."""
        names = list(dict.fromkeys([*keys.columns, *columns]))
        if files is not None and not files:
            return self._hold(snapshot, names, columns, iter(()), None)
        with self._exchange(snapshot) as exchange:
            return self._rows_of(snapshot, keys, columns, names, files, exchange)

    def _rows_of(
        self,
        snapshot: Snapshot,
        keys: Keys,
        columns: Sequence[str],
        names: Sequence[str],
        files: Collection[int] | None,
        exchange: Exchange,
    ) -> Rows:
        cells = ", ".join(f"{column_sql(name)} AS k{place}" for place, name in enumerate(keys.columns))
        types = [snapshot.schema.field(name).type for name in keys.columns]
        sought = exchange.hand(
            f"SELECT DISTINCT {cells} FROM {keys.sql}",
            [_own(f"k{at}", kind) for at, kind in enumerate(types)],
        )
        if not sought.number:
            return self._hold(snapshot, names, columns, iter(()), None)
        bounds = _bounds_of(self._opened, keys)

        def having_keys(placed: Any, functions: Any, session: Any) -> Any:
            placed = _between(placed, functions, names, bounds)
            wanted = sought.frame(session, functions, typed())
            same = [placed[f"c{names.index(name)}"] == wanted[f"k{i}"] for i, name in enumerate(keys.columns)]
            return placed.join(wanted, same, "left_semi")

        named = self._named_files(snapshot, files, names)
        if named is not None:
            size = sought.number * _row_bytes(snapshot, names, named)
            with self._asked_of_files(snapshot, named, having_keys, exchange, size) as answers:
                rows = self._hold(snapshot, names, columns, answers, named)
            drop_dead(self._opened.connection, snapshot, rows.sql)
            return replace(rows, number=self._opened.number(f"SELECT count(*) FROM {rows.sql}"))

        if _depends_on_session(snapshot, names):
            return DuckDBEngine(self._opened).rows_of(snapshot, keys, columns, files)
        numbered = _tells_row_numbers(snapshot)
        places = _places(snapshot, files, sought.number)

        def found(table: Any, functions: Any, session: Any) -> Any:
            placed = _placed(table, functions, names, numbered=numbered, file=places.file)
            return places.told(having_keys(placed, functions, session), functions, session)

        size = sought.number * _row_bytes(snapshot, names, places)
        with self._asked(snapshot, found, exchange, size) as answers:
            rows = self._hold(snapshot, names, columns if numbered else names, answers, places)
        rows = rows if numbered else self._numbered(snapshot, rows, keys, columns)
        return replace(rows, looked=files_between(snapshot, bounds))

    def _named_files(
        self, snapshot: Snapshot, files: Collection[int] | None, columns: Sequence[str]
    ) -> _NamedFiles | None:
        """The files as the cluster reads them one by one, where it would read much more of the table as a whole, or be
        told no numbers of its rows; None where it would then read one of them otherwise than DuckDB.
        """
        if files is None:
            return None
        listed = sorted(files)
        size = int(snapshot.files.numbers("size")[listed].sum())
        if _tells_rows(snapshot, columns) and size * _LEAST_LEFT_OUT > snapshot.size_bytes:
            return None
        schema = pa.schema([snapshot.schema.field(name) for name in columns])
        try:
            plain = PlainFiles(
                self._opened, snapshot, snapshot.files.at(listed), schema, _root_there(snapshot)
            )
        except NotSaid:
            return None
        return _NamedFiles(plain, np.array(listed, np.int64))

    def _numbered(self, snapshot: Snapshot, rows: Rows, keys: Keys, columns: Sequence[str]) -> Rows:
        """The rows with their numbers, for which the keys are looked for in the files that have them. A key that a file
        has several times stays so, in every pair: duplicates are refused by whoever asked.
        """
        into = fresh_name()
        hit = self._opened.connection.execute(f"SELECT DISTINCT file_index FROM {rows.sql}").fetchnumpy()
        located = DuckDBEngine(self._opened).rows_of(snapshot, keys, keys.columns, hit["file_index"].tolist())
        same = " AND ".join(f"l.{column_sql(name)} = r.{column_sql(name)}" for name in keys.columns)
        cells = "".join(f", r.{column_sql(name)}" for name in columns)
        self._opened.execute(
            f"CREATE TEMP TABLE {into} AS SELECT l.file_index, l.row_number{cells} FROM {rows.sql} r "
            f"JOIN {located.sql} l ON l.file_index = r.file_index AND {same}"
        )
        number = self._opened.number(f"SELECT count(*) FROM {into}")
        if number < rows.number:
            raise self._failure(
                f"It found {rows.number:,} rows, of which {number:,} are in their files here."
            )
        self._opened.execute(f"DROP TABLE {rows.sql}")
        self._opened.execute(f"DROP TABLE {located.sql}")
        return Rows(into, number)

    def rows_at(self, snapshot: Snapshot, positions: str, columns: Sequence[str]) -> Rows:
        """See ``Engine``."""
        found = self._opened.connection.execute(f"SELECT DISTINCT file_index FROM {positions}").fetchnumpy()
        hit = sorted(map(int, found["file_index"]))
        if not hit:
            return self._hold(snapshot, columns, columns, iter(()), None)
        named = self._named_files(snapshot, hit, columns)
        with self._exchange(snapshot) as exchange:
            if named is not None:
                sought = self._positions(exchange, positions, hit, pa.array(range(len(hit)), pa.int32()))

                def standing(placed: Any, functions: Any, session: Any) -> Any:
                    return _at(placed, sought, "f", functions, session)

                size = sought.number * _row_bytes(snapshot, columns, named)
                with self._asked_of_files(snapshot, named, standing, exchange, size) as answers:
                    rows = self._hold(snapshot, columns, columns, answers, named)
            else:
                names = pa.array([file.path.rpartition("/")[2] for file in snapshot.files.at(hit)])
                if not _tells_rows(snapshot, columns) or not all(
                    map(PLAIN_NAME.fullmatch, names.to_pylist())
                ):
                    return DuckDBEngine(self._opened).rows_at(snapshot, positions, columns)
                rows, sought = self._rows_of_names_at(snapshot, positions, columns, hit, names, exchange)
        if rows.number != sought.number:
            raise self._failure(
                f"It found {rows.number:,} of {sought.number:,} rows that stand in version {snapshot.version}."
            )
        return rows

    def _positions(self, exchange: Exchange, positions: str, hit: Sequence[int], told: pa.Array) -> Handed:
        """Positions in files as the cluster knows these: ``k0`` tells which of those that were hit, ``k1`` the row."""
        self._opened.connection.register(
            "hit_files", pa.table({"i": pa.array(hit, pa.int64()), "told": told})
        )
        try:
            return exchange.hand(
                "SELECT DISTINCT told AS k0, CAST(row_number AS BIGINT) AS k1 "
                f"FROM {positions} p JOIN hit_files h ON p.file_index = h.i",
                [_own("k0", told.type), _own("k1", pa.int64())],
            )
        finally:
            self._opened.connection.unregister("hit_files")

    def _rows_of_names_at(
        self,
        snapshot: Snapshot,
        positions: str,
        columns: Sequence[str],
        hit: Sequence[int],
        names: pa.Array,
        exchange: Exchange,
    ) -> tuple[Rows, Handed]:
        """The same of the table as a whole. Plain names of files are the same however paths are spelled; which file it
        is is looked at when the rows are here.
        """
        number = self._opened.number(f"SELECT count(*) FROM {positions}")
        told = _places(snapshot, hit, number)
        by_number = isinstance(told, _FilesByName)
        sought = self._positions(exchange, positions, hit, pa.array(hit, pa.int32()) if by_number else names)

        def found(table: Any, functions: Any, session: Any) -> Any:
            named = table.metadataColumn("_metadata")["file_name"].alias("named")
            placed = _placed(table, functions, columns, named, numbered=True, file=told.file)
            placed = told.told(placed, functions, session)
            return _at(placed, sought, "f" if by_number else "named", functions, session).drop("named")

        size = sought.number * _row_bytes(snapshot, columns, told)
        with self._asked(snapshot, found, exchange, size) as answers:
            rows = self._hold(snapshot, columns, columns, answers, told)
        # Files of one name in two folders have rows of the same numbers.
        self._opened.execute(
            f"DELETE FROM {rows.sql} r WHERE NOT EXISTS (SELECT 1 FROM {positions} p "
            "WHERE p.file_index = r.file_index AND p.row_number = r.row_number)"
        )
        number = self._opened.number(f"SELECT count(*) FROM {rows.sql}")
        return replace(rows, number=number, looked=range(len(snapshot.files))), sought

    def classify(self, snapshot: Snapshot, images: Images, files: Collection[int]) -> Classified:
        """See ``Engine``."""
        names = images.columns
        named = self._named_files(snapshot, files, names)
        if named is None and not _tells_rows(snapshot, names):
            raise NotSaid("rows that it numbers or reads otherwise")
        question = Classifying(snapshot, images)
        bounds = _bounds_of(self._opened, images.sought)
        same = fresh_name()
        self._opened.execute(f"CREATE TEMP TABLE {same} (n BIGINT, file_index BIGINT, row_number BIGINT)")
        places = _FilesByPath(snapshot, files) if named is None else named

        def beside(placed: Any, functions: Any, session: Any) -> Any:
            placed = _between(placed, functions, names, bounds)
            return question.rows(placed, laid.frame(session, functions, typed()))

        def found(table: Any, functions: Any, session: Any) -> Any:
            return beside(_placed(table, functions, names, numbered=True), functions, session)

        size = images.number * _row_bytes(snapshot, (), places)
        with self._exchange(snapshot) as exchange:
            laid = exchange.lay(images.sql, question.fields, images.number)
            asked = (
                self._asked(snapshot, found, exchange, size)
                if named is None
                else self._asked_of_files(snapshot, named, beside, exchange, size)
            )
            with asked as answers:
                apart = question.apart(answers, lambda told: self._insert(same, "n, i, r", told, places))
                others = self._hold(snapshot, names, names, apart, places)
        if named is None:
            return Classified(replace(others, looked=files_between(snapshot, bounds)), same)
        for relation in (others.sql, same):
            drop_dead(self._opened.connection, snapshot, relation)
        number = self._opened.number(f"SELECT count(*) FROM {others.sql}")
        return Classified(replace(others, number=number), same)

    def aggregate(self, snapshot: Snapshot, changes: Changes | None, asked: Aggregates) -> Aggregated:
        """See ``Engine``."""
        with self._exchange(snapshot) as exchange:
            question = _Aggregating(self._opened, snapshot, changes, asked, exchange)
            return self._aggregated(snapshot, asked, question, exchange)

    def _aggregated(
        self, snapshot: Snapshot, asked: Aggregates, question: _Aggregating, exchange: Exchange
    ) -> Aggregated:
        into = fresh_name()
        number = 1
        if asked.first is not None:
            with self._asked(snapshot, question.number, exchange) as answers:
                number = sum(answer.column("n")[0].as_py() for answer in answers if len(answer))
        self._opened.execute(f"CREATE TEMP TABLE {into} ({_listed(question.told)})")
        if number:
            with self._asked(snapshot, question.rows, exchange) as answers:
                for answer in _in_portions(answers):
                    self._take(into, question.told, answer)
        if asked.by and asked.first is None:
            number = self._opened.number(f"SELECT count(*) FROM {into}")
        return Aggregated(into, number)

    def first_rows(self, snapshot: Snapshot, asked: FirstRows, files: Sequence[int] | None) -> Rows:
        """See ``Engine``."""
        if files is not None:
            raise NotSaid("the first rows of some files")
        names = list(dict.fromkeys([*asked.columns, *(name for name, _ in asked.order), *asked.judged]))
        _require_said(snapshot, names)
        types = {field_.name: field_.type for field_ in snapshot.schema}
        labels = _labels(snapshot, names, types)
        for name, _ in asked.order:
            spark_sql(column_sql(name), labels)
            spark_type(types[name])
        where = spark_sql(asked.where, labels)

        def found(table: Any, functions: Any, _: Any) -> Any:
            cells = [functions.col(quoted(name)).alias(f"c{place}") for place, name in enumerate(names)]
            rows = table.select(*cells).filter(functions.expr(where))
            nulls = "first" if asked.nulls_first else "last"
            order = [
                getattr(functions, f"{'desc' if falls else 'asc'}_nulls_{nulls}")(f"c{names.index(name)}")
                for name, falls in asked.order
            ]
            told = [f"c{place}" for place in range(len(asked.columns))]
            return rows.orderBy(*order).limit(asked.number).select(*told)

        into = fresh_name()
        told = [(column_sql(name), duckdb_type(types[name])) for name in asked.columns]
        self._opened.execute(f"CREATE TEMP TABLE {into} ({_listed(told)})")
        with self._exchange(snapshot) as exchange, self._asked(snapshot, found, exchange) as answers:
            for answer in _in_portions(answers):
                self._take(into, told, answer)
        number = self._opened.number(f"SELECT count(*) FROM {into}")
        return Rows(asked.told(into, snapshot.schema), number)

    def apart(self, gone: ShownApart, come: ShownApart, schema: pa.Schema) -> tuple[str, str]:
        """See ``Engine``. Equal rows of the two are not sent: what comes is what differs."""
        question = Comparing(self._opened, gone, come, schema, lambda one: _root_there(one.snapshot))

        def reading(session: Any, functions: Any) -> Iterator[pa.Table]:
            with configured(session, READING):
                rows = question.rows(session, functions, typed())
                yield from exchange.answered(session, rows, question.size)

        into = fresh_name()
        told = [(column_sql(field_.name), duckdb_type(field_.type)) for field_ in schema]
        told.append(("more", "BIGINT"))
        self._opened.execute(f"CREATE TEMP TABLE {into} ({_listed(told)})")
        with (
            self._exchange(come.snapshot) as exchange,
            self._working(come.snapshot, reading, "read") as answers,
        ):
            for answer in _in_portions(answers):
                self._take(into, told, answer)
        names = ", ".join(name for name, _ in told[:-1])
        times = [f"SELECT {names}, unnest(range({sign}more)) FROM {into}" for sign in ("-", "")]
        return f"SELECT {names} FROM ({times[0]})", f"SELECT {names} FROM ({times[1]})"

    def rewrite(
        self, snapshot: Snapshot, fields: Sequence[TableField], rewrites: Sequence[Rewrite]
    ) -> list[WrittenFile]:
        """See ``Engine``."""
        job = Rewriting(snapshot, fields, rewrites, _root_there(snapshot))
        paths = [one.path for one in rewrites]
        made = self._made(snapshot, job.work_into, paths, fields, job.further)
        names = [one.name for one in fields]
        for one, written in zip(rewrites, made, strict=True):
            self._require_rows(written, one.rows)
            self._look()
            require_same_content(
                self._opened.connection,
                snapshot,
                Rewritten(one.files, one.removed, one.path),
                names,
                row_ids=bool(job.further),
                read_by_others=True,
            )
        return made

    def write(
        self,
        snapshot: Snapshot,
        fields: Sequence[TableField],
        files: Iterable[NewFile],
        further: Sequence[str] = (),
    ) -> Iterator[WrittenFile]:
        """See ``Engine``."""
        paths: list[str] = []
        tables: list[pa.Table] = []
        for file in files:
            paths.append(file.path)
            tables.append(self._opened.table(stored_sql(file.rows, fields, *further)))
            if sum(one.nbytes for one in tables) > _SENT_AT_ONCE:
                yield from self._sent(snapshot, fields, paths, tables)
                paths, tables = [], []
        if tables:
            yield from self._sent(snapshot, fields, paths, tables)

    def _sent(
        self,
        snapshot: Snapshot,
        fields: Sequence[TableField],
        paths: Sequence[str],
        tables: Sequence[pa.Table],
    ) -> list[WrittenFile]:
        further = [
            TableField(one.name, one.name, None, one.type) for one in [*tables[0].schema][len(fields) :]
        ]
        job = Writing(fields, further, tables, _root_there(snapshot))
        made = self._made(snapshot, job.work_into, paths, fields, further)
        for table, written in zip(tables, made, strict=True):
            self._require_rows(written, len(table))
        return made

    def _made(
        self,
        snapshot: Snapshot,
        work_into: Callable[[str], Work],
        paths: Sequence[str],
        fields: Sequence[TableField],
        further: Sequence[TableField],
    ) -> list[WrittenFile]:
        """The files that work writes, under their own names. However it ends, nothing else of it is left."""
        store, folder = snapshot.store, temporary_folder(paths[0])
        work = work_into(folder)

        def writing(session: Any, functions: Any) -> Iterator[pa.Table]:
            work(session, functions, typed())
            yield from ()

        try:
            with self._working(snapshot, writing, "write") as answers:
                for _ in answers:
                    pass
            found = sorted(files_in(store, folder))
            if [number for number, _ in found] != [*range(len(paths))]:
                raise self._failure(f"It wrote {len(found):,} files where {len(paths):,} were asked for.")
            moves = [(path, to) for (_, path), to in zip(found, paths, strict=True)]
            each_at_once(store, lambda move: store.move(*move), moves)
        finally:
            with contextlib.suppress(TableUnreachable):  # it goes with what else attempts left behind
                store.remove_folder(folder)
        return each_at_once(store, lambda path: written_elsewhere(snapshot, path, fields, further), paths)

    def _require_rows(self, written: WrittenFile, rows: int) -> None:
        if written.rows != rows:
            raise self._failure(f"It wrote {written.rows:,} rows of a file where there are {rows:,}.")

    def _look(self) -> None:
        """Ask whoever waits, as often as while the cluster works."""
        if self._while_waiting is not None and time.monotonic() - self._looked > LOOK_EVERY:
            self._looked = time.monotonic()
            self._while_waiting()

    def _take(self, into: str, told: Sequence[tuple[str, str]], answer: pa.Table) -> None:
        for (name, kind), field_ in zip(told, answer.schema, strict=True):
            if _type_of(field_.type) != kind:
                raise self._failure(f"It answers {name} as {field_.type} instead of {kind}.")
        given = answer.rename_columns([f"v{place}" for place in range(len(told))])
        cells = ", ".join(f"CAST(v{place} AS {kind})" for place, (_, kind) in enumerate(told))
        self._opened.connection.register("answered", given)
        try:
            self._opened.execute(f"INSERT INTO {into} SELECT {cells} FROM answered")
        finally:
            self._opened.connection.unregister("answered")

    def _hold(
        self,
        snapshot: Snapshot,
        sent: Sequence[str],
        columns: Sequence[str],
        answers: Iterator[pa.Table],
        files: Collection[int] | _Places | None,
    ) -> Rows:
        """A table of the session with what the cluster sent, ``columns`` of it; of these ``files`` alone."""
        into = fresh_name()
        types = {name: duckdb_type(snapshot.schema.field(name).type) for name in columns}
        columns_sql = "".join(f", {column_sql(name)} {types[name]}" for name in columns)
        self._opened.execute(f"CREATE TEMP TABLE {into} (file_index BIGINT, row_number BIGINT{columns_sql})")
        places = files if isinstance(files, _Places) else _FilesByPath(snapshot, files)
        cells = "".join(f", CAST(c{sent.index(name)} AS {types[name]})" for name in columns)
        number = 0
        for answer in _in_portions(answers):
            self._require_types(snapshot, sent, answer)
            number += self._insert(into, f"i, r{cells}", answer, places)
        return Rows(into, number)

    def _insert(self, into: str, cells: str, answer: pa.Table, places: _Places) -> int:
        """Of what the cluster sent the rows of files that were asked for, with these as ``i``; how many they are."""
        indexes = places.indexes(answer.column("f"))
        if indexes.null_count:
            raise self._failure("It names a data file that this version of the table does not have.")
        given = answer.append_column("i", indexes).filter(pc.greater_equal(indexes, 0))
        self._opened.connection.register("answered", given)
        try:
            self._opened.execute(f"INSERT INTO {into} SELECT {cells} FROM answered")
        finally:
            self._opened.connection.unregister("answered")
        return len(given)

    def _require_types(self, snapshot: Snapshot, sent: Sequence[str], answer: pa.Table) -> None:
        for place, name in enumerate(sent):
            wanted, given = snapshot.schema.field(name).type, answer.schema.field(f"c{place}").type
            if duckdb_type(wanted) != _type_of(given):
                raise self._failure(f"It reads the column {name} as {given}, and the table says {wanted}.")

    def _failure(self, reason: str, *, retriable: bool = False) -> ClusterFailed:
        return ClusterFailed(self._cluster.host, reason, retriable=retriable)

    def _exchange(self, snapshot: Snapshot) -> Exchange:
        return Exchange(self._opened, snapshot, _root_there(snapshot))

    @contextlib.contextmanager
    def _asked(
        self,
        snapshot: Snapshot,
        question: Callable[..., Any],
        exchange: Exchange,
        size: int = 0,
    ) -> Iterator[Iterator[pa.Table]]:
        """The answers to a question about the table, as they come; left early, the operation ends on the cluster. Those
        that may be so many bytes come by an exchange.
        """

        def reading(session: Any, functions: Any) -> Iterator[pa.Table]:
            uri = _address_there(snapshot.uri)
            table = session.read.format("delta").option("versionAsOf", snapshot.version).load(uri)
            yield from exchange.answered(session, question(table, functions, session), size)

        with self._working(snapshot, reading, "read") as answers:
            yield answers

    @contextlib.contextmanager
    def _asked_of_files(
        self,
        snapshot: Snapshot,
        files: _NamedFiles,
        question: Callable[..., Any],
        exchange: Exchange,
        size: int,
    ) -> Iterator[Iterator[pa.Table]]:
        """The same about the rows that are stored in some files, told with their places among these."""

        def reading(session: Any, functions: Any) -> Iterator[pa.Table]:
            with configured(session, READING):
                placed = files.plain.rows(session, functions, typed())
                yield from exchange.answered(session, question(placed, functions, session), size)

        with self._working(snapshot, reading, "read") as answers:
            yield answers

    @contextlib.contextmanager
    def _working(
        self, snapshot: Snapshot, work: Callable[[Any, Any], Iterator[pa.Table]], verb: str
    ) -> Iterator[Iterator[pa.Table]]:
        cluster = self._cluster
        uri = _address_there(snapshot.uri)
        asked = AskedTable(cluster.host, lambda: cluster.url, uri, snapshot.table_id)
        operation = ClusterWork(kept_for(self._opened), asked, work)
        try:
            yield self._waited_for(operation, verb)
        finally:
            operation.leave()

    def _waited_for(self, operation: ClusterWork, verb: str) -> Iterator[pa.Table]:
        end = time.monotonic() + self._cluster.seconds
        while True:
            if time.monotonic() > end:
                raise self._failure(
                    f"It did not answer within {self._cluster.seconds:,.0f} seconds.", retriable=True
                )
            try:
                told = operation.answers.get(timeout=LOOK_EVERY)
            except queue.Empty:
                if self._while_waiting is not None:
                    self._while_waiting()
                continue
            if told is None:
                return
            if isinstance(told, BaseException):
                raise self._named(told, verb) from told
            yield told

    def _named(self, error: BaseException, verb: str) -> Exception:
        """What ended the operation, as an error of the engine's family."""
        if isinstance(error, MergeError):
            return error
        if isinstance(error, ImportError):
            return self._failure("This installation has no client for Spark: install headgate[spark].")
        said = " ".join(str(error).partition("JVM stacktrace")[0].split())[:_LONGEST_SAID].strip()
        kind = status(error)
        if kind in REFUSED:
            return self._failure("It does not let Headgate in: look at its token and what that may do.")
        if "spark.driver.maxResultSize" in said:
            return self._failure(
                "Its driver takes fewer bytes at a time than these rows are: whoever runs it says more with "
                "spark.driver.maxResultSize (0 for any number)."
            )
        if any(lost in said for lost in LOST):
            return self._failure(
                "It lost the session in the middle of the work, or somebody ended the work there.",
                retriable=True,
            )
        if kind == "UNIMPLEMENTED":
            return self._failure("What answers there speaks no Spark Connect.")
        if kind in AWAY or "RETRIES_EXCEEDED" in said:
            return self._failure(
                "It cannot be reached, or went away in the middle of the work.", retriable=True
            )
        return self._failure(f"It could not {verb} the table: {said}")


def _labels(snapshot: Snapshot, columns: Sequence[str], types: Mapping[str, pa.DataType]) -> dict[str, Said]:
    """What expressions may name: columns that are asked for, as ``c0`` …, by their labels."""
    return {
        column_label(name): Said(f"c{place}", types[name])
        for place, name in enumerate(columns)
        if name not in snapshot.rules.compared_otherwise
    }


def _said(expressions: Sequence[str], labels: Mapping[str, Said]) -> list[str]:
    """All of them in Spark's SQL. Raises NotSaid with the places of those that are not."""
    said: list[str] = []
    left: dict[int, str] = {}
    for place, expression in enumerate(expressions):
        try:
            said.append(spark_sql(expression, labels))
        except NotSaid as error:
            left[place] = str(error)
    if left:
        raise NotSaid("; ".join(left.values()), list(left))
    return said


class _Aggregating:
    """Aggregates as questions to Spark. Raises NotSaid where Spark cannot be asked so that it means the same."""

    def __init__(
        self,
        opened: Session,
        snapshot: Snapshot,
        changes: Changes | None,
        asked: Aggregates,
        exchange: Exchange,
    ) -> None:
        gone = changes.gone.columns if changes and changes.gone else ()
        _require_said(snapshot, [*asked.columns, *gone])
        self._snapshot = snapshot
        self._asked = asked
        schema = {field_.name: field_.type for field_ in snapshot.schema}
        self._types = dict(changes.types) if changes is not None else schema
        labels = _labels(snapshot, asked.columns, self._types)
        self._cells = [self._cell(name, schema.get(name)) for name in asked.columns]
        self._where = spark_sql(asked.where, labels)
        self._expressions = _said(asked.expressions, labels)
        self._by = [spark_sql(column_sql(name), labels) for name in asked.by]
        empty = ", ".join(
            f"NULL::{duckdb_type(self._types[name])} AS {column_sql(name)}" for name in asked.columns
        )
        grouped = f" GROUP BY {', '.join(map(column_sql, asked.by))}" if asked.by else ""
        described = opened.connection.execute(
            f"DESCRIBE {aggregates_sql(asked)} FROM (SELECT {empty or '0'}){grouped}"
        ).fetchall()
        self.told = [(quote(name), kind) for name, kind, *_ in described]
        types = {name: Said(name, None) for name, *_ in described}
        self._having = spark_sql(asked.having, types)
        self._keys = [quoted(name) for name in gone]
        self._gone, self._added = self._handed(exchange, changes)

    def _cell(self, name: str, stored: pa.DataType | None) -> str:
        cell = quoted(name)
        if stored is None:
            return f"CAST(NULL AS {spark_type(self._types[name])})"
        return cell if stored == self._types[name] else f"CAST({cell} AS {spark_type(self._types[name])})"

    def _handed(self, exchange: Exchange, changes: Changes | None) -> tuple[Handed | None, Handed | None]:
        """Keys of the rows that go, and cells of those that come."""
        if changes is None:
            return None, None
        gone = None
        if changes.gone is not None:
            keys = ", ".join(f"{column_sql(name)} AS k{at}" for at, name in enumerate(changes.gone.columns))
            types = [self._snapshot.schema.field(name).type for name in changes.gone.columns]
            fields = [_own(f"k{at}", kind) for at, kind in enumerate(types)]
            gone = exchange.hand(f"SELECT {keys} FROM {changes.gone.sql}", fields)
        if changes.added is None:
            return gone, None
        types = [self._types[name] for name in self._asked.columns]
        for one in types:
            spark_type(one)  # nested values are not handed over
        cells = [
            f"CAST({column_sql(name)} AS {duckdb_type(kind)}) AS c{place}"
            for place, (name, kind) in enumerate(zip(self._asked.columns, types, strict=True))
        ]
        added = f"SELECT {', '.join(cells) or '0 AS c0'} FROM {changes.added} added"
        return gone, exchange.hand(
            added, [_own(f"c{at}", kind) for at, kind in enumerate(types or [pa.int32()])]
        )

    def number(self, table: Any, functions: Any, session: Any) -> Any:
        """How many groups there are, as ``n``."""
        return self._aggregated(table, functions, session).agg(functions.expr("count(1)").alias("n"))

    def rows(self, table: Any, functions: Any, session: Any) -> Any:
        """The groups that are told."""
        found = self._aggregated(table, functions, session)
        if self._asked.first is None:
            return found
        return found.orderBy(*(functions.asc_nulls_last(name) for name in self._by)).limit(self._asked.first)

    def _aggregated(self, table: Any, functions: Any, session: Any) -> Any:
        told = [functions.expr(sql).alias(f"a{place}") for place, sql in enumerate(self._expressions)]
        rows = self._rows(table, functions, session).filter(functions.expr(self._where))
        if not self._by:
            return rows.agg(*told)
        return rows.groupBy(*self._by).agg(*told).filter(functions.expr(self._having))

    def _rows(self, table: Any, functions: Any, session: Any) -> Any:
        """All rows with the cells that are asked for, as ``c0`` …, after the changes."""
        names = [f"c{place}" for place in range(len(self._cells) or 1)]
        cells = [
            functions.expr(cell).alias(name) for cell, name in zip(self._cells or ["0"], names, strict=True)
        ]
        rows = table.select(
            *cells, *(functions.expr(key).alias(f"g{at}") for at, key in enumerate(self._keys))
        )
        if self._gone is not None and self._gone.number:
            gone = self._gone.frame(session, functions, typed())
            same = [rows[f"g{at}"] == gone[f"k{at}"] for at in range(len(self._keys))]
            rows = rows.join(gone, same, "left_anti")
        rows = rows.select(*names)
        if self._added is not None and self._added.number:
            added = self._added.frame(session, functions, typed())
            kinds = [spark_type(self._types[name]) for name in self._asked.columns] or ["INT"]
            rows = rows.unionAll(
                added.select(
                    *(added[name].cast(kind).alias(name) for name, kind in zip(names, kinds, strict=True))
                )
            )
        return rows


def _tells_row_numbers(snapshot: Snapshot) -> bool:
    """Whether Delta Lake in Spark has ``row_index`` of the table's rows (``DeltaParquetFileFormat``)."""
    return "deletionVectors" in supported_features(snapshot.protocol)


def _depends_on_session(snapshot: Snapshot, columns: Sequence[str]) -> bool:
    """Whether Spark reads instants that the log has without a zone, which are then those of the zone of its session."""
    apart = set(snapshot.partition_columns).intersection(columns)
    return ZONE_PROPERTY in snapshot.properties and any(
        is_instant(snapshot.schema.field(name).type) for name in apart
    )


def _tells_rows(snapshot: Snapshot, columns: Sequence[str]) -> bool:
    """Whether it reads rows of the table as a whole as we do, with their numbers."""
    return _tells_row_numbers(snapshot) and not _depends_on_session(snapshot, columns)


def _require_said(snapshot: Snapshot, columns: Sequence[str]) -> None:
    if _depends_on_session(snapshot, columns):
        raise NotSaid("instants without a zone")


def _placed(
    table: Any,
    functions: Any,
    columns: Sequence[str],
    *more: Any,
    numbered: bool,
    file: str = "file_path",
) -> Any:
    """Rows with where they stand (``f``, what the metadata tell as ``file``, and ``r`` where they are numbered, else 0)
    and their columns (``c0``, …), by names that nothing shadows.
    """
    stands = table.metadataColumn("_metadata")
    number = stands["row_index"] if numbered else functions.lit(0)
    cells = [functions.col(quoted(name)).alias(f"c{place}") for place, name in enumerate(columns)]
    return table.select(stands[file].alias("f"), number.alias("r"), *more, *cells)


def _at(placed: Any, sought: Handed, file: str, functions: Any, session: Any) -> Any:
    """Of placed rows those that stand where it is asked: ``k0`` by the column ``file``, as number ``k1``."""
    wanted = sought.frame(session, functions, typed())
    return placed.join(wanted, [placed[file] == wanted["k0"], placed["r"] == wanted["k1"]], "left_semi")


def _own(name: str, kind: pa.DataType) -> TableField:
    """A column that is handed over."""
    return TableField(name, name, None, kind)


def _bounds_of(opened: Session, keys: Keys) -> dict[str, tuple[Any, Any]]:
    """The least and the greatest of each column of the key of which every statistic is right."""
    names = [column_sql(name) for name in keys.columns]
    parts = [
        f"SELECT {', '.join(f'{which}({name})' for name in names)} FROM {keys.sql}"
        for which in ("min", "max")
    ]
    ends = zip(keys.columns, opened.table(" UNION ALL ".join(parts)).columns, strict=True)
    found = {name: _bounds(column) for name, column in ends}
    return {name: two for name, two in found.items() if two is not None}


def _row_bytes(snapshot: Snapshot, columns: Sequence[str], places: _Places) -> int:
    """About how many bytes a row is that a cluster tells, with where it stands."""
    rows = int(snapshot.files.numbers("records").sum())
    types = [snapshot.schema.field(name).type for name in columns]
    cells = sum(-(-one.bit_width // 8) for one in types if has_width(one))
    if not all(map(has_width, types)):
        cells = max(cells, _PACKED * snapshot.size_bytes // rows if rows else _NOT_STATED)
    return int(places.row_bytes + cells)


def _between(
    placed: Any, functions: Any, columns: Sequence[str], bounds: Mapping[str, tuple[Any, Any]]
) -> Any:
    """Of placed rows those whose keys lie within bounds: statistics leave files out by them, and parts of files."""
    for name, ends in bounds.items():
        cell = functions.col(f"c{columns.index(name)}")
        placed = placed.filter(cell.between(*map(functions.lit, ends)))
    return placed


def _bounds(keys: pa.ChunkedArray) -> tuple[Any, Any] | None:
    """The least and the greatest key, where they are of a kind that every statistic is right for; else None."""
    kind = keys.type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_date(kind)):
        return None
    try:
        found = pc.min_max(keys).as_py()
    except (OverflowError, ValueError):  # a day that Python has no date for
        return None
    low, high = found["min"], found["max"]
    return None if low is None or (isinstance(low, date) and low.year < 1000) else (low, high)


def _listed(told: Sequence[tuple[str, str]]) -> str:
    """Columns with their types, as CREATE TABLE takes them."""
    return ", ".join(f"{name} {kind}" for name, kind in told)


def _in_portions(answers: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The answers, several together: a statement for each would cost more than the rows."""
    waiting: list[pa.Table] = []
    for answer in answers:
        waiting.append(answer)
        if sum(map(len, waiting)) >= _ROWS_AT_ONCE or sum(one.nbytes for one in waiting) >= _HELD_AT_ONCE:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _type_of(data_type: pa.DataType) -> str:
    """What DuckDB makes of a column that Spark sent; what it does not know is spelled as Arrow does."""
    if pa.types.is_timestamp(data_type) and data_type.tz is not None:
        data_type = pa.timestamp(data_type.unit, "UTC")
    try:
        return duckdb_type(data_type)
    except MergeError:
        return str(data_type)


def _address_there(uri: str) -> str:
    """The table's address as Spark's file systems call it."""
    scheme, separator, rest = uri.partition("://")
    return f"{_SCHEMES.get(scheme, scheme)}{separator}{rest}" if separator else uri


def _root_there(snapshot: Snapshot) -> str:
    """Where the table's files stand, as Spark's file systems call it."""
    return _address_there(snapshot.store.uri).rstrip("/")


@dataclass(frozen=True)
class _NamedFiles:
    """Files of a snapshot that a cluster reads one by one, and which they are."""

    plain: PlainFiles
    listed: np.ndarray
    row_bytes: ClassVar[int] = 16

    def indexes(self, places: pa.ChunkedArray) -> pa.Array:
        """The indexes in the snapshot of the places that the cluster tells."""
        return pa.array(self.listed).take(places.combine_chunks())


class _FilesByPath:
    """Which file of a snapshot a path is that Spark tells; -1 for one that was not asked for, NULL for a stranger."""

    file = "file_path"
    row_bytes = 128
    """About what a row says of where it stands."""

    def __init__(self, snapshot: Snapshot, files: Collection[int] | None) -> None:
        self._asked = None if files is None else set(files)
        root = _plain(_address_there(snapshot.uri)).rstrip("/")
        self._known: dict[str, int] = {}
        for index, logged in enumerate(snapshot.files.column("path").to_pylist()):
            path = urllib.parse.unquote(logged)
            self._known[_plain(path if _WHOLE.match(path) else f"{root}/{path}")] = index

    def told(self, rows: Any, *_: Any) -> Any:
        """Rows as they are told."""
        return rows

    def indexes(self, paths: pa.ChunkedArray) -> pa.Array:
        """The indexes in the snapshot."""
        told = pc.dictionary_encode(paths.combine_chunks())
        return pa.array(map(self._index, told.dictionary.to_pylist()), pa.int64()).take(told.indices)

    def _index(self, told: str) -> int | None:
        found = self._known.get(_plain(urllib.parse.unquote(told)))
        if found is None or self._asked is None or found in self._asked:
            return found
        return -1


class _FilesByName:
    """The same where no two files have one name, and Spark is told the names: it tells a number for a path, which
    would be most of a row.
    """

    file = "file_name"
    row_bytes = 16

    def __init__(self, names: pa.Array, files: Collection[int] | None) -> None:
        self._known = pa.table({"k": names, "i": pa.array(range(len(names)), pa.int32())})
        self._asked = None if files is None else pa.array(list(files), pa.int32())

    def told(self, rows: Any, functions: Any, session: Any) -> Any:
        """Rows with the number of their file; NULL where it has none."""
        known = functions.broadcast(session.createDataFrame(self._known))
        return rows.join(known, rows["f"] == known["k"], "left").drop("f", "k").withColumnRenamed("i", "f")

    def indexes(self, numbers: pa.ChunkedArray) -> pa.Array:
        """The indexes in the snapshot."""
        told = numbers.combine_chunks()
        if self._asked is None:
            return told
        asked = pc.or_kleene(pc.is_in(told, value_set=self._asked), pc.is_null(told))
        return pc.if_else(asked, told, -1)


_Places = _NamedFiles | _FilesByPath | _FilesByName


def _places(snapshot: Snapshot, files: Collection[int] | None, sought: int) -> _FilesByPath | _FilesByName:
    """How Spark tells which file a row is of: so many rows are sought, and names of all files are sent with less."""
    names = pc.replace_substring_regex(snapshot.files.column("path"), ".*/", "").combine_chunks()
    plain = pc.match_substring_regex(names, f"^(?:{PLAIN_NAME.pattern})$")
    if sought >= len(names) and pc.all(plain).as_py() and pc.count_distinct(names).as_py() == len(names):
        return _FilesByName(names, files)
    return _FilesByPath(snapshot, files)


_WHOLE = re.compile(r"/|[A-Za-z][A-Za-z0-9+.-]*:/")


def _plain(address: str) -> str:
    """One spelling of an address: without the scheme where it is a folder, with one scheme for each store."""
    if address.startswith("file:"):
        return "/" + address.removeprefix("file:").lstrip("/")
    return _address_there(address)
