"""The repository speaks of itself alone, and its locks hold what pyproject.toml asks for."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from config.env import BASE_DIR

#: Written apart, so that this file does not name them either.
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("repo1", "maven", "org"),
        ("deb", "debian", "org"),
    )
)
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+|opt/wheels)/")
INDEX_OPTION = re.compile(r"--(?:extra-)?index-url|--find-links|--trusted-host")


def repository_files() -> list[Path]:
    """Every file under version control, or that would be."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=BASE_DIR,
        check=True,
        capture_output=True,
        text=True,
    )
    return [path for name in listing.stdout.split("\0") if name and (path := BASE_DIR / name).is_file()]


def lines_of(path: Path) -> list[str]:
    """The lines of a text file; none of a binary one."""
    content = path.read_bytes()
    return [] if b"\0" in content[:8192] else content.decode(errors="replace").splitlines()


def test_no_file_names_a_registry_host_or_a_path_of_some_machine() -> None:
    found = [
        f"{path.relative_to(BASE_DIR)}:{number}: {line.strip()[:120]}"
        for path in repository_files()
        for number, line in enumerate(lines_of(path), start=1)
        if any(host in line for host in REGISTRY_HOSTS) or MACHINE_PATH.search(line)
    ]
    assert found == []


def test_the_patterns_find_what_they_are_for() -> None:
    assert MACHINE_PATH.search("cd /" + "work/main")
    assert MACHINE_PATH.search('"/' + 'home/someone/x"')
    assert not MACHINE_PATH.search("datasets/work/x")


def canonical(requirement: str) -> str:
    """The normalised name of a requirement (PEP 503)."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None, requirement
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def locked(lock: str) -> dict[str, str]:
    """Package to version, as a lock has them."""
    text = (BASE_DIR / "requirements" / f"{lock}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, flags=re.MULTILINE))


def test_the_locks_hold_every_dependency_in_one_version() -> None:
    project = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())
    runtime = {canonical(line) for line in project["project"]["dependencies"]}
    extras = project["project"]["optional-dependencies"]
    worker = runtime | {canonical(line) for line in extras["expectations"]}
    demo = worker | {canonical(line) for line in extras["demo"]}
    client = tomllib.loads((BASE_DIR / "client" / "pyproject.toml").read_text())["project"]
    asked = [
        project["dependency-groups"]["dev"],
        client["dependencies"],
        *client["optional-dependencies"].values(),
    ]
    dev = demo | {canonical(line) for lines in asked for line in lines}

    telemetry = worker | {canonical(line) for line in extras["telemetry"]}
    spark = worker | {canonical(line) for line in extras["spark"]}
    for lock, wanted in (
        ("runtime", runtime),
        ("worker", worker),
        ("telemetry", telemetry),
        ("demo", demo),
        ("spark", spark),
        ("dev", dev | telemetry | spark),
    ):
        assert wanted - locked(lock).keys() == set(), f"requirements/{lock}.txt: run `make lock`"
    assert locked("runtime").items() <= locked("worker").items() <= locked("demo").items()
    assert locked("demo").items() <= locked("dev").items()
    assert locked("telemetry").items() <= locked("dev").items()
    assert locked("spark").items() <= locked("dev").items()
    assert "great-expectations" not in locked("runtime"), "web processes check suites without it"
    assert (dev - demo) & locked("demo").keys() == set(), "development packages are kept out of the demo"


@pytest.mark.parametrize("lock", ["runtime", "worker", "telemetry", "spark", "demo", "dev", "build"])
def test_every_locked_file_has_a_hash_and_no_index_is_named(lock: str) -> None:
    text = (BASE_DIR / "requirements" / f"{lock}.txt").read_text()
    requirements = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    assert requirements
    assert [entry.split("\n")[0] for entry in requirements if "--hash=sha256:" not in entry] == []
    assert INDEX_OPTION.search(text) is None
