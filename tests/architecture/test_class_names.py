"""One name, one thing: no two classes of ours share a name."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from config.env import BASE_DIR

PACKAGES = (
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
)
#: Where a class begins: to parse all files takes seconds.
CLASS = re.compile(r"^class (\w+)", re.MULTILINE)
#: Names that others ask for.
ASKED_FOR = {"Command": "Django finds a management command by this name"}


def shared_names(paths: Iterable[Path]) -> dict[str, list[str]]:
    """The names that more than one class has, each with the modules that define them."""
    defined = defaultdict(list)
    for path in paths:
        for name in CLASS.findall(path.read_text()):
            defined[name].append(path)
    several = {
        name: modules for name, modules in defined.items() if len(modules) > 1 and name not in ASKED_FOR
    }
    found = {
        name: sorted(path.name for path in set(modules) if name in _classes_of(path))
        for name, modules in several.items()
    }
    return {name: modules for name, modules in found.items() if len(modules) > 1}


def _classes_of(path: Path) -> set[str]:
    """The classes of a module; a line of a text may look like one."""
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)}


def test_no_two_classes_share_a_name() -> None:
    paths = [path for package in PACKAGES for path in sorted((BASE_DIR / package).rglob("*.py"))]
    assert shared_names(path for path in paths if "migrations" not in path.parts) == {}


def test_a_shared_name_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("class Head: ...\nclass Command: ...\n")
    (tmp_path / "b.py").write_text("class Head: ...\nclass Command: ...\nclass Heads: ...\n")
    (tmp_path / "c.py").write_text('"""\nclass Heads: is a line of a text\n"""\n')
    assert shared_names(sorted(tmp_path.iterdir())) == {"Head": ["a.py", "b.py"]}
