"""What browsers get: files of others unchanged, nothing from elsewhere, nothing inline that the policy forbids."""

import re
import subprocess
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.core.management import call_command
from pytest_django import Settings

from config.env import BASE_DIR

TEMPLATES = sorted((BASE_DIR / "templates").rglob("*.html"))
OWN_FILES = sorted((BASE_DIR / "static" / "headgate").iterdir())


def test_vendored_files_are_those_of_the_manifest() -> None:
    check = subprocess.run(
        [str(BASE_DIR / "requirements" / "vendor-static"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (check.returncode, check.stdout + check.stderr) == (0, "")


def test_a_changed_vendored_file_is_named(tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    (copy / "requirements").mkdir(parents=True)
    script = copy / "requirements" / "vendor-static"
    script.write_bytes((BASE_DIR / "requirements" / "vendor-static").read_bytes())
    script.chmod(0o755)
    vendor = BASE_DIR / "static" / "vendor"
    for source in vendor.rglob("*"):
        if source.is_file():
            target = copy / "static" / "vendor" / source.relative_to(vendor)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    (copy / "static" / "vendor" / "htmx" / "htmx.min.js").write_text("alert(1)")
    check = subprocess.run([str(script), "--check"], capture_output=True, text=True, check=False)
    assert (check.returncode, check.stderr.strip()) == (1, "htmx/htmx.min.js differs from the manifest")


def test_every_static_file_is_found_under_a_hashed_name(settings: Settings, tmp_path: Path) -> None:
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    }
    call_command("collectstatic", interactive=False, verbosity=0)
    manifest = (tmp_path / "staticfiles.json").read_text()
    for path in OWN_FILES:
        assert f'"headgate/{path.name}"' in manifest


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(BASE_DIR / "templates")))
def test_templates_have_nothing_inline_and_nothing_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\sstyle=|<style|\son[a-z]+=|javascript:", text)
    assert not re.search(r"<script(?![^>]*\ssrc=)", text)
    assert not re.search(r"""(?:src|href|action)=["']?(?:https?:)?//""", text)


def test_static_files_named_in_templates_exist() -> None:
    named = {name for path in TEMPLATES for name in re.findall(r"{% static '([^']+)' %}", path.read_text())}
    assert len(named) > 10
    assert [name for name in sorted(named) if finders.find(name) is None] == []
