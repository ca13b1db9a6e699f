"""Tables with rules of their own (CHECK, invariants, generated columns): merged by our writer, judged before it writes.

All rows that no request names are compared too, on merge-on-read and on copy-on-write.
"""

from __future__ import annotations

import datetime
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pytest

import merging
from merging.delta.rules import SESSION_ZONE_PROPERTY
from merging.sql.session import Session
from merging.store.client import ObjectExists
from merging.store.stores import LocalStore
from tests.merging.delta.delta_tables import own_rows
from tests.merging.world import Row, World, arrow, resolve

STRATEGIES = pytest.mark.parametrize("strategy", ["merge-on-read", "copy-on-write"])
DAY = datetime.date(2024, 2, 29)
SCHEMA = pa.schema([("id", pa.int64()), ("a", pa.int32()), ("s", pa.string()), ("day", pa.date32())])
ROWS: list[Row] = [{"id": n, "a": n * 10, "s": f"t{n}", "day": DAY} for n in range(1, 6)]


def commit_by_hand(uri: str, change: Any, protocol: dict[str, Any] | None = None) -> None:
    """The next version, in which somebody changed the metadata (and the protocol) alone."""
    log = Path(uri, "_delta_log")
    commits = sorted(log.glob("*.json"))
    actions = [json.loads(line) for path in commits for line in path.read_text().splitlines()]
    metadata = [action["metaData"] for action in actions if "metaData" in action][-1]
    schema = json.loads(metadata["schemaString"])
    change(metadata, {item["name"]: item for item in schema["fields"]})
    metadata["schemaString"] = json.dumps(schema)
    lines: list[dict[str, Any]] = [{"commitInfo": {"operation": "ALTER", "timestamp": 1}}]
    if protocol is not None:
        lines.append({"protocol": protocol})
    lines.append({"metaData": metadata})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (log / f"{len(commits):020d}.json").write_text(text)


FULL = {
    "minReaderVersion": 3,
    "minWriterVersion": 7,
    "readerFeatures": ["deletionVectors", "timestampNtz"],
    "writerFeatures": [
        *("appendOnly", "changeDataFeed", "checkConstraints", "deletionVectors", "generatedColumns"),
        *("invariants", "timestampNtz"),
    ],
}


def ruled(
    folder: Path,
    strategy: str,
    *,
    constraints: dict[str, str] | None = None,
    invariants: dict[str, str] | None = None,
    generated: dict[str, str] | None = None,
    properties: dict[str, str] | None = None,
    features: tuple[str, ...] = (),
    schema: pa.Schema = SCHEMA,
    rows: list[Row] = ROWS,
    **options: Any,
) -> World:
    """A table whose rules were written by somebody else."""
    world = World(folder, strategy, schema, rows, **options)

    def change(metadata: dict[str, Any], fields: dict[str, Any]) -> None:
        metadata["configuration"] |= properties or {}
        for name, text in (constraints or {}).items():
            metadata["configuration"][f"delta.constraints.{name}"] = text
        for name, text in (invariants or {}).items():
            stated = json.dumps({"expression": {"expression": text}})
            fields[name]["metadata"]["delta.invariants"] = stated
        for name, text in (generated or {}).items():
            fields[name]["metadata"]["delta.generationExpression"] = text

    writers = [*FULL["writerFeatures"], *features]  # type: ignore[misc]
    readers = [*FULL["readerFeatures"], *(one for one in features if one == "vacuumProtocolCheck")]  # type: ignore[misc]
    commit_by_hand(world.uri, change, {**FULL, "readerFeatures": readers, "writerFeatures": writers})
    world.base_version += 1
    return world


def refused(world: World, changes: list[Row], check: str) -> merging.Check:
    """Merging fails at exactly this check, and leaves the table as it was."""
    before, version = world.rows(), world.version
    with pytest.raises(merging.ValidationFailed) as caught:
        world.merge(world.stage(changes), "CR-refused")
    failed = [one for one in caught.value.report.checks if not one.ok]
    assert [one.name for one in failed] == [check]
    assert (world.rows(), world.version) == (before, version)
    return failed[0]


@STRATEGIES
def test_fp2_rows_that_nobody_proposed_stay_as_they_are_under_a_constraint(
    tmp_path: Path, strategy: str
) -> None:
    """INT96 and years up to 9999, which delta-rs rewrote as 1816, are not copied by anybody else's reader."""
    schema = pa.schema([("id", pa.int64()), ("until", pa.timestamp("us", "UTC"))])
    ends = [datetime.datetime(year, 12, 31, tzinfo=datetime.UTC) for year in (1600, 1816, 2024, 2500, 9999)]
    rows = [{"id": n, "until": end} for n, end in enumerate(ends)]
    world = ruled(tmp_path, strategy, constraints={"some": "until IS NOT NULL"}, schema=schema, rows=rows)
    changed = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
    result = world.merge(world.stage([{"id": 2, "until": changed}]))
    assert (result.strategy, result.diff.rows_updated) == (strategy, 1)
    assert world.rows() == [*rows[:2], {"id": 2, "until": changed}, *rows[3:]]


@STRATEGIES
@pytest.mark.parametrize("spelled_by", ["delta-rs", "spark"])
def test_fp3_partitions_outside_ascii_leave_no_old_file_active(
    tmp_path: Path, strategy: str, spelled_by: str
) -> None:
    rows = [{"id": n, "a": n, "s": part, "day": DAY} for n, part in enumerate(["São Paulo", "Köln", "a b/%"])]
    world = ruled(tmp_path, strategy, constraints={"some": "a >= 0"}, rows=rows, partition_by=["s"])
    if spelled_by == "spark":
        spell_paths_as_spark(world.uri)
    world.merge(world.stage([{"id": 0, "a": 7}, {"id": 2, "a": 9}]))
    assert world.rows() == [{**rows[0], "a": 7}, rows[1], {**rows[2], "a": 9}]


def spell_paths_as_spark(uri: str) -> None:
    """Spark names folders by their values and escapes only what a folder cannot hold; in the log it encodes blanks and
    percent signs, and leaves letters outside ASCII as they are."""
    for path in Path(uri, "_delta_log").glob("*.json"):
        actions = [json.loads(line) for line in path.read_text().splitlines()]
        for add in [action["add"] for action in actions if "add" in action]:
            before = Path(uri, unquote(add["path"]))
            after = re.sub("(%20|%[89A-F][0-9A-F])+", lambda found: unquote(found[0]), unquote(add["path"]))
            Path(uri, after).parent.mkdir(exist_ok=True)
            before.rename(Path(uri, after))
            add["path"] = after.replace("%", "%25").replace(" ", "%20")
        path.write_text("".join(json.dumps(action, ensure_ascii=False) + "\n" for action in actions))
    assert Path(uri, "s=São Paulo").is_dir()


@STRATEGIES
@pytest.mark.parametrize("feed", [False, True])
def test_fp6_a_constraint_is_judged_on_what_is_written(tmp_path: Path, strategy: str, feed: bool) -> None:
    world = ruled(
        tmp_path, strategy, constraints={"small": "a < 1000 AND s LIKE 't%'"}, change_data_feed=feed
    )
    broken = [{"id": 1, "a": 1000, "s": "t"}, {"id": 2, "a": 999, "s": "t"}, {"id": 9, "a": 1, "s": "x"}]
    check = refused(world, broken, "check:small")
    assert check.failures == 2
    assert check.examples == ({"id": 1}, {"id": 9})
    assert check.message == "2 merged rows break the constraint small (a < 1000 AND s LIKE 't%')."
    result = world.merge(world.stage([{"id": 2, "a": 999, "s": "t2"}, {"id": 9, "a": 1, "s": "t"}]), "CR-2")
    assert result.strategy == strategy
    new = {"id": 9, "a": 1, "s": "t", "day": None}
    assert world.rows() == [ROWS[0], {**ROWS[1], "a": 999}, *ROWS[2:], new]


def test_rules_cost_no_statement_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    row = Session.row

    def noted(opened: Session, query: str) -> tuple[Any, ...]:
        asked.append(query)
        return row(opened, query)

    monkeypatch.setattr(Session, "row", noted)
    statements = []
    for rules in (1, 30):
        constraints = {f"above_{number}": f"a > -{number}" for number in range(1, rules + 1)}
        world = ruled(tmp_path / str(rules), "merge-on-read", constraints=constraints)
        staged = world.stage([{"id": 1, "a": -30}, {"id": 2, "a": 2}])
        asked.clear()
        with world.plan(staged) as plan:
            judged = [check.failures for check in plan.built_in_checks if check.name.startswith("check:")]
            assert judged == [1] * rules
        statements.append(len(asked))
    assert statements[0] == statements[1]


@STRATEGIES
def test_fp6_null_breaks_a_constraint_as_in_delta(tmp_path: Path, strategy: str) -> None:
    world = ruled(tmp_path, strategy, constraints={"positive": "a > 0"})
    refused(world, [{"id": 1, "a": None}], "check:positive")


@STRATEGIES
def test_rows_that_break_a_rule_already_are_nobodys_matter_until_they_are_changed(
    tmp_path: Path, strategy: str
) -> None:
    world = ruled(tmp_path, strategy, constraints={"odd": "a > 30"})
    world.merge(world.stage([{"id": 5, "s": "changed"}]))
    assert world.rows() == [*ROWS[:4], {**ROWS[4], "s": "changed"}]
    refused(world, [{"id": 1, "s": "changed"}], "check:odd")


@STRATEGIES
def test_fp6_an_invariant_holds_too(tmp_path: Path, strategy: str) -> None:
    world = ruled(tmp_path, strategy, invariants={"a": "a <> 13"})
    check = refused(world, [{"id": 1, "a": 13}], "invariant:a")
    assert check.message == "1 merged rows break the invariant of a (a <> 13)."
    world.merge(world.stage([{"id": 1, "a": 14}]), "CR-2")
    assert world.rows() == [{**ROWS[0], "a": 14}, *ROWS[1:]]


@STRATEGIES
def test_fp6_values_that_spark_may_judge_otherwise_are_refused(tmp_path: Path, strategy: str) -> None:
    world = ruled(tmp_path, strategy, constraints={"low": "lower(s) = s AND a * 2 > 0"})
    check = refused(world, [{"id": 1, "a": 1, "s": "ä"}, {"id": 2, "a": 2**30, "s": "b"}], "check:low")
    assert check.failures == 2
    assert "that Spark may judge otherwise" in check.message


GENERATED = pa.schema(
    [
        *SCHEMA,
        ("double", pa.int64()),
        ("month", pa.string()),
        ("year", pa.int32()),
        ("label", pa.string()),
    ]
)
EXPRESSIONS = {
    "double": "a * 2",
    "month": "date_format(day, 'yyyy-MM')",
    "year": "YEAR(day)",
    "label": "concat(s, '/', CAST(a AS STRING))",
}


def computed(row: Row) -> Row:
    day, a, s = row["day"], row["a"], row["s"]
    return {
        **row,
        "double": None if a is None else a * 2,
        "month": day and f"{day:%Y-%m}",
        "year": day and day.year,
        "label": None if a is None or s is None else f"{s}/{a}",
    }


@STRATEGIES
@pytest.mark.parametrize("partition_by", [[], ["year", "month"]], ids=str)
@pytest.mark.parametrize("feed", [False, True])
def test_fp6_generated_columns_are_computed_on_the_merged_rows(
    tmp_path: Path, strategy: str, partition_by: list[str], feed: bool
) -> None:
    rows = [computed(row) for row in ROWS]
    world = ruled(
        tmp_path,
        strategy,
        generated=EXPRESSIONS,
        constraints={"even": "double >= 20"},
        schema=GENERATED,
        rows=rows,
        partition_by=partition_by,
        change_data_feed=feed,
    )
    changes: list[Row] = [
        {"id": 1, "a": 11, "s": "t1", "day": DAY},
        {"id": 2, "a": 20, "s": None, "day": datetime.date(1999, 12, 31)},
        {"id": 9, "a": 2**30 - 1, "s": "ü", "day": None},
    ]
    result = world.merge(world.stage(arrow(SCHEMA, changes)))
    assert result.cells_updated == {"a": 1, "s": 1, "day": 1, "double": 1, "month": 1, "year": 1, "label": 2}
    assert world.rows() == [
        *(computed(row) for row in changes[:2]),
        *rows[2:],
        computed(changes[2]),
    ]
    refused(world, [{"id": 3, "a": 9}], "check:even")  # judged on the value that is computed


@STRATEGIES
def test_a_generated_value_that_does_not_fit_is_refused(tmp_path: Path, strategy: str) -> None:
    """a * 2 is an INT to Spark, whatever the column is: an error in one mode and another number in the other."""
    rows = [computed(row) for row in ROWS]
    world = ruled(
        tmp_path, strategy, generated={"double": EXPRESSIONS["double"]}, schema=GENERATED, rows=rows
    )
    check = refused(world, [{"id": 3, "a": 2**30}], "generated:double")
    assert check.examples == ({"id": 3},)


@STRATEGIES
def test_a_plan_shows_what_the_table_will_compute(tmp_path: Path, strategy: str) -> None:
    world = ruled(
        tmp_path,
        strategy,
        generated=EXPRESSIONS,
        schema=GENERATED,
        rows=[computed(row) for row in ROWS],
    )
    with world.plan(world.stage([{"id": 1, "a": 5}])) as plan:
        [row] = plan.rows().items
    assert row.merged == computed({**ROWS[0], "a": 5})
    assert set(row.changed) == {"a", "double", "label"}


@STRATEGIES
def test_fp6_what_follows_the_session_asks_the_table_for_its_zone(tmp_path: Path, strategy: str) -> None:
    schema = pa.schema([("id", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("on", pa.date32())])
    at = datetime.datetime(2024, 3, 1, 23, 30, tzinfo=datetime.UTC)
    rows = [{"id": 1, "at": at, "on": at.date()}]
    generated = {"on": "CAST(at AS DATE)"}
    world = ruled(tmp_path, strategy, generated=generated, schema=schema, rows=rows)
    with pytest.raises(merging.UnsupportedTable) as caught:
        world.stage([{"id": 1, "at": at}])
    assert "generated column on (CAST(at AS DATE))" in str(caught.value)
    assert "headgate.sessionTimeZone = UTC" in str(caught.value)
    known = ruled(
        tmp_path,
        strategy,
        generated=generated,
        schema=schema,
        rows=rows,
        properties={SESSION_ZONE_PROPERTY: "UTC"},
    )
    known.merge(known.stage(arrow(pa.schema(list(schema)[:2]), [{"id": 2, "at": at}])))
    assert known.rows() == [*rows, {"id": 2, "at": at, "on": at.date()}]


@pytest.mark.parametrize(
    "text",
    [
        "concat(s, regexp_replace(s, 'a', 'b')) = s",
        "log(a) > 1",
        "substring(s, 0, 2) = 'a'",
        "CAST(1e10 AS STRING) = s",
        "round(a, 2) = 1",
        "a / 2 = 1",
        "s RLIKE 'a'",
        "to_date(s, 'yyyy') = day",
    ],
)
def test_fp6_fp8_what_cannot_be_judged_is_refused_at_inspection(tmp_path: Path, text: str) -> None:
    world = ruled(tmp_path, "copy-on-write", constraints={"odd": text})
    before = sorted(Path(world.uri).rglob("*"))
    for attempt in (
        lambda: merging.inspect_table(world.uri),
        lambda: world.stage([{"id": 1, "a": 1}]),
    ):
        with pytest.raises(merging.UnsupportedTable) as caught:
            attempt()
        assert f"CHECK constraint odd ({text}): " in str(caught.value)
    assert sorted(Path(world.uri).rglob("*")) == before


LISTED: dict[str, dict[str, str]] = {
    "vacuumProtocolCheck": {},
    "checkpointProtection": {"delta.requireCheckpointProtectionBeforeVersion": "0"},
    "domainMetadata": {},
    "identityColumns": {},
    "inCommitTimestamp": {},
}


@STRATEGIES
@pytest.mark.parametrize("feature", LISTED)
def test_fp8_what_inspection_takes_merges(tmp_path: Path, strategy: str, feature: str) -> None:
    """Features that ask nothing of a commit like ours, beside a constraint and a generated column."""
    world = ruled(
        tmp_path,
        strategy,
        constraints={"years": "year(day) >= 2000 OR day IS NULL", "some": "s IS NOT NULL"},
        generated={"double": "a * 2"},
        schema=GENERATED,
        rows=[{**row, "double": row["a"] * 2} for row in ROWS],
        features=(feature,),
        properties=LISTED[feature],
    )
    assert merging.inspect_table(world.uri).strategy == strategy
    before = merging.inspect_table(world.uri).version
    world.merge(world.stage([{"id": 1, "a": 5, "s": "t1"}, {"id": 7, "a": 7, "s": "x"}]))
    with world.plan(world.stage([{"id": 1, "a": 5}], base_version=before + 1)) as plan:
        assert (plan.version, plan.changes_nothing) == (before + 1, True)
    found = own_rows(world.uri, names=["id", "a", "double"])
    assert found == [(1, 5, 10), *((n, n * 10, n * 20) for n in range(2, 6)), (7, 7, 14)]


@STRATEGIES
def test_fp8_a_shallow_clone_with_a_constraint_merges(tmp_path: Path, strategy: str) -> None:
    source = ruled(tmp_path, strategy, constraints={"positive": "a > 0"})
    clone = World(tmp_path, strategy, SCHEMA, ROWS)
    for number in range(2):
        log = Path("_delta_log", f"{number:020d}.json")
        named = Path(source.uri, log).read_text().replace('"path":"', f'"path":"file://{source.uri}/')
        Path(clone.uri, log).write_text(named)
    clone.base_version = 1
    before = sorted(Path(source.uri).rglob("*"))
    refused(clone, [{"id": 1, "a": -1}], "check:positive")
    clone.merge(clone.stage([{"id": 1, "a": 11}]))
    assert clone.rows() == [{**ROWS[0], "a": 11}, *ROWS[1:]]
    assert (source.rows(), sorted(Path(source.uri).rglob("*"))) == (ROWS, before)


@STRATEGIES
def test_fp12_a_partition_of_infinities_is_spelled_as_java_reads_it(tmp_path: Path, strategy: str) -> None:
    schema = pa.schema([("id", pa.int64()), ("x", pa.float64()), ("price", pa.decimal128(10, 2))])
    values = [float("inf"), float("-inf"), float("nan"), 1.5, None]
    rows = [{"id": n, "x": x, "price": Decimal("1.50")} for n, x in enumerate(values)]
    world = World(tmp_path, strategy, schema, rows, partition_by=["x"])
    world.merge(world.stage([{"id": n, "price": Decimal("2.00")} for n in range(5)]))
    log = sorted(Path(world.uri, "_delta_log").glob("*.json"))
    spelled = {
        action["add"]["partitionValues"]["x"]
        for path in log
        for action in map(json.loads, path.read_text().splitlines())
        if "add" in action
    }
    assert spelled == {"Infinity", "-Infinity", "NaN", "1.5", None}
    found = {row["id"]: (repr(row["x"]), row["price"]) for row in world.rows()}
    assert found == {n: (repr(x), Decimal("2.00")) for n, x in enumerate(values)}


@STRATEGIES
def test_fp5_partitions_of_instants_carry_their_zone(tmp_path: Path, strategy: str) -> None:
    schema = pa.schema([("id", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("a", pa.int32())])
    moments = [
        datetime.datetime(2024, 3, 1, 17, tzinfo=datetime.UTC),
        datetime.datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=datetime.UTC),
        datetime.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=datetime.UTC),
    ]
    rows = [{"id": n, "at": at, "a": n} for n, at in enumerate(moments)]
    world = World(tmp_path, strategy, schema, rows, partition_by=["at"])
    world.merge(world.stage([{"id": n, "a": 9} for n in range(3)]))
    log = sorted(Path(world.uri, "_delta_log").glob("*.json"))
    spelled = [
        action["add"]["partitionValues"]["at"]
        for action in map(json.loads, log[-1].read_text().splitlines())
        if "add" in action and "deletionVector" not in action["add"]
    ]
    assert sorted(spelled) == [
        "0001-01-01T00:00:00.000001Z",
        "2024-03-01T17:00:00.000000Z",
        "9999-12-31T23:59:59.999999Z",
    ]
    assert world.rows() == [{**row, "a": 9} for row in rows]


def test_fp5_partitions_of_instants_without_a_zone_are_refused_at_inspection(tmp_path: Path) -> None:
    """They are whatever the session of their writer made of them; the table can say which."""
    schema = pa.schema([("id", pa.int64()), ("at", pa.timestamp("us", "UTC"))])
    at = datetime.datetime(2024, 3, 1, 17, tzinfo=datetime.UTC)
    world = World(tmp_path, "copy-on-write", schema, [{"id": 1, "at": at}], partition_by=["at"])
    first = Path(world.uri, "_delta_log", f"{0:020d}.json")
    first.write_text(first.read_text().replace("2024-03-01T17:00:00.000000Z", "2024-03-01 17:00:00"))
    with pytest.raises(merging.UnsupportedTable, match=r"'headgate\.partitionTimeZone' = 'UTC'"):
        merging.inspect_table(world.uri)

    def zone(metadata: dict[str, Any], fields: dict[str, Any]) -> None:
        metadata["configuration"]["headgate.partitionTimeZone"] = "America/New_York"

    commit_by_hand(world.uri, zone)
    assert merging.inspect_table(world.uri).version == 1
    later = at + datetime.timedelta(hours=5)
    assert own_rows(world.uri) == [(1, later.replace(tzinfo=None))]


NESTED = pa.schema([("id", pa.int64()), ("v", pa.string()), ("p", pa.struct([("x", pa.int32())]))])


@STRATEGIES
def test_fp7_a_length_that_came_after_staging_holds_at_the_merge(tmp_path: Path, strategy: str) -> None:
    rows = [{"id": n, "v": f"v{n}", "p": {"x": n}} for n in (1, 2)]
    world = World(tmp_path, strategy, NESTED, rows)
    staged = world.stage([{"id": 1, "v": "abcd"}, {"id": 2, "v": "äöü"}])

    def change(metadata: dict[str, Any], fields: dict[str, Any]) -> None:
        fields["v"]["metadata"]["__CHAR_VARCHAR_TYPE_STRING"] = "varchar(3)"

    commit_by_hand(world.uri, change)
    before = own_rows(world.uri)
    with pytest.raises(merging.ValidationFailed) as caught:
        world.merge(staged)
    [failed] = [one for one in caught.value.report.checks if not one.ok]
    assert (failed.name, failed.failures, failed.examples) == ("length:v", 1, ({"id": 1},))
    assert own_rows(world.uri) == before


@STRATEGIES
@pytest.mark.parametrize("value", [None, {"x": None}], ids=str)
def test_fp7_a_chosen_value_is_held_to_not_null_within_columns(
    tmp_path: Path, strategy: str, value: Any
) -> None:
    """A NULL struct breaks its field's NOT NULL too, as in Spark."""
    inner = pa.struct([pa.field("x", pa.int32(), nullable=False)])
    schema = pa.schema([("id", pa.int64()), ("p", inner)])
    rows = [{"id": n, "p": {"x": n}} for n in (1, 2)]
    world = World(tmp_path, strategy, schema, rows)
    world.merge(world.stage([{"id": 1, "p": {"x": 5}}]), "CR-first")
    staged = world.stage([{"id": 1, "p": {"x": 6}}])
    with world.plan(staged) as plan:
        chosen = resolve(plan.conflicts, "custom", value)
    before, version = own_rows(world.uri), world.version
    with pytest.raises(merging.ValidationFailed) as caught:
        world.merge(staged, resolutions=chosen)
    assert [one.name for one in caught.value.report.checks if not one.ok] == ["not_null:p.x"]
    assert (own_rows(world.uri), world.version) == (before, version)


@STRATEGIES
def test_fp7_a_char_is_padded_where_it_changes_and_nowhere_else(tmp_path: Path, strategy: str) -> None:
    rows = [{"id": n, "v": f"v{n}", "p": {"x": n}} for n in (1, 2, 3)]
    world = World(tmp_path, strategy, NESTED, rows)
    staged = world.stage(
        [
            {"id": 1, "v": "é", "p": {"x": 9}},
            {"id": 2, "v": "v2", "p": {"x": 8}},
            {"id": 7, "v": "", "p": {"x": 7}},
        ]
    )

    def change(metadata: dict[str, Any], fields: dict[str, Any]) -> None:
        fields["v"]["metadata"]["__CHAR_VARCHAR_TYPE_STRING"] = "char(3)"

    commit_by_hand(world.uri, change)
    world.merge(staged)
    found = [(row["id"], row["v"], row["p"]["x"]) for row in world.rows()]
    assert found == [(1, "é  ", 9), (2, "v2", 8), (3, "v3", 3), (7, "   ", 7)]


def test_fp8_a_lost_race_is_told_only_where_a_version_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that calls every failed put a lost race does not send a merge round twenty times."""
    world = World(tmp_path, "copy-on-write")
    puts = []

    def refuse(store: LocalStore, path: str, content: bytes) -> None:
        puts.append(path)
        raise ObjectExists(path)

    staged = world.stage([{"id": 1, "a": 11}])
    monkeypatch.setattr(LocalStore, "put_new", refuse)
    monkeypatch.setattr("merging.executing.executor.time.sleep", lambda seconds: None)
    with pytest.raises(merging.MergeFailed, match="says that there is a version 1, and does not show it"):
        world.merge(staged)
    assert 1 <= len(puts) <= 5
    assert world.version == 0


def test_a_merge_that_delta_rs_made_is_still_told(tmp_path: Path) -> None:
    """The results of older merges name a way of writing that is no more."""
    world = World(tmp_path, "copy-on-write")
    staged = world.stage([{"id": 1, "a": 11}])
    version = world.merge(staged).merged_version
    log = Path(world.uri, "_delta_log", f"{version:020d}.json")
    log.write_text(log.read_text().replace('"copy-on-write"', '"delta-rs"'))
    again = world.merge(staged)
    assert (again.already_merged, again.strategy, again.merged_version) == (True, "delta-rs", version)
