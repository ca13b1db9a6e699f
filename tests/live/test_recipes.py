"""docs/recipes.md against the server itself: shell lines as they stand, Python with Airflow's and Dagster's own.

Airflow and Dagster are installed apart (``make test-recipes``); what needs neither runs with every test.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from accounts.scopes import Scope
from changerequests.models import ChangeRequest
from config.env import BASE_DIR
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import token_of
from tests.factories import DatasetFactory, person_with, rows_of

pytestmark = pytest.mark.usefixtures("merging_worker")

BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (BASE_DIR / "docs" / "recipes.md").read_text(), re.DOTALL)
#: Where `tests/install-recipes` puts Airflow and Dagster.
OTHERS = BASE_DIR / "var" / "recipes" / "bin" / "python"
RUN_AIRFLOW = """
import runpy, sys
operators = {task.task_id: task for task in runpy.run_path(sys.argv[1])["dag"].tasks}
propose, merge = operators["propose"], operators["merge"]
assert propose.downstream_task_ids == {"merge"}
made = propose.execute({"run_id": "scheduled__1"})
again = propose.execute({"run_id": "scheduled__1"})  # the scheduler tried once more
assert made == again, (made, again)
merge.cr_id = made
print(made, merge.execute({}))
merge.cr_id = "None"  # what the template makes of a proposal that changes nothing
assert merge.execute({}) is None
"""
RUN_DAGSTER = """
import runpy, sys
from dagster import materialize
recipe = runpy.run_path(sys.argv[1])
result = materialize([recipe["planes"]], resources=recipe["resources"])
assert result.success
"""


def block(language: str, word: str) -> str:
    [found] = [text for kind, text in BLOCKS if kind == language and word in text]
    return str(found)


@pytest.fixture
def planes(delta_data_root: Path) -> Dataset:
    """A dataset whose requests need no approval."""
    made: Dataset = DatasetFactory.create(required_approvals=0)
    return made


@pytest.fixture
def place(server: str, planes: Dataset, tmp_path: Path) -> dict[str, Any]:
    """A folder with the file that is proposed, and the environment that the recipes ask for."""
    (tmp_path / "planes.csv").write_text("tailnum,seats\nN1,99\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    paths = f"{programs}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    command = f'#!/bin/sh\nexec "{sys.executable}" -m headgate.cli "$@"\n'
    (programs / "headgate").write_text(command)
    (programs / "headgate").chmod(0o755)
    person = person_with(Role.CONTRIBUTOR, planes)
    environment = {
        **os.environ,
        "PATH": paths,
        "HEADGATE_URL": server,
        "HEADGATE_TOKEN": token_of(person, Scope.READ, Scope.PROPOSE, Scope.MERGE),
        "DATASET": f"{planes.project.slug}/{planes.slug}",
        "GITHUB_SHA": "0123abc",
        "DAGSTER_HOME": "",
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
    }
    return {"cwd": tmp_path, "env": environment}


def run(place: dict[str, Any], *command: str) -> str:
    done = subprocess.run(command, **place, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def seats_of_n1(dataset: Dataset) -> Any:
    return {row["tailnum"]: row["seats"] for row in rows_of(dataset)}["N1"]


def test_github_actions(place: dict[str, Any], planes: Dataset) -> None:
    steps = yaml.safe_load(block("yaml", "actions/checkout"))["jobs"]["propose"]["steps"]
    [script] = [step["run"] for step in steps if "headgate propose" in step.get("run", "")]
    run(place, "bash", "-eo", "pipefail", "-c", script)
    [made] = ChangeRequest.objects.filter(dataset=planes)
    assert (made.title, made.status) == ("planes.csv at 0123abc", "pending")
    assert made.merge_when_ready_by is not None or made.runs.exists()


def test_dbt(place: dict[str, Any], planes: Dataset) -> None:
    *_, propose = block("sh", "dbt build").strip().splitlines()
    python = "import pyarrow as pa, pyarrow.parquet as pq; "
    python += "pq.write_table(pa.table({'tailnum': ['N1', 'N2'], 'seats': [99, 2]}), 'planes.parquet')"
    run(place, sys.executable, "-c", python)
    run(place, "bash", "-eo", "pipefail", "-c", propose)
    run(place, "bash", "-eo", "pipefail", "-c", propose)  # built again, the same: one proposal
    [made] = ChangeRequest.objects.filter(dataset=planes)
    assert made.status == "pending"


@pytest.mark.recipes
@pytest.mark.parametrize(("word", "program"), [("airflow", RUN_AIRFLOW), ("dagster", RUN_DAGSTER)])
def test_schedulers(place: dict[str, Any], planes: Dataset, word: str, program: str) -> None:
    recipe = place["cwd"] / "recipe.py"
    recipe.write_text(block("python", f"headgate.integrations.{word}"))
    place["env"]["PYTHONPATH"] = str(BASE_DIR / "client")
    run(place, str(OTHERS), "-c", program, str(recipe))
    [made] = ChangeRequest.objects.filter(dataset=planes)
    if word == "airflow":
        assert (made.status, seats_of_n1(planes)) == ("merged", 99)
    else:
        assert made.status == "pending"
