"""What is kept on local disk and in an object store: the same calls, the same answers, and copies that are checked."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import obstore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from merging.errors import MergeFailed, StagedCorrupt, StorageFull, TableUnreachable
from merging.store import folders
from merging.store.client import ObjectClient
from merging.store.folders import KEPT, DistantFolders, Folders, LocalFolders, open_folders
from tests.merging.stores import s3_server

NAMES = st.sampled_from(["a", "b", "a.json", "ü ber", "x%20y", "c+d"])
FOLDERS = st.sampled_from(["_staging/CR-1", "_staging/CR-1/deep", "_staging/CR-10", "audit/anchors"])
CONTENT = st.binary(max_size=40)


def memory(cache: Path) -> DistantFolders:
    client = ObjectClient(obstore.store.MemoryStore(), f"memory://kept/{cache.name}")
    return DistantFolders(client, cache, 1 << 30)


@pytest.fixture(scope="module")
def s3() -> Iterator[Mapping[str, str]]:
    with s3_server() as options:
        yield options


@pytest.fixture(params=["local", "s3"])
def kept(request: pytest.FixtureRequest, tmp_path: Path, s3: Mapping[str, str]) -> Folders:
    """Both, one after the other."""
    address = str(tmp_path / "root") if request.param == "local" else f"s3://tables/kept-{tmp_path.name}"
    return open_folders(address, s3, cache=tmp_path / "cache", cache_bytes=1 << 30)


def made(kept: Folders, name: str, files: Mapping[str, bytes]) -> Path:
    folder = kept.workplace(name)
    folder.mkdir(parents=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    return folder


def read(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir() if one.is_file() and one.name != KEPT}


def test_a_folder_is_published_whole_read_moved_and_removed(kept: Folders, tmp_path: Path) -> None:
    files = {"rows.parquet": b"rows" * 1000, "manifest.json": b"{}"}
    place = kept.publish(made(kept, "_staging/made/1", files), "_staging/CR-7/one")
    assert read(place) == files
    assert kept.name_of(place) == "_staging/CR-7/one"
    assert read(kept.folder("_staging/CR-7/one")) == files
    assert kept.folders("_staging") == sorted({"CR-7", *kept.folders("_staging")})
    assert [one.path for one in sorted(kept.walk("_staging/CR-7"), key=str)] == [
        f"_staging/CR-7/one/{name}" for name in sorted(files)
    ]
    contents = kept.contents("_staging/CR-7")
    assert contents is not None
    assert contents.size >= 4002
    assert abs(contents.newest - time.time()) < 60
    kept.copy_folder("_staging/CR-7/one", "_staging/CR-7/two")
    kept.move("_staging/CR-7", "_archive/CR-7")
    kept.move("_staging/CR-7", "_archive/CR-7")  # safe to call again
    assert kept.folders("_staging/CR-7") == []
    assert read(kept.folder("_archive/CR-7/one")) == read(kept.folder("_archive/CR-7/two")) == files
    assert kept.remove("_archive/CR-7")
    assert not kept.remove("_archive/CR-7")
    assert not kept.folder("_archive/CR-7/one").exists()
    assert kept.contents("_archive/CR-7") is None
    with pytest.raises(FileNotFoundError):
        kept.copy_folder("_archive/CR-7/one", "_archive/CR-8/one")


def test_files_are_put_once_read_in_parts_and_replaced_only_by_put(kept: Folders, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"from a file")
    assert kept.put_new("audit/CR-1", {"a.json": b"first", "b.parquet": source}) == set()
    assert kept.put_new("audit/CR-1", {"a.json": b"second", "c.json": b"third"}) == {"a.json"}
    assert kept.read("audit/CR-1/a.json") == b"first"
    assert kept.read_range("audit/CR-1/b.parquet", 5, 3) == b"a f"
    assert kept.sha256("audit/CR-1/b.parquet") == hashlib.sha256(b"from a file").hexdigest()
    kept.put("audit/CR-1/a.json", b"erased")
    assert [(one.path, one.size) for one in kept.files("audit/CR-1")] == [
        ("audit/CR-1/a.json", 6),
        ("audit/CR-1/b.parquet", 11),
        ("audit/CR-1/c.json", 5),
    ]
    kept.delete(["audit/CR-1/a.json", "audit/CR-1/gone"])
    for look in (kept.read, kept.sha256, lambda name: kept.read_range(name, 0, 1)):
        with pytest.raises(FileNotFoundError):
            look("audit/CR-1/a.json")


@pytest.mark.parametrize("name", ["", "/etc/passwd", "a/../../b", "..", "a\x00b", "./a", "a\\b"])
def test_names_stay_below_the_root(kept: Folders, name: str) -> None:
    for call in (kept.read, kept.folder, kept.remove, kept.workplace, kept.sha256):
        with pytest.raises(MergeFailed):
            call(name)


def test_two_machines_share_what_is_kept_and_no_disk(s3: Mapping[str, str], tmp_path: Path) -> None:
    here, there = (
        open_folders("s3://tables/shared", s3, cache=tmp_path / machine, cache_bytes=1 << 30)
        for machine in ("here", "there")
    )
    here.publish(made(here, "work/1", {"rows": b"rows"}), "kept/1")
    copy = there.folder("kept/1")
    assert copy.is_relative_to(tmp_path / "there")
    assert read(copy) == {"rows": b"rows"}
    there.put("kept/1/rows", b"bent")
    assert read(there.folder("kept/1")) == {"rows": b"rows"}  # its own copy
    third = open_folders("s3://tables/shared", s3, cache=tmp_path / "third", cache_bytes=1 << 30)
    with pytest.raises(StagedCorrupt, match="not what was put there"):
        third.folder("kept/1")


def test_without_what_stands_for_it_there_is_no_folder(tmp_path: Path) -> None:
    kept = memory(tmp_path)
    kept.put_folder("kept/1", {"rows": _file(tmp_path, b"rows")})
    kept.delete([f"kept/1/{KEPT}"])
    assert not kept.folder("kept/1").exists()


def test_single_files_are_checked_by_the_hashes_that_the_caller_knows(tmp_path: Path) -> None:
    kept = memory(tmp_path)
    kept.put_new("audit/CR-1", {"a": b"one", "b": b"two"})
    digests = {name: hashlib.sha256(text).hexdigest() for name, text in (("a", b"one"), ("b", b"two"))}
    assert read(kept.checked("audit/CR-1", {**digests, "gone": "0" * 64})) == {"a": b"one", "b": b"two"}
    with pytest.raises(StagedCorrupt):
        kept.checked("audit/CR-1", {"a": "0" * 64})


def test_copies_are_bounded_the_least_used_go_and_none_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "_SECONDS_BETWEEN_LOOKS", 0)
    kept = DistantFolders(ObjectClient(obstore.store.MemoryStore(), "memory://kept"), tmp_path, 2500)
    for name in ("old", "older", "used", "new"):
        kept.put_folder(f"kept/{name}", {"rows": _file(tmp_path, name.encode() * 200)})
    places = {name: kept.folder(f"kept/{name}") for name in ("old", "older", "used")}
    for name, hours in (("old", 5), ("older", 6)):
        at = time.time() - hours * 3600
        os.utime(places[name] / KEPT, (at, at))
    kept.folder("kept/new")
    kept.put_folder("kept/more", {"rows": _file(tmp_path, b"x")})
    kept.folder("kept/more")
    assert [name for name, place in places.items() if place.exists()] == ["old", "used"]
    at = time.time() - 2 * 24 * 3600
    os.utime(
        places["used"] / KEPT, (at, at)
    )  # nobody asked for it for two days: it goes though there is room
    kept.put_folder("kept/last", {"rows": _file(tmp_path, b"x")})
    kept.folder("kept/last")
    assert not places["used"].exists()


@pytest.mark.parametrize("damage", ["a file is gone", "a file is cut off", "no list", "another list"])
def test_a_copy_that_is_not_whole_is_fetched_again(tmp_path: Path, damage: str) -> None:
    kept = memory(tmp_path)
    kept.put_folder("kept/1", {"rows": _file(tmp_path, b"rows"), "more": _file(tmp_path, b"more")})
    kept.put_new("audit/CR-1", {"a.json": b"one"})
    digests = {"a.json": hashlib.sha256(b"one").hexdigest()}
    for look, file, whole in (
        (lambda: kept.folder("kept/1"), "rows", {"rows": b"rows", "more": b"more"}),
        (lambda: kept.checked("audit/CR-1", digests), "a.json", {"a.json": b"one"}),
    ):
        copy = look()
        match damage:
            case "a file is gone":
                (copy / file).unlink()
            case "a file is cut off":
                (copy / file).write_bytes(b"")
            case "no list":
                (copy / KEPT).write_text("")
            case "another list":
                (copy / KEPT).write_text('{"files": [1]}')
        assert read(look()) == whole


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"{}",
        b"[]",
        b"7",
        b'{"files": 7}',
        b'{"files": {"../x": {"sha256": "0"}}}',
        b'{"files": {"a": 7}}',
    ],
)
def test_what_stands_for_a_folder_and_is_something_else_is_named(tmp_path: Path, told: bytes) -> None:
    kept = memory(tmp_path)
    kept.put_folder("kept/1", {"rows": _file(tmp_path, b"rows")})
    kept.put(f"kept/1/{KEPT}", told)
    for look in (lambda: kept.folder("kept/1"), lambda: kept.copy_folder("kept/1", "kept/2")):
        with pytest.raises(StagedCorrupt, match="not what was put there"):
            look()
    assert kept.folders("kept") == ["1"]


def test_a_disk_without_space_for_copies_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = memory(tmp_path)
    kept.put_folder("kept/1", {"rows": _file(tmp_path, b"rows")})
    opened = Path.open

    def full(path: Path, mode: str = "r", *more: object) -> object:
        if "x" in mode:
            raise OSError(28, "No space left on device")
        return opened(path, mode)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StorageFull, match="keep a copy of what is read"):
        kept.folder("kept/1")
    monkeypatch.undo()
    assert read(kept.folder("kept/1")) == {"rows": b"rows"}


def _file(folder: Path, content: bytes) -> Path:
    path = folder / f"source-{time.monotonic_ns()}"
    path.write_bytes(content)
    return path


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    assert isinstance(open_folders(str(tmp_path), cache=tmp_path, cache_bytes=1), LocalFolders)
    with pytest.raises(TableUnreachable, match="nowhere://x"):
        open_folders("nowhere://x", cache=tmp_path, cache_bytes=1)


class SameAnswers(RuleBasedStateMachine):
    """Both do the same with every sequence of calls."""

    @initialize(at=st.integers())
    def begin(self, at: int) -> None:
        import tempfile

        self._folder = tempfile.TemporaryDirectory()
        root = Path(self._folder.name)
        self.both: tuple[Folders, Folders] = (LocalFolders(root / "local"), memory(root / "cache"))

    def teardown(self) -> None:
        self._folder.cleanup()

    @rule(folder=FOLDERS, files=st.dictionaries(NAMES, CONTENT, max_size=3))
    def put_new(self, folder: str, files: dict[str, bytes]) -> None:
        if files:
            one, other = (kept.put_new(folder, files) for kept in self.both)
            assert one == other

    @rule(folder=FOLDERS, name=NAMES, content=CONTENT)
    def put(self, folder: str, name: str, content: bytes) -> None:
        for kept in self.both:
            kept.put(f"{folder}/{name}", content)

    @rule(folder=FOLDERS, name=NAMES)
    def delete(self, folder: str, name: str) -> None:
        for kept in self.both:
            kept.delete([f"{folder}/{name}"])

    @rule(folder=st.sampled_from(["_staging/CR-1", "audit/anchors", "_staging"]))
    def remove(self, folder: str) -> None:
        for kept in self.both:
            kept.remove(folder)

    @rule(files=st.dictionaries(NAMES, CONTENT, min_size=1, max_size=3), number=st.integers(1, 3))
    def publish(self, files: dict[str, bytes], number: int) -> None:
        name = f"published/{number}"
        for kept in self.both:
            kept.remove(name)
            kept.publish(made(kept, "made/1", files), name)
            assert read(kept.folder(name)) == files

    @rule(number=st.integers(1, 3), to=st.integers(4, 6))
    def move(self, number: int, to: int) -> None:
        for kept in self.both:
            kept.remove(f"published/{to}")
            kept.move(f"published/{number}", f"published/{to}")

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "both"):
            return
        told = [
            sorted((one.path, kept.read(one.path)) for one in kept.walk("_staging"))
            + sorted((one.path, kept.read(one.path)) for one in kept.walk("audit"))
            + sorted((one.path, kept.read(one.path)) for one in kept.walk("published"))
            + [(one.path, one.size) for one in kept.files("_staging/CR-1")]
            for kept in self.both
        ]
        assert told[0] == told[1]


TestSameAnswers = SameAnswers.TestCase
TestSameAnswers.settings = settings(max_examples=15, stateful_step_count=10)


@given(files=st.dictionaries(NAMES, CONTENT, min_size=1, max_size=4))
@settings(max_examples=8)
def test_what_was_put_as_a_folder_comes_back(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    root = tmp_path_factory.mktemp("folders")
    kept = memory(root)
    paths = {}
    for number, (name, content) in enumerate(files.items()):
        (root / str(number)).write_bytes(content)
        paths[name] = root / str(number)
    kept.put_folder("kept/1", paths)
    assert read(kept.folder("kept/1")) == files
