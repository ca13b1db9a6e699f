"""Rows are locked in one place, which leaves their keys alone: nobody forgets what makes two wait for each other."""

import ast
import re
from collections.abc import Iterator

import pytest
from django.apps import apps
from django.db.models import ManyToOneRel

from config.env import BASE_DIR
from tests.architecture.test_class_names import PACKAGES

PLACE = "audit/row_locks.py"
#: Words without which nothing is locked: files that have none of them need not be parsed.
LOCKING = re.compile(r"select_for_update|update_or_create|FOR\b")


def locks_in(source: str) -> Iterator[str]:
    """What locks rows otherwise: a query set, a statement, or Django itself where others refer to the rows."""
    if not LOCKING.search(source):
        return
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr="select_for_update"):
                yield "select_for_update"
            case ast.Constant(value=str(text)) if any(word in text for word in ("FOR UPDATE", "FOR SHARE")):
                yield "a statement"
            case ast.Call(func=ast.Attribute(value=rows, attr="update_or_create")):
                # Locks with keys what it changes.
                if referred_to(ast.unparse(rows).partition(".")[0]):
                    yield f"update_or_create of {ast.unparse(rows)}"


def referred_to(name: str) -> bool:
    """Whether rows of others refer to those of the model; what is no model of ours may be any."""
    models = [model for model in apps.get_models() if model.__name__ == name]
    fields = [field for model in models for field in model._meta.get_fields(include_hidden=True)]
    return not models or any(isinstance(field, ManyToOneRel) for field in fields)


def test_rows_are_locked_in_one_place() -> None:
    paths = [path for package in PACKAGES for path in sorted((BASE_DIR / package).rglob("*.py"))]
    found = {str(path.relative_to(BASE_DIR)): list(locks_in(path.read_text())) for path in paths}
    assert {path: locks for path, locks in found.items() if locks} == {PLACE: ["select_for_update"]}
    assert "no_key=True" in (BASE_DIR / PLACE).read_text()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("Project.objects.select_for_update(no_key=True).get(pk=1)", ["select_for_update"]),
        ("lock = rows.select_for_update", ["select_for_update"]),
        ("execute('SELECT 1 FROM x FOR UPDATE')", ["a statement"]),
        ("execute('SELECT 1 FROM x FOR ' 'SHARE')", ["a statement"]),
        ("Project.objects.update_or_create(slug='x')", ["update_or_create of Project.objects"]),
        ("project.webhooks.update_or_create(name='x')", ["update_or_create of project.webhooks"]),
        ("SuiteVersion.objects.update_or_create(number=1)", ["update_or_create of SuiteVersion.objects"]),
        ("SavedView.objects.update_or_create(name='x')", []),
        ("locked(Project.objects.filter(pk=1)).first()", []),
    ],
)
def test_another_lock_is_found(source: str, found: list[str]) -> None:
    assert list(locks_in(source)) == found
