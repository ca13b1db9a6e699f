"""Choosing values where Current and Proposed both changed a cell: line by line, for many at once, by a file."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from changerequests.errors import ChosenMeanwhile, PlanChanged
from changerequests.facts import Facts
from changerequests.models import ChangeRequest
from changerequests.policies import blockers
from changerequests.services import conflicts as services
from changerequests.services import plans
from changerequests.services.origins import origins_of
from changerequests.states import Action
from datasets.errors import DomainError, InvalidInput
from datasets.rows import ConflictFilter, Held, InvalidCursor, InvalidFilter, key_digest, parse_json
from web.parameters import TEXT, asked_with, choice
from web.view_models.change_requests import head
from web.view_models.conflicts import (
    KIND_TITLES,
    Picked,
    RefusedChoice,
    bulk_choices,
    choices_of_others,
    conflict_lines,
    file_preview,
)
from web.views.shared import (
    body_limit,
    facts_at,
    form_at,
    is_fragment,
    person,
    posted,
    request_at,
    signed_in,
    within_request,
)
from web.wording import counted

PAGE_CONFLICTS = 50
#: Lines of a file, and of what does not fit in it, that the page shows.
SHOWN_LINES = 50
#: What narrows the table: kept by every form on the page.
FILTER = ("column", "kind", "current", "current_null", "proposed", "proposed_null", "show", "after")


@asked_with(
    column=TEXT,
    kind=choice(*KIND_TITLES),
    current=TEXT,
    current_null=choice("true"),
    proposed=TEXT,
    proposed_null=choice("true"),
    show=choice("all"),
    after=TEXT,
    undo=TEXT,
)
@require_safe
@signed_in
@within_request("conflicts")
def conflicts(request: HttpRequest, cr_id: str) -> HttpResponse:
    """A line per cell with Base, Current and Proposed, and a choice for each; those that have one are folded away."""
    return _page(request, facts_at(request, cr_id), request.GET)


def _page(
    request: HttpRequest,
    facts: Facts,
    asked: Mapping[str, Any],
    *,
    problem: str = "",
    others: Sequence[str] = (),
    refused: Sequence[RefusedChoice] = (),
    saved: str = "",
    undo: str = "",
    status: int = 200,
) -> HttpResponse:
    change_request = facts.change_request
    fields = {name: asked.get(name, "") for name in FILTER}
    wanted, filter_problem = _filter_of(fields), ""
    show_all = fields["show"] == "all" or bool(refused)
    page_of = _paging(change_request, fields, show_all=show_all)
    try:
        page = page_of(wanted)
    except (InvalidFilter, InvalidCursor) as error:
        wanted, filter_problem, status = ConflictFilter(), error.message, 422
        page = _paging(change_request, {**fields, "after": ""}, show_all=show_all)(wanted)
    lines = conflict_lines(
        change_request, page, origins_of(change_request, page.conflicts, page.table_version), refused
    )
    there = {(key_digest_of(line.key_json), line.column) for line in lines}
    found = blockers(facts, Action.RESOLVE)
    context = {
        "change_request": change_request,
        "dataset": change_request.dataset,
        "page": page,
        "resolved": page.total - page.unresolved,
        "lines": lines,
        "bulk": bulk_choices(page),
        "columns": sorted({one.column for one in page.columns if one.column}),
        "kinds": [
            (one, KIND_TITLES[one]) for one in KIND_TITLES if one in {each.kind for each in page.columns}
        ],
        "fields": fields,
        "is_filtered": wanted != ConflictFilter(),
        "show_all": show_all,
        "filter_problem": filter_problem,
        "kept": {name: value for name, value in fields.items() if value},
        "first_url": _address(change_request, fields, after=""),
        "next_url": _address(change_request, fields, after=page.next or ""),
        "may_resolve": not found,
        "why_not": found[0].sentence if found else "",
        "problem": problem,
        "others": others,
        "elsewhere": [one for one in refused if one.place not in there],
        "saved": saved,
        "undo": undo,
        "state": change_request.resolutions_digest,
        "download": f"{reverse('api:conflicts', args=[change_request.cr_id])}?{urlencode(_for_download(wanted))}",
    }
    if is_fragment(request):
        return render(request, "change_requests/_conflicts.html", context, status=status)
    context["head"] = head(facts, "conflicts")
    if asked is request.GET and not undo:
        context["undo"] = request.GET.get("undo", "")
    return render(request, "change_requests/conflicts.html", context, status=status)


def key_digest_of(key_json: str) -> str:
    """The name of a row by its key in JSON."""
    return key_digest(parse_json(key_json, "key", cells=True))


def _paging(
    change_request: ChangeRequest, fields: Mapping[str, str], *, show_all: bool
) -> Callable[[ConflictFilter], plans.ConflictsPage]:
    def page_of(wanted: ConflictFilter) -> plans.ConflictsPage:
        return plans.conflicts_page(
            change_request=change_request,
            wanted=wanted,
            unresolved_only=not show_all,
            after=fields["after"] or None,
            limit=PAGE_CONFLICTS,
        )

    return page_of


def _posted_filter(request: HttpRequest) -> dict[str, str]:
    return {name: posted(request, name) for name in FILTER}


def _filter_of(fields: Mapping[str, str]) -> ConflictFilter:
    """Which conflicts the fields of a form or an address ask for; empty ones ask for nothing."""

    def held(side: str) -> Held | None:
        if fields.get(f"{side}_null") == "true":
            return Held(None)
        return Held(fields[side], as_text=True) if fields.get(side) else None

    kind = fields.get("kind", "")
    return ConflictFilter(
        column=fields.get("column") or None,
        kind=cast(Any, kind) if kind in KIND_TITLES else None,
        current=held("current"),
        proposed=held("proposed"),
    )


def _for_download(wanted: ConflictFilter) -> dict[str, str]:
    """The filter as the API's download takes it."""
    asked = {"format": "csv"}
    if wanted.column is not None:
        asked["column"] = wanted.column
    if wanted.kind is not None:
        asked["kind"] = wanted.kind
    for side in ("current", "proposed"):
        held: Held | None = getattr(wanted, side)
        if held is not None:
            asked |= {f"{side}_null": "true"} if held.value is None else {side: held.value}
    return asked


@form_at("conflicts", "cr_id")
@signed_in
def resolve(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Store the choices of the lines that were touched. What cannot be stored stands in its line again, with why."""
    change_request = request_at(request, cr_id)
    picked = _posted_choices(request)
    # The other lines of the page go along in the form: what was not touched is nobody's new choice.
    touched = [
        one for one in picked if one.picked.as_field != _one_line_end(posted(request, f"was-{one.name}"))
    ]
    left, refused = _store(request, change_request, touched or picked)
    if request.headers.get("X-Lines"):
        return _answer_lines(request, cr_id, [one.inputs_digest for one in picked], refused)
    stored = len(touched or picked) - len(refused)
    sentence = f"Saved. {_left(left)}" if stored and left is not None else ""
    if refused or not picked:
        problem = "" if refused else "Choose a value for at least one conflict."
        status = max((status for _, status in refused), default=422)
        return _page(
            request,
            facts_at(request, cr_id),
            request.POST,
            problem=problem or f"{counted(len(refused), 'choice')} could not be stored: see below.",
            refused=[one for one, _ in refused],
            saved=sentence,
            status=status,
        )
    messages.success(request, sentence)
    return HttpResponseRedirect(_address(change_request, _posted_filter(request)))


def _address(change_request: ChangeRequest, fields: Mapping[str, str], **changes: str) -> str:
    """The page with its filter, some of it changed."""
    asked = {name: value for name, value in {**fields, **changes}.items() if value}
    return f"{reverse('conflicts', args=[change_request.cr_id])}{'?' if asked else ''}{urlencode(asked)}"


def _left(number: int) -> str:
    return "Every conflict has a choice." if number == 0 else f"{counted(number, 'conflict')} left."


def _one_line_end(text: str) -> str:
    """A text as it was typed: browsers send every end of a line as two characters."""
    return text.replace("\r\n", "\n")


class _Sent:
    """The choice of one line as the form has it."""

    def __init__(self, request: HttpRequest, name: str) -> None:
        self.name = name
        self.column = posted(request, f"column-{name}")
        self.inputs_digest = posted(request, f"inputs-{name}")
        self.seen = posted(request, f"seen-{name}") if f"seen-{name}" in request.POST else None
        self.key_json = posted(request, f"key-{name}")
        chosen = posted(request, f"choice-{name}")
        is_null = chosen == "custom" and posted(request, f"null-{name}") == "true"
        text = posted(request, f"value-{name}") if chosen == "custom" and not is_null else ""
        self.picked = Picked(chosen, _one_line_end(text), is_null)

    @property
    def key(self) -> dict[str, Any]:
        """The key of the row. Raises ``InvalidInput`` where it is damaged."""
        try:
            key = parse_json(self.key_json, "key", cells=True)
        except InvalidInput:
            key = None
        if not isinstance(key, dict):
            raise InvalidInput("The key of the row is damaged; reload the page.")
        return key

    @property
    def choosing(self) -> services.Choosing:
        """What the services take."""
        custom = self.picked.choice == "custom" and not self.picked.is_null
        return services.Choosing(
            key=self.key,
            column=self.column or None,
            choice=self.picked.choice,
            inputs_digest=self.inputs_digest,
            value=self.picked.text if custom else None,
            as_text=True,
            seen=self.seen,
        )

    def refused(self, error: DomainError) -> RefusedChoice:
        """The line as it is shown where it could not be stored."""
        try:
            digest = key_digest(self.key)
        except InvalidInput:
            digest = ""
        others = choices_of_others(error) if isinstance(error, ChosenMeanwhile) else ()
        return RefusedChoice(digest, self.column, self.picked, error.message, others)


def _posted_choices(request: HttpRequest) -> list[_Sent]:
    """Every line that has a choice."""
    lines = [_Sent(request, name) for name in request.POST.getlist("line")]
    return [one for one in lines if one.picked.choice]


def _store(
    request: HttpRequest, change_request: ChangeRequest, sent: Sequence[_Sent]
) -> tuple[int | None, list[tuple[RefusedChoice, int]]]:
    """All of them, or where one cannot be stored each by itself; how many conflicts are left, and what was refused."""
    if not sent:
        return None, []
    left, refused = _try(request, change_request, sent)
    if not refused or len(sent) == 1:
        return left, refused
    left, refused = None, []
    for one in sent:
        after, problem = _try(request, change_request, [one])
        left = left if after is None else after
        refused += problem
    return left, refused


def _try(
    request: HttpRequest, change_request: ChangeRequest, sent: Sequence[_Sent]
) -> tuple[int | None, list[tuple[RefusedChoice, int]]]:
    try:
        choices = [one.choosing for one in sent]
        left = services.resolve(change_request_id=change_request.pk, actor=person(request), choices=choices)
    except InvalidInput as error:
        return None, [(one.refused(error), 422) for one in sent]
    except PlanChanged as error:
        return None, [(one.refused(error), 409) for one in sent]
    return left, []


def _answer_lines(
    request: HttpRequest, cr_id: str, digests: Iterable[str], refused: Sequence[tuple[RefusedChoice, int]]
) -> HttpResponse:
    """The lines of some conflicts as they are now, and how many are left, for a page that puts them in place."""
    facts = facts_at(request, cr_id)
    change_request = facts.change_request
    page = plans.conflicts_at(change_request=change_request, digests=set(digests))
    lines = conflict_lines(
        change_request,
        page,
        origins_of(change_request, page.conflicts, page.table_version),
        [one for one, _ in refused],
    )
    context = {
        "change_request": change_request,
        "page": page,
        "resolved": page.total - page.unresolved,
        "lines": lines,
        "may_resolve": not blockers(facts, Action.RESOLVE),
        "state": change_request.resolutions_digest,
        "refused": [one for one, _ in refused],
    }
    status = max((status for _, status in refused), default=200)
    return render(request, "change_requests/_conflict_lines.html", context, status=status)


@asked_with(state=TEXT, digest=TEXT)
@require_safe
@signed_in
def lines(request: HttpRequest, cr_id: str) -> HttpResponse:
    """The lines of the conflicts that a page shows, where anybody chose since its ``state``; else nothing (204)."""
    change_request = request_at(request, cr_id)
    if not is_fragment(request):
        return HttpResponseRedirect(reverse("conflicts", args=[cr_id]))
    if change_request.resolutions_digest == request.GET.get("state", ""):
        return HttpResponse(status=204)
    return _answer_lines(request, cr_id, request.GET.getlist("digest")[:PAGE_CONFLICTS], ())


@form_at("conflicts", "cr_id")
@signed_in
def resolve_matching(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Make one choice for every open conflict that the filter finds."""
    change_request = request_at(request, cr_id)
    try:
        done = services.resolve_matching(
            change_request_id=change_request.pk,
            actor=person(request),
            wanted=_filter_of(_posted_filter(request)),
            choice=posted(request, "choice"),
            seen=posted(request, "seen") or None,
        )
    except (InvalidInput, InvalidFilter, PlanChanged) as error:
        return _refuse(request, cr_id, error)
    title = posted(request, "choice").capitalize()
    sentence = f"{title} for {counted(done.chosen, 'conflict')}. {_left(done.unresolved)}"
    if is_fragment(request):
        return _page(request, facts_at(request, cr_id), request.POST, saved=sentence, undo=done.undo)
    messages.success(request, sentence)
    return HttpResponseRedirect(_address(change_request, _posted_filter(request), undo=done.undo))


@form_at("conflicts", "cr_id")
@signed_in
def undo_choices(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Let what stood before a choice for many stand again."""
    change_request = request_at(request, cr_id)
    try:
        done = services.undo(
            change_request_id=change_request.pk, actor=person(request), name=posted(request, "undo")
        )
    except InvalidInput as error:
        return _refuse(request, cr_id, error)
    sentence = f"Undone: {counted(done.restored, 'conflict')} as before."
    if done.kept:
        sentence += f" {counted(done.kept, 'conflict')} kept what was chosen since."
    if is_fragment(request):
        return _page(request, facts_at(request, cr_id), request.POST, saved=sentence)
    messages.success(request, sentence)
    return HttpResponseRedirect(_address(change_request, _posted_filter(request)))


def _refuse(request: HttpRequest, cr_id: str, error: Any) -> HttpResponse:
    """The page again with what came in the way."""
    others = choices_of_others(error) if isinstance(error, ChosenMeanwhile) else ()
    status = 409 if isinstance(error, PlanChanged) else 422
    facts = facts_at(request, cr_id)
    return _page(request, facts, request.POST, problem=error.message, others=others, status=status)


@body_limit("LONG_LIST_LIMIT_BYTES")
@form_at("conflicts", "cr_id")
@signed_in
def choose_by_file(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Look at a file of choices; with ``stored``, the name of one that was looked at, store what it chooses."""
    asked: dict[str, Any] = {"change_request_id": request_at(request, cr_id).pk, "actor": person(request)}
    name, file_format = posted(request, "stored"), posted(request, "file_format") or "csv"
    received = request.FILES.get("file")
    try:
        if name:
            content = services.kept_file(**asked, name=name)
        else:
            content = received.read() if received is not None else b""
            parquet = received is not None and (received.name or "").lower().endswith(".parquet")
            file_format = "parquet" if parquet else "csv"
        looked = services.look_at_file(**asked, content=content, file_format=file_format)
        if name and not looked.problem_total:
            left = services.resolve_by_file(**asked, content=content, file_format=file_format)
            messages.success(request, f"Saved. {_left(left)}")
            return HttpResponseRedirect(reverse("conflicts", args=[cr_id]))
        stored = name or services.keep_file(**asked, content=content)
    except (InvalidInput, PlanChanged) as error:
        return _refuse(request, cr_id, error)
    facts = facts_at(request, cr_id)
    context = {
        "change_request": facts.change_request,
        "dataset": facts.dataset,
        "head": head(facts, "conflicts"),
        "preview": file_preview(looked, SHOWN_LINES),
        "file_format": file_format,
        "stored": stored,
    }
    status = 422 if looked.problem_total else 200
    return render(request, "change_requests/choice_file.html", context, status=status)
