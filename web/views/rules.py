"""Rules of a dataset's expectations as forms: laid out, opened, taken over, tried on the table, then saved.

The suite that is being edited travels with the form, so that nothing is lost and nothing holds before it is saved.
"""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from datasets import suites, trials
from datasets.errors import InvalidInput
from datasets.models import Dataset
from datasets.roles import require_owner
from web.rule_forms import RuleForm, title_of
from web.view_models.rules import shown_trial
from web.views.expectations import Edited, edited_of, suite_page
from web.views.shared import (
    body_limit,
    dataset_at,
    form_at,
    is_fragment,
    person,
    posted,
    signed_in,
    whole_number,
)


@body_limit("LONG_LIST_LIMIT_BYTES")
@form_at("suite", "project_slug", "dataset_slug")
@signed_in
def edit_rules(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """The suite as it would be: with a rule opened, taken over, or left out. For owners; nothing is saved."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    require_owner(person(request), dataset, suites.CHANGE_EXPECTATIONS)
    edited = edited_of(request)
    action, _, place = posted(request, "action").partition(":")
    number = whole_number(place)
    try:
        match action:
            case "new":
                form = _form_of(dataset, {"type": posted(request, "type")}, None)
                return suite_page(request, dataset, edited, rule_form=form)
            case "open" if number is not None:
                form = _form_of(dataset, suites.rule_at(edited.document, number), number)
                return suite_page(request, dataset, edited, rule_form=form)
            case "drop" if number is not None:
                document = suites.without_rule(edited.document, number)
                said = f"Rule {number + 1} is left out."
                return suite_page(request, dataset, Edited(document, edited.number, edited.note), done=said)
            case "keep":
                return _taken_over(request, dataset, edited)
    except InvalidInput as error:
        return suite_page(request, dataset, edited, problem=error.message, status=422)
    return suite_page(request, dataset, edited)


def _form_of(dataset: Dataset, rule: Mapping[str, Any], number: int | None, data: Any = None) -> RuleForm:
    kind = rule.get("type")
    shape = suites.shapes_for(dataset).get(kind) if isinstance(kind, str) else None
    if shape is None or title_of(shape.type) == shape.type:
        raise InvalidInput("Choose what must hold; there is no form for what was chosen.")
    return RuleForm(shape, rule, data, number=number)


def _sent_form(request: HttpRequest, dataset: Dataset, edited: Edited) -> RuleForm:
    """The rule as it was typed, on top of what the suite says of it already."""
    number = whole_number(posted(request, "rule_number"))
    given: Mapping[str, Any] = {"type": posted(request, "rule_type")}
    if number is not None:
        standing = suites.rule_at(edited.document, number)
        given = standing if standing.get("type") == given["type"] else given
    form = _form_of(dataset, given, number, request.POST)
    if form.is_valid():
        form.refuse(suites.problems_of_rule(dataset, form.rule()))
    return form


def _taken_over(request: HttpRequest, dataset: Dataset, edited: Edited) -> HttpResponse:
    form = _sent_form(request, dataset, edited)
    if not form.is_valid():
        return suite_page(request, dataset, edited, rule_form=form, status=422)
    document = suites.with_rule(edited.document, form.rule(), form.number)
    place = len(suites.rules_in(document)) if form.number is None else form.number + 1
    changed = Edited(document, edited.number, edited.note)
    return suite_page(request, dataset, changed, done=f"Rule {place} stands below.")


@body_limit("LONG_LIST_LIMIT_BYTES")
@form_at("suite", "project_slug", "dataset_slug")
@signed_in
def try_suite(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """Have a worker look whether the table satisfies the suite as it is edited, or the rule that is open."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    require_owner(person(request), dataset, suites.CHANGE_EXPECTATIONS)
    edited = edited_of(request)
    form: RuleForm | None = None
    try:
        if posted(request, "rule_type"):
            form = _sent_form(request, dataset, edited)
            if not form.is_valid():
                return suite_page(request, dataset, edited, rule_form=form, status=422)
        asked = trials.ask_for_trial(
            dataset_id=dataset.pk,
            actor=person(request),
            document=edited.document,
            rule=form.rule() if form is not None else None,
            rule_number=form.number if form is not None else None,
            edited_number=edited.number,
            note=edited.note,
        )
    except InvalidInput as error:
        return suite_page(request, dataset, edited, problem=error.message, status=422)
    except suites.SuiteRejected:
        return suite_page(request, dataset, edited, refused=True, status=422)
    return HttpResponseRedirect(reverse("suite_trial", args=[project_slug, dataset_slug, asked.pk]))


@require_safe
@signed_in
def trial(request: HttpRequest, project_slug: str, dataset_slug: str, trial_id: int) -> HttpResponse:
    """What was tried, beside what is being edited; until it is known, that a worker looks."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    tried = trials.trial_of(dataset, trial_id, person(request))
    shown = shown_trial(dataset, tried)
    if is_fragment(request):
        return render(request, "datasets/_trial.html", {"tried": shown, "dataset": dataset})
    form = _form_of(dataset, tried.rule, tried.rule_number) if tried.rule is not None else None
    edited = Edited(tried.document, tried.edited_number, tried.note)
    return suite_page(request, dataset, edited, rule_form=form, tried=shown)
