"""Projects: what groups datasets."""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from audit.row_locks import lock_what_goes_with, locked
from audit.services import INSTALLATION_STREAM, record
from datasets.errors import Forbidden, InvalidInput, NotFound, ProjectNotEmpty, SettingsChanged
from datasets.evidence import role_called
from datasets.models import Dataset, Project
from datasets.operators import is_operator
from datasets.roles import Role, members_of, role_on, take_every_role
from datasets.services.validating import require_valid

#: What may be changed of a project; its slug stands in addresses and stays.
EDITABLE_OF_PROJECT = ("name", "description")


def create_project(*, slug: str, name: str, description: str = "", actor: User | None = None) -> Project:
    """Make a project; for operators and (``actor`` None) the system. ``InvalidInput`` if the slug is bad or taken."""
    if actor is not None and not is_operator(actor):
        raise Forbidden("Only operators make projects.")
    project = Project(slug=slug, name=name, description=description)
    require_valid(project)
    try:
        with transaction.atomic():
            project.save()
            record(
                stream=INSTALLATION_STREAM,
                action="project.created",
                subject_type="project",
                subject_id=str(project.pk),
                actor=actor.get_username() if actor else "",
                data={"slug": slug, "name": name},
            )
    except IntegrityError:  # somebody was faster since the look above
        require_valid(project)
        raise
    return project


def project_digest(project: Project) -> str:
    """What stands for the project as it is: another one after every change."""
    values = [(name, getattr(project, name)) for name in EDITABLE_OF_PROJECT]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def change_project(
    *, project_id: int, actor: User, changes: Mapping[str, Any], edited: Collection[str] = ()
) -> Project:
    """Change a project's name or description; recorded with the values before and after. For owners and operators.

    ``edited`` are digests of the project that the actor looked at: ``SettingsChanged`` where it is another by now.
    """
    unknown = sorted(set(changes) - set(EDITABLE_OF_PROJECT))
    if unknown:
        raise InvalidInput(f"This cannot be changed of a project: {', '.join(unknown)}.")
    with transaction.atomic():
        project = _locked(project_id)
        _require_manager(project, actor, "change it")
        if edited and project_digest(project) not in edited:
            raise SettingsChanged(
                "Somebody changed the project since you looked at it. Look again, then change."
            )
        before = {name: getattr(project, name) for name in changes}
        for name, value in changes.items():
            setattr(project, name, value)
        require_valid(project)
        moved = sorted(name for name in changes if getattr(project, name) != before[name])
        if moved:
            project.save(update_fields=moved)
            record(
                stream=INSTALLATION_STREAM,
                action="project.changed",
                subject_type="project",
                subject_id=str(project.pk),
                actor=actor.get_username(),
                data={name: {"before": before[name], "after": getattr(project, name)} for name in moved},
            )
    return project


def delete_project(*, project_id: int, actor: User) -> None:
    """Remove a project that holds no dataset, with the roles that it gave. For owners and operators.

    Raises ``ProjectNotEmpty`` where it holds one, whoever may see that.
    """
    with transaction.atomic():
        project = _locked(project_id)
        _require_manager(project, actor, "delete it")
        count = Dataset.objects.filter(project=project).count()
        if count:
            noun = "dataset" if count == 1 else "datasets"
            raise ProjectNotEmpty(f"{project.name} holds {count} {noun}: only an empty project is deleted.")
        members = [member for member, _ in members_of(project)]
        lock_what_goes_with(project)
        take_every_role(project)
        record(
            stream=INSTALLATION_STREAM,
            action="project.deleted",
            subject_type="project",
            subject_id=str(project.pk),
            actor=actor.get_username(),
            data={"slug": project.slug, "name": project.name},
            rows={role_called(member, "project", project.pk): "none" for member in members},
        )
        try:
            project.delete()
        except ProtectedError as error:
            sentence = (
                f"Somebody made a dataset in {project.name} a moment ago: only an empty project is deleted."
            )
            raise ProjectNotEmpty(sentence) from error


def _locked(project_id: int) -> Project:
    found = locked(Project.objects.filter(pk=project_id)).first()
    if found is None:
        raise NotFound("Somebody deleted the project meanwhile.")
    return found


def _require_manager(project: Project, actor: User, doing: str) -> None:
    if role_on(actor, project) is not Role.OWNER and not is_operator(actor):
        raise Forbidden(f"Only owners of {project.name} and operators {doing}.")
