"""Light, dark, or as the system: a person's choice, kept in a cookie so that the server draws the page right."""

from typing import Final

from django.http import HttpRequest

COOKIE: Final = "headgate_theme"
AUTO: Final = "auto"
THEMES: Final = (AUTO, "light", "dark")


def theme_of(request: HttpRequest) -> str:
    """The chosen theme; ``auto`` where none was chosen."""
    chosen = request.COOKIES.get(COOKIE, AUTO)
    return chosen if chosen in THEMES else AUTO


def theme_after(chosen: str) -> str:
    """What the switch turns to next."""
    return THEMES[(THEMES.index(chosen) + 1) % len(THEMES)]
