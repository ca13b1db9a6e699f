"""Who is told of what: the table by cases, and that no action is forgotten in it."""

import ast
from collections.abc import Iterator

import pytest

from config.env import BASE_DIR
from notifications.kinds import DEFAULT_WAYS, KINDS, REASONS, Kind, Reason
from notifications.mentions import mentioned_names
from notifications.recipients import RULES, Circle, Recipient, next_step, recipients

ANN, BOB, CEM, DEE = 1, 2, 3, 4

#: Actions of the trail that are nobody's news: steps on the way, and what operators do and read in the trail.
SILENT = {
    "account.made",
    "account.sign_in_link_made",
    "service_account.made",
    "account.sign_in_link_used",
    "revision.split",  # that a part was left out is told
    "suggestion.taken",  # the content that comes of it is told
    "change_request.removed",
    "dataset.reconciled",
    "dataset.registered",
    "maintenance.requested",
    "merge.adopted",
    "merge.brought_forward",
    "merge.cancel_requested",
    "merge.put_off",  # it goes on by itself; where it does not, the failure is told
    "merge.requested",
    "merge.resumed",
    "merge.settled",
    "merge.started",
    "merge.when_ready_asked",
    "merge.when_ready_withdrawn",
    "operator.connection_given",
    "operator.difference_acknowledged",
    "operator.files_elsewhere_allowed",
    "operator.files_elsewhere_refused",
    "operator.lease_released",
    "operator.retried",
    "operator.swept",
    "project.created",
    "project.changed",
    "project.deleted",
    "retention.applied",
    "review.request_withdrawn",
    "staging.archived",
    "staging.removed",
}


@pytest.mark.parametrize(
    ("action", "circle", "told"),
    [
        (
            "comment.added",
            Circle(ANN, {Reason.AUTHOR: {ANN}, Reason.MENTIONED: {BOB}, Reason.PARTICIPANT: {BOB, CEM}}),
            [(BOB, Kind.MENTIONED, Reason.MENTIONED), (CEM, Kind.CONVERSATION, Reason.PARTICIPANT)],
        ),
        (
            "comment.added",
            Circle(BOB, {Reason.AUTHOR: {ANN}, Reason.WATCHING: {ANN, DEE}}, muted={DEE}),
            [(ANN, Kind.CONVERSATION, Reason.AUTHOR)],
        ),
        (
            "comment.added",
            Circle(ANN, {Reason.MENTIONED: {BOB}, Reason.WATCHING: {CEM}}, muted={BOB, CEM}),
            [(BOB, Kind.MENTIONED, Reason.MENTIONED)],
        ),
        ("comment.added", Circle(ANN, {Reason.MENTIONED: {ANN}}), []),
        (
            "review.requested",
            Circle(ANN, {Reason.REVIEW_REQUESTED: {BOB}, Reason.OWNER: {CEM}}),
            [(BOB, Kind.REVIEW_REQUESTED, Reason.REVIEW_REQUESTED)],
        ),
        (
            "change_request.submitted",
            Circle(ANN, {Reason.REVIEW_REQUESTED: {BOB}, Reason.OWNER: {BOB, CEM}, Reason.AUTHOR: {ANN}}),
            [
                (BOB, Kind.REVIEW_REQUESTED, Reason.REVIEW_REQUESTED),
                (CEM, Kind.STATE, Reason.OWNER),
            ],
        ),
        (
            "change_request.merged",  # whoever asked for it was long elsewhere
            Circle(ANN, {Reason.MERGER: {ANN}, Reason.AUTHOR: {BOB}, Reason.WATCHING_DATASET: {CEM}}),
            [
                (ANN, Kind.MERGED, Reason.MERGER),
                (BOB, Kind.MERGED, Reason.AUTHOR),
                (CEM, Kind.MERGED, Reason.WATCHING_DATASET),
            ],
        ),
        (
            "merge.cancelled",
            Circle(BOB, {Reason.MERGER: {BOB}, Reason.AUTHOR: {ANN}}),
            [(ANN, Kind.MERGE_STOPPED, Reason.AUTHOR)],
        ),
        (
            "merge.conflicted",
            Circle(None, {Reason.MERGER: {BOB}, Reason.AUTHOR: {BOB}, Reason.OWNER: {CEM}}),
            [(BOB, Kind.MERGE_STOPPED, Reason.MERGER)],
        ),
        (
            "member.role_set",
            Circle(ANN, {Reason.CONCERNED: {BOB}}, muted={BOB}),
            [(BOB, Kind.ACCESS, Reason.CONCERNED)],
        ),
        (
            "webhook.stopped",
            Circle(None, {Reason.OWNER: {ANN, BOB}, Reason.WATCHING_DATASET: {CEM}}, muted={BOB}),
            [(ANN, Kind.DATASET, Reason.OWNER)],
        ),
        ("merge.requested", Circle(ANN, {Reason.AUTHOR: {BOB}}), []),
        ("something.else", Circle(ANN, {Reason.AUTHOR: {BOB}}), []),
    ],
)
def test_each_person_is_told_once_for_the_strongest_reason(
    action: str, circle: Circle, told: list[tuple[int, Kind, Reason]]
) -> None:
    assert recipients(action, circle) == [Recipient(*one) for one in told]


def test_every_kind_and_reason_has_its_words() -> None:
    assert set(KINDS) == set(DEFAULT_WAYS) == set(Kind)
    assert set(REASONS) == set(Reason)
    assert next_step("review.requested", Kind.REVIEW_REQUESTED)
    assert next_step("comment.added", Kind.MENTIONED) != next_step("merge.conflicted", Kind.MERGE_STOPPED)


def test_every_action_of_the_trail_has_a_rule_or_is_silent_on_purpose() -> None:
    recorded = set(_recorded_actions())
    assert {"comment.added", "member.role_set", "review.requested"} <= recorded
    assert recorded - RULES.keys() - SILENT == set(), "give them a rule, or name them as silent"


def _recorded_actions() -> Iterator[str]:
    for package in ("accounts", "datasets", "changerequests", "notifications"):
        for path in (BASE_DIR / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call):
                    continue
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                given = (
                    [one.value for one in node.keywords if one.arg == "action"] if name == "record" else []
                )
                given += node.args[1:2] if name == "record_event" else []
                for one in given:
                    for part in ast.walk(one):
                        text = part.value if isinstance(part, ast.Constant) else ""
                        if isinstance(text, str) and "." in text and not text.endswith("."):
                            yield text


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("@ada please look", {"ada"}),
        ("I asked @ada.lovelace.", {"ada.lovelace", "ada.lovelace."}),
        ("(@bob), and @cem-y: see", {"bob", "cem-y"}),
        ("write to ada@example.org", set()),
        ("`@ada` and ```\n@bob\n``` but @cem", {"cem"}),
        ("@Öğe said @日本", {"Öğe", "日本"}),
        ("no one @ all", set()),
        ("", set()),
        (" ".join(f"@p{number}" for number in range(200)), {f"p{number}" for number in range(50)}),
    ],
)
def test_mentions(text: str, names: set[str]) -> None:
    assert mentioned_names(text) == names
