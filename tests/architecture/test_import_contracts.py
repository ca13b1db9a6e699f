"""The import contracts of pyproject.toml hold, and each of them really fails when somebody breaks it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
TYPES_ONLY = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from {} import {}"
CONTRACTS = (
    "layers",
    "pure-engine",
    "one-border",
    "engine-rooms",
    "no-circles",
    "change-request-layers",
    "engine-through-services",
    "one-audit-writer",
)


def lint_imports(folder: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages in a folder, for some contracts or for all."""
    chosen = [word for contract in contracts for word in ("--contract", contract)]
    program = (
        "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    )
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache", *chosen],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(folder), "COLUMNS": "200"},
    )


@pytest.fixture
def copied_packages(tmp_path: Path) -> Path:
    """The project's packages, where a test may break them."""
    ignore = shutil.ignore_patterns("__pycache__", "*.html", "*.js", "*.css")
    for package in PACKAGES:
        shutil.copytree(BASE_DIR / package, tmp_path / package, ignore=ignore)
    shutil.copy(BASE_DIR / "pyproject.toml", tmp_path)
    return tmp_path


def test_all_contracts_hold() -> None:
    result = lint_imports(BASE_DIR)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in result.stdout


@pytest.mark.parametrize(
    ("contract", "module", "line"),
    [
        ("layers", "datasets/seeded.py", "from changerequests import states"),
        ("layers", "audit/seeded.py", "import datasets.models"),
        ("layers", "audit/seeded.py", "import merging"),
        ("layers", "changerequests/services/seeded.py", "from config import env"),
        ("layers", "changerequests/services/seeded.py", "import api"),
        ("layers", "api/seeded.py", "from web import wording"),
        ("layers", "web/seeded.py", "import demo"),
        ("layers", "demo/seeded.py", "from config.env import BASE_DIR"),
        ("pure-engine", "merging/delta/seeded.py", "from django.conf import settings"),
        ("pure-engine", "merging/delta/seeded.py", "import celery"),
        ("pure-engine", "merging/seeded.py", "import redis"),
        ("one-border", "datasets/seeded.py", "import deltalake"),
        ("one-border", "merging/seeded.py", "from obstore.store import LocalStore"),
        ("one-border", "merging/delta/seeded.py", "import great_expectations"),
        ("one-border", "merging/expectations/seeded.py", "import great_expectations"),
        ("one-border", "merging/sql/seeded.py", "import obstore"),
        ("one-border", "merging/engines/seeded.py", "import pyspark"),
        ("engine-rooms", "merging/sql/seeded.py", "from merging.delta import Snapshot"),
        ("engine-rooms", "merging/delta/seeded.py", TYPES_ONLY.format("merging.staging", "stage")),
        ("engine-rooms", "merging/errors.py", TYPES_ONLY.format("merging.threeway.plan", "MergePlan")),
        ("engine-rooms", "merging/store/seeded.py", "from merging.sql import quoting"),
        ("engine-rooms", "merging/drawer.py", "# a module that no room holds"),
        ("no-circles", "merging/delta/log.py", TYPES_ONLY.format("merging.delta.snapshot", "Snapshot")),
        ("change-request-layers", "changerequests/policies.py", "from changerequests.services import runs"),
        ("change-request-layers", "changerequests/facts.py", "from changerequests import policies"),
        ("change-request-layers", "changerequests/selectors.py", "from changerequests.facts import Facts"),
        ("change-request-layers", "changerequests/services/seeded.py", "from changerequests import tasks"),
        ("change-request-layers", "changerequests/states.py", "from changerequests import models"),
        ("change-request-layers", "changerequests/drawer.py", "# a module that no layer names"),
        ("engine-through-services", "web/seeded.py", "import merging"),
        ("engine-through-services", "api/seeded.py", "from merging import plan"),
        ("one-audit-writer", "changerequests/services/seeded.py", "from audit.models import Event"),
        ("one-audit-writer", "datasets/seeded.py", "from audit import models"),
    ],
)
def test_a_broken_contract_fails(copied_packages: Path, contract: str, module: str, line: str) -> None:
    path = copied_packages / module
    before = path.read_text() if path.exists() else ""
    path.write_text(f"{before}\n{line}\n")

    result = lint_imports(copied_packages, contract)

    assert result.returncode == 1, result.stdout + result.stderr
    assert "Contracts: 0 kept, 1 broken." in result.stdout, result.stdout + result.stderr


def test_every_contract_is_broken_by_some_test() -> None:
    marks = test_a_broken_contract_fails.pytestmark  # type: ignore[attr-defined]  # pytest adds it
    assert {case[0] for case in marks[0].args[1]} == set(CONTRACTS)


@pytest.mark.parametrize(
    ("contract", "module", "line"),
    [
        ("client-alone", "protocol.py", "from changerequests import states"),
        ("client-alone", "cli/seeded.py", "import django"),
        ("client-rooms", "errors.py", TYPES_ONLY.format("headgate.protocol", "Call")),
        ("client-rooms", "drawer.py", "# a module that no room holds"),
    ],
)
def test_a_broken_contract_of_the_client_fails(tmp_path: Path, contract: str, module: str, line: str) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(BASE_DIR / "client" / "headgate", tmp_path / "headgate", ignore=ignore)
    shutil.copy(BASE_DIR / "client" / "pyproject.toml", tmp_path)
    path = tmp_path / "headgate" / module
    path.write_text(f"{path.read_text() if path.exists() else ''}\n{line}\n")

    result = lint_imports(tmp_path, contract)

    assert result.returncode == 1, result.stdout + result.stderr
    assert "Contracts: 0 kept, 1 broken." in result.stdout, result.stdout + result.stderr
