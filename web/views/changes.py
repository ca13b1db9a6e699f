"""What a change request changes, cell by cell: looked at, discussed and accepted in part where the data is."""

from collections.abc import Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from changerequests import policies, selectors
from changerequests.errors import ContentGone, ContentMissing, PlanChanged
from changerequests.facts import Facts
from changerequests.services import plans, reviews, splitting, suggestions, uploads, viewing
from changerequests.states import Action, Status, UploadStatus
from datasets.errors import InvalidInput, NotFound
from datasets.rows import (
    ChangedRow,
    ChangesFilter,
    ChangesPage,
    InvalidCursor,
    InvalidFilter,
    changes_filter,
    column_types,
    key_digest,
    parse_json,
    typed_key,
)
from web.forms import Composer, LeaveOutForm, TalkForm
from web.parameters import NUMBER, TEXT, asked_with, choice, chosen
from web.view_models.change_requests import head, may_approve, may_review
from web.view_models.changes import (
    diff_table,
    filter_chips,
    filter_in_words,
    filter_parameters,
    groups,
    key_in_words,
    key_json,
    usual_ranges,
)
from web.view_models.datasets import types_of
from web.view_models.talk import Talk, cell_in_full, may_suggest, may_talk, threads_by_row
from web.views.shared import (
    facts_at,
    form_at,
    is_fragment,
    person,
    posted,
    request_at,
    signed_in,
    whole_number,
)
from web.wording import counted

PAGE_ROWS = 50
OPERATIONS = (("", "All"), ("update", "Changed"), ("insert", "New"), ("delete", "Deleted"))
#: Seconds that a page waits until a suggested value is part of the content; after that the upload has a page.
PATIENCE = 5.0
_NO_TEXT = choice("null", "empty")
_YES = choice("yes")
FILTER: Mapping[str, Any] = {
    "kind": choice(*(kind for kind, _ in OPERATIONS if kind)),
    "column": TEXT,
    "key": TEXT,
    "old": TEXT,
    "old_is": _NO_TEXT,
    "new": TEXT,
    "new_is": _NO_TEXT,
    "became_null": _YES,
    "unusual": _YES,
}
PARAMETERS: Mapping[str, Any] = {
    **FILTER,
    "view": choice("groups"),
    "columns": choice("all"),
    "after": TEXT,
    "at": TEXT,
    "on": TEXT,
}


@asked_with(**PARAMETERS)
@require_safe
@signed_in
def changes(request: HttpRequest, cr_id: str) -> HttpResponse:
    """The diff: filtered, paged by key, with what is said about its rows; or grouped by equal edits."""
    return _page(request, facts_at(request, cr_id))


def _page(
    request: HttpRequest, facts: Facts, *, form: TalkForm | None = None, status: int = 200
) -> HttpResponse:
    change_request, revision = facts.change_request, facts.revision
    grouped = request.GET.get("view") == "groups"
    context: dict[str, Any] = {
        "change_request": change_request,
        "dataset": facts.dataset,
        "head": head(facts, "changes"),
        "revision": revision,
        "grouped": grouped,
        **_reviewing(facts),
    }
    if revision is None:
        return render(request, "change_requests/changes.html", context, status=status)
    try:
        if grouped:
            context |= _grouped(request, facts)
        else:
            context |= _rows(request, facts, form)
    except ContentMissing as error:
        context["missing"] = error.message
    return render(request, "change_requests/changes.html", context, status=status)


def _reviewing(facts: Facts) -> dict[str, Any]:
    """The bar at the end: a verdict, and what may be left out."""
    revision = facts.revision
    looked_at = {
        "revision_digest": revision.digest if revision else "",
        "resolutions_digest": facts.resolutions_digest,
    }
    return {
        "may_review": may_review(facts),
        "may_approve": may_approve(facts),
        "may_talk": may_talk(facts),
        "may_split": revision is not None and not policies.blockers(facts, Action.SPLIT),
        "review_form": Composer(initial=looked_at),
        "before_number": revision.number - 1 if revision is not None and revision.number > 1 else None,
    }


# --- Rows -----------------------------------------------------------------------------------------------------------


def _rows(request: HttpRequest, facts: Facts, form: TalkForm | None) -> dict[str, Any]:
    change_request, revision = facts.change_request, facts.revision
    cells = dict(revision.cells_updated) if revision else {}
    columns = {*types_of(facts.dataset), *(revision.columns if revision else ())}
    wanted = _wanted(request.GET, chosen(request, "column", sorted(columns)))
    at = _row_at(request, facts)
    page, problem = _page_of_changes(request, facts, wanted)
    rows = list(page.items)
    only_row = at is not None and all(key_digest(row.key) != key_digest(at.key) for row in rows)
    if only_row and at is not None:
        rows = [at]
    all_columns = request.GET.get("columns") == "all"
    talks = _talks(request, facts, rows, at, form)
    ranges = plans.usual_ranges(revision) if revision and facts.status != Status.MERGED else {}
    parameters = filter_parameters(wanted)
    return {
        "operations": OPERATIONS,
        "operation": wanted.operation or "",
        "wanted": wanted,
        "filter_fields": {**dict.fromkeys(FILTER, ""), **parameters},
        "chips": filter_chips(wanted),
        "filter_query": urlencode(parameters),
        "download_query": urlencode(filter_parameters(wanted, operation="operation", yes="true")),
        "problem": problem,
        "cells": sorted(cells.items(), key=lambda item: (-item[1], item[0])),
        "cell_total": sum(cells.values()),
        "all_columns": all_columns,
        "types": types_of(facts.dataset),
        "ranges": usual_ranges(ranges, cells),
        "table": diff_table(change_request, rows, all_columns=all_columns, talks=talks),
        "page": page,
        "first_row": page.start + 1,
        "last_row": page.start + len(page.items),
        "only_row": only_row,
        "here": _here(request),
    }


def _wanted(given: QueryDict, column: str) -> ChangesFilter:
    """The filter that an address or a form names; values that a parameter cannot take are left aside."""
    fitting = {name: given.get(name, "") for name, known in FILTER.items() if known.fits(given.get(name, ""))}
    return changes_filter({**fitting, "operation": fitting.get("kind"), "column": column})


def _page_of_changes(
    request: HttpRequest, facts: Facts, wanted: ChangesFilter
) -> tuple[ChangesPage[ChangedRow], str]:
    """The page that is asked for, or the first one without what cannot be taken, and why not."""
    asked: dict[str, Any] = {"change_request": facts.change_request, "limit": PAGE_ROWS}
    try:
        return plans.changes_page(**asked, wanted=wanted, after=request.GET.get("after") or None), ""
    except InvalidCursor as error:
        return plans.changes_page(**asked, wanted=wanted), error.message
    except InvalidFilter as error:
        return ChangesPage(()), error.message


def _row_at(request: HttpRequest, facts: Facts) -> ChangedRow | None:
    """The row that the address talks about; None where it names none that is there."""
    text = request.GET.get("at", "")
    if not text:
        return None
    try:
        return plans.staged_row(change_request=facts.change_request, key=_key(facts, text))
    except InvalidInput:
        return None


def _key(facts: Facts, text: str) -> dict[str, Any]:
    """A key of the dataset, from JSON. Raises ``InvalidInput``."""
    key = parse_json(text, "at", cells=True)
    if not isinstance(key, dict) or set(key) != set(facts.dataset.primary_keys):
        raise InvalidInput(f"Name exactly the key columns: {', '.join(facts.dataset.primary_keys)}.")
    return typed_key(key, column_types(facts.dataset.meta.schema_json))


def _talks(
    request: HttpRequest,
    facts: Facts,
    rows: list[ChangedRow],
    at: ChangedRow | None,
    form: TalkForm | None,
) -> dict[str, Talk]:
    threads = threads_by_row(facts)
    found = {}
    for row in rows:
        digest = key_digest(row.key)
        is_open = at is not None and key_digest(at.key) == digest
        found[digest] = _talk(facts, row, threads.get(digest, ()), request.GET.get("on", ""), is_open, form)
    return found


def _talk(
    facts: Facts,
    row: ChangedRow,
    threads: tuple[Any, ...],
    column: str,
    is_open: bool,
    form: TalkForm | None = None,
) -> Talk:
    opened = None
    if is_open and may_talk(facts):
        digest = facts.revision.digest if facts.revision else ""
        opened = form or TalkForm(initial={"revision_digest": digest})
    return Talk(
        key_digest(row.key)[:16],
        key_json(row.key),
        key_in_words(row.key),
        threads,
        cell_in_full(row, column) if is_open else None,
        column if is_open else "",
        opened,
        is_open and may_suggest(facts, row, column),
    )


def _here(request: HttpRequest) -> str:
    """The parameters of the page without what is talked about, to be followed by it."""
    parameters = request.GET.copy()
    for name in ("at", "on"):
        parameters.pop(name, None)
    return f"{parameters.urlencode()}&" if parameters else ""


@asked_with(**PARAMETERS)
@require_safe
@signed_in
def talk(request: HttpRequest, cr_id: str) -> HttpResponse:
    """What is said about one row with the form for more, under the row; as a page, the page of the changes with it."""
    if not is_fragment(request):
        return HttpResponseRedirect(f"{reverse('changes', args=[cr_id])}?{request.GET.urlencode()}")
    return _talk_part(request, facts_at(request, cr_id))


def _talk_part(
    request: HttpRequest,
    facts: Facts,
    *,
    form: TalkForm | None = None,
    is_open: bool = True,
    status: int = 200,
) -> HttpResponse:
    key = _key(facts, request.GET.get("at", ""))
    row = plans.staged_row(change_request=facts.change_request, key=key)
    if row is None:
        raise NotFound("The content does not change this row any more. Reload the page.")
    threads = threads_by_row(facts).get(key_digest(row.key), ())
    shown = _talk(facts, row, threads, request.GET.get("on", ""), is_open, form)
    context = {
        "change_request": facts.change_request,
        "talk": shown,
        "may_talk": may_talk(facts),
        "here": _here(request),
        "width": 100,
    }
    return render(request, "change_requests/_talk.html", context, status=status)


@asked_with(**PARAMETERS)
@form_at("changes", "cr_id")
@signed_in
def say(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Say something about a row or a cell, suggest another value, or answer a thread."""
    facts = facts_at(request, cr_id)
    form = TalkForm(request.POST)
    if form.is_valid():
        try:
            _say(request, facts, form)
        except (InvalidInput, PlanChanged) as error:
            form.add_error(_field_of(error), error.message)
            return _refused(request, facts, form, 409 if isinstance(error, PlanChanged) else 422)
        if is_fragment(request):
            return _talk_part(request, facts, is_open=False)
        messages.success(request, "Said. It stands under the row.")
        return HttpResponseRedirect(_back(request, cr_id))
    return _refused(request, facts, form, 422)


def _say(request: HttpRequest, facts: Facts, form: TalkForm) -> None:
    given = form.cleaned_data
    offered = None
    if given["suggestion"] or given["suggestion_is"]:
        offered = reviews.Suggestion(
            {"null": None, "empty": ""}.get(given["suggestion_is"], given["suggestion"])
        )
    parent = whole_number(posted(request, "parent"))
    at = request.GET.get("at", "")
    key = parse_json(at, "at", cells=True) if at else None
    reviews.comment(
        change_request_id=facts.change_request.pk,
        actor=person(request),
        body=given["body"],
        parent_id=parent,
        row_key=key if parent is None and isinstance(key, dict) else None,
        column=request.GET.get("on", "") if parent is None else "",
        suggestion=offered if parent is None else None,
        revision_digest=given["revision_digest"] if parent is None else "",
    )


def _field_of(error: InvalidInput | PlanChanged) -> str | None:
    fields = getattr(error, "errors", None) or error.data.get("errors") or {}
    return next((name for name in fields if name in TalkForm.base_fields), "suggestion" if fields else "body")


def _refused(request: HttpRequest, facts: Facts, form: TalkForm, status: int) -> HttpResponse:
    if is_fragment(request):
        return _talk_part(request, facts, form=form, status=status)
    return _page(request, facts, form=form, status=status)


def _back(request: HttpRequest, cr_id: str, anchor: str = "") -> str:
    """The page of changes as it was asked for, at the row that was talked about."""
    query = _here(request).rstrip("&")
    return f"{reverse('changes', args=[cr_id])}{'?' if query else ''}{query}{anchor}"


@asked_with(**PARAMETERS)
@form_at("changes", "cr_id")
@signed_in
def take(request: HttpRequest, cr_id: str, comment_id: int) -> HttpResponse:
    """Take a suggested value over: new content with it."""
    change_request = request_at(request, cr_id)
    if not selectors.comments_on(change_request).filter(pk=comment_id).exists():
        raise NotFound("Nothing was suggested here.")
    upload = suggestions.take(comment_id=comment_id, actor=person(request))
    upload = uploads.wait_for_upload(upload.pk, PATIENCE)
    if upload.is_active:
        return HttpResponseRedirect(reverse("received_upload", args=[upload.pk]))
    if upload.status == UploadStatus.STAGED and upload.revision is not None:
        messages.success(request, f"Taken over, in revision {upload.revision.number}. It needs a new review.")
    else:
        messages.error(request, f"Not taken over: {upload.error_message}")
    return HttpResponseRedirect(_back(request, cr_id))


# --- Groups ---------------------------------------------------------------------------------------------------------


def _grouped(request: HttpRequest, facts: Facts) -> dict[str, Any]:
    found = viewing.change_groups(change_request=facts.change_request, person=person(request))
    return {
        "groups": groups(found.groups),
        "viewed": found.viewed,
        "cells": sorted(found.revision.cells_updated.items(), key=lambda item: (-item[1], item[0])),
        "most_cells": max(found.revision.cells_updated.values(), default=1),
        "may_mark": facts.status != Status.MERGED,
    }


@form_at("changes", "cr_id")
@signed_in
def mark_viewed(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Tick a group off for oneself, or take that back."""
    facts = facts_at(request, cr_id)
    viewing.mark_viewed(
        change_request=facts.change_request,
        person=person(request),
        group=posted(request, "group"),
        viewed=posted(request, "viewed") != "false",
        revision_digest=posted(request, "revision_digest"),
    )
    if is_fragment(request):
        context = {
            "change_request": facts.change_request,
            "revision": facts.revision,
            "may_split": not policies.blockers(facts, Action.SPLIT),
            **_grouped(request, facts),
        }
        return render(request, "change_requests/_groups.html", context)
    return HttpResponseRedirect(f"{reverse('changes', args=[cr_id])}?view=groups")


# --- Two revisions --------------------------------------------------------------------------------------------------


@asked_with(**{"from": NUMBER, "to": NUMBER, "kind": FILTER["kind"], "column": TEXT, "after": TEXT})
@require_safe
@signed_in
def compare(request: HttpRequest, cr_id: str) -> HttpResponse:
    """What two revisions propose differently."""
    facts = facts_at(request, cr_id)
    change_request = facts.change_request
    numbers = list(change_request.revisions.order_by("number").values_list("number", flat=True))
    before, after = (whole_number(request.GET.get(name, "")) for name in ("from", "to"))
    newest = numbers[-1] if numbers else 0
    after = after if after in numbers else newest
    before = before if before in numbers else max((one for one in numbers if one < after), default=after)
    context: dict[str, Any] = {
        "change_request": change_request,
        "dataset": facts.dataset,
        "head": head(facts, "changes"),
        "numbers": numbers,
        "before": before,
        "after": after,
        "operations": (
            ("", "All"),
            ("update", "Proposed otherwise"),
            ("insert", "Only in the newer"),
            ("delete", "Only in the older"),
        ),
        "operation": request.GET.get("kind", ""),
    }
    if numbers and before != after:
        wanted = _wanted(request.GET, request.GET.get("column", ""))
        try:
            with closing(plans.compare_revisions(change_request, before, after)) as found:
                page = found.page(wanted, after=request.GET.get("after") or None, limit=PAGE_ROWS)
            context |= {
                "page": page,
                "first_row": page.start + 1,
                "last_row": page.start + len(page.items),
                "table": diff_table(change_request, page.items, all_columns=False),
            }
        except (ContentGone, InvalidFilter, InvalidCursor) as error:
            context["missing"] = error.message
    return render(request, "change_requests/compare.html", context)


# --- Partial acceptance ---------------------------------------------------------------------------------------------


@asked_with(row=TEXT, cut=TEXT, **FILTER)
@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def leave_out(request: HttpRequest, cr_id: str) -> HttpResponse:
    """What leaving rows, a group or columns out would do, in numbers; with a reason it is done."""
    facts = facts_at(request, cr_id)
    data = request.POST if request.method == "POST" else request.GET
    if request.method != "POST":
        return _leave_out_page(request, facts, data)
    form = LeaveOutForm(request.POST)
    if not form.is_valid():
        return _leave_out_page(request, facts, data, form=form, status=422)
    try:
        done = splitting.leave_out(
            change_request_id=facts.change_request.pk,
            actor=person(request),
            leaving=splitting.left_out(facts.change_request, **_selection(data)),
            **form.cleaned_data,
        )
    except (InvalidInput, PlanChanged) as error:
        form.add_error(None, error.message)
        status = 409 if isinstance(error, PlanChanged) else 422
        return _leave_out_page(request, facts_at(request, cr_id), data, form=form, status=status)
    messages.success(
        request,
        f"Left out. {counted(done.revision.rows, 'row change')} stay in {cr_id}, as revision "
        f"{done.revision.number}; the rest is in {done.follow_up.cr_id}.",
    )
    return HttpResponseRedirect(reverse("changes", args=[cr_id]))


def _selection(data: QueryDict) -> dict[str, Any]:
    wanted = _wanted(data, data.get("column", ""))
    return {
        "rows": [parse_json(text, "rows", cells=True) for text in data.getlist("row") if text],
        "groups": [] if wanted.lets_all_through else [wanted],
        "columns": [one for one in data.getlist("cut") if one],
    }


def _leave_out_page(
    request: HttpRequest,
    facts: Facts,
    data: QueryDict,
    *,
    form: LeaveOutForm | None = None,
    status: int = 200,
) -> HttpResponse:
    revision = facts.revision
    found = policies.blockers(facts, Action.SPLIT)
    context: dict[str, Any] = {
        "change_request": facts.change_request,
        "dataset": facts.dataset,
        "head": head(facts, "changes"),
        "revision": revision,
        "why_not": found[0].sentence if found else "",
        "author": head(facts, "changes").author,
    }
    try:
        selection = _selection(data)
        leaving = splitting.left_out(facts.change_request, **selection)
        counts = splitting.preview(change_request=facts.change_request, leaving=leaving)
        context |= {
            "counts": counts,
            "cells_left": [
                f"{counted(number, 'cell')} of {name}" for name, number in counts.cells_left.items()
            ],
            "chosen_rows": [key_in_words(key) for key in leaving.keys],
            "chosen_groups": [filter_in_words(one) for one in leaving.filters],
            "chosen_columns": leaving.columns,
        }
    except (InvalidInput, NotFound) as error:
        context["problem"] = error.message
    hidden = [(name, value) for name in ("row", "cut", *FILTER) for value in data.getlist(name) if value]
    looked_at = {"revision_digest": revision.digest if revision else ""}
    if status == 409 and form is not None:  # the same words, for what this page counts
        errors = form.non_field_errors()
        form = LeaveOutForm({**request.POST.dict(), **looked_at})
        form.full_clean()
        form.add_error(None, [*errors])
    context |= {"hidden": hidden, "form": form or LeaveOutForm(initial=looked_at)}
    return render(request, "change_requests/leave_out.html", context, status=status)
