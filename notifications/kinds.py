"""What people can be told of, why, and how: the words of notifications. Pure."""

from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What people choose by how they are told."""

    REVIEW_REQUESTED = "review_requested"
    MENTIONED = "mentioned"
    CONVERSATION = "conversation"
    REVIEWED = "reviewed"
    CHANGED = "changed"
    STATE = "state"
    MERGED = "merged"
    MERGE_STOPPED = "merge_stopped"
    DATASET = "dataset"
    ACCESS = "access"


#: What each kind is, for people.
KINDS: Final = {
    Kind.REVIEW_REQUESTED: "You are asked for a review",
    Kind.MENTIONED: "Somebody mentions you",
    Kind.CONVERSATION: "Comments and answers",
    Kind.REVIEWED: "Verdicts of reviewers",
    Kind.CHANGED: "New content, and choices for conflicts",
    Kind.STATE: "Requests submitted, taken back, closed, reopened or reverted",
    Kind.MERGED: "Merges",
    Kind.MERGE_STOPPED: "Merges that did not happen",
    Kind.DATASET: "Settings, expectations, webhooks and care of datasets",
    Kind.ACCESS: "Your roles and your account",
}


class Way(StrEnum):
    """How somebody is told of a kind; each but ``off`` reaches the inbox, too."""

    INBOX = "inbox"
    EMAIL = "email"
    DIGEST = "digest"
    OFF = "off"


#: How people are told who chose nothing.
DEFAULT_WAYS: Final = {
    Kind.REVIEW_REQUESTED: Way.EMAIL,
    Kind.MENTIONED: Way.EMAIL,
    Kind.CONVERSATION: Way.EMAIL,
    Kind.REVIEWED: Way.EMAIL,
    Kind.CHANGED: Way.DIGEST,
    Kind.STATE: Way.DIGEST,
    Kind.MERGED: Way.DIGEST,
    Kind.MERGE_STOPPED: Way.EMAIL,
    Kind.DATASET: Way.DIGEST,
    Kind.ACCESS: Way.EMAIL,
}


class Reason(StrEnum):
    """Why somebody is told, the strongest first: of several one counts."""

    CONCERNED = "concerned"
    REVIEW_REQUESTED = "review_requested"
    MENTIONED = "mentioned"
    MERGER = "merger"
    AUTHOR = "author"
    THREAD = "thread"
    PARTICIPANT = "participant"
    OWNER = "owner"
    WATCHING = "watching"
    WATCHING_DATASET = "watching_dataset"


#: Each reason as a sentence.
REASONS: Final = {
    Reason.CONCERNED: "You are told because it is about you.",
    Reason.REVIEW_REQUESTED: "You are told because you were asked for a review.",
    Reason.MENTIONED: "You are told because you were mentioned.",
    Reason.MERGER: "You are told because you asked for the merge.",
    Reason.AUTHOR: "You are told because you wrote the request.",
    Reason.THREAD: "You are told because you take part in the discussion.",
    Reason.PARTICIPANT: "You are told because you take part in the request.",
    Reason.OWNER: "You are told because you own the dataset or its project.",
    Reason.WATCHING: "You are told because you watch the request.",
    Reason.WATCHING_DATASET: "You are told because you watch the dataset.",
}

#: What reaches people who muted a request or dataset, too: they are asked themselves.
PERSONAL: Final = frozenset({Reason.CONCERNED, Reason.REVIEW_REQUESTED, Reason.MENTIONED})
