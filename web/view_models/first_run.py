"""The first run: three steps that lead from nothing to a merged change, each of which shows itself done."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import User
from django.urls import reverse

from changerequests import selectors
from changerequests.models import ChangeRequest
from changerequests.states import OPEN_STATUSES, Status
from datasets.models import Dataset
from datasets.operators import is_operator
from datasets.roles import Role, datasets_with_role, somebody_else_has_role
from datasets.services import may_register_somewhere


@dataclass(frozen=True)
class FirstStep:
    """One step: what it is for, whether it is done, and where it is taken."""

    title: str
    words: str
    is_done: bool
    action: str = ""
    url: str = ""
    is_next: bool = False


@dataclass(frozen=True)
class FirstRun:
    """The three steps; ``sample_data`` is where sample tables are made with one click, in demos."""

    steps: tuple[FirstStep, ...]
    sample_data: str = ""


def first_run(reader: User) -> FirstRun | None:
    """What is left of the first run, for whoever adds tables; None once a change was merged."""
    if ChangeRequest.objects.filter(status=Status.MERGED).exists() or not may_register_somewhere(reader):
        return None
    steps = [_table(), _people(reader), _change(reader)]
    following = next((place for place, step in enumerate(steps) if not step.is_done), None)
    shown = tuple(
        FirstStep(one.title, one.words, one.is_done, one.action, one.url, is_next=place == following)
        for place, one in enumerate(steps)
    )
    return FirstRun(shown, _sample_data(reader) if not steps[0].is_done else "")


def _table() -> FirstStep:
    count = Dataset.objects.count()
    done = f"{count} {'table is a dataset' if count == 1 else 'tables are datasets'}."
    words = "Choose a Delta table that you have. Nothing in it is changed: Headgate reads its log and checks its key."
    return FirstStep(
        "Add a table",
        done if count else words,
        bool(count),
        "Add another" if count else "Add a table",
        reverse("add_table"),
    )


def _people(reader: User) -> FirstStep:
    others = somebody_else_has_role(reader)
    words = "A change is approved by somebody else than its author. Invite whoever knows the data."
    return FirstStep(
        "Invite people",
        "Somebody else has a role already." if others else words,
        others,
        "Invite more" if others else "Invite people",
        reverse("people"),
    )


def _change(reader: User) -> FirstStep:
    title = "Propose the first change"
    open_request = (
        selectors.visible_change_requests(reader).filter(status__in=OPEN_STATUSES).order_by("pk").first()
    )
    if open_request is not None:
        words = f"{open_request.cr_id} is under way: “{open_request.title}”. It is done when it is merged."
        return FirstStep(
            title,
            words,
            False,
            f"Open {open_request.cr_id}",
            reverse("change_request", args=[open_request.cr_id]),
        )
    dataset = datasets_with_role(reader, Role.CONTRIBUTOR).select_related("project").order_by("pk").first()
    words = "Edit a few cells as in a spreadsheet, look at what would change, and ask for a review."
    if dataset is None:
        return FirstStep(title, words, False)
    url = reverse("new_change_request", args=[dataset.project.slug, dataset.slug])
    return FirstStep(title, words, False, f"Change {dataset.name}", url)


def _sample_data(reader: User) -> str:
    return reverse("add_sample_data") if settings.OFFERS_SAMPLE_DATA and is_operator(reader) else ""
