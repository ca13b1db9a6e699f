"""Deletion vectors against the protocol's own examples, and every way in which one can be wrong."""

from __future__ import annotations

import dataclasses
import json
import struct
import uuid
import zlib
from collections.abc import Callable, Collection
from pathlib import Path

import pyroaring
import pytest
from hypothesis import given
from hypothesis import strategies as st

import merging
from merging import delta
from merging.delta.reach import open_table
from merging.delta.strategies.merge_on_read import MergeOnRead
from merging.delta.vectors import MAGIC, NATIVE_MAGIC, VectorDescriptor, VectorFile, read_vector
from merging.errors import MergeFailed
from merging.store.stores import LocalStore
from tests.merging.delta.delta_tables import Merger, after_merge, changed, differing, own_rows, sample


def test_relative_path_of_the_protocols_example() -> None:
    descriptor = VectorDescriptor("u", "ab^-aqEH.-t@S}K{vb[*k^", 4, 40, 6)
    assert descriptor.file_path == "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin"
    assert descriptor.unique_id == "uab^-aqEH.-t@S}K{vb[*k^@4"


def test_inline_vector_of_the_protocols_example(tmp_path: Path) -> None:
    descriptor = VectorDescriptor("i", "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L", None, 40, 6)
    assert sorted(read_vector(LocalStore(tmp_path), descriptor)) == [3, 4, 7, 11, 18, 29]


@given(st.lists(st.sets(st.integers(0, 2**40), max_size=50), min_size=1, max_size=4))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, row_sets: list[set[int]]) -> None:
    root = tmp_path_factory.mktemp("vectors")
    identity = uuid.uuid4()
    file = VectorFile(identity)
    descriptors = [file.append(pyroaring.BitMap64(rows)) for rows in row_sets]
    (root / f"deletion_vector_{identity}.bin").write_bytes(file.content)
    for rows, descriptor in zip(row_sets, descriptors, strict=True):
        assert descriptor.file_path == f"deletion_vector_{identity}.bin"
        assert set(read_vector(LocalStore(root), descriptor)) == rows
        assert VectorDescriptor.from_log(descriptor.to_log()) == descriptor


def stored_vector(root: Path, rows: set[int]) -> tuple[VectorDescriptor, Path]:
    identity = uuid.uuid4()
    file = VectorFile(identity)
    descriptor = file.append(pyroaring.BitMap64(rows))
    path = root / f"deletion_vector_{identity}.bin"
    path.write_bytes(file.content)
    return descriptor, path


def test_absolute_paths(tmp_path: Path) -> None:
    descriptor, path = stored_vector(tmp_path, {1, 5})
    for spelled in (str(path), path.as_uri()):
        absolute = dataclasses.replace(descriptor, storage_type="p", path_or_inline=spelled)
        assert sorted(read_vector(LocalStore(tmp_path / "elsewhere"), absolute)) == [1, 5]


def test_layout_byte_by_byte(tmp_path: Path) -> None:
    descriptor, path = stored_vector(tmp_path, {7})
    content = path.read_bytes()
    payload = struct.pack("<i", MAGIC) + pyroaring.BitMap64({7}).serialize()
    assert content == b"\x01" + struct.pack(">i", len(payload)) + payload + struct.pack(
        ">I", zlib.crc32(payload)
    )
    assert (descriptor.offset, descriptor.size, descriptor.cardinality) == (1, len(payload), 1)


@pytest.mark.parametrize("damage", ["checksum", "payload", "size", "cut", "empty", "missing", "cardinality"])
def test_a_damaged_vector_is_named_and_nothing_is_written(
    damage: str, make_table: Callable[..., str], merger: Merger
) -> None:
    uri = make_table(sample(20))
    merger.merge(uri, delete=[3, 4])
    [path] = Path(uri).glob("deletion_vector_*.bin")
    content = bytearray(path.read_bytes())
    if damage == "checksum":
        content[-1] ^= 1
    elif damage == "payload":
        content[20] ^= 1
    elif damage == "size":
        content[4] ^= 1
    elif damage == "cut":
        content = content[:-3]
    elif damage == "empty":
        content = bytearray()
    if damage == "missing":
        path.unlink()
    elif damage == "cardinality":
        log = Path(uri) / "_delta_log" / f"{1:020d}.json"
        log.write_text(log.read_text().replace('"cardinality":2', '"cardinality":3'))
    else:
        path.write_bytes(content)
    before = sorted(file.name for file in Path(uri).rglob("*"))
    with pytest.raises(MergeFailed, match="cannot be trusted") as caught:
        merger.merge(uri, delete=[5])
    assert caught.value.data["vector"] == path.name
    assert sorted(file.name for file in Path(uri).rglob("*")) == before


def test_a_table_with_inline_vectors_is_read_and_extended(
    make_table: Callable[..., str], merger: Merger
) -> None:
    uri = make_table(sample(30))
    merger.merge(uri, delete=[1])
    log = Path(uri) / "_delta_log" / f"{1:020d}.json"
    encoded = "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    for action in actions:
        if "add" in action:
            action["add"]["deletionVector"] = {
                "storageType": "i",
                "pathOrInlineDv": encoded,
                "sizeInBytes": 40,
                "cardinality": 6,
            }
    log.write_text("".join(json.dumps(action) + "\n" for action in actions))
    assert own_rows(uri) == after_merge(sample(30), None, [3, 4, 7, 11, 18, 29])
    done = merger.merge(uri, delete=[0])
    assert done.files[0].vector is not None
    assert done.files[0].vector.cardinality == 7
    assert own_rows(uri) == after_merge(sample(30), None, [0, 3, 4, 7, 11, 18, 29])


def inline_vector(rows: Collection[int]) -> dict[str, object]:
    """What the log says of a vector that marks these rows."""
    bitmap = pyroaring.BitMap64(rows)
    bitmap.run_optimize()
    payload = struct.pack("<i", MAGIC) + bitmap.serialize()
    return {
        "storageType": "i",
        "pathOrInlineDv": z85_with_zeros(payload),
        "sizeInBytes": len(payload),
        "cardinality": len(rows),
    }


def damaged(uri: str, rows: Collection[int]) -> None:
    """Let the newest version's only file have a vector that marks these rows."""
    log = Path(uri) / "_delta_log" / f"{1:020d}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    for action in actions:
        if "add" in action:
            action["add"]["deletionVector"] = inline_vector(rows)
    log.write_text("".join(json.dumps(action) + "\n" for action in actions))


@pytest.mark.parametrize("marks", [True, False], ids=["marked", "rewritten"])
@pytest.mark.parametrize("beyond", [30, 2**32, 2**63 + 1])
@pytest.mark.parametrize("live", [0, 1, 2])
def test_a_vector_that_marks_rows_beyond_its_file_lets_no_live_row_go(
    make_table: Callable[..., str],
    merger: Merger,
    beyond: int,
    live: int,
    marks: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = make_table(sample(30))
    merger.merge(uri, delete=[1])
    damaged(uri, {1, beyond})
    monkeypatch.setattr(MergeOnRead, "marks", lambda *_: marks)
    gone = [number for number in range(30) if number != 1][live:]
    before = sorted(file.name for file in Path(uri).rglob("*"))
    with pytest.raises(MergeFailed, match=f"it marks row {beyond} of a file of 30"):
        merger.merge(uri, delete=gone)
    assert sorted(file.name for file in Path(uri).rglob("*")) == before


def test_a_table_with_a_vector_of_more_rows_than_its_file_is_damaged(
    make_table: Callable[..., str], merger: Merger
) -> None:
    """Else it had fewer rows than none, which no database remembers: no other table was looked at either."""
    uri = make_table(sample(30))
    merger.merge(uri, delete=[1])
    damaged(uri, {*range(5), *range(30, 60)})
    for ask in (merging.inspect_table, merging.table_condition):
        with pytest.raises(MergeFailed, match="cannot be trusted: it marks 35 rows of a file of 30"):
            ask(uri)


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(lambda uri: merging.preview(uri, primary_keys=("id",)), id="preview"),
        pytest.param(lambda uri: merging.check_keys(uri, ["id"]), id="keys"),
        pytest.param(
            lambda uri: merging.compare_versions(uri, primary_keys=("id",), before=0, after=1), id="compare"
        ),
    ],
)
def test_a_vector_of_a_few_bytes_that_hides_many_more_rows_than_there_are_takes_no_memory(
    make_table: Callable[..., str], merger: Merger, look: Callable[[str], object]
) -> None:
    """Billions of them are a run of a few bytes to a vector, and gigabytes as numbers."""
    uri = make_table(sample(30))
    merger.merge(uri, delete=[1])
    damaged(uri, range(2**24))
    with pytest.raises(MergeFailed, match="it marks 16777216 rows of a file of 30"):
        look(uri)


@pytest.mark.parametrize(
    "stated", [{"sizeInBytes": 2**exponent} for exponent in (31, 40, 59)] + [{"offset": 2**62}]
)
def test_a_vector_is_named_whose_place_in_its_file_cannot_be(
    make_table: Callable[..., str], merger: Merger, stated: dict[str, int]
) -> None:
    uri = make_table(sample(30))
    merger.merge(uri, delete=[1])
    descriptor = delta.open_snapshot(uri).files[0].vector
    assert descriptor is not None
    odd = VectorDescriptor.from_log({**descriptor.to_log(), **stated})
    with pytest.raises(MergeFailed, match="its file is cut short"):
        read_vector(open_table(uri), odd)


def test_no_version_has_fewer_rows_than_none(make_table: Callable[..., str], merger: Merger) -> None:
    uri = make_table(sample(30))
    merger.merge(uri, delete=[1])
    damaged(uri, range(31))
    assert [one.rows for one in merging.sizes(uri, first=0, last=1)] == [30, None]


@pytest.mark.parametrize("dead", [range(29), range(5)], ids=len)
def test_no_live_row_goes_in_compaction_with_a_vector_that_marks_rows_beyond(
    make_table: Callable[..., str], merger: Merger, dead: range
) -> None:
    uri = make_table(sample(30))
    merger.merge(uri, delete=[1])
    damaged(uri, {*dead, 30})
    with pytest.raises(MergeFailed, match="it marks row 30 of a file of 30"):
        delta.compact(
            merger.connection, delta.open_snapshot(uri), attempt_id="compaction", application_id="c"
        )


@pytest.mark.parametrize("halves", [(range(10, 30), range(10)), ((), range(30)), (range(1, 30), (0, 29))])
def test_a_file_that_the_log_names_twice_with_two_vectors_is_taken_for_no_other(
    make_table: Callable[..., str], merger: Merger, tmp_path: Path, halves: tuple[Collection[int], ...]
) -> None:
    """No writer may; whoever did meant both. Rows are told apart by all that a version shows, by no file of two."""
    uri = make_table(sample(30))
    staged = merging.stage(
        uri, changed(sample(30), [5, 20], flag=None), ["id"], destination=str(tmp_path / "first")
    )
    merger.merge(uri, delete=[1])
    log = Path(uri) / "_delta_log" / f"{1:020d}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    [add] = [action["add"] for action in actions if "add" in action]
    named = [{**add, "deletionVector": inline_vector(rows)} for rows in halves]
    actions = [action for action in actions if "add" not in action] + [{"add": one} for one in named]
    log.write_text("".join(json.dumps(action) + "\n" for action in actions))
    shown = [number for rows in halves for number in range(30) if number not in rows]
    gone = sorted(set(range(30)) - set(shown))
    assert own_rows(uri) == after_merge(sample(30), None, gone)

    for first, last, operation in ((0, 1, "delete"), (1, 0, "insert")):
        before, after = (delta.open_snapshot(uri, version=one) for one in (first, last))
        counted, _ = differing(merger.connection, before, after, ["id"], "changes")
        assert counted == ({operation: len(gone)} if gone else {})
    request = merging.MergeRequest(uri, "CR-1", ["id"], staged, skip_conflict_check=True)
    with merging.plan(request) as made:
        assert made.rows_updated == len({5, 20} - set(gone))
    merging.merge(request)
    rows = changed(sample(30), [5, 20], flag=None)
    assert own_rows(uri) == after_merge(sample(30), rows, [one for one in gone if one not in (5, 20)])


# ---- inline vectors and damaged ones ------------------------------------------------------------------------


def z85_of_rust(data: bytes) -> str:
    """Z85 as the z85 crate writes it (3.0 and later): a last group of fewer bytes begins with a # for each missing."""
    alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    groups = []
    for start in range(0, len(data), 4):
        group = data[start : start + 4]
        number = int.from_bytes(group, "big")
        letters = "".join(alphabet[number // 85**power % 85] for power in (4, 3, 2, 1, 0))
        groups.append("#" * (4 - len(group)) + letters[4 - len(group) :])
    return "".join(groups)


def z85_with_zeros(data: bytes) -> str:
    return z85_of_rust(data + bytes(-len(data) % 4))


def z85_of_python(data: bytes) -> str:
    """Fewer letters for a last group of fewer bytes, as base64.b85encode has it."""
    return z85_with_zeros(data)[: len(z85_with_zeros(data)) - (-len(data) % 4)]


@pytest.mark.parametrize("spell", [z85_of_rust, z85_with_zeros, z85_of_python])
@given(rows=st.sets(st.integers(0, 2**40), max_size=40), trailing=st.binary(max_size=3))
def test_fp16_inline_vectors_are_read_with_any_padding(
    spell: Callable[[bytes], str], rows: set[int], trailing: bytes
) -> None:
    """A bitmap's own length is mostly a multiple of four; `trailing` makes the text's others, too."""
    payload = struct.pack("<i", MAGIC) + pyroaring.BitMap64(rows).serialize() + trailing
    descriptor = VectorDescriptor("i", spell(payload), None, len(payload), len(rows))
    assert set(read_vector(LocalStore(Path("nowhere")), descriptor)) == rows


@given(rows=st.sets(st.integers(0, 2**34), max_size=40), run=st.integers(0, 2**20))
def test_vectors_of_the_older_layout_are_read(rows: set[int], run: int) -> None:
    """A bitmap for each 32 bits, in which millions of rows may be a run of a few bytes."""
    expected = pyroaring.BitMap64({*rows, *range(run, run + 3)})
    expected.add_range(2**32, 2**32 + run)
    parts = []
    for high in range((expected.max() >> 32) + 1):
        low = pyroaring.BitMap(row & 0xFFFFFFFF for row in rows | {*range(run, run + 3)} if row >> 32 == high)
        if high == 1:
            low.add_range(0, run)
        low.run_optimize()
        parts.append(struct.pack(">i", len(low.serialize())) + low.serialize())
    payload = struct.pack(">ii", NATIVE_MAGIC, len(parts)) + b"".join(parts)
    descriptor = VectorDescriptor("i", z85_with_zeros(payload), None, len(payload), len(expected))
    assert read_vector(LocalStore(Path("nowhere")), descriptor) == expected


def test_fp16_what_the_z85_crate_says_of_its_padding() -> None:
    assert z85_of_rust(b"\x86\x4f\xd2\x6f\xb5\x59\xf7\x5b") == "HelloWorld"
    assert [z85_of_rust(bytes([1] * count)) for count in (1, 2, 3)] == ["###01", "##032", "#0993"]


@pytest.mark.parametrize(
    ("text", "size", "cardinality", "reason"),
    [
        ("", 40, 6, "it has 0 bytes where the log says 40"),
        ("wi5b=0", 40, 6, "bytes where the log says 40"),
        ("wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L", 40, 5, "it marks 6 rows where the log says 5"),
        (
            "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L",
            41,
            6,
            "it has 40 bytes where the log says 41",
        ),
        ("xi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L", 40, 6, "magic number"),
        ("wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5", 34, 6, "its bitmap cannot be read"),
        ("~~~~~", 4, 6, "its bitmap cannot be read"),
        ("####0", 0, 0, "its bitmap cannot be read"),
        ("$$$$$", 4, 1, "its bitmap cannot be read"),
        ("äöü", 3, 1, "its bitmap cannot be read"),
        ("\0", 0, 1, "its bitmap cannot be read"),
    ],
)
def test_fp16_a_damaged_inline_vector_is_named(text: str, size: int, cardinality: int, reason: str) -> None:
    descriptor = VectorDescriptor("i", text, None, size, cardinality)
    with pytest.raises(MergeFailed, match=reason) as caught:
        read_vector(LocalStore(Path("nowhere")), descriptor)
    assert caught.value.data["vector"] == "an inline vector"


@given(data=st.data())
def test_fp16_any_byte_of_a_vector_may_be_damaged(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """What a damaged vector gives is an error of ours, or the same rows."""
    rows = data.draw(st.sets(st.integers(0, 2**34), min_size=1, max_size=20))
    descriptor, path = stored_vector(tmp_path_factory.mktemp("vector"), rows)
    content = path.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    path.write_bytes(
        content[:start] + data.draw(st.binary(max_size=4)) + content[start + data.draw(st.integers(0, 4)) :]
    )
    inline = "".join(data.draw(st.lists(st.sampled_from(z85_of_rust(content) + "#~ä"), max_size=80)))
    for one in (descriptor, VectorDescriptor("i", inline, None, data.draw(st.integers(0, 80)), len(rows))):
        try:
            found = set(read_vector(LocalStore(path.parent), one))
        except MergeFailed as error:
            json.dumps(error.data)
        else:
            assert len(found) == len(rows)
            assert one is not descriptor or found == rows
