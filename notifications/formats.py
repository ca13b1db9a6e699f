"""How a message looks where it is read: JSON for programs, Slack and Teams for people.

Names and titles are anybody's text. They stand only where the receiver takes text for text (``plain_text`` in Slack,
``TextRun`` in Teams), so that nobody can call a whole channel, style a sentence or make a link look like another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import TextChoices

#: The longest text of one kind that is sent to people; what is longer is on the page.
LONGEST_TEXT: Final = 300
#: What turns the reading order round, and makes a name look like another one.
_DIRECTIONS: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_BLANKS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class Format(TextChoices):
    """What the receiver of a webhook reads."""

    JSON = "json", "JSON, for programs"
    SLACK = "slack", "Slack"
    TEAMS = "teams", "Microsoft Teams"


@dataclass(frozen=True)
class Message:
    """One message for people, in parts: what happened, to what, where, and where to look."""

    sentence: str
    title: str = ""
    place: str = ""
    link: str = ""
    link_text: str = "Open in Headgate"


def written(form: str, document: Mapping[str, Any], message: Message) -> bytes:
    """The body of a request: ``document`` for programs, ``message`` for people."""
    made = _WRITERS[Format(form)](document, message)
    return json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _json(document: Mapping[str, Any], _: Message) -> Mapping[str, Any]:
    return document


def _slack(_: Mapping[str, Any], message: Message) -> Mapping[str, Any]:
    """Block Kit of an incoming webhook; ``text`` is for notices on telephones, where nothing is marked up."""
    blocks: list[dict[str, Any]] = [{"type": "section", "text": _slack_text(message.sentence)}]
    if message.title:
        blocks.append({"type": "section", "text": _slack_text(message.title)})
    if message.place:
        blocks.append({"type": "context", "elements": [_slack_text(message.place)]})
    if message.link:
        link = {
            "type": "mrkdwn",
            "text": f"<{_slack_escaped(message.link)}|{message.link_text}>",
            "verbatim": True,
        }
        blocks.append({"type": "section", "text": link})
    return {
        "text": _slack_escaped(_plain(message.sentence)),
        "mrkdwn": False,
        "parse": "none",
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": blocks,
    }


def _slack_text(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": _plain(text), "emoji": False}


def _slack_escaped(text: str) -> str:
    """Without Slack's own marks, ``<!channel>`` and links among them ("Formatting text for app surfaces")."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _teams(_: Mapping[str, Any], message: Message) -> Mapping[str, Any]:
    """An Adaptive Card, as Teams' workflows take it ("Post to a channel when a webhook request is received")."""
    body: list[dict[str, Any]] = [_teams_text(message.sentence, weight="Bolder")]
    if message.title:
        body.append(_teams_text(message.title))
    if message.place:
        body.append(_teams_text(message.place, isSubtle=True, size="Small"))
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
    }
    if message.link:
        card["actions"] = [{"type": "Action.OpenUrl", "title": message.link_text, "url": message.link}]
    return {
        "type": "message",
        "summary": _plain(message.sentence),
        "attachments": [
            {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
        ],
    }


def _teams_text(text: str, **style: Any) -> dict[str, Any]:
    """Text that is no Markdown, which a ``TextBlock`` would be."""
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": _teams_plain(text), **style}]}


def _teams_plain(text: str) -> str:
    """Without what the card's renderer would fill in: ``{{DATE(…)}}`` and ``{{TIME(…)}}``."""
    return _plain(text).replace("{{", "{ {")


def _plain(text: str) -> str:
    one_line = _BLANKS.sub(" ", _DIRECTIONS.sub("", text)).strip()
    return one_line if len(one_line) <= LONGEST_TEXT else one_line[: LONGEST_TEXT - 1].rstrip() + "…"


_WRITERS: Final[Mapping[Format, Callable[[Mapping[str, Any], Message], Mapping[str, Any]]]] = {
    Format.JSON: _json,
    Format.SLACK: _slack,
    Format.TEAMS: _teams,
}
