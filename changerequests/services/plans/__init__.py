"""What a merge would do: the plan on the table as it is now, and the pages that reviewers read.

From below: ``requests``, ``planning``, then ``checking`` and ``pages`` beside each other, and ``exports``.
"""

from changerequests.services.plans.checking import (
    check,
    check_again,
    check_if_outdated,
    check_what_was_out_of_reach,
    fresh_check,
    may_check_again,
)
from changerequests.services.plans.exports import (
    all_changes,
    all_conflicts,
    compare_revisions,
)
from changerequests.services.plans.pages import (
    ALL_CONFLICTS,
    ConflictsPage,
    OpenConflicts,
    changes_page,
    conflict_document,
    conflicts_at,
    conflicts_page,
    grouped_changes,
    open_conflicts,
    read_selection,
    revision_called,
    seen_choice,
    staged_row,
    usual_ranges,
)
from changerequests.services.plans.planning import (
    choices_standing,
    conflicts_of,
    naming_missing_content,
    plan_of,
)
from changerequests.services.plans.requests import bare_request_for, merge_request_for

__all__ = [
    "ALL_CONFLICTS",
    "ConflictsPage",
    "OpenConflicts",
    "all_changes",
    "all_conflicts",
    "bare_request_for",
    "changes_page",
    "check",
    "check_again",
    "check_if_outdated",
    "check_what_was_out_of_reach",
    "choices_standing",
    "compare_revisions",
    "conflict_document",
    "conflicts_at",
    "conflicts_of",
    "conflicts_page",
    "fresh_check",
    "grouped_changes",
    "may_check_again",
    "merge_request_for",
    "naming_missing_content",
    "open_conflicts",
    "plan_of",
    "read_selection",
    "revision_called",
    "seen_choice",
    "staged_row",
    "usual_ranges",
]
