"""What several pages need: who asks, which thing they ask for, and how fragments are told from pages."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from changerequests import selectors
from changerequests.facts import Facts, visible_facts
from changerequests.models import ChangeRequest
from datasets import outages
from datasets.errors import InvalidInput, NotFound
from datasets.models import Dataset, Project
from datasets.roles import is_owner, visible_dataset
from datasets.rows import TableProblem, TableUnreachable
from web.forms import SignInForm
from web.typed import TypedForm, page_of, typed_form
from web.view_models.change_requests import head
from web.view_models.datasets import dataset_head
from web.view_models.projects import project_head

View = Callable[..., HttpResponseBase]
#: Tells a form that htmx sent to send itself again as a page, for what can only be answered as one.
SEND_AS_PAGE = "X-Send-As-Page"


def body_limit(setting: str) -> Callable[[View], View]:
    """Let a view take bodies as large as a setting says, instead of ``BODY_LIMIT_BYTES``."""

    def marked(view: View) -> View:
        view.body_limit = setting  # type: ignore[attr-defined]  # read by config.bodies
        return view

    return marked


def form_at(page: str, *arguments: str) -> Callable[[View], View]:
    """Let a view take forms alone, and lead whoever comes without one to the page with the form.

    ``page`` is the name of its address, ``arguments`` those of its parts that it shares with the view's own.
    """

    def place(**parts: Any) -> str:
        return reverse(page, kwargs={name: parts[name] for name in arguments})

    def decorated(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **parts: Any) -> HttpResponseBase:
            if request.method in ("GET", "HEAD"):
                return HttpResponseRedirect(place(**parts))
            if request.method != "POST":
                return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
            return view(request, *args, **parts)

        guarded.form_is_at = place  # type: ignore[attr-defined]  # read by web.typed
        return guarded

    return decorated


def signed_in(view: View) -> View:
    """Send people who are not signed in to the sign-in page, with all that they typed.

    A fragment takes its whole page there; a form that htmx sends is told to send itself as a page.
    """

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        form = typed_form(request)
        if is_fragment(request):
            return _fragment_without_session(request, form)
        if form is not None:
            return sign_in_with(request, form)
        return redirect_to_login(
            page_of(request.path) if request.method == "POST" else request.get_full_path()
        )

    return guarded


def _fragment_without_session(request: HttpRequest, form: TypedForm | None) -> HttpResponse:
    context = {"message": "You are signed out. Reload the page to sign in again."}
    response = render(request, "_problem.html", context, status=401)
    if form is not None:
        response[SEND_AS_PAGE] = "true"
        return response
    shown = urlsplit(request.headers.get("HX-Current-URL", ""))
    page = f"{shown.path}?{shown.query}".rstrip("?") if shown.netloc == request.get_host() else ""
    response["HX-Redirect"] = f"{reverse('login')}?{urlencode({'next': page})}" if page else reverse("login")
    return response


def sign_in_with(request: HttpRequest, form: TypedForm) -> HttpResponse:
    """The sign-in page where a form was sent without a session: what was typed goes along."""
    context = {"form": SignInForm(request), "next": form.page, "typed": form}
    return render(request, "registration/login.html", context, status=401)


def person(request: HttpRequest) -> User:
    """Who asks; the view is behind ``signed_in``."""
    if not isinstance(request.user, User):
        raise TypeError("A view that asks who it is must be behind signed_in.")
    return request.user


def is_fragment(request: HttpRequest) -> bool:
    """Whether htmx asks for a part of the page that it will put in place."""
    return request.headers.get("HX-Request") == "true"


def dataset_at(request: HttpRequest, project_slug: str, dataset_slug: str) -> Dataset:
    """The dataset of the address, if the person may see it; else ``NotFound``."""
    pk = (
        Dataset.objects.filter(project__slug=project_slug, slug=dataset_slug)
        .values_list("pk", flat=True)
        .first()
    )
    if pk is None:
        raise NotFound("There is no such dataset, or you may not see it.")
    return visible_dataset(person(request), pk)


def dataset_page(
    request: HttpRequest,
    dataset: Dataset,
    page: str,
    context: dict[str, Any],
    *,
    status: int = 200,
    tab: str = "",
) -> HttpResponse:
    """A page of a dataset under its head; ``tab`` is the one it belongs to where that has another name."""
    return render(
        request,
        f"datasets/{page}.html",
        {
            "dataset": dataset,
            "head": dataset_head(dataset, person(request), tab or page),
            "is_owner": is_owner(person(request), dataset),
            **context,
        },
        status=status,
    )


def reads_table(view: View) -> View:
    """Show a page of a dataset whose table cannot be read now: why, in the frame that leads to what can be done."""

    @wraps(view)
    def guarded(request: HttpRequest, project_slug: str, dataset_slug: str, **named: Any) -> HttpResponseBase:
        try:
            return view(request, project_slug, dataset_slug, **named)
        except TableProblem as error:
            if named.get("version") is not None:
                raise  # that version may be gone, and the table be as it should
            dataset = dataset_at(request, project_slug, dataset_slug)
            context = {"problem": error.message}
            return dataset_page(request, dataset, "unreadable", context, status=422, tab="rows")

    return guarded


def within_dataset(tab: str) -> Callable[[View], View]:
    """Show a page of a dataset that needs the table while its store gives nothing: that in its place, in the frame with
    all that the database knows. What a form asks for is refused as ever.
    """

    def decorated(view: View) -> View:
        @wraps(view)
        def guarded(
            request: HttpRequest, project_slug: str, dataset_slug: str, **named: Any
        ) -> HttpResponseBase:
            try:
                return view(request, project_slug, dataset_slug, **named)
            except TableUnreachable as error:
                if request.method == "POST":
                    raise
                outages.note_outage(error)
                dataset = dataset_at(request, project_slug, dataset_slug)
                return dataset_page(request, dataset, "out_of_reach", {"reason": error.reason}, tab=tab)

        return guarded

    return decorated


def within_request(tab: str) -> Callable[[View], View]:
    """The same for a page of a change request; of a fragment a sentence."""

    def decorated(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, cr_id: str, **named: Any) -> HttpResponseBase:
            try:
                return view(request, cr_id, **named)
            except TableUnreachable as error:
                if request.method == "POST":
                    raise
                outages.note_outage(error)
                facts = facts_at(request, cr_id)
                context: dict[str, Any] = {
                    "change_request": facts.change_request,
                    "dataset": facts.dataset,
                    "known": facts.plan_check,
                    "reason": error.reason,
                }
                if is_fragment(request):
                    return render(request, "change_requests/_out_of_reach.html", context)
                context["head"] = head(facts, tab)
                return render(request, "change_requests/out_of_reach.html", context)

        return guarded

    return decorated


def project_page(
    request: HttpRequest, project: Project, page: str, context: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    """A page of a project under its head."""
    head = project_head(project, person(request), page)
    return render(
        request, f"projects/{page}.html", {"project": project, "head": head, **context}, status=status
    )


def facts_at(request: HttpRequest, cr_id: str) -> Facts:
    """The facts of the change request of the address, for who asks; else ``NotFound``."""
    return visible_facts(person(request), cr_id)


def request_at(request: HttpRequest, cr_id: str) -> ChangeRequest:
    """The change request of the address, where nothing else of it is shown; else ``NotFound``."""
    return selectors.visible_change_request(person(request), cr_id)


def posted(request: HttpRequest, name: str) -> str:
    """A posted text as it was typed, empty where it was not sent. Raises ``InvalidInput``."""
    text: str = request.POST.get(name, "")
    if "\x00" in text:
        raise InvalidInput("The text holds a character that cannot be stored.")
    return text


def whole_number(text: str) -> int | None:
    """A number in an address or a hidden field, such as an id; None for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def safe_next(request: HttpRequest, default: str) -> str:
    """Where a form asks to go on, if that is on this site."""
    wanted = posted(request, "next")
    safe = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if safe else default
