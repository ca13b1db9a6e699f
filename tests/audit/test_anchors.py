"""Anchors and audit files: a chain that was cut off or rewritten whole, and a file that was changed, are named."""

import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from pytest_django import DjangoAssertNumQueries

from audit import services
from audit.chain import SEALED_FIELDS, canonical_json
from audit.files import file_sha256, write_audit_files
from audit.keys import AuditKey
from audit.models import Chain, Event
from audit.services import (
    Break,
    acknowledge_lost_heads,
    acknowledged_losses,
    anchor_chains,
    keyed_event,
    lost_heads,
    record,
    sealed_head,
    verify,
    verify_anchors,
    verify_chains,
)
from audit.tasks import anchor
from audit.triggers import DROP_TRIGGERS
from tests.kept import audit_root

pytestmark = pytest.mark.django_db


def write(stream: str, count: int) -> list[Event]:
    with transaction.atomic():
        return [
            record(stream=stream, action="comment.added", subject_type="change_request", subject_id="CR-1")
            for _ in range(count)
        ]


def tamper(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in (*DROP_TRIGGERS[connection.vendor], *statements):
            cursor.execute(statement)


def anchored() -> Path:
    made = anchor_chains()
    assert made is not None
    return Path(str(made))


def test_an_anchor_holds_every_head_and_is_named_by_an_event() -> None:
    (_, second), (only,) = write("dataset:1", 2), write("dataset:2", 1)
    path = anchored()
    assert path.parent == audit_root() / "anchors"
    content = json.loads(path.read_text())
    assert content["heads"] == {
        "dataset:1": {"sequence": 2, "hash": second.hash},
        "dataset:2": {"sequence": 1, "hash": only.hash},
    }
    assert (content["previous"], content["previous_sha256"]) == ("", "")
    event = Event.objects.get(action="audit.anchored")
    assert event.data == {
        "audit_folder": "anchors",
        "audit_files": {path.name: file_sha256(path)},
        "chains": 2,
    }
    assert list(verify()) == []


def test_the_next_anchor_holds_what_moved_and_names_the_one_before() -> None:
    write("dataset:1", 1)
    write("dataset:2", 1)
    first = anchored()
    assert anchor_chains() is None  # nothing moved but the anchor's own event
    (event,) = write("dataset:2", 1)
    anchor.apply()
    second = sorted((audit_root() / "anchors").iterdir())[1]
    content = json.loads(second.read_text())
    assert content["heads"]["dataset:2"] == {"sequence": 2, "hash": event.hash}
    assert "dataset:1" not in content["heads"]
    assert (content["previous"], content["previous_sha256"]) == (first.name, file_sha256(first))
    assert list(verify()) == []


def test_a_chain_that_was_cut_off_is_found() -> None:
    events = write("dataset:1", 3)
    path = anchored()
    tamper(
        "DELETE FROM audit_event WHERE stream = 'dataset:1' AND sequence = 3",
        f"UPDATE audit_chain SET last_sequence = 2, last_hash = '{events[1].hash}' WHERE stream = 'dataset:1'",
    )
    cut = Break(
        "dataset:1",
        2,
        "the head of its chain was set to it without the key: entries after it may have been cut off",
    )
    assert list(verify_chains()) == [cut]  # an anchor tells which
    assert list(verify()) == [cut, Break("dataset:1", 3, f"the entry is missing; {path.name} anchored it")]


def test_a_chain_that_was_rewritten_whole_is_found() -> None:
    (event,) = write("dataset:1", 1)
    path = anchored()
    content = {name: getattr(event, name) for name in SEALED_FIELDS} | {"actor": "carl"}
    forged = keyed_event(**content)  # as only somebody can who has the key, too
    tamper(
        f"UPDATE audit_event SET actor = 'carl', hash = '{forged.hash}', salt = '{forged.salt}' "
        "WHERE stream = 'dataset:1'",
        f"UPDATE audit_chain SET last_hash = '{forged.hash}', seal = '{sealed_head('dataset:1', 1, forged.hash)}' "
        "WHERE stream = 'dataset:1'",
    )
    assert list(verify_chains()) == []
    assert list(verify()) == [Break("dataset:1", 1, f"it is not the entry that {path.name} anchored")]


def test_heads_are_compared_hundreds_at_once(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(3):
        for number in range(4):
            write(f"dataset:{number}", 1)
        last = anchored()
    assert (
        len(list((audit_root() / "anchors").iterdir())) == 3
    )  # of 4, 5 and 5 heads: the anchors' events move one
    with django_assert_num_queries(2):  # what the trail says is lost, and the heads
        assert list(verify_anchors()) == []
    monkeypatch.setattr(services, "HEADS_AT_ONCE", 5)
    with django_assert_num_queries(4):
        assert list(verify_anchors()) == []
    tamper("DELETE FROM audit_event WHERE stream = 'dataset:2' AND sequence = 3")
    assert list(verify_anchors()) == [
        Break("dataset:2", 3, f"the entry is missing; {last.name} anchored it"),
    ]


def test_a_changed_or_missing_anchor_is_named() -> None:
    write("dataset:1", 1)
    first = anchored()
    write("dataset:1", 1)
    second = anchored()
    write("dataset:1", 1)
    third = anchored()
    second.write_text(second.read_text().replace('"sequence": 2', '"sequence": 1'))
    first.unlink()
    third.write_text("no anchor")
    found = {(Path(broken.file).name, broken.reason.partition(";")[0]) for broken in verify() if broken.file}
    assert found == {
        (first.name, "the anchor is missing"),
        (first.name, "the file is missing"),
        (second.name, "the file was changed"),
        (second.name, "the anchor is not as somebody with the key signed it"),
        (third.name, "the anchor cannot be read"),
        (third.name, "the file was changed"),
    }


def test_an_anchor_that_is_put_where_it_was_not_made_is_named() -> None:
    """Copies of one's own anchors are signed right: what tells is what each of them follows."""
    paths = []
    for _ in range(3):
        write("dataset:1", 1)
        paths.append(anchored())
    first, second, third = paths
    assert list(verify_anchors()) == []

    def found() -> set[tuple[str, str]]:
        return {(Path(one.file).name, one.reason.partition(":")[0]) for one in verify_anchors() if one.file}

    kept = {path: path.read_bytes() for path in paths}
    for replayed, name in ((first, "29990101T000000.000000Z.json"), (second, f"{third.stem}0.json")):
        copy = third.with_name(name)
        copy.write_bytes(kept[replayed])
        assert found() == {(name, "the anchor stands where it was not made")}
        copy.unlink()
    second.write_bytes(kept[third])
    third.write_bytes(kept[second])
    assert second.name in {name for name, _ in found()}
    for path, content in kept.items():
        path.write_bytes(content)
    assert list(verify_anchors()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"heads": {"dataset:1": {"seq',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"heads": {"dataset:1": {"sequence": 1e400, "hash": ""}}, "previous": "", "previous_sha256": ""}',
        b'{"heads": {"dataset:1": {"sequence": 1'
        + b"0" * 40
        + b', "hash": ""}}, "previous": "", "previous_sha256": ""}',
        b'{"heads": {"dataset:1": {"sequence": -1, "hash": ""}}, "previous": "", "previous_sha256": ""}',
        b'{"heads": [], "previous": "", "previous_sha256": ""}',
    ],
    ids=["empty", "truncated", "binary", "deep", "endless", "too large", "negative", "list"],
)
def test_an_anchor_of_any_content_is_named_and_ends_nothing(content: bytes) -> None:
    write("dataset:1", 1)
    path = anchored()
    path.write_bytes(content)

    assert [(Path(one.file).name, one.reason) for one in verify_anchors()] == [
        (path.name, "the anchor cannot be read")
    ]
    write("dataset:1", 1)
    assert anchored() != path


@pytest.mark.parametrize("key_id", ["elsewhere", None], ids=["unknown key", "a key called as ours"])
def test_an_anchor_of_another_installation_is_named(key_id: str | None) -> None:
    write("dataset:1", 2)
    path = anchored()
    content = json.loads(path.read_text())
    del content["signature"]
    content["key"] = key_id or content["key"]
    other = AuditKey(content["key"], b"k" * 40)
    path.write_text(json.dumps({**content, "signature": other.sign("anchor", canonical_json(content))}))

    assert [one.reason for one in verify_anchors()] == [
        "the anchor is not as somebody with the key signed it"
    ]


def test_an_anchor_of_another_installation_with_the_same_key_is_named() -> None:
    """As a copy of an installation has it: its chains went on otherwise."""
    write("dataset:1", 1)
    anchored()
    sid = transaction.savepoint()
    write("dataset:1", 1)
    of_the_copy = anchored()
    kept = of_the_copy.read_bytes()
    transaction.savepoint_rollback(sid)
    write("dataset:1", 1)
    of_the_copy.write_bytes(kept)

    assert f"it is not the entry that {of_the_copy.name} anchored" in [one.reason for one in verify_anchors()]


def test_audit_files_are_compared_with_the_hashes_in_their_event(capsys: pytest.CaptureFixture[str]) -> None:
    folder = audit_root() / "change_requests" / "CR-1"
    hashes = write_audit_files(
        "change_requests/CR-1", documents={"diff.json": {"rows": 1}, "a.json": 1, "b.json": 2}, copies={}
    )
    with transaction.atomic():
        record(
            stream="dataset:1",
            action="files.kept",
            subject_type="change_request",
            subject_id="CR-1",
            data={"audit_folder": "change_requests/CR-1", "audit_files": hashes},
        )
    call_command("verify_audit")
    assert capsys.readouterr().out == "The audit trail is whole: 1 events verified.\n"
    (folder / "diff.json").write_text('{"rows": 2}')
    (folder / "a.json").unlink()
    with pytest.raises(CommandError, match="broken in 2 places"):
        call_command("verify_audit")
    assert sorted(capsys.readouterr().err.splitlines()) == [
        f"{folder}/a.json: the file is missing; dataset:1 entry 1 names it",
        f"{folder}/diff.json: the file was changed; dataset:1 entry 1 names it",
    ]


def test_nothing_is_anchored_before_the_first_event() -> None:
    assert anchor_chains() is None
    assert Chain.objects.count() == 0
    assert not (audit_root() / "anchors").exists()


def test_fd3_heads_that_a_restore_lost_are_told_by_the_trail_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write("dataset:1", 2)
    backup = Chain.objects.get(stream="dataset:1")
    write("dataset:1", 1)
    anchored()
    tamper(
        "DELETE FROM audit_event WHERE stream = 'dataset:1' AND sequence = 3",
        f"UPDATE audit_chain SET last_sequence = 2, last_hash = '{backup.last_hash}', seal = '{backup.seal}' "
        "WHERE stream = 'dataset:1'",
    )
    [lost] = lost_heads()
    assert (lost.stream, lost.sequence) == ("dataset:1", 3)
    acknowledge_lost_heads([lost])
    assert lost_heads() == []
    assert [found for found in verify() if not found.file] == []
    write("dataset:1", 1)  # its number is given again, and the anchored entry is not this one
    assert lost_heads() == []
    assert acknowledged_losses() == 1
