"""Sample tables by one click: two tables of the demo, in a project of whoever asks, where there are none."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

import merging
from datasets.errors import Forbidden
from datasets.models import Dataset, Project
from datasets.operators import is_operator
from datasets.roles import Role
from datasets.services import NewProject, register_dataset
from demo import flights
from web.views.shared import form_at, person, signed_in

SAMPLE_PROJECT = NewProject(
    slug="sample-data",
    name="Sample data",
    description="Planes and airports of the flights from New York in 2013.",
)
SAMPLE_TABLES = (
    (flights.PLANES, "The aircraft registry's entries for the planes that flew."),
    (flights.AIRPORTS, "Names and places of airports, by the FAA's code."),
)


@form_at("home")
@signed_in
def add_sample_data(request: HttpRequest) -> HttpResponse:
    """Make the sample tables; whoever asked owns them, and is led to what comes next."""
    add_sample_tables(person(request))
    messages.success(request, "Planes and airports are datasets now, in the project Sample data.")
    return HttpResponseRedirect(reverse("home"))


def add_sample_tables(actor: User) -> None:
    """Make and register them, each once. For operators. Raises ``Forbidden``."""
    if not is_operator(actor):
        raise Forbidden("Only operators add sample tables.")
    for source, description in SAMPLE_TABLES:
        project = Project.objects.filter(slug=SAMPLE_PROJECT.slug).first()
        if Dataset.objects.filter(project=project, slug=source.name).exists():
            continue
        folder = Path(settings.DELTA_DATA_ROOT) / "tables" / SAMPLE_PROJECT.slug / source.name
        try:
            merging.inspect_table(str(folder))
        except merging.TableNotFound:
            merging.create_table(str(folder), flights.load(source), name=source.name)
        register_dataset(
            project=project or SAMPLE_PROJECT,
            slug=source.name,
            name=source.name,
            table_uri=str(folder),
            primary_keys=source.primary_keys,
            description=description,
            actor=actor,
            made_for_it=True,
            roles={actor: Role.OWNER},
        )
