"""The installation of ``deploy/``, really run: its commands, its units' environment, its nginx and its Caddy.

An owner signs in, uploads more than nginx takes by default and merges it, through each proxy, while streams of events
are held through both; then one of the two web processes goes.
"""

import http.client
import shlex
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import pyarrow as pa
import pytest

import merging
from tests.deploy import reading
from tests.deploy.installation import HOST, Installation, caddy, installation, nginx

pytestmark = pytest.mark.services

PASSWORD = "a long one for this test alone"
ROWS = pa.table({"id": pa.array(range(100)), "value": pa.array([0.0] * 100)})
#: nginx takes 1 MB unless it is told otherwise; blank lines cost whoever reads them nothing.
LARGE = b"id,value\n%d,%d.5\n" + b"\n" * (3 << 20)
#: How long nginx waits for a web's next byte here: longer than streams are silent (15 s), shorter than one is held.
READ_SECONDS = 20
HELD_SECONDS = 31
PEOPLE = 50


@dataclass
class Heard:
    """Lines of a stream of events, with the seconds after its beginning at which they came."""

    lines: list[tuple[float, str]] = field(default_factory=list)

    def at(self, line: str) -> list[float]:
        return [seconds for seconds, said in self.lines if said == line]


@dataclass
class Site:
    """The installation as somebody sees it through one of the proxies."""

    port: int
    certificate: Path
    token: str = ""

    @property
    def origin(self) -> str:
        return f"https://{HOST}:{self.port}"

    def browser(self, *, seconds: float = 60) -> httpx.Client:
        """A browser, or a program where there is a token."""
        headers = {"Authorization": f"Token {self.token}"} if self.token else {}
        context = ssl.create_default_context(cafile=self.certificate)
        return httpx.Client(
            base_url=self.origin, verify=context, headers=headers, timeout=seconds, trust_env=False
        )

    def hold(self, seconds: float) -> Heard:
        """Follow the stream of one's inbox for so long."""
        heard, began = Heard(), time.monotonic()
        with self.browser() as browser, browser.stream("GET", "/api/v1/stream") as answer:
            assert answer.status_code == 200
            for line in answer.iter_lines():
                now = time.monotonic() - began
                heard.lines.append((now, line))
                if now > seconds - 1:
                    break
        return heard


@dataclass
class Running:
    """What the tests share."""

    made: Installation
    sites: dict[str, Site]
    streams: dict[str, Future[Heard]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An installation with an account and a dataset, two proxies, and a stream that is held through each."""
    folder = tmp_path_factory.mktemp("deploy")
    with installation(folder, children={}, LOG_LEVEL="INFO") as made, ThreadPoolExecutor(2) as pool:
        table = folder / "data" / "tables" / "readings"
        merging.create_table(str(table), ROWS)
        account = {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
        made.manage(
            "createsuperuser", "--noinput", "--username", "ada", "--email", "ada@example.org", **account
        )
        made.manage(
            *("register_dataset", str(table), "--key", "id", "--project", "first"),
            *("--create-project", "First", "--owner", "ada", "--required-approvals", "0"),
        )
        with nginx(made, read_seconds=READ_SECONDS) as one, caddy(made) as other:
            sites = {
                "nginx": Site(one, folder / "nginx" / "headgate.crt"),
                "caddy": Site(other, folder / "caddy" / "headgate.crt"),
            }
            for site in sites.values():
                with site.browser() as browser:
                    answer = browser.post(
                        "/api/v1/auth/token", json={"username": "ada", "password": PASSWORD, "name": "smoke"}
                    )
                    assert answer.status_code == 200, answer.text
                    site.token = answer.json()["token"]
            streams = {name: pool.submit(site.hold, HELD_SECONDS) for name, site in sites.items()}
            yield Running(made, sites, streams)


@pytest.fixture(params=["nginx", "caddy"])
def site(request: pytest.FixtureRequest, running: Running) -> Site:
    return running.sites[request.param]


def test_a_form_is_taken_behind_another_port_from_its_own_page_alone(site: Site) -> None:
    stranger = Site(site.port, site.certificate)
    with stranger.browser() as browser:
        page = browser.get("/sign-in/")
        assert (page.status_code, page.headers["Strict-Transport-Security"][:8]) == (200, "max-age=")
        form = {"username": "ada", "password": PASSWORD, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        elsewhere = f"https://{HOST}"  # the same name at port 443: another site
        refused = browser.post("/sign-in/", data=form, headers={"Origin": elsewhere})
        assert refused.status_code == 403
        assert "sessionid" not in browser.cookies
        taken = browser.post("/sign-in/", data=form, headers={"Origin": site.origin})
        assert (taken.status_code, taken.headers["Location"]) == (302, "/")
        assert browser.get("/").status_code == 200


def test_a_large_upload_is_merged_through_the_proxy(running: Running, site: Site) -> None:
    key = site.port % 100
    with site.browser() as program:
        sent = program.post(
            "/api/v1/datasets/first/readings/proposals?title=One&submit=true",
            content=LARGE % (key, key),
            headers={"Content-Type": "text/csv", "Prefer": "wait=60"},
        )
        assert (sent.status_code, sent.json()["outcome"]) == (201, "submitted"), sent.text
        cr_id = sent.json()["change_request"]["cr_id"]
        merged = program.post(
            f"/api/v1/change_requests/{cr_id}/merge", json={}, headers={"Prefer": "wait=60"}
        )
        assert (merged.status_code, merged.json()["status"]) == (200, "succeeded"), merged.text
        rows = program.get("/api/v1/datasets/first/readings/rows", params={"limit": 100})
        assert rows.status_code == 200, rows.text
    assert f"{key}.5" in rows.text


def test_who_calls_is_whoever_connects_to_the_proxy_whatever_they_say(running: Running, site: Site) -> None:
    with site.browser() as program:
        marked = f"/api/v1/datasets/from-{site.port}"
        answer = program.get(marked, headers={"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http"})
        assert answer.status_code == 404
    logs = "".join((running.made.folder / f"web-{port}.log").read_text() for port in running.made.web_ports)
    lines = [line for line in logs.splitlines() if marked in line]
    assert lines
    assert [line for line in lines if "203.0.113.9" in line] == []


def test_figures_are_not_for_whoever_comes_through_the_proxy(site: Site) -> None:
    with site.browser() as program:
        assert program.get("/metrics").status_code == 404


def test_fifty_people_on_two_webs_are_all_answered_within_the_connections(running: Running) -> None:
    def read(number: int) -> int:
        site = running.sites["nginx" if number % 2 else "caddy"]
        with site.browser() as program:
            return program.get("/api/v1/change_requests").status_code

    with ThreadPoolExecutor(PEOPLE) as pool, psycopg.connect(running.made.database_url) as database:
        calls = [pool.submit(read, number) for number in range(PEOPLE)]
        taken = []
        while not all(call.done() for call in calls):
            [row] = database.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = 'headgate' AND pid <> pg_backend_pid()"
            ).fetchall()
            taken.append(row[0])
    assert [call.result() for call in calls] == [200] * PEOPLE
    processes = 4  # of workers, in this test one for each queue
    assert max(taken) <= 2 * 10 + 2 * processes + 5


def test_streams_are_passed_on_at_once_and_outlive_the_proxies_patience(running: Running) -> None:
    for name, stream in running.streams.items():
        heard = stream.result()
        assert heard.lines[0][0] < 3, f"{name} held the beginning back"
        silent = heard.at(": still here")
        assert silent, f"{name}: {heard.lines}"
        assert heard.lines[-1][0] > READ_SECONDS


def test_when_one_web_goes_the_other_answers_and_when_it_comes_back_nobody_has_noticed(
    running: Running,
) -> None:
    port = running.made.web_ports[0]
    web = running.made.processes[f"web-{port}"]
    web.ask_to_stop()
    assert web.wait(20) in (0, -signal.SIGTERM), web.log_tail()
    for site in running.sites.values():
        with site.browser() as program:
            answers = [program.get("/api/v1/datasets").status_code for _ in range(10)]
        assert answers == [200] * 10
    running.made.start_web(port)
    _, unit = reading.unit("headgate-web@.service")
    subprocess.run(shlex.split(unit["ExecStartPost"].replace("%i", str(port))), check=True, timeout=20)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/readyz")
    assert connection.getresponse().status == 200
    connection.close()


def test_what_tells_orchestrators_that_workers_go_on_is_there(running: Running) -> None:
    temporary = Path(running.made.environment["TMPDIR"])
    assert {path.name for path in temporary.glob("headgate-*-alive")} == {
        "headgate-worker-alive",
        "headgate-schedule-alive",
    }
