"""What somebody typed into a form that could not be taken: it goes along to the page that says so, to be sent again.

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
#: What people choose and read again before they send it.
CHOICES = {"verdict": "Verdict", "role": "Role"}
#: Addresses of forms that nobody types into.
_WITHOUT_WORDS = {"logout", "theme"}
#: The field of every form that says whom it was made for.
TYPED_BY = "typed_by"
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
        return [
            (CHOICES[name], text.replace("_", " ")) for name, text in self.fields if name in CHOICES and text
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


def _label(name: str) -> str:
    started = (label for start, label in TEXTS.items() if start.endswith("-") and name.startswith(start))
    return TEXTS.get(name) or next(started, "")


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
    if request.method != "POST" or match is None:
        return None
    try:
        posted, files = request.POST, tuple(request.FILES)
    except (SuspiciousOperation, BadRequest, MultiPartParserError, UnreadablePostError):
        return None
    if match.url_name == "login":
        return _carried_form(posted)
    if any("password" in name for name in posted):
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
