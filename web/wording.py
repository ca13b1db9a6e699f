"""Words that pages share: numbers with their nouns, names of people, why work waits. Pure."""

from collections.abc import Iterable

from django.contrib.auth.models import User

from datasets.durable_work import TableWork

_IRREGULAR = {"person": "people", "entry": "entries", "query": "queries"}


def counted(number: int, noun: str) -> str:
    """``1 row``, ``1,204 rows``, ``no rows`` is said as ``0 rows``."""
    plural = _IRREGULAR.get(noun, f"{noun}s")
    return f"{number:,} {noun if number == 1 else plural}"


def ordinal(number: int) -> str:
    """``1st``, ``2nd``, ``3rd``, ``11th``."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{'th' if 10 < number % 100 < 20 else ending}"


def listed(words: Iterable[str], last: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    items = list(words)
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def name_of(user: User | None) -> str:
    """A person's full name, or their user name where they have none; the system where there is nobody."""
    if user is None:
        return "Headgate"
    return user.get_full_name() or user.get_username()


def store_wait(work: TableWork) -> str:
    """Why work on a table is not done now and when it is tried again; empty where it does not wait for its store."""
    if not work.waits_for_store or work.not_before is None:
        return ""
    return (
        f"The store of the table does not answer. {work.error_message} It is tried again by itself: "
        f"next at {work.not_before:%H:%M} UTC, try {work.waits + 1}. Nothing is lost."
    )


#: What browsers say of themselves, the more particular first: each claims to be the others, too.
_BROWSERS = {"Edg/": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "Chrome/": "Chrome", "Safari/": "Safari"}
_SYSTEMS = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "Linux": "Linux",
}


def browser_in_words(user_agent: str) -> str:
    """``Chrome on Linux``; what it says of itself where that is no browser's, and "A browser" where it says nothing."""
    browser = next((name for mark, name in _BROWSERS.items() if mark in user_agent), "")
    system = next((name for mark, name in _SYSTEMS.items() if mark in user_agent), "")
    if not browser:
        return user_agent or "A browser"
    return f"{browser} on {system}" if system else browser
