"""What a web process has loaded when it begins to answer."""

import subprocess
import sys
from pathlib import Path

from django.conf import settings

LOADED = """
import config.asgi
from django.template import engines
from django.urls import get_resolver
[cached] = engines["django"].engine.template_loaders
print(get_resolver()._populated, *(template.name for template in cached.get_template_cache.values()))
"""


def test_nobody_waits_for_views_and_templates_to_be_loaded() -> None:
    program = [sys.executable, "-c", LOADED]
    said = subprocess.run(
        program, cwd=settings.BASE_DIR, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    populated, *names = said.split()
    folder = Path(settings.BASE_DIR) / "templates"
    assert populated == "True"
    assert set(names) == {page.relative_to(folder).as_posix() for page in folder.rglob("*.html")}
