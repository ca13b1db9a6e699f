"""The chain of events: appended in order, never changed, and any tampering is named."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from audit.chain import PLAIN_FIELDS, commitments_of, event_hash, plain_hash
from audit.errors import EventsAreAppendOnly
from audit.keys import AuditKey
from audit.models import Chain, Event
from audit.services import Break, record, verify_chains
from audit.triggers import DROP_TRIGGERS

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def write(stream: str, count: int) -> list[Event]:
    with transaction.atomic():
        return [
            record(
                stream=stream,
                action="comment.added",
                subject_type="change_request",
                subject_id="CR-1",
                actor="vera",
                data={"number": number},
            )
            for number in range(count)
        ]


def tamper(*statements: str) -> None:
    """Change the trail as somebody would who owns the database: by lifting its triggers first."""
    with connection.cursor() as cursor:
        for statement in (*DROP_TRIGGERS[connection.vendor], *statements):
            cursor.execute(statement)


def test_events_of_a_stream_are_numbered_and_linked() -> None:
    first, second, third = write("dataset:1", 3)
    assert [first.sequence, second.sequence, third.sequence] == [1, 2, 3]
    assert first.previous_hash == ""
    assert second.previous_hash == first.hash
    assert third.previous_hash == second.hash
    chain = Chain.objects.get(stream="dataset:1")
    assert (chain.last_sequence, chain.last_hash) == (3, third.hash)


def test_who_lifts_its_triggers_takes_its_tables_in_the_order_of_those_who_write() -> None:
    """Else an erasure waits for whoever writes, who waits for it: on PostgreSQL it takes whole tables."""
    with CaptureQueriesContext(connection) as writing:
        write("dataset:1", 1)
    written = re.findall(
        r'(?:FROM|INTO|UPDATE) "(audit_(?:chain|event))"', " ".join(q["sql"] for q in writing)
    )
    lifted = [statement.rpartition(" ")[2] for statement in DROP_TRIGGERS["postgresql"]]
    assert list(dict.fromkeys(lifted)) == list(dict.fromkeys(written))


def test_streams_do_not_share_their_numbers() -> None:
    write("dataset:1", 2)
    (other,) = write("dataset:2", 1)
    assert (other.sequence, other.previous_hash) == (1, "")


def test_the_hash_covers_every_field() -> None:
    content: dict[str, Any] = {
        "stream": "dataset:1",
        "sequence": 1,
        "occurred_at": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        "actor": "vera",
        "action": "comment.added",
        "subject_type": "change_request",
        "subject_id": "CR-1",
        "data": {"b": 1, "a": [None, "ä"]},
        "request_id": "",
        "previous_hash": "",
        "rows": {"comment 1": "1:a:b"},
    }
    key, salted = AuditKey("one", b"secret"), commitments_of("ab" * 16, None)
    known = event_hash(key, salted, content)
    assert known == event_hash(key, salted, {**content, "data": {"a": [None, "ä"], "b": 1}})
    others = {
        event_hash(key, salted, {**content, name: value})
        for name, value in {
            "stream": "dataset:2",
            "sequence": 2,
            "occurred_at": datetime(2026, 1, 2, 3, 4, 5, 7, tzinfo=UTC),
            "actor": "carl",
            "action": "comment.removed",
            "subject_type": "dataset",
            "subject_id": "CR-2",
            "data": {"a": [None, "a"], "b": 1},
            "request_id": "r",
            "previous_hash": known,
            "rows": {"comment 1": "1:a:c"},
        }.items()
    } | {
        event_hash(AuditKey("two", b"secret"), salted, content),
        event_hash(AuditKey("one", b"Secret"), salted, content),
        event_hash(key, commitments_of("ac" * 16, None), content),
    }
    assert len(others) == 14
    assert known not in others


def test_events_are_append_only() -> None:
    (event,) = write("dataset:1", 1)
    event.actor = "carl"
    for attempt in (
        event.save,
        event.delete,
        Event.objects.all().delete,
        lambda: Event.objects.update(actor="carl"),
    ):
        with pytest.raises(EventsAreAppendOnly):
            attempt()
    assert Event.objects.get().actor == "vera"


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit_event SET actor = 'carl' WHERE sequence = 2",
        "DELETE FROM audit_event WHERE sequence = 3",
        "DELETE FROM audit_chain",
        "UPDATE audit_chain SET last_sequence = 2",
        "UPDATE audit_chain SET last_hash = 'f'",
        "TRUNCATE audit_event",
        "TRUNCATE audit_chain",
    ],
)
def test_the_database_itself_refuses_to_change_the_trail(sql: str) -> None:
    write("dataset:1", 3)
    if sql.startswith("TRUNCATE") and connection.vendor == "sqlite":
        sql = sql.replace("TRUNCATE", "DELETE FROM")  # SQLite has no TRUNCATE
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        connection.cursor().execute(sql)
    assert list(verify_chains()) == []
    assert Event.objects.count() == 3
    write("dataset:1", 1)  # the trail goes on
    assert Chain.objects.get().last_sequence == 4


def test_a_fork_of_the_chain_is_refused_by_the_database() -> None:
    (event,) = write("dataset:1", 1)
    fork = Event(
        stream="dataset:1",
        sequence=2,
        occurred_at=event.occurred_at,
        action="x",
        subject_type="x",
        subject_id="x",
        previous_hash="",
        hash="f",
    )
    with pytest.raises(IntegrityError), transaction.atomic():
        fork.save(force_insert=True)


def test_an_untouched_trail_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    write("dataset:1", 3)
    write("installation", 2)
    assert list(verify_chains()) == []
    call_command("verify_audit")
    assert capsys.readouterr().out == "The audit trail is whole: 5 events verified.\n"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            "UPDATE audit_event SET actor = 'carl' WHERE sequence = 2",
            [Break("dataset:1", 2, "its content was changed")],
        ),
        ("DELETE FROM audit_event WHERE sequence = 2", [Break("dataset:1", 2, "the entry is missing")]),
        ("DELETE FROM audit_event WHERE sequence = 3", [Break("dataset:1", 3, "the entry is missing")]),
        (
            "UPDATE audit_chain SET last_hash = 'f'",
            [Break("dataset:1", 3, "it is not the entry that was written last")],
        ),
        (
            "UPDATE audit_chain SET last_sequence = 2",
            [Break("dataset:1", 3, "it stands beyond the head of its chain")],
        ),
        (
            "DELETE FROM audit_chain",
            [Break("dataset:1", number, "its chain has no head") for number in (1, 2, 3)],
        ),
    ],
)
def test_tampering_is_named(sql: str, expected: list[Break], capsys: pytest.CaptureFixture[str]) -> None:
    write("dataset:1", 3)
    tamper(sql)
    assert list(verify_chains()) == expected
    with pytest.raises(CommandError):
        call_command("verify_audit")
    assert f"dataset:1 entry {expected[0].sequence}: {expected[0].reason}" in capsys.readouterr().err


def test_fs10_an_entry_rewritten_with_the_hash_that_fitted_before_keys_is_named() -> None:
    """What a chain without a key could not tell of its last entry, and of a whole chain."""
    _, second, third = write("dataset:1", 3)
    content = {name: getattr(second, name) for name in PLAIN_FIELDS} | {"actor": "carl"}
    forged = plain_hash(content)
    last = plain_hash({name: getattr(third, name) for name in PLAIN_FIELDS} | {"previous_hash": forged})
    tamper(
        f"UPDATE audit_event SET actor = 'carl', hash = '{forged}' WHERE sequence = 2",
        f"UPDATE audit_event SET previous_hash = '{forged}', hash = '{last}' WHERE sequence = 3",
        f"UPDATE audit_chain SET last_hash = '{last}'",
    )
    assert [(found.sequence, found.reason) for found in verify_chains()][:2] == [
        (2, "its content was changed"),
        (3, "its content was changed"),
    ]
    # Without the key's id they read as entries from before there was one; none was introduced since.
    tamper("UPDATE audit_event SET key_id = '', salt = '' WHERE sequence > 1")
    assert [found.sequence for found in verify_chains()][:2] == [2, 3]
