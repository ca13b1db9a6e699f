"""Expectations of change requests: the rules of a merge, what checks found, who answers for what is broken."""

from changerequests.services.expectations.findings import (
    FailingRows,
    failing_rows,
    forget_what_could_not_be_checked,
    remember_check,
)
from changerequests.services.expectations.overrides import (
    give_override,
    override_expectations,
    overrides_as_json,
    suite_moved,
)
from changerequests.services.expectations.rules import restore_suite, rules_for, save_suite

__all__ = [
    "FailingRows",
    "failing_rows",
    "forget_what_could_not_be_checked",
    "give_override",
    "override_expectations",
    "overrides_as_json",
    "remember_check",
    "restore_suite",
    "rules_for",
    "save_suite",
    "suite_moved",
]
