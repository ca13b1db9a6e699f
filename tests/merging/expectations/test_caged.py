"""What users wrote judges in a confined process, reaches nothing from there, and is stopped in time."""

from __future__ import annotations

import copy
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import merging
from merging import ValidationFailed
from merging.expectations import cage, confined, validate_suite
from merging.expectations.schemas import what_leaves
from merging.model import Column
from merging.sql.session import limits
from tests.merging.expectations.conftest import Check
from tests.merging.expectations.support import expect
from tests.merging.expectations.test_merging import ROWS, XY, MakeWorld, suite

COLUMNS = [Column("id", "long"), Column("s", "string"), Column("n", "double")]
TABLE = pa.table({"id": [1, 2], "s": ["x" * 60 + "!", "é" + "x" * 60 + "!"], "n": [1.0, 2.0]})


@pytest.fixture
def little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("merging.sql.session._limits", replace(limits(), check_seconds=1))


def of_schema(schema: dict[str, Any], severity: str = "critical") -> dict[str, Any]:
    return expect("column_values_to_match_json_schema", severity, column="s", json_schema=schema)


def problems_of(*expectations: dict[str, Any]) -> list[tuple[str, str]]:
    found = validate_suite({"name": "s", "expectations": list(expectations)}, COLUMNS)
    return [(one.place, one.message) for one in found]


# ---- FS4: no reference leaves a schema -------------------------------------------------------------------------------

ADDRESSES = [
    "http://127.0.0.1:9/s",
    "https://x.test/s#/a",
    "file:///etc/passwd",
    "//x.test/s",
    "other.json",
    "other.json#/a",
    "urn:other",
    "",
    "ftp://x.test/",
    "HTTP://X.TEST",
    " #/a",
]
LEAVING = [
    *({"$ref": address} for address in ADDRESSES),
    *({"$dynamicRef": address} for address in ADDRESSES),
    *({"$recursiveRef": address} for address in ADDRESSES),
    {"extends": "http://x.test/s"},
    {"$ref": ["http://x.test/s"]},
    {"$ref": 7},
    {"$ref": None},
]
RENAMING = [
    {"$id": "http://x.test/s", "$ref": "#/a"},
    {"$id": "file:///etc/", "$ref": "#/a"},
    {"$id": "other/", "items": {"$ref": "#/a"}},
    {"$id": "#a"},
    {"id": "http://x.test/s"},
    {"id": "other/"},
    {"$schema": "http://x.test/meta"},
    {"$schema": "https://json-schema.org/draft/2020-12/schema"},
    {"$vocabulary": {"http://x.test/v": True}},
]
AROUND = [
    lambda inner: inner,
    lambda inner: {"properties": {"a": inner}},
    lambda inner: {"properties": {"$ref": inner, "enum": True}},
    lambda inner: {"properties": {"enum": inner}},
    lambda inner: {"allOf": [{}, inner]},
    lambda inner: {"items": [inner]},
    lambda inner: {"if": inner},
    lambda inner: {"not": inner},
    lambda inner: {"$defs": {"a": inner}, "$ref": "#/$defs/a"},
    lambda inner: {"definitions": {"a": {"definitions": inner}}},
    lambda inner: {"dependentSchemas": {"a": inner}},
    lambda inner: {"dependencies": {"a": inner}},
    lambda inner: {"contentSchema": inner},
    lambda inner: {"unevaluatedProperties": inner},
    lambda inner: {"type": ["string", inner]},
    lambda inner: {"disallow": [inner]},
    lambda inner: {"nobody knows": [[{"deep": inner}]], "$ref": "#/nobody knows/0/0/deep"},
    lambda inner: {"enum": [inner], "$ref": "#/enum/0"},
    lambda inner: {"const": inner},
]
DRAFTS = [
    "http://json-schema.org/draft-03/schema#",
    "http://json-schema.org/draft-04/schema",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
]


@given(
    st.sampled_from(LEAVING), st.lists(st.sampled_from(AROUND), max_size=4), st.sampled_from([None, *DRAFTS])
)
def test_fs4_no_reference_leaves_a_schema_at_any_depth_in_any_draft(
    leaving: dict[str, Any], around: list[Any], draft: str | None
) -> None:
    schema = leaving
    for one in around:
        schema = one(schema)
    if draft is not None:
        schema = {"$schema": draft, **schema}

    assert what_leaves(schema) is not None


@given(
    st.sampled_from(RENAMING),
    st.lists(st.sampled_from(AROUND[1:]), min_size=1, max_size=4),
    st.sampled_from(DRAFTS),
)
def test_fs4_no_part_of_a_schema_has_an_address_of_its_own(
    renaming: dict[str, Any], around: list[Any], draft: str
) -> None:
    schema = renaming
    for one in around:
        schema = one(schema)

    assert what_leaves({"$schema": draft, **schema}) is not None


@pytest.mark.parametrize("leaving", LEAVING[:3] + RENAMING[:2])
def test_fs4_such_a_suite_is_not_saved(leaving: dict[str, Any]) -> None:
    [(place, message)] = problems_of(of_schema({"properties": {"a": leaving}}))

    assert place == "expectations[0].kwargs.json_schema"
    assert "references may lead to another place in it alone (#/...)" in message


@pytest.mark.parametrize(
    "schema",
    [
        {"$id": "https://x.test/person.json", "$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}},
        {"$schema": DRAFTS[1], "id": "http://x.test/p", "properties": {"next": {"$ref": "#"}}},
        {"properties": {"$ref": {"type": "string"}, "$id": True, "id": {"type": "integer"}, "extends": {}}},
        {"$dynamicRef": "#node", "$defs": {"node": {"$dynamicAnchor": "node", "type": "object"}}},
        {"enum": [{"id": "abc"}], "extends": [{"type": "object"}]},
    ],
)
def test_what_stays_in_a_schema_is_taken(schema: dict[str, Any]) -> None:
    assert problems_of(of_schema(schema)) == []


def test_an_unknown_draft_is_refused() -> None:
    assert what_leaves({"$schema": "http://x.test/meta"}) is not None
    assert what_leaves({"$schema": 7}) is not None


@pytest.fixture
def listening() -> Iterator[tuple[int, list[bytes]]]:
    """A port, and what was sent to it."""
    heard: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def listen() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            heard.append(connection.recv(100))
            connection.close()

    thread = threading.Thread(target=listen)
    thread.start()
    yield server.getsockname()[1], heard
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef", "$recursiveRef"])
@pytest.mark.parametrize("draft", [None, DRAFTS[1], DRAFTS[3], DRAFTS[4]])
def test_fs4_the_validator_fetches_nothing_by_itself(
    listening: tuple[int, list[bytes]], tmp_path: Path, keyword: str, draft: str | None
) -> None:
    """The second net, looked at outside of the third one: here in this process, with its network and files."""
    port, heard = listening
    (tmp_path / "s.json").write_text("{}", encoding="utf-8")
    for address in (f"http://127.0.0.1:{port}/s.json", f"file://{tmp_path}/s.json"):
        for schema in ({keyword: address}, {"$id": address, "allOf": [{keyword: "s2.json"}]}):
            if draft is not None:
                schema["$schema"] = draft
            told = confined.unfit_for_schema({"schema": schema, "texts": ["{}"]}, None)

            # A keyword that the draft does not have says nothing, and $recursiveRef always means the root.
            assert "unable" in told or told == {"answer": []}, told
    assert heard == []


# ---- FS5: what takes for ever is stopped -----------------------------------------------------------------------------

ENDLESS = [
    expect("column_values_to_match_regex", column="s", regex=r"(?=.)^(x+x+)+y$"),
    expect("column_values_to_not_match_regex", column="s", regex=r"^((x|xx)*)\1y$"),
    expect("column_values_to_match_regex_list", column="s", regex_list=["(?!a)(x|x|xx)+y", "b"], match_on="all"),
    expect("column_values_to_not_match_regex_list", column="s", regex_list=["(?<=x)(x*)*y"]),
    of_schema({"pattern": "^(x+x+)+y$"}),
    of_schema({"items": {"pattern": "^(x|x)*$"}}),
    of_schema({"patternProperties": {"^(x+x+)+y$": False}}),
    of_schema({"$defs": {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)}
               | {"a40": {}}, "$ref": "#/$defs/a0"}),
]  # fmt: skip
JSON_TABLE = pa.table({"id": [1], "s": ['"' + "x" * 60 + '!"']})


@pytest.mark.parametrize(
    "endless", ENDLESS, ids=lambda one: one["type"].removeprefix("expect_column_values_to_")
)
def test_fs5_what_takes_for_ever_is_stopped_and_named(
    check: Check, little_time: None, endless: dict[str, Any]
) -> None:
    table = JSON_TABLE if "json_schema" in endless["kwargs"] else TABLE
    if "items" in endless["kwargs"].get("json_schema", {}):
        table = pa.table({"id": [1], "s": ['["' + "x" * 60 + '!"]']})
    if "patternProperties" in endless["kwargs"].get("json_schema", {}):
        table = pa.table({"id": [1], "s": ['{"' + "x" * 60 + '!": 1}']})
    started = time.monotonic()

    found = check(endless, expect("column_values_to_not_be_null", column="s"), merged=table).results

    assert time.monotonic() - started < 15
    assert (found[0].state, found[0].ok, found[0].blocking) == ("error", False, True)
    assert str(found[0].error).startswith("it was stopped after 1 s.")
    assert found[1].state == "passed"


def test_fs5_what_takes_all_memory_is_stopped(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("merging.sql.session._limits", replace(limits(), check_memory="100MB"))
    table = pa.table({"id": [1], "s": ["[" + ",".join(["[[]]"] * 1_000_000) + "]"]})

    [found] = check(expect("column_values_to_be_json_parseable", column="s"), merged=table).results

    assert (found.state, found.error) == ("error", "it needs more memory than the 100 MB that it may take")


def test_fs5_a_merge_is_refused_by_the_name_of_what_was_stopped(
    make_world: MakeWorld, little_time: None
) -> None:
    world = make_world(schema=XY, rows=ROWS)
    staged = world.stage([{"id": 1, "s": "x" * 60 + "!"}])
    version = world.version

    with pytest.raises(ValidationFailed, match=r"matches the regular expression .*it was stopped after 1 s"):
        merging.merge(world.request(staged, expectations=suite(ENDLESS[0])))
    assert world.version == version


def test_fs5_a_merge_is_cancelled_while_a_pattern_runs(make_world: MakeWorld) -> None:
    world = make_world(schema=XY, rows=ROWS)
    staged = world.stage([{"id": 1, "s": "x" * 60 + "!"}])
    phases: list[str] = []

    class Cancelled(Exception):
        pass

    def progress(phase: str, **_: Any) -> None:
        phases.append(phase)
        if phases.count("validating") > 1:
            raise Cancelled

    started = time.monotonic()
    with pytest.raises(Cancelled):
        merging.merge(world.request(staged, expectations=suite(ENDLESS[0])), progress)
    assert time.monotonic() - started < 10
    assert phases == ["checking", "validating", "validating"]


def test_the_time_of_a_whole_suite_is_limited(
    check: Check, little_time: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cage, "_SHARES", 1.5)

    found = check(*ENDLESS[:3], merged=TABLE).results

    assert [one.state for one in found] == ["error"] * 3
    assert str(found[2].error) == "the expectations before it took the 1.5 s of the whole suite"


def test_a_suite_without_anything_of_the_kind_starts_no_process(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cage, "run_confined", lambda *_, **__: pytest.fail("it was asked"))
    ascii_only = pa.table({"id": [1, 2], "s": ["a", "b"], "n": [1.0, 2.0]})

    found = check(
        expect("column_values_to_be_in_set", column="s", value_set=["a", "b"]),
        expect("column_values_to_match_like_pattern", column="s", like_pattern="_"),
        expect("column_mean_to_be_between", column="n", min_value=0),
        merged=ascii_only,
    ).results

    assert [one.state for one in found] == ["passed"] * 3


@pytest.mark.parametrize("pattern", ["a{99999999999}", "(?<=a+)b", "[", "(?P<a>x)(?P<a>y)", "a**", "\\8"])
def test_a_pattern_that_python_does_not_take_is_named(pattern: str) -> None:
    [(place, message)] = problems_of(expect("column_values_to_match_regex", column="s", regex=pattern))

    assert place == "expectations[0].kwargs.regex"
    assert "is no regular expression of Python" in message


def test_patterns_that_take_long_to_read_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cage, "QUICK_SECONDS", 0.5)
    slow = [f"(?i){number}" + "[\x80-\uffff]" * 190 for number in range(5)]

    [(place, message)] = problems_of(expect("column_values_to_match_regex_list", column="s", regex_list=slow))

    assert place == "expectations[0].kwargs.regex_list"
    assert "it was stopped after 0.5 s" in message


def test_what_is_too_large_for_re2_is_matched_by_python(check: Check) -> None:
    table = pa.table({"id": [1, 2], "s": ["ab", "b"]})

    [found] = check(
        expect("column_values_to_match_regex", column="s", regex="^(?:(?:a{0,900}){1,2}b?){1,900}$"),
        merged=table,
    ).results

    assert (found.state, found.error) == ("passed", None)


def test_schemas_that_are_none_and_texts_that_are_no_json_are_said(check: Check) -> None:
    table = pa.table({"id": [1], "s": ["{}"]})
    for schema, said in (
        ({"type": "nothing"}, "is no JSON Schema"),
        ({"$ref": "#/nowhere"}, "refers to '/nowhere', which it does not hold"),
        ({"$ref": "#"}, "refers to itself"),
        ({"patternProperties": {"(": {}}}, "'(' is not a 'regex'"),
    ):
        [found] = check(of_schema(copy.deepcopy(schema)), merged=table).results
        assert (found.state, said in str(found.error)) == ("error", True), found.error
