"""Template tags and filters of the pages: ``{% load headgate %}``."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django import template
from django.conf import settings
from django.contrib.auth.models import User
from django.forms import BoundField
from django.template.base import FilterExpression, NodeList, Parser, Token
from django.template.context import Context, RequestContext
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from accounts.names import is_service_name
from datasets import outages
from datasets.models import Dataset
from notifications.selectors import Unread, unread_news_of
from web import cells, theme
from web.icons import ICONS
from web.markdown import Named, rendered
from web.parameters import misfits
from web.wording import browser_in_words, counted, store_wait

register = template.Library()

register.filter("cell", cells.cell_html)


@register.simple_tag(takes_context=True)
def unread_news(context: RequestContext) -> Unread:
    """What the person who looks at the page has not read; nothing on pages that no request shows."""
    request = context.get("request")
    user = getattr(request, "user", None)
    return unread_news_of(user) if isinstance(user, User) else Unread()


@register.simple_tag(takes_context=True)
def news_url(context: RequestContext) -> str:
    """Where an open page hears of news: of its reader's inbox, and of the dataset that it shows; empty for nobody."""
    request = context.get("request")
    if not isinstance(getattr(request, "user", None), User):
        return ""
    dataset = context.get("dataset")
    return reverse("news") + (
        f"?{urlencode({'dataset': dataset.pk})}" if isinstance(dataset, Dataset) else ""
    )


@dataclass(frozen=True)
class SignInWays:
    """How people sign in here: the name of the provider, empty without one, and whether by passwords."""

    provider: str
    passwords: bool


@register.simple_tag
def sign_in_ways() -> SignInWays:
    """How people sign in here."""
    provider = settings.SIGN_IN_PROVIDER
    return SignInWays(provider.name if provider is not None else "", settings.PASSWORD_SIGN_IN)


register.filter("counted", counted)
register.filter("store_wait", store_wait)
register.filter("is_service_name", is_service_name)


class _DataTable(template.Node):
    """A table of rows with its frame, or that there are none."""

    def __init__(
        self, rows: FilterExpression, label: FilterExpression, empty: FilterExpression, inner: NodeList
    ):
        self._rows, self._label, self._empty, self.nodelist = rows, label, empty, inner

    def render(self, context: Context) -> SafeString:
        given = {"label": self._label.resolve(context), "empty": self._empty.resolve(context)}
        if self._rows.resolve(context):
            given["table"] = self.nodelist.render(context)
        return render_to_string("_data_table.html", given)


@register.tag
def data_table(parser: Parser, token: Token) -> _DataTable:
    """``{% data_table rows "Uploads" "There is none." %}``, head and body of the table, ``{% enddata_table %}``."""
    _, rows, label, empty = token.split_contents()
    inner = parser.parse(("enddata_table",))
    parser.delete_first_token()
    filters = (parser.compile_filter(rows), parser.compile_filter(label), parser.compile_filter(empty))
    return _DataTable(*filters, inner)


@register.filter
def markdown(text: str, named: Named | None = None) -> SafeString:
    """A text that somebody wrote, as it is read; ``named`` is what it may link to."""
    return rendered(text, named)


register.filter("browser_in_words", browser_in_words)


@register.simple_tag
def icon(name: str, label: str = "", extra: str = "") -> SafeString:
    """A small line icon. Without ``label`` it is decoration, which assistive technology skips."""
    shape = mark_safe(ICONS[name])  # noqa: S308  (constants of this project)
    names = f"icon {extra}".strip()
    if label:
        return format_html(
            '<svg class="{}" viewBox="0 0 16 16" role="img" aria-label="{}">{}</svg>', names, label, shape
        )
    return format_html('<svg class="{}" viewBox="0 0 16 16" aria-hidden="true">{}</svg>', names, shape)


@register.simple_tag
def control(field: BoundField) -> SafeString:
    """A field's control. Where a form came back, the first of its fields that is wrong has the focus."""
    form = field.form
    wrong = next((name for name in form.fields if name in form.errors), "") if form.is_bound else ""
    return field.as_widget(attrs={"autofocus": field.name == wrong} if wrong else {})


@register.simple_tag
def avatar(name: str) -> SafeString:
    """A person's initials in a disc; the name itself always stands beside it."""
    initials = "".join(word[0] for word in name.split()[:2]).upper() or "·"
    return format_html('<span class="avatar" aria-hidden="true">{}</span>', initials)


@register.simple_tag
def difference(old: Any, new: Any) -> SafeString:
    """An old cell value above the new one."""
    return cells.difference_html(old, new)


@register.filter
def number(value: int | None) -> str:
    """A whole number with thousands separators; an en dash where it is not known."""
    return "–" if value is None else f"{value:,}"


@register.filter
def words(text: str) -> list[str]:
    """The words of a text, to go through them."""
    return text.split()


@register.filter
def share(value: float) -> str:
    """A share (0 to 1) as percent, with as many digits as it needs to be not zero."""
    percent = float(value) * 100
    if percent and percent < 0.1:
        return f"{percent:.3f} %"
    return f"{percent:.1f} %".replace(".0 %", " %")


@register.filter
def size(value: int | None) -> str:
    """Bytes in the unit a person would choose."""
    if value is None:
        return "–"
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


@register.filter
def moment(value: datetime | None) -> SafeString | str:
    """When something happened: "3 minutes ago" for what is recent, else the date; the exact time in UTC beside it."""
    if value is None:
        return "–"
    utc = value.astimezone(timezone.get_default_timezone())
    exact = f"{utc.day} {utc:%b %Y, %H:%M:%S} UTC"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', value.isoformat(), exact, _ago(value, timezone.now())
    )


def _ago(value: datetime, now: datetime) -> str:
    age = now - value
    if timedelta(0) <= age < timedelta(seconds=45):
        return "just now"
    if timedelta(0) <= age < timedelta(hours=1):
        return f"{counted(max(1, round(age.total_seconds() / 60)), 'minute')} ago"
    if timedelta(0) <= age < timedelta(days=1):
        return f"{counted(round(age.total_seconds() / 3600), 'hour')} ago"
    if timedelta(0) <= age < timedelta(days=14):
        return f"{counted(age.days, 'day')} ago"
    return f"{value.day} {value:%b %Y}"


@register.simple_tag(takes_context=True)
def query(context: RequestContext, **changes: Any) -> str:
    """The page's own query string with some values changed; None removes one."""
    parameters = context["request"].GET.copy()
    for name, value in changes.items():
        parameters.pop(name, None)
        if value not in (None, ""):
            parameters[name] = str(value)
    encoded = parameters.urlencode()
    return f"?{encoded}" if encoded else "?"


@register.simple_tag(takes_context=True)
def address_misfits(context: RequestContext) -> list[str]:
    """What of the page's address it does not know or cannot take, in sentences."""
    request = context.get("request")
    return misfits(request) if request is not None else []


@register.simple_tag(takes_context=True)
def data_root_outage(context: RequestContext) -> outages.ShutOff | None:
    """Since when what Headgate keeps itself cannot be reached, for people who are signed in."""
    user = getattr(context.get("request"), "user", None)
    return outages.data_root_outage() if isinstance(user, User) else None


@register.simple_tag(takes_context=True)
def chosen_theme(context: RequestContext) -> str:
    """``light`` or ``dark`` where the person chose one, else ``auto``."""
    request = context.get("request")
    return theme.theme_of(request) if request is not None else theme.AUTO


@register.simple_tag(takes_context=True)
def is_section(context: RequestContext, *names: str) -> bool:
    """Whether the page that is shown belongs to one of these url names."""
    match = getattr(context.get("request"), "resolver_match", None)
    return match is not None and match.url_name in names
