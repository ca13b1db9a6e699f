"""Exit codes, for scripts. 0 is done, 2 a command that was not understood."""

from __future__ import annotations

from enum import IntEnum

from headgate.errors import (
    Blocked,
    ConnectionFailed,
    ContentUnusable,
    Forbidden,
    HeadgateError,
    InvalidTransition,
    MergeConflict,
    NotAuthenticated,
    NotFound,
    NothingToChange,
    NotSignedIn,
    PlanChanged,
    StagingRejected,
    ValidationFailed,
    WaitedTooLong,
)


class Exit(IntEnum):
    """What a script can tell apart."""

    FAILED = 1
    #: It conflicts with what others changed.
    CONFLICT = 3
    #: The content, or the merged result, broke a rule.
    REFUSED = 4
    #: Something has to happen first: an approval, a fix, another state.
    BLOCKED = 5
    #: The content equals the table.
    NOTHING_TO_CHANGE = 6
    #: Not signed in, not allowed, or not there for this person.
    NO_ACCESS = 7
    #: The server does not answer, or it took too long; the same command may work later.
    LATER = 8


_EXITS: tuple[tuple[type[HeadgateError], Exit], ...] = (
    (MergeConflict, Exit.CONFLICT),
    (NothingToChange, Exit.NOTHING_TO_CHANGE),
    (StagingRejected, Exit.REFUSED),
    (ValidationFailed, Exit.REFUSED),
    (ContentUnusable, Exit.REFUSED),
    (Blocked, Exit.BLOCKED),
    (PlanChanged, Exit.BLOCKED),
    (InvalidTransition, Exit.BLOCKED),
    (NotSignedIn, Exit.NO_ACCESS),
    (NotAuthenticated, Exit.NO_ACCESS),
    (Forbidden, Exit.NO_ACCESS),
    (NotFound, Exit.NO_ACCESS),
    (ConnectionFailed, Exit.LATER),
    (WaitedTooLong, Exit.LATER),
)


def exit_of(error: HeadgateError) -> Exit:
    """The exit code that an error ends a command with."""
    if error.passes:
        return Exit.LATER
    return next((code for kind, code in _EXITS if isinstance(error, kind)), Exit.FAILED)
