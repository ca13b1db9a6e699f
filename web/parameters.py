"""What pages may be asked in their addresses: declared with each view, told to whoever asks for something else.

A page is shown for every address. What is misspelt or does not fit is named in a notice above it, with what is
possible, so that nobody takes everything for what they asked for.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from django.http import HttpRequest

from datasets.errors import InvalidInput

#: As much of a value as a notice quotes.
QUOTED = 80
View = TypeVar("View", bound=Callable[..., Any])
_NOTED = "headgate.parameters"


@dataclass(frozen=True)
class PageParameter:
    """What a parameter may be: in words, and as a question. Empty stands for not given, as forms send it."""

    possible: str
    fits: Callable[[str], bool]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 18


def choice(*names: str) -> PageParameter:
    """One of these."""
    return PageParameter(", ".join(names), frozenset(names).__contains__)


NUMBER = PageParameter("a whole number", _is_number)
PAGE = PageParameter("a whole number from 1", lambda text: _is_number(text) and int(text) > 0)
#: Whatever is typed is looked for, or the view itself says that it is not there.
TEXT = PageParameter("any text", lambda text: True)


def asked_with(*, starting: str = "", **parameters: PageParameter) -> Callable[[View], View]:
    """Declare what a view may be asked; names that begin with ``starting`` are texts. Without it there is nothing."""

    def declared(view: View) -> View:
        view.parameters = parameters  # type: ignore[attr-defined]
        view.starting = starting  # type: ignore[attr-defined]
        return view

    return declared


def chosen(request: HttpRequest, name: str, possible: Collection[str]) -> str:
    """The value of a parameter that only the page knows the choices of; empty, and noted, where it is none of them."""
    value = request.GET.get(name, "")
    if value in possible:
        return value
    if value:
        request.META.setdefault(_NOTED, {})[name] = _does_not_fit(name, value, ", ".join(possible) or "none")
    return ""


def misfits(request: HttpRequest) -> list[str]:
    """A sentence for each parameter of the address that the page does not know, or whose value it cannot take."""
    view: Any = getattr(request.resolver_match, "func", None)
    declared: Mapping[str, PageParameter] = getattr(view, "parameters", {})
    starting = getattr(view, "starting", "")
    noted: Mapping[str, str] = request.META.get(_NOTED, {})
    found = []
    for name in request.GET:
        value, parameter = request.GET[name], declared.get(name)
        if starting and name.startswith(starting):
            continue
        if parameter is None:
            possible = ", ".join(sorted([*declared, *([f"{starting}…"] if starting else [])])) or "none"
            found.append(f"There is no parameter {_quoted(name)} here. Possible: {possible}.")
        elif value and not parameter.fits(value):
            found.append(_does_not_fit(name, value, parameter.possible))
        elif name in noted:
            found.append(noted[name])
    return found


def require_fitting(request: HttpRequest) -> None:
    """Where a file is answered, which has no room for a notice. Raises ``InvalidInput``."""
    if found := misfits(request):
        raise InvalidInput(" ".join(found))


def _does_not_fit(name: str, value: str, possible: str) -> str:
    return f"{name} cannot be {_quoted(value)}; this was left aside. Possible: {possible}."


def _quoted(text: str) -> str:
    return f"“{text[:QUOTED]}{'…' if len(text) > QUOTED else ''}”"
