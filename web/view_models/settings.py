"""A dataset's settings in groups: what each rule means, and what it means for the requests that are under review."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from django.forms import BoundField

from changerequests.services.rule_effects import RuleEffects
from web.forms import DatasetSettingsForm
from web.wording import counted, listed


@dataclass(frozen=True)
class ShownSetting:
    """One setting: its field, its value in words for those who may not change it, and its effect on open requests."""

    field: BoundField
    value: str
    effect: str
    is_check: bool


@dataclass(frozen=True)
class SettingsGroup:
    """Settings that are about one thing."""

    title: str
    about: str
    settings: tuple[ShownSetting, ...]


def settings_groups(form: DatasetSettingsForm, effects: RuleEffects) -> tuple[SettingsGroup, ...]:
    """The settings as the page shows them."""
    said = _effects(effects) if effects.under_review else {}
    return tuple(
        SettingsGroup(
            title,
            about,
            tuple(
                ShownSetting(
                    form[name],
                    setting_in_words(form, name, form[name].initial),
                    said.get(name, ""),
                    form[name].widget_type == "checkbox",
                )
                for name in names
            ),
        )
        for title, about, names in form.GROUPS
    )


def setting_in_words(form: DatasetSettingsForm, name: str, value: object) -> str:
    """The value of a setting as people read it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    choices: Mapping[object, str] = dict(getattr(form.fields[name], "choices", ()))
    return str(choices.get(value, value)) or "nothing"


def _effects(effects: RuleEffects) -> dict[str, str]:
    requests = counted(effects.under_review, "request")
    approvals = listed(
        f"{requests_with:,} with {counted(number, 'approval') if number else 'no approval'}"
        for number, requests_with in sorted(effects.approvals.items())
    )
    checked = "when it is checked the next time, and always before it is merged"
    return {
        "required_approvals": f"Counts at once for the {requests} under review: {approvals}. "
        "Approvals that were given stay.",
        "service_approvals_count": f"Counts at once for the {requests} under review, and for what was approved.",
        "contributors_may_merge": f"Counts at once for the {requests} under review, and for merges that wait: it is "
        "looked at again before one writes.",
        "threads_must_be_resolved": f"Counts at once: {effects.with_discussions:,} of {requests} under review "
        f"{'has' if effects.with_discussions == 1 else 'have'} an open discussion.",
        "delete_limit": f"Counts at once: of {requests} under review, the one that deletes most deletes "
        f"{effects.largest_deletion:.1%} of the rows.",
        "conflict_policy": f"Each of the {requests} under review is judged by it {checked}; "
        f"{effects.with_conflicts:,} {'has' if effects.with_conflicts == 1 else 'have'} conflicts as it is now.",
        "block_pre_existing": f"Each of the {requests} under review is judged by it {checked}.",
        "engine": f"Each of the {requests} under review is compared by it {checked}.",
        "staging_cleanup": "For merges from now on; what was removed or archived stays so.",
    }
