"""What people type into pages. Forms read and explain; services decide."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib.auth import authenticate
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.models import User
from django.http import HttpRequest

from accounts.scopes import SENTENCES, Scope
from accounts.tokens import LONGEST_DAYS, USUAL_DAYS
from changerequests.models import Review
from changerequests.services.replacing import LONGEST as LONGEST_REPLACED
from changerequests.services.replacing import MOST_COLUMNS
from datasets.errors import InvalidInput
from datasets.models import Dataset
from datasets.services import EDITABLE_SETTINGS
from notifications.channels.reach import LONGEST_URL
from notifications.formats import Format


def style(form: forms.BaseForm) -> None:
    """Give each control the look of its kind; Django itself sets aria-invalid and aria-describedby."""
    for field in form.fields.values():
        widget = field.widget
        if isinstance(widget, forms.CheckboxInput | forms.RadioSelect | forms.CheckboxSelectMultiple):
            widget.attrs.setdefault("class", "form-check-input")
        elif isinstance(widget, forms.Select):
            widget.attrs.setdefault("class", "form-select")
        elif not isinstance(widget, forms.HiddenInput):
            widget.attrs.setdefault("class", "form-control")


def add_errors(
    form: forms.BaseForm,
    refused: InvalidInput,
    *,
    otherwise: str | None = None,
    instead: Mapping[str, str] | None = None,
) -> None:
    """Put what a service refused at the fields that it names, or ``instead`` of one at another; what is of none of them
    ``otherwise``, or above all.
    """
    for name, sentences in refused.by_field.items():
        at = (instead or {}).get(name, name) if name else None
        form.add_error(at if at in form.fields else otherwise, sentences)


class SignInForm(AuthenticationForm):
    """User name and password."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "User name"
        style(self)


class PasswordForm(PasswordChangeForm):
    """A new password, and the old one, which may be tried as often as signing in."""

    def __init__(self, user: User, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(user, *args, **kwargs)
        self.request = request
        self.fields["old_password"].label = "Your password now"
        self.fields["old_password"].widget.attrs.pop("autofocus", None)
        self.fields["new_password1"].label = "New password"
        self.fields["new_password2"].label = "The new password again"
        style(self)

    def clean_old_password(self) -> str:
        """Raises ``TooManyAttempts`` like signing in: a browser left open must not be used for guessing."""
        given: str = self.cleaned_data["old_password"]
        if authenticate(self.request, username=self.user.get_username(), password=given) is None:
            raise forms.ValidationError("This is not your password. It is case-sensitive.")
        return given


class TokenForm(forms.Form):
    """A token's name, what it may do, and how long it lives."""

    name = forms.CharField(max_length=100, label="Name", help_text="What uses it, such as “nightly load”.")
    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, f"{scope.value}: {SENTENCES[scope]}") for scope in Scope],
        widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"}),
        initial=[Scope.READ.value],
        error_messages={"required": "Choose what it may do."},
    )
    days = forms.IntegerField(
        min_value=1, max_value=LONGEST_DAYS, initial=USUAL_DAYS, label="Days until it ends"
    )
    agent = forms.CharField(
        max_length=100,
        required=False,
        label="Agent",
        help_text="Where an agent acts with it: its name. What it does is marked so.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("auto_id", "token_%s")
        super().__init__(*args, **kwargs)
        style(self)


class WebhookForm(forms.Form):
    """Whom a dataset tells what happens in it, and what of it."""

    name = forms.CharField(max_length=100, label="Name", help_text="Who listens, such as “nightly pipeline”.")
    url = forms.CharField(
        max_length=LONGEST_URL,
        label="Address",
        help_text="Kept encrypted and not shown again.",
        widget=forms.URLInput(
            attrs={"placeholder": "https://hooks.example.org/headgate", "autocomplete": "off"}
        ),
    )
    format = forms.ChoiceField(choices=Format.choices, label="Format")
    actions = forms.CharField(
        required=False,
        label="Only these events",
        help_text="Such as change_request.merged or merge.*, with blanks between them. Empty for all.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        style(self)

    def clean_actions(self) -> list[str]:
        """The actions, one by one."""
        return str(self.cleaned_data["actions"]).replace(",", " ").split()


class ProposeEditsForm(forms.Form):
    """The change request that somebody's edits become."""

    title = forms.CharField(max_length=200, label="Title", help_text="What changes, in a few words.")
    description = forms.CharField(
        label="Why",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Reviewers read this first: where the new values come from, and what depends on them.",
    )
    submit = forms.BooleanField(
        label="Ask for review at once", required=False, initial=True, help_text="Otherwise it is a draft."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        style(self)


class ReplaceForm(forms.Form):
    """What is looked for in which columns, and what takes its place."""

    columns = forms.MultipleChoiceField(
        label="In", required=False, widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"})
    )
    every = forms.BooleanField(label="Every column", required=False)
    find = forms.CharField(label="Find", strip=False, max_length=LONGEST_REPLACED)
    replace = forms.CharField(
        label="Replace with", strip=False, required=False, max_length=LONGEST_REPLACED, empty_value=""
    )
    with_null = forms.BooleanField(
        label="Replace with NULL", required=False, help_text="Takes the place of whole cells."
    )
    match_case = forms.BooleanField(label="Match case", required=False)
    whole_cell = forms.BooleanField(label="Match whole cells", required=False)
    counted = forms.IntegerField(required=False, min_value=0, widget=forms.HiddenInput)

    def __init__(self, *args: Any, columns: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        offered = self.fields["columns"]
        if isinstance(offered, forms.ChoiceField):
            offered.choices = [(name, name) for name in columns]
        self.offered = columns
        style(self)

    def clean(self) -> dict[str, Any]:
        """The columns that are meant, by name."""
        cleaned = super().clean() or {}
        if "columns" in self.errors:
            return cleaned
        meant = self.offered if cleaned.get("every") else cleaned.get("columns", [])
        if not meant:
            self.add_error("columns", "Choose a column, or every column.")
        elif len(meant) > MOST_COLUMNS:
            self.add_error("columns", f"Up to {MOST_COLUMNS} columns are looked through at once.")
        return {**cleaned, "columns": meant}


class FormWithOwnIds(forms.Form):
    """A form beside others on one page: its fields' ids begin with its own name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("auto_id", f"{type(self).__name__.lower()}_%s")
        super().__init__(*args, **kwargs)
        style(self)


class TalkForm(FormWithOwnIds):
    """A remark on a row or a cell, or another value for the cell."""

    body = forms.CharField(
        label="Your comment", required=False, widget=forms.Textarea(attrs={"rows": 2, "data-focus": ""})
    )
    suggestion = forms.CharField(
        label="Another value",
        required=False,
        strip=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "class": "form-control mono"}),
    )
    suggestion_is = forms.ChoiceField(
        label="Suggest",
        required=False,
        choices=[("", "nothing, or the value beside"), ("null", "NULL"), ("empty", "empty text")],
    )
    revision_digest = forms.CharField(widget=forms.HiddenInput, required=False)

    def clean(self) -> dict[str, Any]:
        """A comment, a value, or both."""
        cleaned = super().clean() or {}
        if cleaned.get("suggestion") and cleaned.get("suggestion_is"):
            self.add_error("suggestion", "Either write a value or choose NULL or empty text, not both.")
        elif not any(
            (cleaned.get("body", "").strip(), cleaned.get("suggestion"), cleaned.get("suggestion_is"))
        ):
            self.add_error("body", "Write a comment, or suggest another value.")
        return cleaned


class LeaveOutForm(FormWithOwnIds):
    """Why something is left out of a request."""

    reason = forms.CharField(
        label="Why",
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="The author reads it in the new draft, and it is kept in the audit trail.",
        error_messages={"required": "Say why you leave this out; the author will read it."},
    )
    revision_digest = forms.CharField(widget=forms.HiddenInput, required=False)


class Composer(FormWithOwnIds):
    """What somebody says to a request: a comment, or a verdict on the content that they looked at."""

    body = forms.CharField(
        label="Your comment",
        required=False,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="Markdown. CR-7 and @name become links. An approval needs no words.",
    )
    verdict = forms.ChoiceField(choices=Review.Verdict.choices, required=False)
    revision_digest = forms.CharField(widget=forms.HiddenInput, required=False)
    resolutions_digest = forms.CharField(widget=forms.HiddenInput, required=False)

    def clean(self) -> dict[str, Any]:
        """A comment has words; what a verdict needs, the service knows."""
        cleaned = super().clean() or {}
        if not cleaned.get("verdict") and not cleaned.get("body") and "body" not in self.errors:
            self.add_error("body", "Write a comment first.")
        return cleaned


class WordsForm(FormWithOwnIds):
    """The title and description of a request, as they are to be; ``edited`` is what the person looked at."""

    title = forms.CharField(max_length=200, label="Title")
    description = forms.CharField(label="Why", required=False, widget=forms.Textarea(attrs={"rows": 4}))
    edited = forms.CharField(widget=forms.HiddenInput, required=False)


class GalleryForm(FormWithOwnIds):
    """One field of each kind, for the gallery."""

    title = forms.CharField(label="Title", help_text="What changes, in a few words.")
    why = forms.CharField(label="Why", required=False, widget=forms.Textarea(attrs={"rows": 2}))
    kind = forms.ChoiceField(label="Kind", choices=[("rows", "rows"), ("file", "a file")])


class CloseForm(FormWithOwnIds):
    """Why a request is closed."""

    reason = forms.CharField(label="Reason", required=False, widget=forms.Textarea(attrs={"rows": 2}))


class SuiteForm(forms.Form):
    """The JSON of a suite, why it was changed, and the version that was edited."""

    document = forms.CharField(
        label="Suite in JSON",
        strip=False,
        required=False,
        widget=forms.Textarea(
            attrs={"rows": 22, "spellcheck": "false", "class": "form-control mono suite-editor"}
        ),
        help_text="A Great Expectations suite: a name and a list of expectations, each with type, kwargs and severity "
        "(critical stops a merge, warning shows).",
    )
    note = forms.CharField(
        label="Why",
        required=False,
        max_length=1000,
        help_text="It stands in the history beside your name.",
    )
    edited_number = forms.IntegerField(widget=forms.HiddenInput, min_value=0)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        style(self)


class AnswerForm(FormWithOwnIds):
    """Why an owner answers for broken expectations, and what they looked at."""

    reason = forms.CharField(
        label="Reason",
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="It is shown in the timeline and kept in the audit trail.",
        error_messages={
            "required": "Give a reason: it is shown in the timeline and kept in the audit trail."
        },
    )
    suite_number = forms.IntegerField(widget=forms.HiddenInput)
    revision_digest = forms.CharField(widget=forms.HiddenInput)


class OperatorActionForm(FormWithOwnIds):
    """What operators do about stuck work: an action on a run or on a dataset, and why."""

    action = forms.ChoiceField(
        label="Action",
        choices=[
            ("retry", "ring a worker for a run"),
            ("cancel", "cancel a run"),
            ("release", "take a dataset's lease from a dead holder"),
            ("acknowledge", "let merges into a dataset go on"),
        ],
    )
    number = forms.IntegerField(label="Number", min_value=1, help_text="Of the run, or of the dataset.")
    reason = forms.CharField(
        label="Reason",
        max_length=500,
        help_text="It is kept in the audit trail.",
        error_messages={"required": "Give a reason: it is kept in the audit trail."},
    )


class ReasonForm(forms.Form):
    """Why something ends."""

    reason = forms.CharField(
        label="Reason",
        max_length=500,
        help_text="It is kept in the audit trail.",
        error_messages={"required": "Give a reason: it is kept in the audit trail."},
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        style(self)


class DatasetSettingsForm(forms.ModelForm):
    """The rules under which a dataset changes."""

    #: The settings in groups: a title, what the group is about, and its fields.
    GROUPS = (
        (
            "What it is",
            "How people find the dataset, and what they should know of it.",
            ("name", "description"),
        ),
        (
            "Who lets a change in",
            "What people do before a change request can be merged.",
            (
                "required_approvals",
                "service_approvals_count",
                "contributors_may_merge",
                "threads_must_be_resolved",
            ),
        ),
        (
            "What a merge may do",
            "What the content of a request is measured by, when it is checked and once more before it is written.",
            ("delete_limit", "conflict_policy", "block_pre_existing", "staging_cleanup"),
        ),
        (
            "Looking after the table",
            "What Headgate does to the table's files and log by itself, and what reads them. No row changes by it.",
            ("write_checkpoints", "compact_files", "remove_old_files", "keep_files_days", "engine"),
        ),
    )

    class Meta:
        model = Dataset
        fields = EDITABLE_SETTINGS
        labels = {
            "required_approvals": "Approvals needed",
            "service_approvals_count": "Approvals of service accounts count",
            "contributors_may_merge": "Contributors may merge what passes every gate",
            "threads_must_be_resolved": "Every discussion must be resolved before a merge",
            "delete_limit": "Delete limit",
            "conflict_policy": "What counts as a conflict",
            "staging_cleanup": "Uploaded content after a merge",
            "write_checkpoints": "Write checkpoints",
            "compact_files": "Compact files",
            "remove_old_files": "Remove old files",
            "keep_files_days": "Days to keep files of older versions",
            "block_pre_existing": "Failures of expectations that the table already has stop a merge, too",
            "engine": "What looks for rows",
        }
        help_texts = {
            "description": "Everybody who may see the dataset reads it under its name.",
            "required_approvals": "How many people other than the author and the last editor must approve.",
            "service_approvals_count": "Otherwise people alone approve; a pipeline may still ask for changes.",
            "contributors_may_merge": "Otherwise owners alone merge.",
            "threads_must_be_resolved": "Contributors and owners resolve them in the conversation.",
            "delete_limit": "Share of the table's rows from 0 to 1. A merge that deletes more asks for the "
            "dataset's name.",
            "conflict_policy": "By cell, two people may change different columns of one row; by row, whoever comes "
            "second chooses.",
            "staging_cleanup": "What was uploaded is kept apart until it is merged. Archived content goes when the "
            "installation's retention says so; what a merge changed is kept in the audit either way.",
            "keep_files_days": "Where old files are removed: how far back every version can still be read.",
            "block_pre_existing": "Otherwise only what a change newly breaks stops it. Then every row of the table is "
            "judged, which takes longer.",
            "engine": "What looks in the table's files for the rows of a change when it is planned, merged or "
            "reverted. Spark does on the cluster of the dataset's connection, which operators set; uploads are always "
            "read by DuckDB.",
        }
        widgets = {"description": forms.Textarea(attrs={"rows": 3})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        style(self)

    def differing_from(self, dataset: Dataset) -> list[str]:
        """The settings that a valid form has other values for than the dataset."""
        return [name for name, value in self.cleaned_data.items() if getattr(dataset, name) != value]
