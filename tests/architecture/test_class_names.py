"""One name, one thing: no two classes of ours share a name."""

import ast
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
#: Names that others ask for.
ASKED_FOR = {"Command": "Django finds a management command by this name"}


def shared_names(paths: Iterable[Path]) -> dict[str, list[str]]:
    """The names that more than one class has, each with the modules that define them."""
    defined = defaultdict(list)
    for path in paths:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name not in ASKED_FOR:
                defined[node.name].append(path.name)
    return {name: sorted(modules) for name, modules in defined.items() if len(modules) > 1}


def test_no_two_classes_share_a_name() -> None:
    paths = [path for package in PACKAGES for path in sorted((BASE_DIR / package).rglob("*.py"))]
    assert shared_names(path for path in paths if "migrations" not in path.parts) == {}


def test_a_shared_name_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("class Head: ...\nclass Command: ...\n")
    (tmp_path / "b.py").write_text("class Head: ...\nclass Command: ...\nclass Heads: ...\n")
    assert shared_names(sorted(tmp_path.iterdir())) == {"Head": ["a.py", "b.py"]}
