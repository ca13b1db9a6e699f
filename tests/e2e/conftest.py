"""A browser in front of the demo: its own database, broker, worker and web process, with the demo's data."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page
from playwright.sync_api import Error as PlaywrightError

from config.env import BASE_DIR
from demo.broker import EmbeddedBroker
from demo.users import DEMO_PASSWORD
from tests import options, services
from tests.migrated import begin_migrated

#: What Chromium needs in containers, and what keeps it from calling home.
CHROMIUM_OPTIONS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-gpu",
)
PICTURES = BASE_DIR / "docs" / "pictures"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here drives a browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The system's Chromium; without one the tests are skipped, or fail where a browser is required."""
    try:
        return services.find_chromium()
    except services.ServiceMissingError as error:
        if options.browser_required():
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any], chromium: Path) -> dict[str, Any]:
    """Drive the system's Chromium."""
    return {**browser_type_launch_args, "executable_path": str(chromium), "args": list(CHROMIUM_OPTIONS)}


@pytest.fixture(scope="session")
def demo(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running demo. Tests share it, so each works on change requests of its own."""
    with running_demo(tmp_path_factory.mktemp("demo")) as address:
        yield address


#: The environment of each demo that runs, by its address: what its commands need.
_environments: dict[str, dict[str, str]] = {}


#: The process in which each demo's programs run, by its address: to start Django takes seconds.
_shells: dict[str, subprocess.Popen[str]] = {}
_SHELL = """
import json, sys, traceback
import django
answers, sys.stdout = sys.stdout, sys.stderr  # what is logged is no answer
django.setup()
for line in sys.stdin:
    try:
        exec(json.loads(line), {})
        print("", file=answers, flush=True)
    except Exception:
        print(json.dumps(traceback.format_exc()), file=answers, flush=True)
"""


def run_in_shell(address: str, program: str) -> None:
    """Run a program on the machine of a demo, as ``manage.py shell`` would."""
    if address not in _shells:
        _shells[address] = subprocess.Popen(
            [sys.executable, "-c", _SHELL], cwd=BASE_DIR, env=_environments[address],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
    shell = _shells[address]
    assert shell.stdin is not None
    assert shell.stdout is not None
    shell.stdin.write(json.dumps(program) + "\n")
    shell.stdin.flush()
    answer = shell.stdout.readline()
    assert answer == "\n", json.loads(answer or '"The shell ended."')


@contextmanager
def running_demo(folder: Path, *seeding: str) -> Iterator[str]:
    """A demo with a database, tables (in ``folder / "delta"``), broker, worker and web process of its own."""
    broker = EmbeddedBroker(folder)
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.e2e.settings",
        "SECRET_KEY": "only for the browser tests",
        "DATABASE_URL": f"sqlite:///{folder / 'headgate.sqlite3'}",
        "CELERY_BROKER_URL": broker.url,
        "DELTA_DATA_ROOT": str(folder / "delta"),
        "C_FORCE_ROOT": "1",
    }
    migrated = begin_migrated(folder / "headgate.sqlite3")
    commands = [*([] if migrated else [["migrate"]]), ["seed_demo", *seeding]]
    try:
        for command in commands:
            subprocess.run(
                [sys.executable, "manage.py", *command, "--verbosity", "0"],
                cwd=BASE_DIR,
                env=environment,
                check=True,
                stdout=subprocess.DEVNULL,
            )
        with (
            services.worker_process(environment, folder / "worker.log"),
            services.web_process(environment, folder / "web.log") as address,
        ):
            _environments[address] = environment
            try:
                yield address
            finally:
                if shell := _shells.pop(address, None):
                    shell.communicate()
    finally:
        broker.stop()


class Person:
    """Somebody in front of a browser. Errors in the console are collected, and must stay none."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.context = context
        self.address = address
        self.user_name = ""
        self.parts: dict[str, str] = {}  # paths of what was made for this person
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        # A refused form (409, 422) is an answer like any other; the browser notes it as an error all the same.
        if message.type == "error" and "status of 4" not in message.text:
            self.complaints.append(message.text)

    def sign_in(self, user_name: str) -> None:
        """Sign in as one of the demo's people."""
        self.user_name = user_name
        self.go("/sign-in/")
        self.page.get_by_label("User name").fill(user_name)
        self.page.get_by_label("Password").fill(DEMO_PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("heading", name="Change requests", exact=True).wait_for()

    def go(self, path: str) -> None:
        """Open a page of the demo; once more where the page before led on by itself at this very moment."""
        try:
            self.page.goto(self.address + path)
        except PlaywrightError as error:
            if "ERR_ABORTED" not in error.message:
                raise
            self.page.wait_for_load_state()
            self.page.goto(self.address + path)

    def open_request(self, title: str) -> str:
        """Find a change request by its title from the first page and open it; answers its path."""
        self.go(f"/?q={title}")
        self.page.get_by_role("link", name=title, exact=True).click()
        self.page.get_by_role("heading", name=title).wait_for()
        return self.page.url.removeprefix(self.address)

    def look_at_rows(self, path: str, rows: str) -> None:
        """Paste rows where a request to a dataset begins, or gets new content, and look at them."""
        self.go(path)
        self.page.get_by_label("Rows from a spreadsheet, or CSV").fill(rows)
        self.page.locator("section", has=self.page.get_by_role("heading", name="Paste")).get_by_role(
            "button", name="Look at it first"
        ).click()
        self.page.get_by_role("heading", name="What pasted rows would change").wait_for()

    def save_as_draft(self, title: str, rows: str, dataset: str = "new-york-2013/airports") -> None:
        """A draft of one's own with these rows."""
        self.look_at_rows(f"/datasets/{dataset}/new/", rows)
        self.page.get_by_label("Title").fill(title)
        self.page.get_by_role("button", name="Save as draft").click()


SignIn = Callable[..., Person]


@pytest.fixture
def sign_in(browser: Browser, demo: str) -> Iterator[SignIn]:
    """Open a browser window of its own and sign in: ``sign_in("olivia", java_script_enabled=False)``."""
    people: list[Person] = []

    def enter(user_name: str, **options: Any) -> Person:
        options.setdefault("viewport", {"width": 1280, "height": 900})
        options.setdefault("reduced_motion", "reduce")
        person = Person(browser.new_context(**options), demo)
        people.append(person)
        person.sign_in(user_name)
        return person

    yield enter
    complaints = [complaint for person in people for complaint in person.complaints]
    for person in people:
        person.context.close()
    assert complaints == []


@pytest.fixture
def picture(tmp_path: Path) -> Callable[[str], Path]:
    """Where a picture goes: to the test's own folder, or to docs/pictures with ``UPDATE_PICTURES=1``."""

    def path(name: str) -> Path:
        return (PICTURES if options.UPDATE_PICTURES else tmp_path) / name

    return path
