"""The engine is installed by itself, with its own metadata, and its README's example runs without the application."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from shutil import copytree, ignore_patterns

import merging
from config.env import BASE_DIR

BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
#: Of what is installed only the engine and what its metadata asks for (and what that asks for) can be imported.
ALONE = """
import sys
from importlib.metadata import distribution, distributions, requires
from importlib.metadata import version as installed
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as canonical

wanted, pending = set(), ["headgate-merging"]
while pending:
    name = pending.pop()
    if name not in wanted:
        wanted.add(name)
        asked = [Requirement(line) for line in requires(name) or ()]
        pending += [canonical(one.name) for one in asked if not one.marker or one.marker.evaluate({"extra": ""})]

def modules(dists):
    return {file.parts[0].partition(".")[0] for dist in dists for file in dist.files or ()}

asked = modules(distribution(name) for name in wanted)
others = modules(dist for dist in distributions() if canonical(dist.name) not in wanted) - asked
assert {"django", "celery", "pandas", "pytest"} <= others

class Alone:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in others:
            raise ModuleNotFoundError(f"{name} is no part of what the engine asks for", name=name)

sys.meta_path.insert(0, Alone())
import merging
print(merging.__file__)
print(installed("headgate-merging"))
"""


def test_the_readmes_example_runs_with_nothing_but_what_the_engine_asks_for(tmp_path: Path) -> None:
    # Built on a copy: what a build leaves behind stays out of the checkout.
    copy = copytree(
        BASE_DIR / "merging", tmp_path / "merging", ignore=ignore_patterns("__pycache__", "build")
    )
    modules = {str(path.relative_to(tmp_path)) for path in copy.rglob("*.py")}
    subprocess.run([sys.executable, "-c", BUILD, tmp_path], cwd=copy, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        assert {name for name in packed.namelist() if name.endswith(".py")} == modules
        packed.extractall(tmp_path / "site")  # what pip does with a wheel of pure Python
    [example] = re.findall(
        r"```python\n(.*?)```", (BASE_DIR / "merging" / "README.md").read_text(), re.DOTALL
    )
    (tmp_path / "work").mkdir()

    ran = subprocess.run(
        [sys.executable, "-c", ALONE + example],
        cwd=tmp_path / "work",
        env={"PYTHONPATH": str(tmp_path / "site"), "PYTHONSAFEPATH": "1"},
        check=False,
        capture_output=True,
        text=True,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    place, version, plan, result = ran.stdout.splitlines()
    assert Path(place) == tmp_path / "site" / "merging" / "__init__.py"
    assert version == merging.ENGINE_VERSION
    assert plan == "1 added, 1 updated, 0 conflicts"
    assert result == (
        "version 1: ({'tailnum': 'N1', 'seats': 149}, {'tailnum': 'N2', 'seats': 180}, "
        "{'tailnum': 'N3', 'seats': 55})"
    )


def test_the_engine_asks_for_the_versions_that_the_application_is_tested_with() -> None:
    application, engine = (
        tomllib.loads((BASE_DIR / folder / "pyproject.toml").read_text())["project"]
        for folder in (".", "merging")
    )
    asked = {*application["dependencies"], *application["optional-dependencies"]["expectations"]}
    assert {*engine["dependencies"], *engine["optional-dependencies"]["expectations"]} <= asked
