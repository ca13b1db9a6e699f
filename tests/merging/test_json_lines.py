"""JSON lines: refused by line and column where a line cannot be a row, whatever it holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merging import StagingRejected
from merging.staging.sources import content
from tests.merging.world import World

NESTED = pa.schema(
    [("id", pa.int64()), ("t", pa.string()), ("list", pa.list_(pa.decimal128(38, 0))), ("x", pa.float64())]
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, "merge-on-read", schema=NESTED, rows=[{"id": 1, "t": "a", "list": [1], "x": 1.0}])


def refused(world: World, text: str | bytes) -> list[tuple[int | None, str | None, str]]:
    """Where and why a file is refused; what is said of it can be written as UTF-8 and kept."""
    before = sorted(world.folder.rglob("*"))
    path = world.file("x.jsonl", text)
    with pytest.raises(StagingRejected) as rejection:
        world.stage(path)
    assert sorted(one for one in world.folder.rglob("*") if one.is_file() and one != path) == [
        one for one in before if one.is_file()
    ]
    for problem in rejection.value.problems:
        for told in (problem.message, problem.column, problem.value, problem.describe()):
            assert "\x00" not in (told or "").encode().decode()
    return [(problem.line, problem.column, problem.code) for problem in rejection.value.problems]


def test_fs3_halves_of_characters_are_refused(world: World) -> None:
    good = '{"id": 2, "t": "\\ud83d\\ude00"}\n'
    assert [row.proposed for row in world.stage(world.file("x.jsonl", good)).page().items] == [
        {"id": 2, "t": "😀", "list": None, "x": None}
    ]
    for bad in (
        '{"id": 3, "t": "a\\ud800"}',
        '{"id": 3, "t": "\\ude00\\ud83d"}',
        '{"id": 3, "\\udfff": "a"}',
        '{"id": 3, "list": ["\\udbff"]}',
        '{"id": 3, "t": ["\\uD800", "\\u0000"]}',
    ):
        assert refused(world, good + bad) == [(2, None, "unfit_json")]
    assert refused(world, '{"\\ud800": 1}') == [(1, None, "unfit_json")]


def test_fs3_deep_nesting_is_refused(world: World) -> None:
    for deep in ("[" * 100_000, '{"a":' * 100_000, "[" * 101 + "]" * 101, '[{"a":' * 60 + "1" + "}]" * 60):
        assert refused(world, f'{{"id": 2, "list": {deep}}}') == [(1, None, "unfit_json")]
    # Brackets in texts are no nesting.
    text = json.dumps({"id": 2, "t": "[" * 5000 + '\\"{'})
    assert world.stage(world.file("x.jsonl", text)).rows == 1


def test_fs3_numbers_of_thousands_of_digits_are_refused(world: World) -> None:
    long = "9" * 5_000
    for line in (f'{{"id": {long}}}', f'{{"id": 2, "list": [{long}]}}', f'{{"id": 2, "x": 1e{long}}}'):
        assert refused(world, line) == [(1, None, "unfit_json")]
    assert refused(world, f'{{"id": {long[:4300]}}}') == [(1, "id", "out_of_range")]
    assert refused(world, f'{{"id": 2, "list": [{long[:4300]}]}}') == [(1, "list", "wrong_type")]
    assert world.stage(world.file("x.jsonl", json.dumps({"id": 2, "t": long}))).rows == 1


def test_fs3_json_over_several_lines_is_told_how_to_be_written(world: World) -> None:
    for text in ('[{"id": 2}]', '[\n{"id": 2}\n]'):
        with pytest.raises(StagingRejected, match="one object a line"):
            world.stage(world.file("x.json", text))


def test_fs3_bytes_that_are_no_utf8_are_refused_by_line(world: World) -> None:
    for bad in (b"caf\xe9", b"\xed\xa0\x80", b"\xc3"):
        assert refused(world, b'{"id": 2}\r\n\r{"id": 3, "t": "' + bad + b'"}') == [(3, None, "not_utf8")]


def test_fs3_lines_beyond_the_limit_are_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, allow: Callable[..., None]
) -> None:
    long = json.dumps({"id": 2, "t": "x" * (9 << 20)})
    assert refused(world, f'{{"id": 3}}\n{long}\n') == [(2, "t", "wrong_type")]
    allow(line_bytes=1 << 20)
    monkeypatch.setattr(content, "BLOCK_BYTES", 1 << 16)
    assert refused(world, f'{{"id": 3}}\n{long}\n') == [(2, None, "too_long")]
    many = json.dumps({f"c{number}": 1 for number in range(20_000)})
    assert refused(world, f'{{"id": 3}}\n{many}\n') == [(2, None, "too_many_columns")]


@given(
    st.lists(st.text(st.sampled_from('"\\,{}[]aé\u2028\x85\x0b\x1c€😀\n\r\t'), max_size=5), max_size=8),
    st.lists(st.sampled_from(["\n", "\r\n", "\r", "\n\n"]), min_size=8, max_size=8),
    st.integers(1, 30),
    st.booleans(),
)
@settings(max_examples=60)
def test_fs3_texts_come_out_as_they_went_in(
    tmp_path: Path, texts: list[str], ends: list[str], block: int, ascii_only: bool
) -> None:
    path = tmp_path / "x.jsonl"
    lines = [
        json.dumps({"t": text}, ensure_ascii=ascii_only) + end for text, end in zip(texts, ends, strict=False)
    ]
    path.write_bytes("".join(lines).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content, "BLOCK_BYTES", block)
        with content.Content(path, "JSON lines") as opened:
            found = [(line, json.loads(text)["t"]) for line, text in opened.lines() if text.strip()]
    numbers = [1 + sum(len((line).splitlines()) for line in lines[:place]) for place in range(len(lines))]
    assert [text for _, text in found] == texts
    if not any("\u2028" in line or "\x85" in line or "\x0b" in line or "\x1c" in line for line in lines):
        assert [line for line, _ in found] == numbers
