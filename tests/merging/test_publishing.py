"""A folder is seen whole or not at all, and its manifest says what it must hold."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from merging.errors import MergeFailed
from merging.store import publishing
from merging.store.publishing import (
    NewFolder,
    file_facts,
    is_sealed,
    local_folder,
    new_folder,
    sealed,
    write_json,
)


def test_a_folder_gets_its_name_once_it_is_whole_and_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "not" / "yet"
    steps: list[tuple[str, str]] = []
    real_flush, real_rename = publishing.flush_folder, os.rename

    def flush(path: Path) -> None:
        steps.append(("flush", str(path)))
        real_flush(path)

    def rename(old: Path, new: Path) -> None:
        steps.append(("rename", str(new)))
        real_rename(old, new)

    monkeypatch.setattr(publishing, "flush_folder", flush)
    monkeypatch.setattr(os, "rename", rename)
    with new_folder(root, "staged") as folder:
        write_json(folder.path / "facts.json", {"a": "ü"})
        assert folder.path.name == f".{folder.final.name}"
        assert not folder.final.exists()
    assert steps == [("flush", str(folder.path)), ("rename", str(folder.final)), ("flush", str(root))]
    assert [path.name for path in root.iterdir()] == [folder.final.name]
    assert (folder.final / "facts.json").read_bytes() == '{\n "a": "ü"\n}'.encode()


def test_a_folder_that_was_not_finished_is_gone(tmp_path: Path) -> None:
    def give_up(folder: NewFolder) -> None:
        (folder.path / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path, "staged") as folder:
        give_up(folder)
    assert list(tmp_path.iterdir()) == []


def test_facts_tell_a_file_from_any_other(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(b"abc")
    assert file_facts(path) == {"size": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}


def test_a_seal_breaks_with_any_change() -> None:
    content = sealed({"digest": "d", "counts": {"insert": 1}})
    assert is_sealed(content)
    assert is_sealed(dict(reversed(content.items())))
    assert not is_sealed({**content, "digest": "e"})
    assert not is_sealed({"digest": "d", "counts": {"insert": 1}})


@pytest.mark.parametrize(
    ("place", "folder"), [("/data/a%20b", "/data/a%20b"), ("file:///data/a%20b", "/data/a b"), ("a", "a")]
)
def test_places_on_disk(place: str, folder: str) -> None:
    assert local_folder(place, "Artefacts are") == Path(folder)


def test_a_place_in_an_object_store_is_refused() -> None:
    with pytest.raises(
        MergeFailed, match=r"^Artefacts are written to a local or mounted folder; name one as"
    ):
        local_folder("s3://bucket/folder", "Artefacts are")
