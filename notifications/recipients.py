"""Who is told of what, why, and what to do next: one table, without the database."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from notifications.kinds import PERSONAL, Kind, Reason


@dataclass(frozen=True)
class AudienceRule:
    """Of one action: what kind of news it is, and whom it concerns.

    ``own_end``: it ends what its actor began a while ago, so that they are told of it, too.
    """

    kind: Kind
    reasons: tuple[Reason, ...]
    own_end: bool = False


@dataclass(frozen=True)
class Circle:
    """Who stands how to what happened, by the primary keys of people; ``muted`` want to hear nothing of it."""

    actor: int | None = None
    people: Mapping[Reason, Collection[int]] = field(default_factory=dict)
    muted: Collection[int] = frozenset()


@dataclass(frozen=True)
class Recipient:
    """One person who is told, as what."""

    person: int
    kind: Kind
    reason: Reason


_R = Reason
_AROUND: Final = (_R.AUTHOR, _R.PARTICIPANT, _R.WATCHING)
_ENDED: Final = (_R.MERGER, _R.AUTHOR, _R.WATCHING)

RULES: Final[Mapping[str, AudienceRule]] = {
    "change_request.created": AudienceRule(Kind.MENTIONED, (_R.MENTIONED,)),
    "change_request.edited": AudienceRule(Kind.CHANGED, (_R.MENTIONED, *_AROUND)),
    "change_request.submitted": AudienceRule(
        Kind.STATE, (_R.REVIEW_REQUESTED, *_AROUND, _R.OWNER, _R.WATCHING_DATASET)
    ),
    "change_request.returned_to_draft": AudienceRule(Kind.STATE, _AROUND),
    "change_request.withdrawn": AudienceRule(Kind.STATE, _AROUND),
    "change_request.rejected": AudienceRule(Kind.STATE, _AROUND),
    "change_request.reopened": AudienceRule(Kind.STATE, _AROUND),
    "change_request.split": AudienceRule(Kind.CHANGED, (*_AROUND, _R.OWNER)),
    "change_request.split_off": AudienceRule(Kind.CHANGED, (_R.AUTHOR,)),
    "change_request.revert_opened": AudienceRule(Kind.STATE, (*_AROUND, _R.OWNER)),
    "change_request.reverted": AudienceRule(Kind.STATE, (*_AROUND, _R.OWNER, _R.WATCHING_DATASET)),
    "change_request.merged": AudienceRule(
        Kind.MERGED, (_R.MERGER, *_AROUND, _R.WATCHING_DATASET), own_end=True
    ),
    "review.requested": AudienceRule(Kind.REVIEW_REQUESTED, (_R.REVIEW_REQUESTED,)),
    "review.approved": AudienceRule(Kind.REVIEWED, (_R.MENTIONED, *_AROUND)),
    "review.changes_requested": AudienceRule(Kind.REVIEWED, (_R.MENTIONED, *_AROUND)),
    "review.commented": AudienceRule(Kind.REVIEWED, (_R.MENTIONED, *_AROUND)),
    "comment.added": AudienceRule(Kind.CONVERSATION, (_R.MENTIONED, _R.THREAD, *_AROUND)),
    "thread.resolved": AudienceRule(Kind.CONVERSATION, (_R.THREAD, _R.WATCHING)),
    "thread.reopened": AudienceRule(Kind.CONVERSATION, (_R.THREAD, _R.WATCHING)),
    "revision.staged": AudienceRule(Kind.CHANGED, _AROUND),
    "revision.rebased": AudienceRule(Kind.CHANGED, (_R.WATCHING,)),
    "conflicts.resolved": AudienceRule(Kind.CHANGED, _AROUND),
    "conflicts.undone": AudienceRule(Kind.CHANGED, _AROUND),
    "expectations.overridden": AudienceRule(Kind.REVIEWED, (_R.AUTHOR, _R.OWNER, _R.WATCHING)),
    "merge.conflicted": AudienceRule(Kind.MERGE_STOPPED, _ENDED, own_end=True),
    "merge.invalid": AudienceRule(Kind.MERGE_STOPPED, _ENDED, own_end=True),
    "merge.failed": AudienceRule(Kind.MERGE_STOPPED, _ENDED, own_end=True),
    "merge.cancelled": AudienceRule(Kind.MERGE_STOPPED, _ENDED),
    "merge.when_ready_dropped": AudienceRule(Kind.MERGE_STOPPED, (_R.MERGER,)),
    "merge.unsettled": AudienceRule(Kind.MERGE_STOPPED, (_R.MERGER, _R.AUTHOR, _R.OWNER), own_end=True),
    "merge.differs": AudienceRule(Kind.MERGE_STOPPED, (_R.MERGER, _R.OWNER), own_end=True),
    "operator.cancelled": AudienceRule(Kind.MERGE_STOPPED, _ENDED),
    "dataset.settings_changed": AudienceRule(Kind.DATASET, (_R.OWNER, _R.WATCHING_DATASET)),
    "dataset.suite_saved": AudienceRule(Kind.DATASET, (_R.OWNER, _R.WATCHING_DATASET)),
    "maintenance.failed": AudienceRule(Kind.DATASET, (_R.OWNER,)),
    "webhook.stopped": AudienceRule(Kind.DATASET, (_R.OWNER,)),
    "member.role_set": AudienceRule(Kind.ACCESS, (_R.CONCERNED,)),
    "account.password_changed": AudienceRule(Kind.ACCESS, (_R.CONCERNED,)),
    "operator.made": AudienceRule(Kind.ACCESS, (_R.CONCERNED,)),
}

#: A reason that makes it news of another kind than its rule says.
_OWN_KINDS: Final = {Reason.MENTIONED: Kind.MENTIONED, Reason.REVIEW_REQUESTED: Kind.REVIEW_REQUESTED}


def recipients(action: str, circle: Circle) -> list[Recipient]:
    """Each person who is told, once, for the strongest of their reasons; whoever did it is not told."""
    rule = RULES.get(action)
    if rule is None:
        return []
    found: dict[int, Recipient] = {}
    for reason in Reason:
        for person in sorted(circle.people.get(reason, ())) if reason in rule.reasons else ():
            if person in found or (person == circle.actor and not rule.own_end):
                continue
            if person in circle.muted and reason not in PERSONAL:
                continue
            found[person] = Recipient(person, _OWN_KINDS.get(reason, rule.kind), reason)
    return list(found.values())


_BY_KIND: Final = {
    Kind.REVIEW_REQUESTED: "Look at the changes, then approve them or say what should change.",
    Kind.MENTIONED: "Read what was said, and answer if you are asked something.",
    Kind.CONVERSATION: "Read what was said, and answer if you are asked something.",
    Kind.CHANGED: "Look at what is new: earlier approvals may not count for it.",
    Kind.STATE: "",
    Kind.MERGED: "Nothing has to be done.",
    Kind.MERGE_STOPPED: "Look at why the merge did not happen; the table is as it was.",
    Kind.DATASET: "",
    Kind.ACCESS: "If you did not expect this, ask an owner or your operators.",
}
_BY_ACTION: Final = {
    "change_request.submitted": "It awaits review: look at the changes if you can judge them.",
    "change_request.split": "Look at what stays: it needs a new review.",
    "change_request.split_off": "Read why, change what should change, and submit it; or close it.",
    "change_request.rejected": "Read why. The author can reopen it.",
    "review.approved": "Merge it once nothing else stands in the way.",
    "review.changes_requested": "Change what is asked for, or answer in the conversation.",
    "review.commented": "Read what was said, and answer if you are asked something.",
    "merge.conflicted": "Choose values for the conflicts, then merge again.",
    "merge.invalid": "Look at the expectations that failed, and change the content.",
    "merge.when_ready_dropped": "Look at what is new, and ask for the merge again.",
    "merge.unsettled": "Wait: it is not known yet whether the merge stands, and Headgate finds out by itself.",
    "merge.differs": "An operator has to look at the table.",
    "maintenance.failed": "Look at the maintenance of the dataset.",
    "webhook.stopped": "Look at what it answered last, mend its receiver or its address, and switch it on again.",
}


def next_step(action: str, kind: Kind) -> str:
    """What whoever is told should do now; empty where there is nothing."""
    if kind in (Kind.MENTIONED, Kind.REVIEW_REQUESTED):
        return _BY_KIND[kind]
    return _BY_ACTION.get(action) or _BY_KIND.get(kind, "")
