"""What the files of ``deploy/`` say, compared with each other, with the settings, and judged by systemd."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

from config.alive import SCHEDULE_FILE, WORKER_FILE
from config.env import BASE_DIR, Environment
from tests.deploy import reading
from tests.deploy.installation import QUEUES
from tests.deploy.weights import can_weigh, weighed

SERVICES: dict[str, Any] = reading.compose(HEADGATE_HOST="h.example", HEADGATE_ORIGIN="https://h.example")[
    "services"
]
CHART = reading.DEPLOY / "helm" / "headgate"
UNITS = ("headgate-web@", "headgate-worker@", "headgate-schedule", "headgate-migrate")
#: What a unit's command is to have beside its counterpart in a container: where, under which name, how many.
PLACED = re.compile(r" --(?:host|port|hostname|concurrency) \S+")


def plain(command: list[str]) -> str:
    """A command without where its program lies and what differs from machine to machine."""
    return PLACED.sub("", " ".join([command[0].rpartition("/")[2], *command[1:]]))


def chart_commands() -> dict[str, str]:
    """The commands of the chart's templates, by file."""
    found = {}
    for path in sorted((CHART / "templates").glob("*.yaml")):
        for line in path.read_text().splitlines():
            if line.strip().startswith("command: [") and "sleep" not in line:
                words = re.sub(r"\{\{.*?\}\}", "x", line.split("command: ")[1])
                command = [str(word) for word in yaml.safe_load(words)]
                found[f"{path.name} {command[3] if len(command) > 3 else command[0]}"] = plain(command)
    return found


def test_each_way_starts_the_same_programs() -> None:
    web, _ = reading.unit("headgate-web@.service", "8000")
    schedule, _ = reading.unit("headgate-schedule.service")
    migrate, _ = reading.unit("headgate-migrate.service")
    workers = {queue: plain(reading.unit("headgate-worker@.service", queue)[0]) for queue in QUEUES}
    assert plain(reading.image_command()) == plain(web)
    assert plain(SERVICES["migrate"]["command"]) == plain(migrate)
    assert plain(SERVICES["schedule"]["command"]) == plain(schedule)
    assert {queue: plain(SERVICES[f"worker-{queue}"]["command"]) for queue in QUEUES} == workers
    assert [name for name in SERVICES if name.startswith("worker-")] == [
        f"worker-{queue}" for queue in QUEUES
    ]
    assert list(chart_commands().values()) == [
        plain(migrate),
        plain(web),
        workers["merging"].replace("merging", "x"),
        plain(schedule),
    ]


def test_proxies_let_go_of_connections_before_the_webs_close_them() -> None:
    """Else a web closes one at the moment in which a form is sent on it: that is answered 502, and not sent again."""
    command = plain(reading.image_command())
    kept = int(re.findall(r"--timeout-keep-alive (\d+)", command)[0])
    for proxy, said in (
        ("nginx/headgate.conf", r"keepalive_timeout (\d+)s;"),
        ("caddy/Caddyfile", r"\tkeepalive (\d+)s"),
    ):
        [seconds] = re.findall(said, (reading.DEPLOY / proxy).read_text())
        assert int(seconds) < kept


def test_every_queue_has_a_worker() -> None:
    routed = {route["queue"] for route in settings.CELERY_TASK_ROUTES.values()}
    assert routed | {settings.CELERY_TASK_DEFAULT_QUEUE} == set(QUEUES)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(values["workers"]) == set(QUEUES)
    target = (reading.DEPLOY / "systemd" / "headgate.target").read_text()
    assert set(re.findall(r"headgate-worker@(\w+)", target)) == set(QUEUES)


def test_the_environments_name_what_the_settings_read() -> None:
    known = {name.upper() for name in vars(Environment())}
    known |= {f"{name}_FILE" for name in known}
    of_chart = set(re.findall(r"name: ([A-Z_]+), value", (CHART / "templates" / "_helpers.tpl").read_text()))
    of_compose = set(SERVICES["web-1"]["environment"])
    of_units = set(reading.unit_environment())
    assert (of_chart | of_compose | of_units) - known == set()
    assert of_compose | {"DELTA_DATA_ROOT"} == of_units
    assert of_chart - {"DATABASE_CONNECTIONS"} == of_units


def test_the_secrets_that_are_asked_for_are_those_that_are_made(tmp_path: Path) -> None:
    made = [reading.DEPLOY / "write-secrets", tmp_path / "secrets"]
    subprocess.run(made, check=True, capture_output=True)
    files = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    whole = reading.compose()
    assert set(files) == set(whole["secrets"])
    assert set(SERVICES["web-1"]["secrets"]) == set(files) - {"database_password"}
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "secrets").iterdir()} == {0}
    subprocess.run(made, check=True, capture_output=True)
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == files


def test_questions_ask_for_what_is_there() -> None:
    asked = [
        SERVICES["worker-merging"]["healthcheck"]["test"][1],
        SERVICES["schedule"]["healthcheck"]["test"][1],
    ]
    assert f"find /tmp/{WORKER_FILE} " in asked[0]
    assert f"find /tmp/{SCHEDULE_FILE} " in asked[1]
    chart = (CHART / "templates" / "workers.yaml").read_text()
    assert [question.removeprefix("test ").replace("$$", "$") in chart for question in asked] == [True, True]
    [image] = [one.words for one in reading.containerfile() if one.name == "HEALTHCHECK"]
    assert "http://127.0.0.1:8000/livez" in image[2]


def test_nothing_of_the_image_runs_as_root_or_writes_into_it() -> None:
    instructions = reading.containerfile()
    users = [place for place, one in enumerate(instructions) if one.name == "USER"]
    assert [instructions[place].rest for place in users] == ["10001:10001"]
    assert [one.name for one in instructions[users[0] :] if one.name in ("RUN", "COPY", "ADD")] == []
    for name, service in SERVICES.items():
        if "headgate" in str(service.get("image")):
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name


@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_the_units_and_finds_little_exposed(name: str, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    assert program is not None, "systemd-analyze is missing (Debian: apt-get install systemd)"
    for path in (reading.DEPLOY / "systemd").glob("headgate*"):
        text = path.read_text().replace(reading.INSTALLED, str(BASE_DIR))
        (tmp_path / path.name).write_text(re.sub("=headgate$", "=daemon", text, flags=re.MULTILINE))
    unit = f"./{name}merging.service" if name.endswith("@") else f"./{name}.service"
    verified = subprocess.run(
        [program, "verify", "--man=no", unit], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    complaints = [
        line for line in verified.stderr.splitlines() if str(tmp_path) in line or "headgate" in line
    ]
    assert (verified.returncode, complaints) == (0, [])
    judged = subprocess.run(
        [program, "security", "--offline=true", "--threshold=25", "--no-pager", unit],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout


def test_the_units_stop_workers_as_they_are_to_be_stopped() -> None:
    _, worker = reading.unit("headgate-worker@.service", "merging")
    assert (worker["KillMode"], worker["TimeoutStopSec"]) == ("mixed", "3600")
    longest = max(int(SERVICES[f"worker-{queue}"]["stop_grace_period"].removesuffix("h")) for queue in QUEUES)
    assert longest * 3600 >= settings.CELERY_TASK_TIME_LIMIT


def test_people_come_before_what_can_wait_in_each_way() -> None:
    _, web = reading.unit("headgate-web@.service")
    _, worker = reading.unit("headgate-worker@.service")
    assert "CPUWeight" not in web
    assert int(worker["CPUWeight"]) * 5 <= 100

    for name, service in reading.compose()["services"].items():
        if name.startswith("web"):
            assert "cpu_shares" not in service
        if name.startswith("worker"):
            assert service["cpu_shares"] * 5 <= 1024

    values = yaml.safe_load((reading.DEPLOY / "helm" / "headgate" / "values.yaml").read_text())
    of_web = _millis(values["web"]["resources"])
    for told in values["workers"].values():
        assert _millis(told["resources"]) * 5 <= of_web


def _millis(resources: dict[str, Any]) -> int:
    return int(resources["requests"]["cpu"].removesuffix("m"))


def test_what_a_unit_weighs_is_kept_where_the_machine_allows_it() -> None:
    with weighed("10") as before:
        said = subprocess.run(
            [*before, "cat", "/proc/self/cgroup"], capture_output=True, text=True, check=True
        )

    assert ("/headgate-" in said.stdout) == can_weigh()
