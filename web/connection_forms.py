"""What operators type about connections: where a store begins, how it is opened, who may use which folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms

from datasets.models import Connection, Project
from datasets.storage_kinds import KINDS, StorageOption
from web.forms import style
from web.typed import SECRET

_PLAIN = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}


class NewConnectionForm(forms.Form):
    """A store by its root; how it is opened is said on its page."""

    name = forms.CharField(
        max_length=64, label="Name", help_text="Small letters, digits, - and _, such as lake."
    )
    root = forms.CharField(
        max_length=1000,
        label="Where it begins",
        help_text="Tables lie below. "
        + " · ".join(f"{kind.label}: {kind.example}" for kind in KINDS.values()),
        widget=forms.TextInput(attrs={**_PLAIN, "class": "form-control mono"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        style(self)


class ConnectionForm(forms.Form):
    """How a connection's store is opened: a field for each option of its kind, two for each secret.

    What is typed as a secret is never shown again, not even to whoever typed it.
    """

    name = forms.CharField(max_length=64, label="Name")
    root = forms.CharField(
        max_length=1000,
        label="Where it begins",
        widget=forms.TextInput(attrs={**_PLAIN, "class": "form-control mono"}),
    )

    def __init__(self, *args: Any, connection: Connection, **kwargs: Any) -> None:
        self.kind = KINDS[connection.kind]
        kwargs["initial"] = {
            "name": connection.name,
            "root": connection.root,
            **{f"option-{one}": value for one, value in connection.options.items()},
            **{f"reference-{one}": value for one, value in connection.references.items()},
        }
        super().__init__(*args, **kwargs)
        for option in self.kind.plain:
            self.fields[f"option-{option.name}"] = _plain_field(option)
        for option in self.kind.secret:
            is_sealed = option.name in connection.sealed
            self.fields[f"{SECRET}{option.name}"] = forms.CharField(
                required=False,
                label=option.label,
                max_length=20_000,
                strip=False,
                help_text="Sealed; type another to replace it." if is_sealed else "Sealed when you save.",
                widget=_secret_widget(option),
            )
            if is_sealed:
                self.fields[f"forget-{option.name}"] = forms.BooleanField(
                    required=False, label=f"Forget the {option.label.lower()}"
                )
            self.fields[f"reference-{option.name}"] = forms.CharField(
                required=False,
                label=f"{option.label}, where it stands instead",
                max_length=1000,
                help_text="env:CONNECTION_… or file:/run/secrets/…",
                widget=forms.TextInput(attrs={**_PLAIN, "class": "form-control mono"}),
            )
        style(self)

    @property
    def plain(self) -> list[forms.BoundField]:
        """The fields of options."""
        return [self[f"option-{one.name}"] for one in self.kind.plain]

    @property
    def secret(self) -> list[list[forms.BoundField]]:
        """Of each secret its fields."""
        starts = ("secret", "forget", "reference")
        return [
            [self[f"{start}-{one.name}"] for start in starts if f"{start}-{one.name}" in self.fields]
            for one in self.kind.secret
        ]

    def changes(self) -> Mapping[str, Any]:
        """What the service is to change, once the form is valid."""
        given = self.cleaned_data
        secrets: dict[str, str | None] = {
            one.name: None for one in self.kind.secret if given.get(f"forget-{one.name}")
        }
        secrets |= {one.name: value for one in self.kind.secret if (value := given[f"{SECRET}{one.name}"])}
        references = {
            one.name: given[f"reference-{one.name}"] for one in self.kind.secret if not secrets.get(one.name)
        }
        return {
            "name": given["name"],
            "root": given["root"],
            "options": {one.name: _text(given[f"option-{one.name}"]) for one in self.kind.plain},
            "references": references,
            "secrets": secrets,
        }


class PrefixForm(forms.Form):
    """Whose owners may add tables below which folder."""

    project = forms.ChoiceField(label="Project")
    path = forms.CharField(
        required=False,
        max_length=1000,
        label="Folder below the root",
        help_text="Such as finance/daily. Empty for all of it.",
        widget=forms.TextInput(attrs={**_PLAIN, "class": "form-control mono"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        project = self.fields["project"]
        if isinstance(project, forms.ChoiceField):
            project.choices = [(one.slug, one.name) for one in Project.objects.all()]
        style(self)


def _plain_field(option: StorageOption) -> forms.Field:
    if option.is_switch:
        return _Switch(required=False, label=option.label)
    return forms.CharField(
        required=False, label=option.label, max_length=1000, widget=forms.TextInput(attrs=dict(_PLAIN))
    )


class _Switch(forms.BooleanField):
    """An option that is on or off, and kept as a text."""

    def prepare_value(self, value: Any) -> Any:
        return value in (True, "true")


def _secret_widget(option: StorageOption) -> forms.Widget:
    attrs = {**_PLAIN, "autocomplete": "new-password"}
    if option.is_long:
        return _Unshown(attrs={**attrs, "rows": 3})
    return forms.PasswordInput(attrs=attrs)


class _Unshown(forms.Textarea):
    """A text of several lines that is not sent back."""

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        return super().get_context(name, None, attrs)


def _text(value: Any) -> str:
    return "true" if value is True else "" if value is False else str(value).strip()
