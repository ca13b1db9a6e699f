"""Texts that people write, as pages show them: Markdown (CommonMark 0.31, with tables), and nothing that could harm.

HTML in a text is shown as text, pictures are links, and what the renderer makes is cleaned by a list of what is
allowed. ``CR-128`` and ``@name`` are links where the reader may see what they name. Pure.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import nh3
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.token import Token

from notifications.mentions import mentioned_names

#: Longer texts are shown as they were written: nobody reads them as prose, and rendering takes its time.
LONGEST: Final = 10_000
#: How many requests and people the texts of one page can name as links.
MOST_NAMED: Final = 100

_REQUEST: Final = r"(?<![\w/-])CR-(?P<request>\d{1,18})(?![\w-])"
_PERSON: Final = r"(?<![\w@.+/-])@(?P<person>[\w.@+-]{1,150})"
_ADDRESS: Final = r"(?P<address>https?://[^\s<>\"'\x00-\x20]{1,2000})"
_NAMED: Final = re.compile(f"{_ADDRESS}|{_REQUEST}|{_PERSON}")
_REQUESTS: Final = re.compile(_REQUEST)
#: What ends a sentence rather than an address or a name.
_CLOSING: Final = ".,;:!?)]}'\""

_TAGS: Final = {
    *("p", "br", "hr", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a", "div"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
_ATTRIBUTES: Final = {"a": {"href", "title"}, "ol": {"start"}}
_CLASSES: Final = {"p": {"prose__heading"}, "div": {"prose__table"}}


@dataclass(frozen=True)
class Named:
    """What the texts of a page name and its reader may see: requests by public id, people by user name, in words."""

    requests: Mapping[str, str] = field(default_factory=dict)
    people: Mapping[str, str] = field(default_factory=dict)


def requests_named(texts: Iterable[str]) -> list[str]:
    """The public ids that texts name, each once, at most ``MOST_NAMED``."""
    found = dict.fromkeys(
        f"CR-{int(match['request'])}" for text in texts for match in _REQUESTS.finditer(text)
    )
    return list(found)[:MOST_NAMED]


def people_named(texts: Iterable[str]) -> list[str]:
    """The user names that texts may mean, each once, at most ``MOST_NAMED``."""
    return sorted({name for text in texts for name in mentioned_names(text)})[:MOST_NAMED]


#: What a text names, and the words for it.
Pairs = tuple[tuple[str, str], ...]


def rendered(text: str, named: Named | None = None) -> SafeString:
    """A text as HTML that is safe to show."""
    if len(text) > LONGEST:
        return format_html('<p class="prose__long">{}</p>', text)
    known = named or Named()
    requests = tuple(
        (name, known.requests[name]) for name in requests_named([text]) if name in known.requests
    )
    people = tuple((name, known.people[name]) for name in people_named([text]) if name in known.people)
    return _clean_html(text, requests, people)


@lru_cache(maxsize=256)  # open pages ask for the same texts again and again
def _clean_html(text: str, requests: Pairs, people: Pairs) -> SafeString:
    tokens = _parser.parse(text)
    _make_links(tokens, Named(dict(requests), dict(people)))
    html = _parser.renderer.render(tokens, _parser.options, {})
    clean = nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        allowed_classes=_CLASSES,
        url_schemes={"http", "https", "mailto"},
        link_rel="nofollow noopener",
    )
    return mark_safe(clean)  # noqa: S308  (cleaned by a list of what is allowed)


def _parser_of_texts() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
    parser.disable(["image", "html_block", "html_inline"])
    for kind in ("heading_open", "heading_close"):
        parser.renderer.rules[kind] = _heading  # type: ignore[attr-defined]  # a rule may be any such function
    for kind in ("table_open", "table_close"):
        parser.renderer.rules[kind] = _table  # type: ignore[attr-defined]
    return parser


def _heading(tokens: Sequence[Token], index: int, *_: object) -> str:
    """A line that stands out: the headings of a page are its own."""
    return '<p class="prose__heading">' if tokens[index].nesting == 1 else "</p>\n"


def _table(tokens: Sequence[Token], index: int, *_: object) -> str:
    """In a frame of its own, which scrolls where the table is too wide."""
    return '<div class="prose__table"><table>' if tokens[index].nesting == 1 else "</table></div>\n"


_parser: Final = _parser_of_texts()


def _make_links(tokens: Sequence[Token], named: Named) -> None:
    for token in tokens:
        if token.type == "inline" and token.children:
            token.children = list(_linked(token.children, named))


def _linked(children: Iterable[Token], named: Named) -> Iterable[Token]:
    depth = 0
    for child in children:
        depth += child.nesting if child.type in ("link_open", "link_close") else 0
        if child.type != "text" or depth:
            yield child
        else:
            yield from _parts(child.content, named)


def _parts(text: str, named: Named) -> Iterable[Token]:
    """Text, and the links in it."""
    end = 0
    for match in _NAMED.finditer(text):
        found = _link_of(match, named)
        if found is None:
            continue
        address, words, title = found
        yield _text(text[end : match.start()])
        attributes: dict[str, str | int | float] = {"href": address, **({"title": title} if title else {})}
        yield Token("link_open", "a", 1, attrs=attributes)
        yield _text(words)
        yield Token("link_close", "a", -1)
        end = match.start() + len(words)
    yield _text(text[end:])


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def _link_of(match: re.Match[str], named: Named) -> tuple[str, str, str] | None:
    """Address, words and title of a link; None where there is nothing to link to."""
    if match["address"]:
        address = match["address"].rstrip(_CLOSING)
        return _parser.normalizeLink(address), address, ""
    if match["request"]:
        cr_id = f"CR-{int(match['request'])}"
        title = named.requests.get(cr_id)
        return None if title is None else (reverse("change_request", args=[cr_id]), match[0], title)
    for name in (match["person"], match["person"].rstrip(".@+-")):
        if name in named.people:
            return f"{reverse('home')}?{urlencode({'q': name})}", f"@{name}", named.people[name]
    return None
