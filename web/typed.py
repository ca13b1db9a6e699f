"""What somebody typed or chose in a form that could not be taken goes along to the page that says so, to be sent again.

A session that ended, a form that is older than the last sign-in, a request that moved meanwhile: whatever the answer
is, the words are in it, in a form like the one that they came from. Nothing of it is kept on the server.

Two people may use one browser, one after the other. Every form of our pages says, signed, whom it was made for
(``{% csrf_token %}`` of ``web.form_tags`` writes it), and what one of them typed is never shown to the other.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.core.exceptions import BadRequest, SuspiciousOperation
from django.core.signing import BadSignature, Signer
from django.http import HttpRequest, QueryDict
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError
from django.urls import Resolver404, ResolverMatch, get_script_prefix, resolve, reverse

from notifications.kinds import KINDS, Kind

#: Fields that people type into, with what stands above them; those of a number of alike fields by their beginning.
TEXTS = {
    "title": "Title",
    "body": "Your text",
    "description": "Description",
    "suggestion": "Another value",
    "reason": "Reason",
    "message": "Message",
    "override_reason": "Reason for the override",
    "pasted": "Pasted rows",
    "null_token": "Another word for NULL",
    "sql": "Statement",
    "document": "Suite in JSON",
    "note": "Why",
    "dataset_name": "Name of the dataset",
    "name": "Name",
    "purpose": "What it is for",
    "member": "Name of the member",
    "value-": "Another value",
    "rule-": "Of the rule",
    "find": "Find",
    "replace": "Replace with",
    "users": "People",
    "groups": "Groups",
    "url": "Address",
    "actions": "Only these events",
    "agent": "Agent",
    "code": "Code",
    "email": "E-mail address",
    "first_name": "First name",
    "last_name": "Last name",
    "slug": "Name in addresses",
    "new_project": "Name of the new project",
    "reviewer-": "Person",
    "q": "Search",
}
#: What people choose and read again before they send it, with what it is; those of alike fields by their beginning.
CHOICES = {
    "verdict": "Verdict",
    "role": "Role",
    "kind": "Kind",
    "level": "What you are told",
    "scopes": "May",
    "days": "Days",
    "project": "Project",
    "required_approvals": "Approvals that a request needs",
    "is_copy": "A copy of another table",
    "service_approvals_count": "Approvals of service accounts count",
    "submit": "Ask for review at once",
    "then": "Then",
    "columns": "Columns",
    "every": "Every column",
    "with_null": "Replace with NULL",
    "match_case": "Match case",
    "whole_cell": "Only whole cells",
    "null-": "NULL",
    "row": "Rows",
    "cut": "Columns",
    "group": "Group",
    "suggestion_is": "Another value",
    "empty_cells": "An empty cell means",
    "action-": "What becomes of a column",
    "to-": "Column",
    "type-": "Type",
    "choice-": "Value",
    "choice": "Value",
    "line": "Cells",
    "jobs": "What to do",
    "keep": "Expectations",
    "override": "Merge although not every gate holds",
    "force": "Resolve conflicts by what is proposed",
    "notification": "Notifications",
    "format": "Format",
    "contributors_may_merge": "Contributors may merge",
    "threads_must_be_resolved": "Discussions must be resolved",
    "delete_limit": "Share of rows that a merge may delete",
    "conflict_policy": "What is a conflict",
    "staging_cleanup": "Staged content after the merge",
    "write_checkpoints": "Write checkpoints",
    "compact_files": "Compact files",
    "remove_old_files": "Remove old files",
    "keep_files_days": "Days that old files are kept",
    "block_pre_existing": "Rows that were broken before",
    "engine": "What looks for rows",
    "type": "Rule",
}
#: Forms with a field for each kind of news, called as the kind.
_OF_KINDS = {"notification_settings", "unsubscribe"}
#: Of more choices of a kind their number is told.
_MOST_TOLD = 8
#: Addresses of forms that nobody types into.
_WITHOUT_WORDS = {"logout", "theme"}
#: Forms that are buttons: what they send says of what they are, and nobody chose it.
_BUTTONS = {
    "mark_viewed", "read_notifications", "reconcile_table", "remove_member", "remove_project_member", "settle_edits",
}  # fmt: skip
#: The field of every form that says whom it was made for.
TYPED_BY = "typed_by"
#: How fields begin whose texts are shown to nobody again: a form with one has to be typed anew.
SECRET = "secret-"  # noqa: S105  (how fields begin)
#: How a sign-in form names what goes along with it.
CARRIED, CARRIED_ACTION, CARRIED_FILE = "typed-", "typed_action", "typed_file"


@dataclass(frozen=True)
class TypedField:
    """One field that was typed into."""

    name: str
    label: str
    text: str
    rows: int
    problem: str = ""
    is_focused: bool = False


@dataclass(frozen=True)
class TypedForm:
    """A form as it was sent: where to, its texts, and all else that goes along unseen.

    ``typed_by`` is the signed mark of whom it was made for, empty where it has none.
    """

    action: str
    fields: tuple[tuple[str, str], ...]
    files: tuple[str, ...] = ()
    typed_by: str = ""
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def texts(self) -> list[TypedField]:
        """The fields that people type into, each with what is wrong with it; the first that is wrong has the focus."""
        wrong = next((name for name, _ in self.fields if self.problems.get(name) and _label(name)), None)
        return [
            TypedField(
                name,
                _label(name),
                text,
                min(max(text.count("\n") + 1, len(text) // 80 + 1), 20),
                self.problems.get(name, ""),
                name == wrong,
            )
            for name, text in self.fields
            if _label(name)
        ]

    def refused(self, problems: Mapping[str, str]) -> "TypedForm":
        """The same form with what is wrong at its fields."""
        return replace(self, problems=problems)

    @property
    def choices(self) -> list[tuple[str, str]]:
        """What was chosen, in words."""
        match, found = _match(self.action), dict[str, list[str]]()
        form = str(match.url_name) if match is not None else ""
        for name, text in self.fields:
            if text and (label := choice_named(name, form)) and not _label(name):
                found.setdefault(label, []).append(_YES.get(text, text.replace("_", " ")))
        return [
            (label, ", ".join(texts) if len(texts) <= _MOST_TOLD else f"{len(texts):,} chosen")
            for label, texts in found.items()
        ]

    @property
    def hidden(self) -> list[tuple[str, str]]:
        """The fields that nobody types into."""
        return [(name, text) for name, text in self.fields if not _label(name)]

    @property
    def carried(self) -> Iterator[tuple[str, str]]:
        """The form as hidden fields of another one."""
        yield CARRIED_ACTION, self.action
        yield TYPED_BY, self.typed_by
        yield from ((CARRIED + name, text) for name, text in self.fields)
        yield from ((CARRIED_FILE, name) for name in self.files)

    @property
    def page(self) -> str:
        """The page that the form is on."""
        return page_of(self.action)

    @property
    def holds_words(self) -> bool:
        """Whether anything in it would be lost."""
        return bool(self.choices or self.files) or any(one.text.strip() for one in self.texts)


#: What browsers and our forms send for a box that is ticked.
_YES = {"on": "yes", "true": "yes"}


def choice_named(name: str, form: str) -> str:
    """What people choose in a field of a form (by the name of its address); empty where they do not."""
    if form in _OF_KINDS and name in KINDS:
        return KINDS[Kind(name)]
    return _named(name, CHOICES)


def _label(name: str) -> str:
    return _named(name, TEXTS)


def _named(name: str, labels: Mapping[str, str]) -> str:
    started = (label for start, label in labels.items() if start.endswith("-") and name.startswith(start))
    return labels.get(name) or next(started, "")


def mark_of(user_id: int) -> str:
    """What a form holds that was made for an account."""
    return _signer().sign(str(user_id))


def _signer() -> Signer:
    return Signer(salt="web.typed")


def typed_form(request: HttpRequest) -> TypedForm | None:
    """What was typed into the form that was sent, as far as whoever sent it may read it.

    None where that is nothing, or nothing that could be read, and where somebody else typed it. Where nobody is signed
    in the form says by ``typed_by`` who may see it after that.
    """
    form = _sent_form(request)
    return form if form is not None and _may_be_shown(form, request) else None


def _sent_form(request: HttpRequest) -> TypedForm | None:
    match = _match(request.path_info)
    if request.method != "POST" or match is None or match.url_name in _BUTTONS:
        return None
    try:
        posted, files = request.POST, tuple(request.FILES)
    except (SuspiciousOperation, BadRequest, MultiPartParserError, UnreadablePostError):
        return None
    if match.url_name == "login":
        return _carried_form(posted)
    if any("password" in name or name.startswith(SECRET) for name in posted):
        return None
    return _with_words(TypedForm(request.path, _fields(posted), files, posted.get(TYPED_BY, "")))


def _may_be_shown(form: TypedForm, request: HttpRequest) -> bool:
    """Whether nobody is signed in, or whoever is typed it: by its mark, or because the form is one of their session."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return True
    if form.typed_by:
        return _maker_of(form) == str(user.pk)
    is_of_session = bool(getattr(request, "csrf_processing_done", False))
    return is_of_session and form.action == request.path


def _maker_of(form: TypedForm) -> str:
    try:
        return _signer().unsign(form.typed_by)
    except BadSignature:
        return ""


def _carried_form(posted: QueryDict) -> TypedForm | None:
    """The form that came along with a sign-in."""
    action = posted.get(CARRIED_ACTION, "")
    if _match(action) is None:
        return None
    fields = tuple(
        (name.removeprefix(CARRIED), text) for name, text in _fields(posted) if name.startswith(CARRIED)
    )
    files = tuple(posted.getlist(CARRIED_FILE))
    return _with_words(TypedForm(action, fields, files, posted.get(TYPED_BY, "")))


def _with_words(form: TypedForm) -> TypedForm | None:
    return form if form.holds_words else None


def _fields(posted: QueryDict) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name, text)
        for name, texts in posted.lists()
        if name not in ("csrfmiddlewaretoken", TYPED_BY)
        for text in texts
        if isinstance(text, str)
    )


def _match(path: str) -> ResolverMatch | None:
    """The view at an address of ours that shows pages."""
    try:
        found = resolve("/" + path.removeprefix(get_script_prefix()).lstrip("/"))
    except Resolver404:
        return None
    return (
        found if found.func.__module__.startswith("web.") and found.url_name not in _WITHOUT_WORDS else None
    )


def page_above(path: str) -> str:
    """The page of what an address belongs to, a change request or a dataset; empty where it is that page itself."""
    found = _match(path)
    parts = found.kwargs if found is not None else {}
    if "cr_id" in parts:
        above = reverse("change_request", args=[parts["cr_id"]])
    elif "dataset_slug" in parts:
        above = reverse("dataset", args=[parts["project_slug"], parts["dataset_slug"]])
    else:
        return ""
    return above if above != path else ""


def page_of(path: str) -> str:
    """The page that somebody wants who comes to an address: for one that only takes forms, where its form is."""
    found = _match(path)
    if found is None:
        return reverse("home")
    place: Any = getattr(found.func, "form_is_at", None)
    return str(place(**found.kwargs)) if place is not None else path
