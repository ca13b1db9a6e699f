"""Projects: what groups datasets."""

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from audit.services import INSTALLATION_STREAM, record
from datasets.errors import Forbidden
from datasets.models import Project
from datasets.operators import is_operator
from datasets.services.validating import require_valid


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
