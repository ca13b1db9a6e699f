"""Names of a schema are asked once, not for each column: pyarrow makes the list anew each time, of every name there is.

Of thousands of columns that took longer than the engine did.
"""

import ast
from collections.abc import Iterator

import pytest

from config.env import BASE_DIR


def repeated_in(node: ast.AST, again: frozenset[str] | None = None) -> Iterator[str]:
    """What is asked for each turn of a loop though it does not depend on it; ``again`` are the names that loops bind,
    None outside of any.
    """
    match node:
        case ast.Attribute(attr="names", value=ast.Name() | ast.Attribute() as schema):
            path = ast.unparse(schema)
            if again is not None and path.endswith("schema") and path.partition(".")[0] not in again:
                yield f"{path}.names"
        case ast.For():
            yield from repeated_in(node.iter, again)
            for inner in (*node.body, *node.orelse):
                yield from repeated_in(inner, bound_by(node.target, again))
        case ast.While():
            for part in (node.test, *node.body):
                yield from repeated_in(part, again or frozenset())
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            for loop in node.generators:
                yield from repeated_in(loop.iter, again)
                again = bound_by(loop.target, again)
                for condition in loop.ifs:
                    yield from repeated_in(condition, again)
            for value in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
                yield from repeated_in(value, again)
        case _:
            for child in ast.iter_child_nodes(node):
                yield from repeated_in(child, again)


def bound_by(target: ast.expr, again: frozenset[str] | None) -> frozenset[str]:
    return (again or frozenset()) | {one.id for one in ast.walk(target) if isinstance(one, ast.Name)}


def test_nobody_asks_for_all_names_once_a_column() -> None:
    paths = sorted((BASE_DIR / "merging").rglob("*.py"))
    found = {
        str(path.relative_to(BASE_DIR)): list(repeated_in(ast.parse(path.read_text()))) for path in paths
    }
    assert {path: asked for path, asked in found.items() if asked} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("[name for name in a.schema.names]", []),
        ("[name for name in mine if name in other.schema.names]", ["other.schema.names"]),
        ("{schema.names[place]: 1 for place in places}", ["schema.names"]),
        ("for name in keys:\n    schema.names.index(name)", ["schema.names"]),
        ("while more():\n    schema.names", ["schema.names"]),
        ("for batch in batches:\n    batch.schema.names", []),
        ("[cell for batch in batches for cell in batch.schema.names]", []),
        ("[cell for batch in batches for cell in schema.names]", ["schema.names"]),
    ],
)
def test_what_is_found(source: str, found: list[str]) -> None:
    assert list(repeated_in(ast.parse(source))) == found
