"""Uploads on real services, where processes are killed: the upload ends told and cleaned, the request is whole."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from changerequests.models import ChangeRequest, Revision, Upload
from changerequests.services import uploads
from changerequests.states import Status, UploadState
from config.env import BASE_DIR
from demo.processes import ManagedProcess, wait_until, web_command, worker_command
from tests import services
from tests.api.clients import token_of
from tests.factories import ChangeRequestFactory, DatasetFactory
from tests.kept import upload_folder
from tests.live.server import Connection, form_with
from tests.patience import until

pytestmark = pytest.mark.services

#: Enough rows that a reader is met while it reads.
MANY_ROWS = "tailnum,seats\n" + "".join(f"N{number},{number}\n" for number in range(60_000))
Start = Callable[[str], ManagedProcess]


@pytest.fixture
def environment(process_environment: dict[str, str]) -> dict[str, str]:
    """Processes whose leases end soon, and a sweep that looks often."""
    return {**process_environment, "DJANGO_SETTINGS_MODULE": "tests.faults.settings"}


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Start a worker by name, with the schedule; whatever is left of it ends with the test."""
    with ExitStack() as stack:

        def started(name: str) -> ManagedProcess:
            log = tmp_path / f"{name}.log"
            command = worker_command(concurrency=1, beat=True)
            beat = ["--hostname", f"{name}@uploads", "--schedule", str(tmp_path / f"{name}-beat")]
            worker = ManagedProcess(
                name, [*command, *beat], environment=environment, folder=BASE_DIR, log=log
            )
            stack.callback(worker.kill)
            wait_until(worker, lambda: " ready." in log.read_text(errors="replace"), seconds=60)
            return worker

        yield started


@pytest.fixture
def draft(transactional_db: None) -> ChangeRequest:
    return ChangeRequestFactory.create(dataset=DatasetFactory.create(), csv=None, status=Status.DRAFT)


def received(draft: ChangeRequest, folder: Path) -> Upload:
    path = folder / "rows.csv"
    path.write_text(MANY_ROWS)
    content = uploads.ReceivedFile(path)
    return uploads.receive(change_request_id=draft.pk, actor=draft.author, content=content)


def parent_of(pid: int) -> int:
    """0 for a process that has ended: others end theirs meanwhile."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def readers() -> list[int]:
    """Processes that read an upload: those that a server of confined processes has forked."""
    confined = set()
    for one in Path("/proc").iterdir():
        if one.name.isdecimal():
            try:
                if b"confinement/starting.py" in (one / "cmdline").read_bytes():
                    confined.add(int(one.name))
            except OSError:
                continue  # it ended meanwhile
    return [pid for pid in confined if parent_of(pid) in confined]


def held_reader(worker: ManagedProcess) -> int:
    """The process that reads for the worker, stopped in the middle of it."""
    deadline = time.monotonic() + 60
    while True:
        for pid in readers():
            if is_of(pid, worker.pid):
                os.kill(pid, signal.SIGSTOP)
                return pid
        assert time.monotonic() < deadline, "nobody reads"
        time.sleep(0.005)


def is_of(pid: int, ancestor: int) -> bool:
    while pid > 1:
        pid = parent_of(pid)
        if pid == ancestor:
            return True
    return False


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_fs1_a_reader_that_crashes_is_told_and_its_worker_goes_on(
    start: Start, draft: ChangeRequest, tmp_path: Path
) -> None:
    worker = start("first")
    upload = received(draft, tmp_path)
    reader = held_reader(worker)
    os.kill(reader, signal.SIGSEGV)
    os.kill(reader, signal.SIGCONT)

    ended = uploads.wait_for_upload(upload.pk, 60)
    assert (ended.state, ended.error_code, ended.attempts) == (UploadState.FAILED, "reader_died", 1)
    assert "SIGSEGV" in ended.error_message
    until(lambda: not upload_folder(upload).exists(), "its file is removed")
    assert not Revision.objects.exists()

    again = uploads.wait_for_upload(received(draft, tmp_path).pk, 60)
    assert (again.state, again.error_message) == (UploadState.STAGED, "")
    assert again.worker == ended.worker
    assert draft.revisions.get() == again.revision


def test_an_upload_whose_worker_was_killed_is_staged_once_by_another(
    start: Start, draft: ChangeRequest, tmp_path: Path
) -> None:
    worker = start("first")
    upload = received(draft, tmp_path)
    reader = held_reader(worker)
    worker.kill()
    until(lambda: is_gone(reader), "the reader ends with its worker")

    start("second")
    ended = uploads.wait_for_upload(upload.pk, 60)
    assert (ended.state, ended.error_message, ended.attempts) == (UploadState.STAGED, "", 2)
    assert ended.rows_read == 60_000
    assert draft.revisions.get() == ended.revision
    until(lambda: not upload_folder(upload).exists(), "its file is removed")


def test_what_a_killed_web_process_received_is_staged(
    start: Start, environment: dict[str, str], draft: ChangeRequest, tmp_path: Path
) -> None:
    port = services.free_port()
    # Its bells are heard by nobody: it dies between the receipt and the message.
    deaf = {**environment, "CELERY_BROKER_URL": "memory://"}
    log = tmp_path / "web.log"
    web = ManagedProcess("web", web_command(port=port), environment=deaf, folder=BASE_DIR, log=log)
    try:
        wait_until(web, lambda: services.answers_livez(port), seconds=60)
        body, kind = form_with("rows.csv", MANY_ROWS.encode())
        answer = Connection(f"http://127.0.0.1:{port}", token=token_of(draft.author)).call(
            "POST",
            f"/api/v1/change_requests/{draft.cr_id}/upload",
            body,
            Content_Type=kind,
            Prefer="respond-async",
        )
    finally:
        web.kill()
    assert (answer.status, answer.json()["state"]) == (202, "received")

    start("worker")
    ended = uploads.wait_for_upload(answer.json()["id"], 60)
    assert (ended.state, ended.error_message) == (UploadState.STAGED, "")
    assert draft.revisions.get() == ended.revision
    until(lambda: not upload_folder(ended).exists(), "its file is removed")
