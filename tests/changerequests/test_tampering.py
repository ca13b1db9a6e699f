"""What somebody bends who owns the database and not the key: each way is named, with its place. On both databases.

One small world is made; each way is tried on it inside a transaction that is taken back.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.db import DatabaseError, connection, models, transaction
from django.test import Client

from audit.chain import PLAIN_FIELDS, plain_hash
from audit.models import Chain, Event
from audit.services import INSTALLATION_STREAM, anchor_chains, record, verify, verify_triggers
from audit.triggers import CREATE_TRIGGERS, DROP_TRIGGERS
from changerequests.models import (
    ChangeRequest,
    Comment,
    ConflictResolution,
    ExpectationOverride,
    MergeRun,
    Review,
    Revision,
)
from changerequests.services import agreement, conflicts, proposals, reviews, runs, vouched, waiting
from changerequests.services.evidence import KEPT, MERGE, OUTCOME, THREAD, WAIT
from changerequests.services.sealing import introduce_audit_key
from datasets.evidence import ACCOUNT, DATASET, RENAMED, SUITE_VERSION, account_rows
from datasets.models import Dataset, SuiteVersion
from datasets.operators import OPERATORS_GROUP, make_operator
from datasets.roles import Role
from datasets.rows import ConflictFilter
from datasets.services import change_settings
from tests import kept, options
from tests.factories import (
    ChangeRequestFactory,
    DatasetFactory,
    GroupFactory,
    approve,
    expect_of,
    expectation,
    give_role,
    merge,
    person_with,
    stage_csv,
)

#: Columns of these models that no entry vouches for, with why.
UNSEALED: Final = {
    ChangeRequest: {
        "status": "compared with the last entry that moved it",
        "close_reason": "compared with the entry of its closing",
        "resolutions_digest": "computed anew from the choices",
        "merge_generation": "the log has it",
        "unsettled_version": "a note of a commit under way; the log has it",
        "staging_removed_at": "says that files are gone",
        "updated_at": "moves with every change",
    },
    Comment: {
        "taken_id": "names an upload, which is forgotten one day; the content that came of it is vouched for"
    },
    Revision: {
        "is_current": "compared with the numbers",
        "checks_cut_short": "of checks, which are made anew",
    },
    ConflictResolution: {"is_current": "in the digest of the choices that stand"},
    MergeRun: {
        "phase": "progress",
        "fence": "moves with every worker",
        "heartbeat_at": "moves while a worker lives",
        "not_before": "moves with every try while a store does not answer",
        "waits": "moves with every try while a store does not answer",
        "traceparent": "names a trace elsewhere",
    },
}

pytestmark = pytest.mark.django_db(transaction=True)


class World:
    """A dataset with a merged request that was reviewed, discussed, resolved and overridden, and one that waits."""

    def __init__(self) -> None:
        self.dataset = DatasetFactory.create()
        self.olivia = person_with(Role.OWNER, self.dataset, username="olivia")
        self.rita = person_with(Role.CONTRIBUTOR, self.dataset, username="rita")
        self.carl = person_with(
            Role.CONTRIBUTOR, self.dataset, username="carl", first_name="Carl", last_name="Carlsson"
        )
        change_settings(dataset_id=self.dataset.pk, actor=self.olivia, changes={"description": "Planes."})
        expect_of(self.dataset, expectation("column_values_to_be_between", column="seats", max_value=200))
        before = ChangeRequestFactory.create(dataset=self.dataset, csv="tailnum,seats\nN1,1\n")
        self.merged = ChangeRequestFactory.create(dataset=self.dataset, csv="tailnum,seats\nN1,2\nN4,250\n")
        merge(before, self.olivia)
        pk = self.merged.pk
        conflicts.resolve_matching(
            change_request_id=pk, actor=self.olivia, wanted=ConflictFilter(column="seats"), choice="proposed"
        )
        approve(self.merged, self.carl)
        said = reviews.comment(change_request_id=pk, actor=self.rita, body="Why?")
        reviews.comment(change_request_id=pk, actor=self.carl, body="So.", parent_id=said.pk)
        reviews.settle_thread(comment_id=said.pk, actor=self.rita)
        self.run = merge(self.merged, self.olivia, override_reason="As agreed.")
        assert self.run.status == "succeeded", self.run.error_message
        self.closed = ChangeRequestFactory.create(dataset=self.dataset, csv="tailnum,seats\nN2,3\n")
        proposals.close(change_request_id=self.closed.pk, actor=self.olivia, reason="Not now.")
        change_settings(dataset_id=self.dataset.pk, actor=self.olivia, changes={"required_approvals": 1})
        self.waiting = ChangeRequestFactory.create(dataset=self.dataset, csv="tailnum,seats\nN2,4\n")
        waiting.merge_when_ready(change_request_id=self.waiting.pk, actor=self.olivia, message="Soon.")
        self.stream = f"dataset:{self.dataset.pk}"

    def entry(self, action: str, subject: str = "") -> Event:
        found = Event.objects.filter(stream=self.stream, action=action)
        return (found.filter(subject_id=subject) if subject else found).order_by("-sequence")[0]


@pytest.fixture
def world() -> World:
    return World()


def execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@contextmanager
def taken_back() -> Iterator[None]:
    """What is done inside leaves no trace; the triggers are lifted in it."""
    with transaction.atomic():
        execute(*DROP_TRIGGERS[connection.vendor])
        yield
        transaction.set_rollback(True)


def named() -> list[str]:
    """Every line of ``verify_audit`` but those on the triggers, which whoever bends the trail puts back."""
    broken = [f"{one.place}: {one.reason}" for one in verify()]
    return broken + [f"{one.place}: {one.reason}" for one in agreement.disagreements()]


def text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def cut_from(world: World, sequence: int) -> list[str]:
    """The end of a chain cut off, and its head set back to what is left."""
    left = Event.objects.get(stream=world.stream, sequence=sequence - 1)
    return [
        f"DELETE FROM audit_event WHERE stream = '{world.stream}' AND sequence >= {sequence}",
        f"UPDATE audit_chain SET last_sequence = {left.sequence}, last_hash = '{left.hash}' "
        f"WHERE stream = '{world.stream}'",
    ]


def rewritten(world: World, person: str = "rita") -> list[str]:
    """A chain that was never anchored, written anew without the key, all hashes fitting, in another's name."""
    statements, previous = [], ""
    for event in Event.objects.filter(stream=world.stream).order_by("sequence"):
        content = {name: getattr(event, name) for name in PLAIN_FIELDS}
        content |= {"previous_hash": previous, "actor": "carl" if event.actor == person else event.actor}
        before, previous = previous, plain_hash(content)
        nothing = "'{}'::jsonb" if connection.vendor == "postgresql" else "'{}'"
        statements.append(
            f"UPDATE audit_event SET previous_hash = {text(before or '') if before else text('')}, "
            f"hash = '{previous}', key_id = '', salt = '', rows = {nothing}, actor = {text(content['actor'])} "
            f"WHERE id = {event.pk}"
        )
    head = f"UPDATE audit_chain SET last_hash = '{previous}', seal = '' WHERE stream = '{world.stream}'"
    return [
        f"UPDATE audit_event SET previous_hash = 'x' || id WHERE stream = '{world.stream}'",
        *statements,
        head,
    ]


Way = Callable[[World], tuple[list[str], str]]


def place_of(world: World, action: str, subject: str = "") -> str:
    return f"{world.stream} entry {world.entry(action, subject).sequence}"


def changed(column: str, value: str, action: str = "review.approved") -> Way:
    def way(world: World) -> tuple[list[str], str]:
        entry = world.entry(action)
        return (
            [f"UPDATE audit_event SET {column} = {value} WHERE id = {entry.pk}"],
            f"{world.stream} entry {entry.sequence}: its content was changed",
        )

    return way


def row(model: type[models.Model], assignment: str, place: str) -> Way:
    """One row of the merged request changed; ``place`` is what is named of it."""

    def way(world: World) -> tuple[list[str], str]:
        of: dict[str, Any] = {"change_request": world.merged}
        if model is Dataset:
            of = {"pk": world.dataset.pk}
        elif model is ChangeRequest:
            of = {"pk": world.merged.pk}
        elif model is SuiteVersion:
            of = {"dataset": world.dataset}
        pk = model._default_manager.filter(**of).order_by("pk").values_list("pk", flat=True)[0]
        facts = {"carl": world.carl.pk, "rita": world.rita.pk, "olivia": world.olivia.pk}
        table = model._meta.db_table
        statement = f"UPDATE {table} SET {assignment.format(**facts)} WHERE id = {pk}"
        return [statement], place.format(pk=pk, cr=world.merged.cr_id, name=world.dataset.name)

    return way


def gone(model: type[models.Model], place: str) -> Way:
    def way(world: World) -> tuple[list[str], str]:
        found = model._default_manager.filter(change_request=world.merged).order_by("-pk")[0]
        return [f"DELETE FROM {model._meta.db_table} WHERE id = {found.pk}"], place.format(pk=found.pk)

    return way


def _cut_tail(world: World) -> tuple[list[str], str]:
    last = Chain.objects.get(stream=world.stream).last_sequence
    return cut_from(
        world, last
    ), f"{world.stream} entry {last - 1}: the head of its chain was set to it without the key"


def _cut_merged_events(world: World) -> tuple[list[str], str]:
    entry = world.entry("change_request.merged", world.merged.cr_id)
    return cut_from(
        world, entry.sequence
    ), f"{world.merged.cr_id}: it is recorded as merged, and no event tells of it"


def _cut_merged_events_and_rows(world: World) -> tuple[list[str], str]:
    pk = world.merged.pk
    rows = [
        f"UPDATE changerequests_changerequest SET status = 'pending', merged_version = NULL, merged_at = NULL, "
        f"merged_by_id = NULL, merge_record = NULL WHERE id = {pk}",
        f"DELETE FROM changerequests_mergerun WHERE change_request_id = {pk}",
    ]
    return [
        *_cut_merged_events(world)[0],
        *rows,
    ], f"version 2: it merged {world.merged.cr_id}, which is pending"


def _folder_left(world: World) -> tuple[list[str], str]:
    folder = kept.audit_folder(world.merged).name
    return _cut_merged_events_and_rows(world)[
        0
    ], f"change_requests/{folder}: no event names these audit files"


def _whole_chain(world: World) -> tuple[list[str], str]:
    stream = world.stream
    return (
        [
            f"DELETE FROM audit_event WHERE stream = '{stream}'",
            f"DELETE FROM audit_chain WHERE stream = '{stream}'",
        ],
        f"{world.dataset}: no entry in {stream} tells of its registration",
    )


def _rewritten(world: World) -> tuple[list[str], str]:
    return rewritten(world), f"{world.stream} entry 1: it was written without a key"


def _inserted(world: World) -> tuple[list[str], str]:
    chain = Chain.objects.get(stream=world.stream)
    columns = (
        "stream, occurred_at, actor, action, subject_type, subject_id, data, request_id, key_id, salt, rows"
    )
    statement = (
        f"INSERT INTO audit_event (sequence, previous_hash, hash, {columns}) SELECT {chain.last_sequence + 1}, "
        f"'{chain.last_hash}', 'f', {columns} FROM audit_event WHERE stream = '{world.stream}' AND sequence = 2"
    )
    head = (
        f"UPDATE audit_chain SET last_sequence = {chain.last_sequence + 1}, last_hash = 'f' "
        f"WHERE stream = '{world.stream}'"
    )
    return [statement, head], f"{world.stream} entry {chain.last_sequence + 1}: its content was changed"


def _swapped(world: World) -> tuple[list[str], str]:
    first = world.entry("review.approved").sequence
    move = "UPDATE audit_event SET sequence = {to} WHERE stream = '{stream}' AND sequence = {of}"
    steps = [(first, 10_000), (first + 1, first), (10_000, first + 1)]
    statements = [move.format(of=of, to=to, stream=world.stream) for of, to in steps]
    return statements, f"{world.stream} entry {first}: its content was changed"


def _copied_chain(world: World) -> tuple[list[str], str]:
    """A chain of another dataset (or installation) put in its place."""
    columns = "sequence, occurred_at, actor, action, subject_type, subject_id, data, request_id, previous_hash, hash"
    more = "key_id, salt, rows"
    return (
        [
            f"DELETE FROM audit_event WHERE stream = '{world.stream}'",
            f"INSERT INTO audit_event (stream, {columns}, {more}) SELECT '{world.stream}', {columns}, {more} "
            "FROM audit_event WHERE stream = 'dataset:999'",
            "UPDATE audit_chain SET last_sequence = other.last_sequence, last_hash = other.last_hash, "
            "seal = other.seal FROM (SELECT * FROM audit_chain WHERE stream = 'dataset:999') AS other "
            f"WHERE audit_chain.stream = '{world.stream}'",
        ],
        f"{world.stream} entry 1: its content was changed",
    )


def _other_name(world: World) -> tuple[list[str], str]:
    """Two accounts change names: all that one wrote would be the other's."""
    rename = "UPDATE auth_user SET username = '{name}' WHERE id = {pk}"
    review = Review.objects.get(change_request=world.merged)
    pairs = [(world.carl.pk, "nobody"), (world.rita.pk, "carl"), (world.carl.pk, "rita")]
    return (
        [rename.format(pk=pk, name=name) for pk, name in pairs],
        f"review {review.pk} of {world.merged.cr_id}: {place_of(world, 'review.approved')} says that carl wrote it, "
        "and its account is rita now",
    )


def _made_owner(world: World) -> tuple[list[str], str]:
    columns = "object_pk, content_type_id, permission_id"
    return (
        [
            f"INSERT INTO guardian_userobjectpermission (user_id, {columns}) SELECT {world.carl.pk}, {columns} "
            f"FROM guardian_userobjectpermission WHERE user_id = {world.olivia.pk} AND permission_id IN "
            "(SELECT id FROM auth_permission WHERE codename = 'own_dataset')"
        ],
        f"role of user {world.carl.pk} on dataset {world.dataset.pk}: it is 'owner', and ",
    )


def _role_taken(world: World) -> tuple[list[str], str]:
    return (
        [f"DELETE FROM guardian_userobjectpermission WHERE user_id = {world.rita.pk}"],
        f"role of user {world.rita.pk} on dataset {world.dataset.pk}: it is 'none', and ",
    )


def _made_superuser(world: World) -> tuple[list[str], str]:
    yes = "true" if connection.vendor == "postgresql" else "1"
    return (
        [f"UPDATE auth_user SET is_superuser = {yes} WHERE id = {world.carl.pk}"],
        f"account {world.carl.pk} (carl): its is_superuser is not as {world.stream} entry ",
    )


def _added(model: type[models.Model], place: str) -> Way:
    """A row put beside the others without an entry."""

    def way(world: World) -> tuple[list[str], str]:
        found = model._default_manager.filter(change_request=world.merged).order_by("pk")[0]
        fields = [one for one in model._meta.concrete_fields if not one.primary_key]
        columns = ", ".join(f'"{one.column}"' for one in fields)
        values = ", ".join(
            {"is_current": "false", "number": "99"}.get(str(one.column), f'"{one.column}"') for one in fields
        )
        if connection.vendor == "sqlite":
            values = values.replace("false", "0")
        table = model._meta.db_table
        return [
            f"INSERT INTO {table} ({columns}) SELECT {values} FROM {table} WHERE id = {found.pk}"
        ], place.format(cr=world.merged.cr_id)

    return way


WAYS: dict[str, Way] = {
    "a chain that was never anchored is rewritten": _rewritten,
    "the tail is cut": _cut_tail,
    "merged events are cut": _cut_merged_events,
    "merged events and rows are cut, the marker stays": _cut_merged_events_and_rows,
    "merged events and rows are cut, the folder stays": _folder_left,
    "a whole chain is removed": _whole_chain,
    "an entry is put in": _inserted,
    "two entries change places": _swapped,
    "a chain of another dataset is put in its place": _copied_chain,
    "an entry's actor": changed("actor", "'carl '"),
    "an entry's time": changed("occurred_at", "'2020-01-01 00:00:00+00:00'"),
    "an entry's action": changed("action", "'review.commented'"),
    "an entry's subject": changed("subject_id", "'CR-777'"),
    "an entry's payload": changed("data", "'{\"revision\": 9}'"),
    "an entry's rows": changed("rows", "'{}'"),
    "an entry's request": changed("request_id", "'other'"),
    "an entry's salt": changed("salt", "'abababababababababababababababab'"),
    "an entry called redacted": changed("redactions", "'{\"commitments\": {}}'"),
    "a review moved to another person": row(
        Review, "reviewer_id = {rita}", "review {pk} of {cr}: its reviewer_id is not as "
    ),
    "a verdict": row(Review, "verdict = 'comment'", "review {pk} of {cr}: its verdict is not as "),
    "what a review judged": row(
        Review, "revision_digest = 'f'", "review {pk} of {cr}: its revision_digest is"
    ),
    "a review's time": row(
        Review, "created_at = '2020-01-01 00:00:00+00:00'", "review {pk} of {cr}: its created_at is"
    ),
    "an approval is deleted": gone(Review, "review {pk}: the row is gone; "),
    "a review is put in": _added(Review, "of {cr}: no entry vouches for it"),
    "a comment's text": row(Comment, "body = 'Fine.'", "comment {pk} of {cr}: its body is not as "),
    "a comment's author": row(
        Comment, "author_id = {carl}", "comment {pk} of {cr}: its author_id is not as "
    ),
    "a settled discussion": row(
        Comment, "resolved_by_id = NULL, resolved_at = NULL", "the discussion of comment {pk} of {cr}: its "
    ),
    "a comment is deleted": gone(Comment, "comment {pk}: the row is gone; "),
    "who asked for a run": row(
        MergeRun, "requested_by_id = {carl}", "run {pk} of {cr}: its requested_by_id is"
    ),
    "a run's reason": row(
        MergeRun, "override_reason = ''", "run {pk} of {cr}: its override_reason is not as "
    ),
    "who had approved": row(
        MergeRun, "approved_by = '[]'", "the outcome of run {pk} of {cr}: its approved_by is"
    ),
    "how many rows a run changed": row(
        MergeRun, "rows_affected = 7", "the outcome of run {pk} of {cr}: its rows_aff"
    ),
    "a run is deleted": gone(MergeRun, "run {pk}: the row is gone; "),
    "a revision's digest": row(Revision, "digest = 'f'", "revision {pk} of {cr}: its digest is not as "),
    "whose a revision is": row(
        Revision, "created_by_id = {carl}", "revision {pk} of {cr}: its created_by_id is"
    ),
    "a revision is put in": _added(Revision, "of {cr}: no entry vouches for it"),
    "a choice": row(ConflictResolution, "choice = 'current'", "choice {pk} of {cr}: its choice is not as "),
    "whose a choice is": row(
        ConflictResolution, "chosen_by_id = {carl}", "choice {pk} of {cr}: its chosen_by_id"
    ),
    "a choice does not stand": row(
        ConflictResolution, "is_current = (1 = 0)", "{cr}: the choices that stand are not"
    ),
    "a choice is deleted": gone(ConflictResolution, "choice {pk}: the row is gone; "),
    "an override's reason": row(
        ExpectationOverride, "reason = 'So.'", "override {pk} of {cr}: its reason is not as "
    ),
    "who answers": row(
        ExpectationOverride, "given_by_id = {carl}", "override {pk} of {cr}: its given_by_id is not"
    ),
    "an override is deleted": gone(ExpectationOverride, "override {pk}: the row is gone; "),
    "whose a request is": row(ChangeRequest, "author_id = {carl}", "{cr}: its author_id is not as "),
    "a request's title": row(ChangeRequest, "title = 'Other'", "{cr}: its title is not as "),
    "who merged": row(
        ChangeRequest, "merged_by_id = {carl}", "the merge of {cr}: its merged_by_id is not as "
    ),
    "what a merge recorded": row(
        ChangeRequest, "merge_record = '{{}}'", "the merge of {cr}: its merge_record is not"
    ),
    "a dataset's rules": row(
        Dataset, "required_approvals = 0", "dataset {pk} ({name}): its required_approvals is not"
    ),
    "a dataset's table": row(
        Dataset, "table_uri = '/other'", "dataset {pk} ({name}): its table_uri is not as "
    ),
    "what is expected": row(
        SuiteVersion, "document = '{{}}'", "version 1 of the expectations of {name}: its document"
    ),
    "two accounts change names": _other_name,
    "somebody is made an owner": _made_owner,
    "a role is taken": _role_taken,
    "somebody is made a superuser": _made_superuser,
}


def other_chain() -> None:
    with transaction.atomic():
        for _ in range(3):
            record(
                stream="dataset:999", action="comment.added", subject_type="x", subject_id="x", actor="rita"
            )


def test_fs10_every_way_of_bending_the_trail_is_named(world: World) -> None:
    other_chain()
    assert named() == []
    assert list(verify_triggers()) == []
    unseen = {}
    for name, way in WAYS.items():
        with taken_back():
            statements, expected = way(world)
            execute(*statements)
            found = named()
            if not any(expected in line for line in found):
                unseen[name] = (expected, found)
    assert unseen == {}
    assert named() == []


def other_value(field: models.Field[Any, Any], value: Any, pks: list[int]) -> Any:
    """Another value that the column can hold."""
    if isinstance(field, models.ForeignKey):
        return next((pk for pk in pks if pk != value), None)
    if isinstance(field, models.JSONField):
        return json.dumps([value, 1]) if not isinstance(value, str) else json.dumps(value + "x")
    if isinstance(field, models.DateTimeField):
        return value + timedelta(microseconds=1) if value else "2020-01-01 00:00:00+00:00"
    if isinstance(field, models.BooleanField):
        return not value
    if isinstance(field, models.IntegerField | models.FloatField | models.DecimalField):
        return 1 if value is None else value + 1 if field.name != "delete_limit" else 0.5
    return f"{value or ''}x"[-(field.max_length or 1000) :]


def is_tried(column: str) -> bool:
    """Whether this run bends the column: all, or where it takes a sample a third of them."""
    return options.SAMPLE_SEED is None or crc32(f"{options.SAMPLE_SEED} {column}".encode()) % 3 == 0


def test_fs10_no_column_of_an_audited_row_changes_unseen(world: World) -> None:
    """Every column of every row that the trail vouches for, one at a time."""
    unseen, tried = [], 0
    kinds = (*KEPT, DATASET, SUITE_VERSION, ACCOUNT)
    accounts = sorted(User.objects.values_list("pk", flat=True))
    for kind in kinds:
        excused = {
            name
            for name, why in UNSEALED.get(kind.model, {}).items()
            if not why.startswith(("compared", "computed", "in"))
        }
        excused |= (
            {"password", "last_login", "date_joined", "suite_number"}
            if kind.model in (User, Dataset)
            else set()
        )
        for found in kind.model._default_manager.order_by("-pk")[: 1 if kind is DATASET else 2]:
            for field in kind.model._meta.concrete_fields:
                if field.primary_key or field.attname in excused:
                    continue
                related = field.related_model
                pks = accounts if related is User else list(range(1, 10)) if related else []
                if not is_tried(f"{kind.name} {field.attname}"):
                    continue
                value = other_value(field, getattr(found, field.attname), pks)
                if (
                    isinstance(found, ChangeRequest)
                    and field.attname == "merged_by_id"
                    and not found.merged_by_id
                ):
                    continue  # nobody's merge is anybody's
                if (
                    isinstance(found, ChangeRequest)
                    and field.attname in MERGE.columns
                    and not found.merged_at
                ):
                    continue
                waits = isinstance(found, ChangeRequest) and found.merge_when_ready_by_id is not None
                if field.attname in WAIT.columns and not waits:
                    continue
                with taken_back():
                    table, column = kind.model._meta.db_table, field.column
                    try:
                        with transaction.atomic(), connection.cursor() as cursor:
                            cursor.execute(
                                f'UPDATE {table} SET "{column}" = %s WHERE id = %s', [value, found.pk]
                            )
                    except DatabaseError:
                        continue  # the database itself refuses it
                    tried += 1
                    if not list(vouched.bent_rows()):
                        unseen.append((kind.name, found.pk, column, value))
    assert unseen == []
    assert tried > (120 if options.SAMPLE_SEED is None else 25)


def test_what_was_true_of_an_account_is_not_true_again(world: World) -> None:
    """Entries in a dataset's chain tell of an account as it was when it got a role; what was changed since holds."""
    carl, unseen, groups = world.carl, [], User.groups.through._meta.db_table
    assert Event.objects.filter(stream=world.stream, rows__has_key=ACCOUNT.called(carl.pk)).exists()
    back: dict[str, tuple[str, list[Any]]] = {}
    for field in [one for one in User._meta.concrete_fields if one.attname in ACCOUNT.columns]:
        column, before = field.attname, getattr(carl, field.attname)
        setattr(carl, column, other_value(field, before, []))
        back[column] = (f'UPDATE auth_user SET "{column}" = %s WHERE id = {carl.pk}', [before])
    carl.save()
    carl.groups.add(Group.objects.create(name="few"))
    back["groups"] = (f"DELETE FROM {groups} WHERE user_id = {carl.pk}", [])
    with transaction.atomic():
        record(
            stream=INSTALLATION_STREAM,
            action=RENAMED,
            subject_type="user",
            subject_id=carl.username,
            data={"before": "carl"},
            rows=account_rows(carl),
        )
    assert named() == []
    for column, (statement, values) in back.items():
        with taken_back(), connection.cursor() as cursor:
            cursor.execute(statement, values)
            if not any(f"account {carl.pk}" in line for line in named()):
                unseen.append(column)
    assert unseen == []


def test_nobody_is_put_beside_others_or_taken_away_unseen(world: World) -> None:
    """Whatever says what an account or a group may do: each table of pairs, one pair more and one less."""
    make_operator(world.rita)
    group = Group.objects.create(name="few")
    others = {User: world.carl, Group: group}
    unseen, kept = [], User.objects.get(pk=world.rita.pk)
    permission = Permission.objects.exclude(group=kept.groups.get()).order_by("pk")[0]
    kept.user_permissions.add(permission)
    with transaction.atomic():
        record(
            stream=INSTALLATION_STREAM,
            action="account.changed",
            subject_type="user",
            subject_id=kept.username,
            rows=account_rows(kept),
        )
    assert named() == []
    for model, holder in others.items():
        for field in model._meta.many_to_many:
            table, own, other = field.m2m_db_table(), field.m2m_column_name(), field.m2m_reverse_name()
            pk = Group.objects.get(name=OPERATORS_GROUP).pk if other == "group_id" else permission.pk
            for statement in (
                f"INSERT INTO {table} ({own}, {other}) VALUES ({holder.pk}, {pk})",
                f"DELETE FROM {table}",
            ):
                with taken_back():
                    execute(statement)
                    if not named():
                        unseen.append(statement)
    assert unseen == []


def test_permissions_from_before_entries_told_of_them_are_sealed_once(world: World) -> None:
    group = Group.objects.create(name="few")
    group.permissions.add(*Permission.objects.order_by("pk")[:2])
    make_operator(
        world.rita
    )  # after the release that seals them, and before somebody sealed those from before
    assert any(f"permissions of group {group.pk}: " in line for line in named())
    with taken_back():
        assert introduce_audit_key().rows == 1
        assert [line for line in named() if "permissions" in line] == []
        group.permissions.add(Permission.objects.order_by("-pk")[0])
        assert introduce_audit_key().rows == 0
        assert any(f"permissions of group {group.pk}: " in line for line in named())


def _withdrawn(world: World) -> None:
    waiting.stop_waiting(change_request_id=world.waiting.pk, actor=world.olivia)


def _dropped(world: World) -> None:
    stage_csv(world.waiting, "tailnum,seats\nN2,5\n", actor=world.waiting.author)


def _returned(world: World) -> None:
    proposals.return_to_draft(change_request_id=world.waiting.pk, actor=world.waiting.author)
    proposals.submit(change_request_id=world.waiting.pk, actor=world.waiting.author)


def _asked_for(world: World) -> None:
    run = runs.request_merge(change_request_id=world.waiting.pk, actor=world.olivia, override_reason="Now.")
    runs.cancel_run(run_id=run.pk, actor=world.olivia)


@pytest.mark.parametrize("ended", [_withdrawn, _dropped, _returned, _asked_for])
def test_a_wish_that_ended_is_not_put_back(world: World, ended: Callable[[World], None]) -> None:
    columns = ", ".join(f'"{column}"' for column in WAIT.columns)
    table = ChangeRequest._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {table} WHERE id = {world.waiting.pk}")
        before = cursor.fetchone()
        ended(world)
        assert named() == []
        places = ", ".join(f'"{column}" = %s' for column in WAIT.columns)
        with taken_back():
            cursor.execute(f"UPDATE {table} SET {places} WHERE id = {world.waiting.pk}", before)
            assert any(
                f"merge when ready of {world.waiting.cr_id}: it waits, and " in line for line in named()
            )
    waiting.merge_when_ready(change_request_id=world.waiting.pk, actor=world.olivia)
    assert named() == []


#: What superusers do in the admin with an account that has a role and did nothing, and with a group that has one.
DONE_IN_ADMIN: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "group.changed": ("group/{group}/change/", {"name": "many"}),
    "group.deleted": ("group/{group}/delete/", {"post": "yes"}),
    "group.deleted, several": (
        "group/",
        {"action": "delete_selected", "_selected_action": "{group}", "post": "yes"},
    ),
    "group.made": ("group/add/", {"name": "others", "permissions": "{permission}"}),
    "group.changed, its permissions": (
        "group/{group}/change/",
        {"name": "few", "permissions": "{permission}"},
    ),
    "account.changed": (
        "user/{nina}/change/",
        {
            "username": "nina",
            "is_active": "on",
            "date_joined_0": "2026-01-01",
            "date_joined_1": "00:00:00",
            "user_permissions": "{permission}",
        },
    ),
    "account.deleted": ("user/{nina}/delete/", {"post": "yes"}),
    "account.deleted, several": (
        "user/",
        {"action": "delete_selected", "_selected_action": "{nina}", "post": "yes"},
    ),
}


@pytest.mark.parametrize("done", DONE_IN_ADMIN)
def test_what_superusers_do_in_the_admin_is_told_and_bends_nothing(done: str) -> None:
    dataset, group = DatasetFactory.create(), GroupFactory.create()
    nina = person_with(Role.VIEWER, dataset, username="nina")
    nina.groups.add(group)
    for member in (nina, group):
        give_role(member, dataset, Role.CONTRIBUTOR)
        give_role(member, dataset.project, Role.VIEWER)
    assert named() == []
    browser = Client()
    browser.force_login(User.objects.create_superuser("root"))
    path, form = DONE_IN_ADMIN[done]
    permission = Permission.objects.get(codename="change_installation").pk
    numbers = {"group": group.pk, "nina": nina.pk, "permission": permission}
    form = {name: str(value).format(**numbers) for name, value in form.items()}
    assert browser.post(f"/admin/auth/{path.format(**numbers)}", form).status_code == 302
    told = Event.objects.filter(action=done.partition(",")[0], actor="root")
    assert told.count() == 1
    assert named() == []


def test_every_column_is_vouched_for_or_excused() -> None:
    """A column that comes later is sealed in a further layout, or says here why it need not be."""
    sides = {ChangeRequest: (MERGE, WAIT), Comment: (THREAD,), MergeRun: (OUTCOME,)}
    for kind in KEPT:
        sealed = {column for one in (kind, *sides.get(kind.model, ())) for column in one.columns}
        columns = {one.attname for one in kind.model._meta.concrete_fields if not one.primary_key}
        assert columns == sealed | set(UNSEALED.get(kind.model, {})), kind.name
        assert sealed.isdisjoint(UNSEALED.get(kind.model, {})), kind.name


def test_fs10_triggers_that_are_missing_or_changed_are_named() -> None:
    with taken_back():
        assert {one.place for one in verify_triggers()} >= {"audit_chain_forward"}
        execute(*CREATE_TRIGGERS[connection.vendor])
        assert list(verify_triggers()) == []
        if connection.vendor == "postgresql":
            execute("ALTER TABLE audit_event DISABLE TRIGGER audit_event_kept")
            assert [f"{one.place}: {one.reason}" for one in verify_triggers()] == [
                "audit_event_kept: the trigger is switched off; the database does not refuse to change the trail"
            ]
            execute(
                "ALTER TABLE audit_event ENABLE TRIGGER audit_event_kept",
                "CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RETURN OLD; END $$",
            )
            assert {one.place for one in verify_triggers()} >= {"audit_event_kept", "audit_chain_kept"}
        else:
            execute(
                "DROP TRIGGER audit_event_not_changed",
                "CREATE TRIGGER audit_event_not_changed BEFORE UPDATE ON audit_event BEGIN SELECT 1; END",
            )
            assert [f"{one.place}: {one.reason}" for one in verify_triggers()] == [
                "audit_event_not_changed: the trigger was changed; the database does not refuse to change the trail"
            ]


def test_fs10_anchors_removed_or_replaced_are_named() -> None:
    other_chain()
    first = Path(str(anchor_chains()))
    other_chain()
    second = Path(str(anchor_chains()))
    kept = second.read_bytes()
    second.unlink()
    assert any(f"{second}: the file is missing" in line for line in named())
    shutil.copy(first, second)
    assert any(f"{second}: the file was changed" in line for line in named())
    second.write_bytes(kept)
    content = json.loads(kept)
    content["heads"] = {}
    second.write_text(json.dumps(content))
    assert any(f"{second}: the anchor is not as somebody with the key signed it" in line for line in named())
    second.write_bytes(kept)
    forged = first.with_name("20200101T000000.000000Z.json")
    forged.write_text(json.dumps({"heads": {}, "previous": "", "previous_sha256": ""}))
    assert any(f"{forged}: no entry names this anchor" in line for line in named())
    forged.unlink()
    assert named() == []


def test_fs10_entries_from_before_the_key_are_sealed_once(world: World, settings: Any) -> None:
    """What an upgraded installation has: entries with plain hashes, and rows that no entry vouches for."""
    with taken_back():
        execute(*rewritten(world))
        old = Event.objects.get(stream=world.stream, sequence=2)
        assert f"{world.stream} entry 2: it was written without a key" in " ".join(named())
        nothing = "'{}'::jsonb" if connection.vendor == "postgresql" else "'{}'"
        execute(f"UPDATE audit_event SET rows = {nothing}")
        execute(
            "DELETE FROM audit_event WHERE stream <> '" + world.stream + "'",
            "DELETE FROM audit_chain WHERE stream <> '" + world.stream + "'",
        )
        introduced = introduce_audit_key()
        assert introduced.entries
        assert introduced.rows > 20
        assert named() == []
        assert introduce_audit_key().entries is False
        with transaction.atomic():
            execute("UPDATE audit_event SET actor = 'olivia' WHERE id = " + str(old.pk))
            assert any(f"{world.stream} entry 2: its content was changed" in line for line in named())
            transaction.set_rollback(True)
        reviews.comment(change_request_id=world.waiting.pk, actor=world.rita, body="Still?")
        assert named() == []
        # A second rewriting, without the key, after the introduction: its head is not what was sealed.
        execute(*rewritten(world, "olivia"))
        found = " ".join(named())
        assert "it is not the entry that an introduction of a key sealed" in found
        assert "it was written without the key, or with one that was retired before" in found


def test_fs10_after_a_change_of_the_key_the_old_one_writes_no_more(settings: Any) -> None:
    other_chain()
    old = settings.AUDIT_KEYS
    settings.AUDIT_KEYS = (("second", "s" * 40), *old)
    call_command("introduce_audit_key")
    other_chain()
    assert named() == []
    settings.AUDIT_KEYS = old
    other_chain()
    settings.AUDIT_KEYS = (("second", "s" * 40), *old)
    assert [line for line in named() if "retired" in line] == [
        f"dataset:999 entry {number}: it was written without the key, or with one that was retired before"
        for number in (7, 8, 9)
    ]
    settings.AUDIT_KEYS = (("second", "s" * 40),)
    assert "dataset:999 entry 1: its key 'development' is not known here" in named()
