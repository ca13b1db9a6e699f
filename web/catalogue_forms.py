"""What people type to add a table, to make a project, and to say who may do what."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.models import Group, User
from django.contrib.auth.password_validation import password_validators_help_text_html
from django.core.validators import MaxValueValidator
from django.urls import reverse_lazy
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import slugify

from accounts import people
from datasets.models import SLUG, Project
from datasets.roles import Role
from web.forms import style

ROLES = [(role.value, role.value) for role in Role]
#: How many people may be named when a table is added; more are added on its page of members.
MOST_REVIEWERS = 3


class PersonInput(forms.TextInput):
    """A field for a person (or group) that suggests whom the reader may know; without JavaScript a name is typed.

    A ``kind`` in the same form says whether people or groups are suggested.
    """

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        listed = f"{(attrs or {}).get('id') or name}-found"
        asks = {
            "list": listed,
            "autocomplete": "off",
            "autocapitalize": "none",
            "spellcheck": "false",
            "hx-get": f"{reverse_lazy('people_found')}?of={name}",
            "hx-trigger": "input changed delay:200ms",
            "hx-include": "closest form",
            "hx-target": f"#{listed}",
            "hx-swap": "innerHTML",
            "hx-sync": "this:replace",
        }
        field = super().render(name, value, {**(attrs or {}), **asks}, renderer)
        return format_html('{}<datalist id="{}"></datalist>', field, listed)


class PersonField(forms.CharField):
    """A user name, an e-mail address or a name that only one person has."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_length": 254, "widget": PersonInput, **kwargs})


def person_or_error(asker: User, text: str) -> User:
    """Who is meant. Raises ``ValidationError`` with whom the asker may have meant."""
    found = people.called(asker, text)
    if found is None:
        meant = people.search(asker, text, 3)
        did_you = f" Did you mean {', '.join(one.username for one in meant)}?" if meant else ""
        raise forms.ValidationError(
            f"Nobody is called “{text}”, or several are. Type the user name or the e-mail address.{did_you}"
        )
    return found


class MemberForm(forms.Form):
    """A person or group and the role that they get."""

    kind = forms.ChoiceField(label="Who", choices=[("user", "a person"), ("group", "a group")])
    member = PersonField(label="Name", help_text="Name, user name or e-mail address.")
    role = forms.ChoiceField(label="Role", choices=ROLES, initial=Role.CONTRIBUTOR.value)

    def __init__(self, *args: Any, asker: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.asker = asker
        style(self)

    def clean(self) -> dict[str, Any]:
        """The member themselves, in the place of their name."""
        cleaned = super().clean() or {}
        named = cleaned.get("member")
        if not named:
            return cleaned
        if cleaned.get("kind") == "group":
            group = Group.objects.filter(name=named).first() if "\x00" not in named else None
            if group is None:
                self.add_error("member", f"There is no group “{named}”. Names are case-sensitive.")
            return {**cleaned, "found": group}
        try:
            return {**cleaned, "found": person_or_error(self.asker, named)}
        except forms.ValidationError as error:
            self.add_error("member", error)
            return cleaned


class WhereForm(forms.Form):
    """The address of a table."""

    where = forms.CharField(
        label="Folder or address of the table",
        max_length=1000,
        widget=forms.TextInput(
            attrs={
                "class": "form-control mono",
                "autocomplete": "off",
                "spellcheck": "false",
                "autocapitalize": "none",
            }
        ),
        help_text="The folder that holds _delta_log, such as /data/delta/customers or s3://lake/customers; "
        "or the table's name in the Unity Catalog of a connection: uc://catalog.schema.table.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        style(self)


class NewDatasetForm(forms.Form):
    """What a table is called here, where it belongs, and who may review its changes."""

    name = forms.CharField(max_length=200, label="Name", help_text="How people call it, such as Customers.")
    slug = forms.CharField(
        max_length=64,
        label="Name in addresses",
        required=False,
        validators=[SLUG],
        help_text="Small letters, digits, - and _. Empty: made of the name. It stays as it is.",
    )
    description = forms.CharField(
        label="What it holds",
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="One or two sentences for people who see it for the first time.",
    )
    project = forms.ChoiceField(label="Project", help_text="Roles on a project hold for all of its tables.")
    new_project = forms.CharField(max_length=200, label="Name of the new project", required=False)
    required_approvals = forms.IntegerField(
        min_value=0,
        validators=[MaxValueValidator(100)],
        initial=1,
        label="Approvals needed",
        help_text="How many people other than the author approve a change before it is merged. 0: nobody has to.",
    )
    is_copy = forms.BooleanField(
        label="This folder is a copy of that table",
        required=False,
        help_text="Its own changes are merged into it, and nothing of them reaches the other one.",
    )

    def __init__(
        self,
        *args: Any,
        asker: User,
        projects: list[Project],
        may_make: bool,
        may_be_copy: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.asker = asker
        project = self.fields["project"]
        if isinstance(project, forms.ChoiceField):
            project.choices = [(one.slug, one.name) for one in projects]
            if may_make:
                project.choices = [*project.choices, ("", "A new project")]
                project.required = False
        if not may_make:
            del self.fields["new_project"]
        if not may_be_copy:
            del self.fields["is_copy"]
        for number in range(1, MOST_REVIEWERS + 1):
            self.fields[f"reviewer-{number}"] = PersonField(
                label="Who may propose and review" if number == 1 else f"Person {number}", required=False
            )
        style(self)

    @property
    def reviewer_fields(self) -> list[forms.BoundField]:
        """The fields for people."""
        return [self[f"reviewer-{number}"] for number in range(1, MOST_REVIEWERS + 1)]

    def clean(self) -> dict[str, Any]:
        """The people, found; a slug where none was typed; the name of a new project where that was chosen."""
        cleaned = super().clean() or {}
        if not cleaned.get("slug") and cleaned.get("name") and "slug" not in self.errors:
            cleaned["slug"] = slug_of(cleaned["name"])
            if not cleaned["slug"]:
                self.add_error(
                    "slug", "Type a name of small letters and digits; none could be made of the name."
                )
        if not cleaned.get("project") and "project" not in self.errors and not cleaned.get("new_project"):
            field = "new_project" if "new_project" in self.fields else "project"
            self.add_error(field, "Name the new project, or choose one that is there.")
        elif (
            not cleaned.get("project") and cleaned.get("new_project") and not slug_of(cleaned["new_project"])
        ):
            self.add_error(
                "new_project", "Its address is made of its name: use some letters from a to z, or digits."
            )
        reviewers = []
        for number in range(1, MOST_REVIEWERS + 1):
            name = f"reviewer-{number}"
            if named := cleaned.get(name, ""):
                try:
                    reviewers.append(person_or_error(self.asker, named))
                except forms.ValidationError as error:
                    self.add_error(name, error)
        return {**cleaned, "reviewers": reviewers}


def slug_of(name: str) -> str:
    """A name as it may stand in addresses; empty where nothing of it may."""
    return slugify(name)[:64].strip("-_")


class ProjectForm(forms.Form):
    """A project's name and what it is about."""

    name = forms.CharField(max_length=200, label="Name")
    slug = forms.CharField(
        max_length=64,
        label="Name in addresses",
        required=False,
        validators=[SLUG],
        help_text="Small letters, digits, - and _. Empty: made of the name. It stays as it is.",
    )
    description = forms.CharField(
        label="What it is about", required=False, widget=forms.Textarea(attrs={"rows": 3})
    )

    def __init__(self, *args: Any, is_new: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_new = is_new
        if not is_new:
            del self.fields["slug"]
        style(self)

    def clean(self) -> dict[str, Any]:
        """A slug where none was typed."""
        cleaned = super().clean() or {}
        if self.is_new and not cleaned.get("slug") and cleaned.get("name") and "slug" not in self.errors:
            cleaned["slug"] = slug_of(cleaned["name"])
            if not cleaned["slug"]:
                self.add_error(
                    "slug", "Type a name of small letters and digits; none could be made of the name."
                )
        return cleaned


class InviteForm(forms.Form):
    """Whom an operator asks in, and what they may do from the first day."""

    email = forms.EmailField(label="E-mail address")
    first_name = forms.CharField(max_length=150, required=False, label="First name")
    last_name = forms.CharField(max_length=150, required=False, label="Last name")
    project = forms.ChoiceField(label="Project", required=False)
    role = forms.ChoiceField(
        label="Role in it", required=False, choices=ROLES, initial=Role.CONTRIBUTOR.value
    )

    def __init__(self, *args: Any, projects: list[Project], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.projects = {one.slug: one for one in projects}
        project = self.fields["project"]
        if isinstance(project, forms.ChoiceField):
            project.choices = [("", "none yet"), *((one.slug, one.name) for one in projects)]
        style(self)

    @property
    def place(self) -> tuple[Project | None, Role | None]:
        """The project and the role on it; neither where no project was chosen."""
        project = self.projects.get(self.cleaned_data["project"])
        if project is None:
            return None, None
        return project, Role(self.cleaned_data["role"] or Role.CONTRIBUTOR)


class ServiceAccountForm(forms.Form):
    """What a pipeline is called here, and where it begins."""

    name = forms.CharField(
        max_length=60, label="Name", help_text="Such as “nightly-load”: it is called nightly-load@service."
    )
    purpose = forms.CharField(max_length=200, required=False, label="What it is for")
    project = forms.ChoiceField(label="Project", required=False, help_text="Its owners manage the account.")
    role = forms.ChoiceField(
        label="Role in it",
        required=False,
        choices=[("", "none yet"), *ROLES],
        initial=Role.CONTRIBUTOR.value,
    )

    def __init__(
        self, *args: Any, projects: list[Project], needs_project: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.projects = {one.slug: one for one in projects}
        project = self.fields["project"]
        if isinstance(project, forms.ChoiceField):
            nowhere = [] if needs_project else [("", "none: operators manage it")]
            project.choices = [*nowhere, *((one.slug, one.name) for one in projects)]
        style(self)

    @property
    def place(self) -> tuple[Project | None, Role | None]:
        """The project and the role on it; neither where no project was chosen."""
        project = self.projects.get(self.cleaned_data["project"])
        role = self.cleaned_data["role"]
        return project, Role(role) if project is not None and role else None


class AcceptForm(forms.Form):
    """What somebody who was invited is called here, and their password."""

    username = forms.CharField(
        max_length=150,
        label="User name",
        help_text="What you sign in with, and what others mention you by: letters, digits and @ . + - _",
        widget=forms.TextInput(
            attrs={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"}
        ),
    )
    first_name = forms.CharField(
        max_length=150,
        required=False,
        label="First name",
        widget=forms.TextInput(attrs={"autocomplete": "given-name"}),
    )
    last_name = forms.CharField(
        max_length=150,
        required=False,
        label="Last name",
        widget=forms.TextInput(attrs={"autocomplete": "family-name"}),
    )
    password = forms.CharField(
        label="Password",
        strip=False,
        help_text=password_validators_help_text_html,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    password_again = forms.CharField(
        label="The password again",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        style(self)

    def clean(self) -> dict[str, Any]:
        """The same password twice."""
        cleaned = super().clean() or {}
        both = cleaned.get("password"), cleaned.get("password_again")
        if all(both) and both[0] != both[1]:
            self.add_error("password_again", "The two passwords are not the same.")
        return cleaned
