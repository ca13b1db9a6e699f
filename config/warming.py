"""What a web process loads before it answers anybody: the first person would wait a second for it."""

from pathlib import Path

from django.template import engines
from django.template.loader import get_template
from django.urls import get_resolver


def load_pages() -> None:
    """Load every view and every template of the project."""
    get_resolver().app_dict  # noqa: B018  (asked for it, the resolver imports every view)
    for engine in engines.all():
        for folder in map(Path, engine.dirs):
            for page in folder.rglob("*.html"):
                get_template(page.relative_to(folder).as_posix())
