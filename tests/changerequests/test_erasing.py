"""Erasing a person: no text of theirs is left, every chain is whole, and what others did stays proved."""

from __future__ import annotations

import json
import re
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from audit.erasing import Names, put_files
from audit.models import Chain, Event
from audit.services import anchor_chains, verify_triggers
from changerequests.models import ChangeRequest, ReviewRequest, Upload
from changerequests.services import reviews
from changerequests.services.erasing import erase_person
from changerequests.states import UploadStatus
from datasets.errors import InvalidInput
from datasets.models import Project, RememberedAnswer
from tests import kept
from tests.changerequests.test_tampering import World, named, rewritten, taken_back, world
from tests.factories import fresh
from tests.kept import audit_root

__all__ = ["world"]
pytestmark = pytest.mark.django_db(transaction=True)


def kept_texts() -> str:
    """Every text that the database holds, and every JSON file of the audit."""
    rows = [
        str(row)
        for model in apps.get_models()
        if model._meta.managed and model is not Chain
        for row in model._default_manager.values_list()
    ]
    files = [path.read_text() for path in sorted(audit_root().rglob("*.json"))]
    return "\n".join((*rows, *files))


def kept_beside_the_trail(world: World) -> None:
    """What Headgate keeps of carl in rows that no entry vouches for."""
    dataset, carl, rita = world.merged.dataset, fresh(world.carl), fresh(world.rita)
    Project.objects.filter(pk=dataset.project_id).update(description="Ask @carl.")
    Upload.objects.create(
        dataset=dataset,
        uploaded_by=carl,
        token="t" * 32,
        status=UploadStatus.REFUSED,
        title="Of carl",
        agent="carl's agent",
        pasted="name\ncarl",
        error_data={"errors": [{"message": "carl, line 2", "value": "N1"}], "total": 1},
        size_bytes=9,
    )
    for user, name in ((carl, "mine"), (rita, "for carl")):
        RememberedAnswer.objects.create(
            user=user, operation="POST /x", key="key", status=201, body='{"author": "carl"}', fingerprint="f"
        )
        apps.get_model("accounts.DeviceSignIn").objects.create(
            digest=str(user.pk),
            user_code=str(user.pk),
            user=user,
            name=name,
            days=1,
            expires_at=timezone.now(),
        )
        ReviewRequest.objects.create(change_request=world.waiting, reviewer=user, asked_by=rita)
    apps.get_model("accounts.Token").objects.create(user=rita, name="for carl", agent="carl's helper")


def said(*arguments: str) -> str:
    out = StringIO()
    call_command("erase_person", *arguments, stdout=out)
    return out.getvalue()


def test_fs13_a_person_is_erased_and_every_chain_stays_whole(world: World) -> None:
    body = "As carl said (Carl@example.org), and Carl Carlsson too; carla did not. @carl?"
    kept_beside_the_trail(world)
    reviews.comment(change_request_id=world.waiting.pk, actor=fresh(world.rita), body=body)
    apps.get_model("accounts.Token").objects.create(user=world.carl)
    anchor_chains()
    hashes = list(Event.objects.order_by("pk").values_list("stream", "sequence", "hash"))
    before, whole = kept_texts(), named()
    assert whole == []
    assert "carl@example.org" in before
    approval = world.entry("review.approved")

    would = said("carl", "--dry-run")
    assert "would be replaced in comment" in would
    assert re.search(r"would be replaced in upload \d+: pasted", would)
    assert f"would be replaced in {world.stream} entry {approval.sequence}: /actor" in would
    assert f"would be replaced in {kept.audit_folder(world.merged)}/merge_result.json" in would
    assert kept_texts() == before
    with pytest.raises(CommandError, match="Give a reason"):
        said("carl")

    done = said("carl", "--reason", "They asked for it.")
    after = kept_texts()
    pseudonym = User.objects.get(pk=world.carl.pk).username
    assert f"the person is {pseudonym} now" in done
    for name in ("carl@", "Carl", "'carl'", '"carl"', " carl ", "@carl", "carl's", "carl,"):
        assert name not in after, [line for line in after.splitlines() if name in line][:3]
    assert f"As {pseudonym} said ({pseudonym}), and {pseudonym} too; carla did not. @{pseudonym}?" in after
    assert [one.user for one in RememberedAnswer.objects.all()] == [world.rita]
    assert [one.reviewer for one in ReviewRequest.objects.all()] == [world.rita]
    upload = Upload.objects.get(token="t" * 32)
    assert (upload.pasted, upload.agent) == ("", f"{pseudonym}'s agent")
    assert upload.error_data == {"errors": [{"message": f"{pseudonym}, line 2", "value": "N1"}], "total": 1}
    upload.delete()
    assert named() == []
    assert list(verify_triggers()) == []
    # Each entry has the hash that it had, and what others did is proved by it as before.
    assert (
        hashes == list(Event.objects.order_by("pk").values_list("stream", "sequence", "hash"))[: len(hashes)]
    )
    erased = Event.objects.get(pk=approval.pk)
    assert (erased.actor, erased.salt) == (pseudonym, "")
    merged = ChangeRequest.objects.get(pk=world.merged.pk)
    document = json.loads((kept.audit_folder(merged) / "merge_result.json").read_text())
    assert (document["author"], document["requested_by"], document["approved_by"]) == (
        world.merged.author.username,
        "olivia",
        [pseudonym],
    )
    assert not apps.get_model("accounts.Token").objects.filter(user=world.carl).exists()
    assert not User.objects.get(pk=world.carl.pk).has_usable_password()

    # The entries that named them are as safe as before.
    place = f"{world.stream} entry {approval.sequence}: its content was changed"
    redacted = json.dumps({**(erased.redactions or {}), "erasures": ["erased-00000000"]})
    for assignment, value in {
        "actor": "rita",
        "subject_id": "CR-777",
        "action": "review.commented",
        "redactions": redacted,
        "data": json.dumps({**erased.data, "body": "No."}),
    }.items():
        with taken_back(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE audit_event SET {assignment} = %s WHERE id = %s", [value, approval.pk])
            assert place in named()
    # A second person in the same entries; and entries from before there was a key.
    said("rita", "--reason", "Too.")
    assert "rita" not in kept_texts()
    assert named() == []
    reviews.comment(change_request_id=world.waiting.pk, actor=world.olivia, body="Next.")
    with taken_back():
        for statement in rewritten(world, "nobody"):
            connection.cursor().execute(statement)
        connection.cursor().execute("UPDATE audit_event SET redactions = NULL")
        call_command("introduce_audit_key")
        known = set(named())  # rows that were sealed before are not sealed again
        erase_person(username="olivia", reason="Three.")
        assert not Event.objects.filter(actor="olivia").exists()
        assert {line for line in named() if ".json" not in line} <= known


def test_fs13_nobody_is_erased_from_a_broken_trail_and_only_who_is_there(world: World) -> None:
    with pytest.raises(InvalidInput, match="no account 'mallory'"):
        erase_person(username="mallory", reason="Why not?")
    with taken_back():
        connection.cursor().execute("UPDATE audit_event SET actor = 'x' WHERE actor = 'carl'")
        before = list(Event.objects.values())
        with pytest.raises(InvalidInput, match="its content was changed"):
            erase_person(username="carl", reason="They asked for it.")
        assert list(Event.objects.values()) == before
    # One that died between its commit and its end: the files are put by the next.
    with transaction.atomic():
        erase_person(username="carl", reason="They asked for it.")
        waiting = sorted(audit_root().rglob(".*.erased"))
        assert waiting
    assert sorted(audit_root().rglob(".*.erased")) == []
    left = waiting[0]
    left.write_text("{}")
    assert put_files() == 0
    assert not left.exists()
    assert named() == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("carl", "X"),
        ("Ask carl.", "Ask X."),
        ("carl.b, carl-b and carla", "carl.b, carl-b and carla"),
        ("b.carl and b@carl", "b.carl and b@carl"),
        ("@carl, look. (@carl) @@carl", "@X, look. (@X) @@X"),
        ("Carl@Example.ORG wrote, Carl did not", "X wrote, Carl did not"),
        ("Ren\u00e9 and Rene\u0301", "X and X"),
        ("carl@example.org wrote", "X wrote"),
        ("(Carl Carlsson)", "(X)"),
        ("carl, carl; carl!", "X, X; X!"),
    ],
)
def test_fs13_a_name_is_replaced_where_it_is_a_word(text: str, expected: str) -> None:
    names = Names(("carl", "carl@example.org", "Carl Carlsson", "Ren\u00e9", ""), "X")
    assert names.replaced(text) == expected


def test_fs13_values_of_rows_are_no_names() -> None:
    told: dict[str, Any] = {"chosen_by": "carl", "key": {"name": "carl"}, "value": "carl", "all": ["carl"]}
    assert Names(("carl",), "X").in_value(told) == {**told, "chosen_by": "X", "all": ["X"]}
