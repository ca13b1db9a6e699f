"""The export: a filtered range as JSON lines that can be verified without the database."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import transaction

from audit.chain import commitments_of, event_hash
from audit.export import ExportFilter, export_lines
from audit.keys import key_called
from audit.models import Event
from audit.services import record

pytestmark = pytest.mark.django_db


@pytest.fixture
def trail() -> None:
    for day, stream, actor, subject in (
        (1, "dataset:1", "vera", "CR-1"),
        (2, "dataset:1", "carl", "CR-2"),
        (3, "dataset:2", "vera", "CR-3"),
    ):
        with time_machine.travel(datetime(2026, 1, day, 12, tzinfo=UTC), tick=False), transaction.atomic():
            record(
                stream=stream,
                action="comment.added",
                subject_type="change_request",
                subject_id=subject,
                actor=actor,
                data={"text": "ä\n"},
            )


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (ExportFilter(), ["CR-1", "CR-2", "CR-3"]),
        (ExportFilter(stream="dataset:1"), ["CR-1", "CR-2"]),
        (ExportFilter(actor="vera"), ["CR-1", "CR-3"]),
        (ExportFilter(subject_type="change_request", subject_id="CR-2"), ["CR-2"]),
        (ExportFilter(action="nothing"), []),
        (ExportFilter(since=datetime(2026, 1, 2, 12, tzinfo=UTC)), ["CR-2", "CR-3"]),
        (ExportFilter(until=datetime(2026, 1, 2, 12, tzinfo=UTC)), ["CR-1"]),
    ],
)
@pytest.mark.usefixtures("trail")
def test_a_range_is_exported(wanted: ExportFilter, expected: list[str]) -> None:
    assert [json.loads(line)["subject_id"] for line in export_lines(wanted)] == expected


@pytest.mark.usefixtures("trail")
def test_a_line_can_be_verified_without_the_database() -> None:
    for text in export_lines(ExportFilter()):
        line = json.loads(text)
        claimed = line.pop("hash")
        line["occurred_at"] = datetime.fromisoformat(line["occurred_at"])
        key = key_called(line["key_id"])
        assert key is not None
        assert event_hash(key, commitments_of(line["salt"], line["redactions"]), line) == claimed
        assert Event.objects.filter(hash=claimed).exists()


@pytest.mark.usefixtures("trail")
def test_the_command_writes_a_new_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trail.jsonl"
    call_command(
        "export_audit", "--since", "2026-01-02", "--until", "2026-01-03T00:00:00Z", "--output", str(path)
    )
    assert [json.loads(line)["subject_id"] for line in path.read_text().splitlines()] == ["CR-2"]
    assert capsys.readouterr().err == "1 events exported.\n"
    with pytest.raises(CommandError, match="File exists"):
        call_command("export_audit", "--output", str(path))


@pytest.mark.usefixtures("trail")
def test_the_command_writes_to_the_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("export_audit", "--actor", "carl")
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["subject_id"] for line in lines] == ["CR-2"]


def test_a_time_that_is_none_is_refused() -> None:
    for text in ("yesterday", "2026-13-01", "2026-02-31"):
        with pytest.raises(CommandError, match="is no time"):
            call_command("export_audit", "--since", text)
