"""The pictures and the map in docs/architecture.md are made from the contracts and the code, and are current."""

import re
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest

from config.env import BASE_DIR

PAGE = BASE_DIR / "docs" / "architecture.md"


def test_the_page_shows_the_code_as_it_is() -> None:
    ran = subprocess.run(
        [BASE_DIR / "docs" / "draw-map", "--check"], check=False, capture_output=True, text=True
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == ("", "", 0)


def test_every_package_and_every_room_is_in_a_picture_and_has_a_sentence() -> None:
    page = PAGE.read_text()
    for folder in (
        "config",
        "demo",
        "api",
        "web",
        "notifications",
        "changerequests",
        "accounts",
        "datasets",
        "merging",
        "audit",
    ):
        assert f'{folder}["{folder}"]' in page
    for room in (path.parent.name for path in (BASE_DIR / "merging").glob("*/__init__.py")):
        assert f'{room}["merging.{room}"]' in page
        assert re.search(rf"^\*\*`{room}/`\*\*: .+\.$", page, re.MULTILINE), (
            f"merging/{room} needs a docstring"
        )
    assert "|  |" not in page, "a module of the engine has no docstring"


def most_of_the_rooms(folder: str, names: list[str]) -> set[str]:
    """What a drawing is as true without: to read the whole engine takes a second each time."""
    is_shown = Path(folder).name in ("merging", "sql")
    return {name for name in names if name == "__pycache__" or not (is_shown or name == "__init__.py")}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("pyproject.toml", 'layers = ["config", "demo", ', 'layers = ["config", '),
        ("merging/model.py", '"""Value objects', '"""Values'),
        ("merging/sql/seeded.py", "", '"""A new module."""'),
    ],
)
def test_a_page_that_is_not_current_is_noticed_and_made_so(
    tmp_path: Path, file: str, old: str, new: str
) -> None:
    copytree(BASE_DIR / "merging", tmp_path / "merging", ignore=most_of_the_rooms)
    (tmp_path / "docs").mkdir()
    for name in ("pyproject.toml", "docs/architecture.md", "docs/draw-map"):
        (tmp_path / name).write_bytes((BASE_DIR / name).read_bytes())

    def draw(*options: str) -> tuple[int, str]:
        program = [sys.executable, str(tmp_path / "docs" / "draw-map"), *options]
        ran = subprocess.run(program, check=False, capture_output=True, text=True)
        return ran.returncode, ran.stdout

    assert draw() == (0, "")  # without what was left out
    changed = tmp_path / file
    before = changed.read_text() if changed.exists() else ""
    assert old in before
    changed.write_text(before.replace(old, new, 1) if old else new)

    assert draw("--check") == (
        1,
        "docs/architecture.md does not show the code as it is. Run docs/draw-map.\n",
    )
    assert draw() == (0, "")
    assert draw("--check") == (0, "")
