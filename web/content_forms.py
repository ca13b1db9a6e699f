"""What people send to be looked at, and what they decide once they have looked. Forms read and explain."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django import forms

from changerequests.models import Preview
from changerequests.services import previews, uploads
from changerequests.states import EmptyCells, UploadKind
from datasets.rows import ColumnAction
from web.forms import style
from web.pasting import as_strict

UPLOAD_TYPES = (
    ".csv,.tsv,.txt,.parquet,.pq,.jsonl,.ndjson,.json,.arrow,.feather,.ipc,.xlsx,.xlsm,.gz,.bz2,.zst"
)
#: The field of each way in.
FIELDS = {"upload": "file", "paste": "pasted", "sql": "sql"}


class ContentForm(forms.Form):
    """One way in: a file, pasted rows or a statement; title and text that were typed before go along."""

    way = forms.ChoiceField(choices=[(way, way) for way in FIELDS])
    file = forms.FileField(
        label="File",
        required=False,
        allow_empty_file=True,
        widget=forms.FileInput(attrs={"accept": UPLOAD_TYPES}),
    )
    pasted = forms.CharField(
        label="Rows from a spreadsheet, or CSV",
        required=False,
        strip=False,
        widget=forms.Textarea(
            attrs={"rows": 9, "spellcheck": "false", "wrap": "off", "class": "form-control mono"}
        ),
        help_text="The first line names the columns.",
    )
    sql = forms.CharField(
        label="Statement",
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 5, "spellcheck": "false", "class": "form-control mono"}),
        help_text="A SELECT of the keys and new values over the table, which it calls dataset; or one UPDATE, DELETE "
        "or INSERT.",
    )
    title = forms.CharField(required=False, max_length=200, widget=forms.HiddenInput)
    description = forms.CharField(required=False, strip=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, looked_at: Preview | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.looked_at = looked_at
        style(self)

    @classmethod
    def of(cls, preview: Preview) -> "ContentForm":
        """The forms as they were when a preview was sent; a file has been received and need not be sent again."""
        typed = {
            "pasted": preview.pasted,
            "sql": preview.source,
            "title": preview.title,
            "description": preview.description,
        }
        return cls(initial=typed, looked_at=preview)

    @property
    def field(self) -> str:
        """The field of the way that was taken."""
        return FIELDS[self.cleaned_data["way"]]

    @property
    def words(self) -> previews.Words:
        """Title and text that were typed before."""
        return previews.Words(self.cleaned_data["title"], self.cleaned_data["description"])

    def clean(self) -> dict[str, Any]:
        """The way that was taken has something."""
        cleaned = super().clean() or {}
        missing = {
            "upload": ("file", "Choose a file first."),
            "paste": ("pasted", "Paste rows first; the first line names the columns."),
            "sql": ("sql", "Write a statement first."),
        }
        if "way" in cleaned:
            field, sentence = missing[cleaned["way"]]
            given = cleaned.get(field)
            if field not in self.errors and not (given.strip() if isinstance(given, str) else given):
                self.add_error(field, sentence)
        return cleaned

    @contextmanager
    def content(self) -> Iterator[uploads.Content]:
        """What was sent, for the service; pasted rows are a file, which is gone afterwards."""
        cleaned = self.cleaned_data
        if cleaned["way"] == "sql":
            yield uploads.NamedSource(UploadKind.SQL, cleaned["sql"])
            return
        if cleaned["way"] == "upload":
            file = cleaned["file"]
            yield uploads.ReceivedFile(
                Path(file.temporary_file_path()), file_name=file.name, empty_cells=EmptyCells.NULL
            )
            return
        pasted = cleaned["pasted"]
        with uploads.written_down([as_strict(pasted)]) as path:
            yield uploads.ReceivedFile(
                path,
                file_name="pasted rows",
                file_format="csv",
                pasted=pasted,
                empty_cells=EmptyCells.NULL,
            )


@dataclass(frozen=True)
class ColumnToDecide:
    """A column of the content that the table lacks: what may be meant, and what was decided so far."""

    name: str
    suggestion: str
    type: str
    possible: tuple[str, ...]
    decided: ColumnAction | None = None


@dataclass(frozen=True)
class ColumnDecision:
    """The fields in which somebody decides about one column."""

    column: ColumnToDecide
    action: forms.BoundField
    to: forms.BoundField
    type: forms.BoundField


class PreviewForm(forms.Form):
    """What is decided beside a preview, and the words of the request; without ``needs_title`` those may be missing."""

    title = forms.CharField(
        max_length=200, required=False, label="Title", help_text="What changes, in a few words."
    )
    description = forms.CharField(
        label="Why",
        required=False,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="Reviewers read this first: where the new values come from, and what depends on them.",
    )
    empty_cells = forms.ChoiceField(
        label="What an empty cell means",
        required=False,
        choices=[
            (EmptyCells.KEEP.value, "leave the value as it is"),
            (EmptyCells.NULL.value, "NULL"),
            (EmptyCells.TEXT.value, "empty text"),
        ],
        widget=forms.RadioSelect,
    )
    null_token = forms.CharField(
        label="Another word for NULL",
        required=False,
        max_length=20,
        strip=False,
        help_text="In CSV, a cell without quotes that holds just this is NULL.",
    )
    needs_title = False

    def __init__(self, *args: Any, columns: Sequence[ColumnToDecide] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.columns = columns
        for number, column in enumerate(columns):
            self._add_decision(number, column)
        style(self)

    def _add_decision(self, number: int, column: ColumnToDecide) -> None:
        decided = column.decided or ColumnAction("leave_out")
        action = forms.ChoiceField(
            required=False,
            choices=[("rename", "Rename to"), ("add", "Add as a new column"), ("leave_out", "Leave out")],
            widget=forms.RadioSelect,
            initial=column.decided.action if column.decided else None,
        )
        to = forms.ChoiceField(
            label=f"Rename {column.name} to",
            required=False,
            choices=[("", "choose a column"), *((name, name) for name in column.possible)],
            initial=decided.to or column.suggestion,
        )
        kind = forms.CharField(
            label=f"Type of {column.name}",
            required=False,
            max_length=100,
            initial=decided.type,
            widget=forms.TextInput(
                attrs={
                    "list": "column-types",
                    "placeholder": column.type or "by its values",
                    "autocomplete": "off",
                }
            ),
        )
        self.fields |= {f"action-{number}": action, f"to-{number}": to, f"type-{number}": kind}

    @classmethod
    def of(cls, preview: Preview, columns: Sequence[ColumnToDecide]) -> "PreviewForm":
        """The form as the preview was made."""
        typed = {
            "title": preview.title,
            "description": preview.description,
            "empty_cells": preview.empty_cells or EmptyCells.NULL.value,
            "null_token": preview.null_token,
        }
        return cls(initial=typed, columns=columns)

    @property
    def decisions(self) -> list[ColumnDecision]:
        """The columns to decide about, each with its fields."""
        return [
            ColumnDecision(column, self[f"action-{number}"], self[f"to-{number}"], self[f"type-{number}"])
            for number, column in enumerate(self.columns)
        ]

    def clean(self) -> dict[str, Any]:
        """A column that is renamed has a name, and what is proposed a title."""
        cleaned = super().clean() or {}
        for number, column in enumerate(self.columns):
            renamed = cleaned.get(f"action-{number}") == "rename" and not cleaned.get(f"to-{number}")
            if renamed and f"to-{number}" not in self.errors:
                self.add_error(f"to-{number}", f"Choose the column that {column.name} is.")
        if self.needs_title and not cleaned.get("title") and "title" not in self.errors:
            self.add_error("title", "Give it a title: what changes, in a few words.")
        return cleaned

    @property
    def typed_words(self) -> previews.Words:
        """Title and text as they were typed, whatever they are worth."""
        return previews.Words(self.data.get("title", ""), self.data.get("description", ""))

    def choices_beside(self, preview: Preview) -> previews.Choices:
        """How the content of a preview is to be read."""
        cleaned = self.cleaned_data
        actions = {}
        for number, column in enumerate(self.columns):
            action = cleaned.get(f"action-{number}")
            if action:
                actions[column.name] = ColumnAction(
                    action,
                    to=cleaned[f"to-{number}"] if action == "rename" else "",
                    type=cleaned[f"type-{number}"].strip() if action == "add" else "",
                )
        if not previews.takes_empty_cells(preview):
            return previews.Choices(preview.null_token, preview.column_types, actions, _meaning(preview))
        meant = EmptyCells(cleaned["empty_cells"]) if cleaned["empty_cells"] else _meaning(preview)
        return previews.Choices(cleaned["null_token"], preview.column_types, actions, meant)


def _meaning(preview: Preview) -> EmptyCells | None:
    return EmptyCells(preview.empty_cells) if preview.empty_cells else None
