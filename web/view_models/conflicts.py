"""Conflicts as a table: a line for each cell, with Base, Current and Proposed, where Current is from, what was
chosen.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from django.contrib.auth.models import User
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from changerequests.errors import ChosenMeanwhile
from changerequests.models import ChangeRequest, ConflictResolution
from changerequests.services.conflicts import FiledChoice, FileLooked
from changerequests.services.origins import CurrentOrigin
from changerequests.services.plans import ConflictsPage, seen_choice
from datasets.rows import Conflict, Row, Sides, json_value, key_digest, same_value, text_value
from web.cells import absent_html, cell_html
from web.view_models.datasets import is_numeric, types_of
from web.wording import counted, name_of

KINDS = {
    "modify/modify": "Both sides changed this value.",
    "modify/delete": "The table's row was changed meanwhile; this request deletes it.",
    "delete/modify": "The table's row was deleted meanwhile; this request changes it.",
    "add/add": "Both sides added a row with this key, with different values.",
    "schema": "Both sides changed the column itself.",
}
#: What a filter calls them.
KIND_TITLES = {
    "modify/modify": "Both changed it",
    "modify/delete": "Changed, deleted here",
    "delete/modify": "Deleted, changed here",
    "add/add": "Both added it",
    "schema": "The column itself",
}

#: choice -> how it is called in a sentence
CHOICES = {
    "base": "Base",
    "current": "Current",
    "proposed": "Proposed",
    "custom": "another value",
    "keep": "to keep the row",
    "delete": "to delete the row",
}
#: What a key of the keyboard chooses.
SIDES: Final = ("base", "current", "proposed")
#: Longer texts stand side by side below their line, with their differences marked.
LONGEST_IN_LINE = 60
#: Longer ones are not compared word by word.
MOST_WORDS = 2_000


@dataclass(frozen=True)
class ConflictSide:
    """One of the three values of a line: which choice it is, and whether it can be made."""

    name: str
    title: str
    html: SafeString
    is_offered: bool
    is_chosen: bool


@dataclass(frozen=True)
class RowImage:
    """One column of the three rows where a whole row is in conflict."""

    column: str
    sides: Sides[SafeString]


@dataclass(frozen=True)
class Picked:
    """A choice as a form has it: its name, and the text of another value or NULL."""

    choice: str
    text: str = ""
    is_null: bool = False

    @property
    def as_field(self) -> str:
        """In one hidden field, to tell whether the form was changed."""
        if self.choice != "custom":
            return self.choice
        return "custom NULL" if self.is_null else f"custom: {self.text}"


@dataclass(frozen=True)
class RefusedChoice:
    """What somebody chose for a conflict and could not be stored: it stands in its line again, with why.

    ``others`` are sentences on what others chose meanwhile.
    """

    key_digest: str
    column: str
    picked: Picked
    problem: str
    others: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[str, str]:
        """The conflict that it was for."""
        return self.key_digest, self.column


@dataclass(frozen=True)
class ConflictLine:
    """One conflicting cell, or the whole row where ``column`` is empty. ``name`` is that of its fields in every form.

    ``seen`` and ``was`` stand for the choice that is shown as the standing one, ``chosen`` says whose it is and
    ``result`` what it puts in place. ``origin`` says where Current is from, ``beside`` what else of the row merges.
    """

    name: str
    anchor: str
    key_json: str
    key: SafeString
    column: str
    type: str
    is_numeric: bool
    sentence: str
    inputs_digest: str
    sides: tuple[ConflictSide, ...]
    is_long: bool
    images: tuple[RowImage, ...]
    origin: SafeString
    beside: str
    offers_custom: bool
    custom_value: str
    custom_is_null: bool
    custom_is_chosen: bool
    is_resolved: bool
    result: SafeString
    chosen_by: str
    chosen: str
    chosen_at: datetime | None
    seen: str
    was: str
    is_unsaved: bool
    problem: str
    others: tuple[str, ...]

    @property
    def label(self) -> str:
        """What assistive technology calls the line's choices."""
        return f"{self.column or 'The whole row'}, {self.key_text}"

    @property
    def key_text(self) -> str:
        """The key in plain words."""
        return ", ".join(f"{name} {text_value(value)}" for name, value in json.loads(self.key_json).items())


@dataclass(frozen=True)
class Bulk:
    """A choice for all open conflicts that the filter finds."""

    name: str
    title: str
    number: int


def conflict_lines(
    change_request: ChangeRequest,
    page: ConflictsPage,
    origins: Mapping[tuple[str, str], CurrentOrigin],
    refused: Sequence[RefusedChoice] = (),
) -> list[ConflictLine]:
    """The lines of a page, in key order."""
    types = types_of(change_request.dataset)
    mine = {one.place: one for one in refused}
    lines = []
    for conflict in page.conflicts:
        place = key_digest(conflict.key), conflict.column or ""
        chosen = page.chosen_for(conflict)
        lines.append(_line(conflict, types, chosen, origins.get(place), mine.get(place)))
    return lines


def _line(
    conflict: Conflict,
    types: Mapping[str, str],
    chosen: ConflictResolution | None,
    origin: CurrentOrigin | None,
    refused: RefusedChoice | None,
) -> ConflictLine:
    standing = _picked(conflict)
    shown = refused.picked if refused else standing
    type_name = types.get(conflict.column or "", "string")
    place = f"{key_digest(conflict.key)} {conflict.column or ''}"
    name = hashlib.sha256(place.encode()).hexdigest()[:12]
    is_long = any(_is_long(value) for value in conflict.sides)
    custom = shown if shown is not None and shown.choice == "custom" else None
    return ConflictLine(
        name=name,
        anchor=f"conflict-{name}",
        key_json=json.dumps(json_value(conflict.key)),
        key=_key_html(conflict.key),
        column=conflict.column or "",
        type=type_name if conflict.column else "",
        is_numeric=is_numeric(type_name) if conflict.column else False,
        sentence=conflict.message or KINDS.get(conflict.kind, conflict.kind),
        inputs_digest=conflict.inputs_digest,
        sides=_sides(conflict, shown, marked=is_long),
        is_long=is_long,
        images=_images(conflict, types) if conflict.column is None else (),
        origin=origin_html(origin) if origin else SafeString(""),
        beside=_beside(conflict.beside),
        offers_custom="custom" in conflict.legal_choices,
        custom_value=custom.text if custom else "",
        custom_is_null=custom.is_null if custom else False,
        custom_is_chosen=custom is not None,
        is_resolved=conflict.choice is not None,
        result=_result(conflict, conflict.choice, conflict.value),
        chosen_by=name_of(chosen.chosen_by) if chosen else "",
        chosen=CHOICES[chosen.choice] if chosen else "",
        chosen_at=chosen.chosen_at if chosen else None,
        seen=seen_choice(conflict),
        was=standing.as_field if standing else "",
        is_unsaved=refused is not None and refused.picked != standing,
        problem=refused.problem if refused else "",
        others=refused.others if refused else (),
    )


def _picked(conflict: Conflict) -> Picked | None:
    """The choice that stands."""
    if conflict.choice != "custom":
        return Picked(conflict.choice) if conflict.choice else None
    return Picked("custom", text_value(conflict.value), conflict.value is None)


def _key_html(key: Mapping[str, Any]) -> SafeString:
    return format_html_join(
        " ",
        '<span class="key-part"><span class="muted">{}</span> {}</span>',
        ((n, cell_html(v)) for n, v in key.items()),
    )


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and (len(value) > LONGEST_IN_LINE or "\n" in value)


def _sides(conflict: Conflict, shown: Picked | None, *, marked: bool) -> tuple[ConflictSide, ...]:
    return tuple(
        ConflictSide(
            name=name,
            title=name.capitalize(),
            html=_side_html(conflict, name, marked=marked),
            is_offered=name in conflict.legal_choices,
            is_chosen=shown is not None and _means(shown.choice, name, conflict),
        )
        for name in SIDES
    )


def _means(choice: str, side: str, conflict: Conflict) -> bool:
    """Whether a choice is that of a side: keeping and deleting a row are each one of them."""
    if choice not in ("keep", "delete"):
        return choice == side
    value = getattr(conflict, side)
    return side != "base" and (value is None) == (choice == "delete")


def _side_html(conflict: Conflict, name: str, *, marked: bool) -> SafeString:
    value = getattr(conflict, name)
    if conflict.kind == "schema":
        return format_html("{}", value or "no such column")
    if conflict.column is None:
        return absent_html() if value is None else SafeString(_ROW_WORDS[name])
    if marked and name != "base" and isinstance(value, str) and isinstance(conflict.base, str):
        return _marked(conflict.base, value)
    return cell_html(value)


_ROW_WORDS = {"base": "the row as it was", "current": "the row as it is", "proposed": "the row as proposed"}


def _marked(base: str, value: str) -> SafeString:
    """A long text with the words marked in which it differs from Base."""
    before, after = (re.findall(r"\s+|\w+|[^\w\s]", text) for text in (base, value))
    if len(before) > MOST_WORDS or len(after) > MOST_WORDS:
        return cell_html(value)
    parts = []
    for kind, first, last, start, end in difflib.SequenceMatcher(
        None, before, after, autojunk=False
    ).get_opcodes():
        old, new = "".join(before[first:last]), "".join(after[start:end])
        if kind == "equal":
            parts.append(format_html("{}", new))
            continue
        if old:
            parts.append(format_html("<del>{}</del>", old))
        if new:
            parts.append(format_html("<ins>{}</ins>", new))
    return format_html(
        '<span class="cell cell--text">{}</span>', format_html_join("", "{}", ((one,) for one in parts))
    )


def _result(conflict: Conflict, choice: str | None, value: Any) -> SafeString:
    """What a choice puts in place; ``value`` is that of another value."""
    if choice is None:
        return SafeString("")
    if conflict.kind == "schema":
        return SafeString("the column is left out")
    if conflict.column is None:
        kept = choice == "keep" or (choice in SIDES and getattr(conflict, choice) is not None)
        return SafeString("the row stays" if kept else "the row goes")
    return cell_html(value if choice == "custom" else getattr(conflict, choice))


def _beside(cells: int) -> str:
    if not cells:
        return ""
    verb = "merges" if cells == 1 else "merge"
    return f"{counted(cells, 'other cell')} of this row {verb} without conflict"


def origin_html(origin: CurrentOrigin) -> SafeString:
    """Where Current is from: version, who, when, and which request or job."""
    if origin.version is None:
        return format_html(
            "changed outside, in version {} to {}", f"{origin.since + 1:,}", f"{origin.until:,}"
        )
    what = format_html("{}", origin.how or "written outside")
    if origin.change_request is not None:
        cr_id = origin.change_request.cr_id
        what = format_html('<a href="{}">{}</a>', reverse("change_request", args=[cr_id]), cr_id)
    when = _day(origin.at) if origin.at else ""
    parts = [format_html("v{}", f"{origin.version:,}"), *filter(None, (origin.who, when)), what]
    return format_html_join(" · ", "{}", ((part,) for part in parts))


def _day(moment: datetime) -> str:
    at = moment.astimezone(UTC)
    return f"{at.day} {at:%b %Y %H:%M}"


def _images(conflict: Conflict, columns: Iterable[str]) -> tuple[RowImage, ...]:
    """The columns in which the three rows differ."""
    rows: Sides[Row | None] = conflict.sides
    there = [row for row in rows if row is not None]
    images = []
    for name in columns:
        if name in conflict.key or not any(name in row for row in there):
            continue
        values = [row.get(name) for row in there]
        if len(there) < 2 or not all(same_value(value, values[0]) for value in values):
            images.append(RowImage(name, rows.map(partial(_image_html, name))))
    return tuple(images)


def _image_html(name: str, row: Row | None) -> SafeString:
    return absent_html() if row is None else cell_html(row.get(name))


def choices_of_others(error: ChosenMeanwhile) -> tuple[str, ...]:
    """A line for each choice that somebody else made meanwhile, as far as the error tells them."""
    told = error.data["choices"]
    people = User.objects.in_bulk({one["chosen_by"] for one in told}, field_name="username")
    lines = []
    for one in told:
        place = ", ".join(f"{name} = {text_value(value)}" for name, value in one["key"].items())
        choice = CHOICES[one["choice"]]
        if one["choice"] == "custom":
            choice += f", {'NULL' if one['value'] is None else text_value(one['value'])}"
        where = " · ".join(filter(None, (place, one["column"])))
        at = datetime.fromisoformat(one["chosen_at"])
        lines.append(f"{where}: {name_of(people[one['chosen_by']])} chose {choice} on {_day(at)} UTC")
    return tuple(lines)


def bulk_choices(page: ConflictsPage) -> list[Bulk]:
    """What can be chosen for the open conflicts that the filter finds, and for how many of them."""
    return [Bulk(name, name.capitalize(), page.offered[name]) for name in SIDES if page.offered.get(name)]


@dataclass(frozen=True)
class FiledLine:
    """What a line of a file would choose."""

    number: int
    key: SafeString
    column: str
    now: SafeString
    will_be: SafeString
    choice: str


@dataclass(frozen=True)
class FilePreview:
    """A file of choices before it is stored: how many of each kind, the first of them, and what does not fit."""

    total: int
    unchanged: int
    counts: tuple[tuple[str, int], ...]
    lines: tuple[FiledLine, ...]
    problems: tuple[str, ...]
    problem_total: int


def file_preview(looked: FileLooked, most: int) -> FilePreview:
    """What the page says of a file, with at most so many lines of either kind."""
    changing = [one for one in looked.choices if not one.changes_nothing]
    counts: dict[str, int] = {}
    for one in changing:
        counts[one.choice] = counts.get(one.choice, 0) + 1
    return FilePreview(
        total=len(changing),
        unchanged=len(looked.choices) - len(changing),
        counts=tuple((CHOICES[name], counts[name]) for name in CHOICES if name in counts),
        lines=tuple(_filed_line(one) for one in changing[:most]),
        problems=tuple(one.describe() for one in looked.problems[:most]),
        problem_total=looked.problem_total,
    )


def _filed_line(one: FiledChoice) -> FiledLine:
    conflict = one.conflict
    standing = _result(conflict, conflict.choice, conflict.value)
    made = _result(conflict, one.choice, one.value)
    return FiledLine(
        one.line,
        _key_html(conflict.key),
        conflict.column or "",
        standing or SafeString("no choice yet"),
        made,
        CHOICES[one.choice],
    )
