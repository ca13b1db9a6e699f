"""The import contracts of pyproject.toml hold, and each of them really fails when somebody breaks it."""

import json
import shutil
import subprocess
import sys
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

PROGRAM = Path(__file__).with_name("contracts_with_lines.py")
#: Contract, module and the line that breaks the contract there.
BREAKING = (
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
)
BREAKING_IN_THE_CLIENT = (
    ("client-alone", "headgate/protocol.py", "from changerequests import states"),
    ("client-alone", "headgate/cli/seeded.py", "import django"),
    ("client-rooms", "headgate/errors.py", TYPES_ONLY.format("headgate.protocol", "Call")),
    ("client-rooms", "headgate/drawer.py", "# a module that no room holds"),
)


def unbroken(folder: Path, *written: tuple[str, str, str]) -> list[str]:
    """Of the lines, each added by itself to its module of the packages in a folder, those that import-linter lets
    through, or says anything else of than that they break their one contract.
    """
    ran = subprocess.run(
        [sys.executable, PROGRAM],
        cwd=folder,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        input=json.dumps(written),
        env={"PYTHONPATH": str(folder), "COLUMNS": "200"},
    )
    return [
        f"{contract}: {module}: {line}: {said}"
        for (contract, module, line), (ended, said) in zip(written, json.loads(ran.stdout), strict=True)
        if ended != 1 or "Contracts: 0 kept, 1 broken." not in said
    ]


def test_all_contracts_hold() -> None:
    program = (
        "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=BASE_DIR,
        check=False,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(BASE_DIR), "COLUMNS": "200"},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in result.stdout


def test_a_broken_contract_fails(tmp_path: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__", "*.html", "*.js", "*.css")
    for package in PACKAGES:
        shutil.copytree(BASE_DIR / package, tmp_path / package, ignore=ignore)
    shutil.copy(BASE_DIR / "pyproject.toml", tmp_path)
    assert {contract for contract, _, _ in BREAKING} == set(CONTRACTS)
    assert unbroken(tmp_path, *BREAKING) == []


def test_a_broken_contract_of_the_client_fails_and_a_line_that_breaks_none_is_told(tmp_path: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(BASE_DIR / "client" / "headgate", tmp_path / "headgate", ignore=ignore)
    shutil.copy(BASE_DIR / "client" / "pyproject.toml", tmp_path)
    harmless = ("client-alone", "headgate/protocol.py", "import json")
    [told] = unbroken(tmp_path, *BREAKING_IN_THE_CLIENT, harmless)
    assert told.startswith("client-alone: headgate/protocol.py: import json: ")
    assert "Contracts: 1 kept, 0 broken." in told
