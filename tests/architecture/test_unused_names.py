"""The check for unused public names finds what only tests use, and leaves alone what others call by name."""

import subprocess
import sys
from pathlib import Path

import pytest

from config.env import BASE_DIR

CHECK = BASE_DIR / ".ci" / "unused-names"
MODULE = "merging/seeded.py"


def unused_in(root: Path) -> list[str]:
    """What the check says of the seeded module."""
    ran = subprocess.run([sys.executable, CHECK, root], check=False, capture_output=True, text=True)
    assert ran.stderr == ""
    return [line.partition(": ")[2] for line in ran.stdout.splitlines() if line.startswith(f"{MODULE}:")]


def test_nothing_of_ours_is_unused() -> None:
    ran = subprocess.run([sys.executable, CHECK], check=False, capture_output=True, text=True)
    assert (ran.stdout.strip(), ran.returncode) == ("", 0)


@pytest.mark.parametrize(
    ("definition", "elsewhere", "found"),
    [
        ("def lonely(): ...", {}, True),
        ("LONELY = 1\nlonely = 2", {"web/a.py": "from merging.seeded import LONELY, lonely"}, True),
        ("class Box:\n    lonely: int", {"web/a.py": "from merging import seeded\nseeded.Box()"}, True),
        ("def lonely(): ...", {"tests/test_a.py": "from merging.seeded import lonely\nlonely()"}, True),
        ("def lonely(): ...", {"web/a.py": '__all__ = ["lonely"]'}, True),
        ("def lonely(): ...", {"web/a.py": '"""The word lonely in a docstring."""'}, True),
        ("def lonely(): ...", {"web/a.py": 'x = "a sentence with lonely in it"'}, True),
        ("@property\ndef lonely(): ...", {}, True),
        ("def lonely(): ...", {"web/a.py": "from merging import seeded\nseeded.lonely()"}, False),
        ("def lonely(): ...", {"web/a.py": 'x = "merging.seeded.lonely"'}, False),
        ("def lonely(): ...", {"web/a.py": 'x = filter(a="row__lonely__gt")'}, False),
        ("lonely = 1", {"templates/a.html": "{% if row.lonely %}x{% endif %}"}, False),
        ("lonely = 1", {"templates/a.html": "<p>lonely</p>"}, True),
        ("@app.task\ndef lonely(): ...", {}, False),
        (
            "class Kind(StrEnum):\n    lonely = 'x'",
            {"web/a.py": "from merging.seeded import Kind\nKind"},
            False,
        ),
        ("lonely = serializers.CharField()", {}, False),
        ("def _lonely(): ...", {}, False),
    ],
)
def test_what_counts_as_a_use(
    tmp_path: Path, definition: str, elsewhere: dict[str, str], found: bool
) -> None:
    for name, content in {MODULE: definition, **elsewhere}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    said = "lonely is used by nothing but tests"
    assert (said in unused_in(tmp_path)) is found


def test_an_exception_that_is_not_needed_any_more_is_said(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, CHECK, tmp_path], check=False, capture_output=True, text=True)
    assert ran.returncode == 1
    assert ".ci/unused-names: add_arguments needs no exception any more" in ran.stdout
