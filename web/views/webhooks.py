"""Webhooks of datasets and projects, for their owners: whom they tell what happens, and what was sent."""

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from datasets.errors import InvalidInput
from datasets.models import Dataset, Project
from datasets.roles import visible_project
from notifications.models import Webhook
from notifications.services import webhooks as services
from web.forms import WebhookForm, add_errors
from web.parameters import PAGE, asked_with
from web.views.shared import dataset_at, dataset_page, form_at, person, posted, signed_in

DELIVERIES = 30


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def webhooks(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """Whom the dataset tells. A new one is answered with its page, which has the secret this once."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    found = services.webhooks_of(actor=person(request), place=dataset)
    form = WebhookForm(request.POST or None)
    made = _made(request, dataset, form)
    if made is not None:
        return _page(request, made[0], secret=made[1])
    context = {"webhooks": found, "form": form}
    status = 422 if request.method == "POST" else 200
    return dataset_page(request, dataset, "webhooks", context, status=status, tab="settings")


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def project_webhooks(request: HttpRequest, project_slug: str) -> HttpResponse:
    """The same of a whole project, for its owners."""
    project = visible_project(person(request), project_slug)
    found = services.webhooks_of(actor=person(request), place=project)
    form = WebhookForm(request.POST or None)
    made = _made(request, project, form)
    if made is not None:
        return _page(request, made[0], secret=made[1])
    context = {"project": project, "webhooks": found, "form": form}
    status = 422 if request.method == "POST" else 200
    return render(request, "webhooks/project_webhooks.html", context, status=status)


def _made(request: HttpRequest, place: Dataset | Project, form: WebhookForm) -> tuple[Webhook, str] | None:
    """The webhook that the form asks for; None where none was sent, or it does not fit, which it says then."""
    if request.method != "POST" or not form.is_valid():
        return None
    try:
        return services.create_webhook(actor=person(request), place=place, **form.cleaned_data)
    except InvalidInput as error:
        add_errors(form, error)
        return None


@require_safe
@signed_in
@asked_with(page=PAGE)
def webhook(request: HttpRequest, webhook_id: int) -> HttpResponse:
    """One webhook, and what was sent to it."""
    return _page(request, services.webhook_to_manage(actor=person(request), webhook_id=webhook_id))


@form_at("webhook", "webhook_id")
@signed_in
def switch_webhook(request: HttpRequest, webhook_id: int) -> HttpResponse:
    """Switch it off, or on again."""
    is_active = posted(request, "active") == "true"
    services.change_webhook(webhook_id=webhook_id, actor=person(request), changes={"is_active": is_active})
    messages.success(request, f"The webhook is switched {'on' if is_active else 'off'}.")
    return HttpResponseRedirect(reverse("webhook", args=[webhook_id]))


@form_at("webhook", "webhook_id")
@signed_in
def try_webhook(request: HttpRequest, webhook_id: int) -> HttpResponse:
    """Send it a message that tells of nothing."""
    services.try_out(webhook_id=webhook_id, actor=person(request))
    messages.success(request, "A trial is on its way. Reload the page to see what became of it.")
    return HttpResponseRedirect(reverse("webhook", args=[webhook_id]))


@form_at("webhook", "webhook_id")
@signed_in
def rotate_webhook_secret(request: HttpRequest, webhook_id: int) -> HttpResponse:
    """Another secret. It is on this page and nowhere else, so the answer is the page itself."""
    changed, secret = services.rotate_secret(webhook_id=webhook_id, actor=person(request))
    return _page(request, changed, secret=secret)


@form_at("webhook", "webhook_id")
@signed_in
def remove_webhook(request: HttpRequest, webhook_id: int) -> HttpResponse:
    """Tell it nothing more."""
    place = services.webhook_to_manage(actor=person(request), webhook_id=webhook_id).place
    services.remove_webhook(webhook_id=webhook_id, actor=person(request))
    messages.success(request, "The webhook is removed.")
    return HttpResponseRedirect(_address_of(place))


@form_at("webhook", "webhook_id")
@signed_in
def repeat_delivery(request: HttpRequest, webhook_id: int, delivery_id: int) -> HttpResponse:
    """Send what was sent or given up once more."""
    services.repeat(delivery_id=delivery_id, actor=person(request))
    messages.success(request, "It is sent again, behind what waits.")
    return HttpResponseRedirect(reverse("webhook", args=[webhook_id]))


def _page(request: HttpRequest, shown: Webhook, *, secret: str = "") -> HttpResponse:
    page = Paginator(services.deliveries_of(shown), DELIVERIES).get_page(request.GET.get("page"))
    context: dict[str, Any] = {
        "webhook": shown,
        "page": page,
        "secret": secret,
        "back": _address_of(shown.place),
    }
    return render(request, "webhooks/webhook.html", context)


def _address_of(place: Any) -> str:
    if isinstance(place, Dataset):
        return reverse("webhooks", args=[place.project.slug, place.slug])
    return reverse("project_webhooks", args=[place.slug])
