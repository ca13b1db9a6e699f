"""Making an existing table a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

import merging
from audit.row_locks import locked
from audit.services import dataset_stream, record
from datasets.connecting import allowed_prefix, connection_at, place_written, places_above
from datasets.data_root import parts_below_data_root
from datasets.errors import Forbidden, InvalidInput, RegistrationRejected
from datasets.evidence import DATASET
from datasets.models import Connection, Dataset, DatasetLease, DatasetMeta, Project
from datasets.operators import is_operator
from datasets.roles import Role, projects_to_register_in, role_on, set_role
from datasets.services.meta import facts_of
from datasets.services.projects import create_project
from datasets.services.reach import registering
from datasets.services.validating import require_valid
from datasets.unity_catalog import SCHEME

#: Folders under ``DELTA_DATA_ROOT`` that hold Headgate's own files, not tables.
RESERVED_FOLDERS = ((), ("_staging",), ("_archive",), ("audit",))


@dataclass(frozen=True)
class NewProject:
    """A project that is made with its first dataset, or not at all."""

    slug: str
    name: str
    description: str = ""

    def unsaved(self) -> Project:
        """As it would be."""
        return Project(slug=self.slug, name=self.name, description=self.description)


@dataclass(frozen=True)
class TableLook:
    """A table that may become a dataset: where it is, what stands in its log, and how its key would be.

    ``key`` is None where no columns were named, ``connection`` where the process opens it with what it has of itself.
    ``shares_identity``: a dataset's table has the same identity, so it is that one at another address, or a copy of it.
    """

    address: str
    info: merging.TableInfo
    key: merging.KeyReport | None = None
    connection: Connection | None = None
    shares_identity: bool = False
    catalog_table: str = ""

    @property
    def written(self) -> str:
        """How it is asked for again: by its name in a catalogue where it was named so, else by its address."""
        return f"{SCHEME}{self.catalog_table}" if self.catalog_table else self.address

    @property
    def last_part(self) -> str:
        """What tells it from its neighbours: its name in its schema, or its folder."""
        return self.catalog_table.rpartition(".")[2] or self.address.rstrip("/").rpartition("/")[2]


#: How long a look at the keys of a whole table may take while somebody waits for the answer.
KEY_CHECK_SECONDS = 20


def register_dataset(
    *,
    project: Project | NewProject,
    slug: str,
    name: str,
    table_uri: str,
    primary_keys: Sequence[str],
    description: str = "",
    actor: User | None = None,
    made_for_it: bool = False,
    is_copy: bool = False,
    roles: Mapping[User | Group, Role] | None = None,
    **settings: Any,
) -> Dataset:
    """Make an existing Delta table a dataset, in a project that is there or is made with it (by operators).

    The table must be readable and writable by the engine and its key columns free of NULLs and duplicates; else
    ``RegistrationRejected`` says which feature, column or rows are in the way, and nothing is recorded. What is no
    obstacle and yet to be known (``table_at(…).warnings``) is told in the event.

    ``made_for_it`` tells the trail that Headgate has just made the table. ``is_copy``: another dataset's table has the
    same identity, and operators say that it is no other spelling of one address but a copy. ``roles`` are given with
    it: on the dataset, or on the project where that is new.
    ``actor`` is None for the system (commands). Operators register any table that this server reaches, owners of
    the project those below ``DELTA_DATA_ROOT`` and below the prefixes that connections allow to it, whose files all lie
    in their own folder: a role in Headgate must not open the server's other files, nor those of other tables.
    """
    look = look_at_table(
        table_uri=table_uri,
        actor=actor,
        project=project if isinstance(project, Project) else None,
        primary_keys=tuple(primary_keys),
        must_have_key=True,
    )
    table_uri, info = look.address, look.info
    if isinstance(project, NewProject):
        _require_makeable(project, actor)
    _require_key(look, primary_keys)
    refuse_second(info.table_id, is_copy=is_copy, actor=actor)
    dataset = Dataset(
        slug=slug,
        name=name,
        description=description,
        table_uri=table_uri,
        connection=look.connection,
        catalog_table=look.catalog_table,
        primary_keys=list(primary_keys),
        files_elsewhere=bool(info.files_elsewhere),
        **settings,
    )
    if isinstance(project, Project):
        dataset.project = project
    comes_later = () if isinstance(project, Project) else ("project",)
    require_valid(dataset, exclude=(*comes_later, "connection"))
    try:
        with transaction.atomic():
            _look_again(look, project, actor)
            if isinstance(project, NewProject):
                dataset.project = create_project(
                    slug=project.slug, name=project.name, description=project.description, actor=actor
                )
            dataset.save()
            DatasetLease.objects.create(dataset=dataset)
            meta = DatasetMeta(dataset=dataset, is_copy=is_copy, **facts_of(info))
            meta.save(force_insert=True)
            record(
                stream=dataset_stream(dataset.pk),
                action="dataset.registered",
                subject_type="dataset",
                subject_id=str(dataset.pk),
                actor=actor.get_username() if actor else "",
                data={
                    "name": name,
                    "table_uri": table_uri,
                    "table_id": info.table_id,
                    "primary_keys": list(primary_keys),
                    "delta_version": info.version,
                    "row_count": info.row_count,
                    **({"connection": look.connection.name} if look.connection else {}),
                    **({"catalog_table": look.catalog_table} if look.catalog_table else {}),
                    **({"table_created": True} if made_for_it else {}),
                    **({"is_copy": True} if is_copy else {}),
                    **({"files_elsewhere": len(info.files_elsewhere)} if info.files_elsewhere else {}),
                    **({"warnings": list(info.warnings)} if info.warnings else {}),
                },
                rows=DATASET.seal(dataset),
            )
            place = dataset.project if isinstance(project, NewProject) else dataset
            for member, role in (roles or {}).items():
                set_role(member=member, target=place, role=role, actor=actor)
    except IntegrityError:  # somebody was faster since the looks above
        refuse_registered(table_uri)
        refuse_second(info.table_id, is_copy=is_copy, actor=actor)
        if isinstance(project, NewProject):
            _require_makeable(project, actor)
        require_valid(dataset, exclude=comes_later)
        raise
    return dataset


def look_at_table(
    *,
    table_uri: str,
    actor: User | None,
    project: Project | None = None,
    primary_keys: Sequence[str] = (),
    must_have_key: bool = False,
) -> TableLook:
    """What a table is, before it becomes a dataset, and whether some of its columns are a key. Writes nothing.

    For whoever may register it (in the project, where one is named), as ``register_dataset`` says; the system (None)
    may take any time to look at keys, people ``KEY_CHECK_SECONDS``. Raises ``Forbidden``, ``InvalidInput`` for an
    address that is a dataset's, and ``RegistrationRejected`` for what is no table, what the engine cannot merge into,
    columns that can be no key whatever they hold, and where looking at them takes too long.
    """
    place = place_written(table_uri, _asked_of(actor, project))
    address = place.address
    if actor is not None and project is not None:
        may_register(actor, project, address)
    elif actor is not None:
        may_look(actor, address)
    # Before it is looked into: what it holds is nothing for people who have no role on the dataset that it is.
    refuse_registered(address)
    refuse_nested(address)
    connection = connection_at(address)
    try:
        with registering(
            by_operator=actor is None or is_operator(actor),
            connection=connection,
            catalog_table=place.catalog_table,
        ):
            info = merging.inspect_table(address)
            named = bool(primary_keys) or must_have_key
            key = (
                merging.check_keys(
                    address, tuple(primary_keys), seconds=None if actor is None else KEY_CHECK_SECONDS
                )
                if named
                else None
            )
    except OSError as error:  # a folder that is not for this process, or a name that no disk has
        sentence = f"The folder {address} cannot be read: {error.strerror}."
        raise RegistrationRejected(sentence, errors={"table_uri": [sentence]}) from error
    except merging.CutShort as error:
        way_out = "An operator adds such a table with manage.py register_dataset, which takes its time."
        sentence = f"{error.message} {way_out}"
        raise RegistrationRejected(sentence, errors={"primary_keys": [sentence]}) from error
    except merging.MergeError as error:
        at_field = "primary_keys" if isinstance(error, merging.InvalidKeys) else "table_uri"
        raise RegistrationRejected(
            error.message, **{**error.data, "errors": {at_field: [error.message]}}
        ) from error
    shares_identity = _is_anothers(info.table_id)
    return TableLook(address, info, key, connection, shares_identity, place.catalog_table)


def _asked_of(actor: User | None, project: Project | None) -> QuerySet[Connection]:
    """The connections whose catalogues are asked for a name: those that the person may use, in the project if any."""
    everywhere = Connection.objects.order_by("name")
    if actor is None or is_operator(actor):
        return everywhere
    projects = projects_to_register_in(actor)
    if project is not None:
        projects = projects.filter(pk=project.pk)
    return everywhere.filter(prefixes__project__in=projects).distinct()


def _look_again(look: TableLook, project: Project | NewProject, actor: User | None) -> None:
    """Raise ``InvalidInput`` where another connection leads to the table than the one that it was looked at with, or
    that was changed since, and ``Forbidden`` where the actor may not register it any more. Nobody changes the
    connection before the transaction ends.
    """
    seen = look.connection
    if seen is not None:
        locked(Connection.objects.filter(pk=seen.pk)).first()
    now = connection_at(look.address)
    if (now and (now.pk, now.version)) != (seen and (seen.pk, seen.version)):
        sentence = (
            "The connection that leads to this table was changed while it was looked at. Look at it again."
        )
        raise InvalidInput(sentence, errors={"table_uri": [sentence]})
    if actor is not None and isinstance(project, Project):
        may_register(actor, project, look.address)


def _require_makeable(project: NewProject, actor: User | None) -> None:
    """Raise ``Forbidden`` for whoever makes no projects, and ``InvalidInput`` at the field of the dataset's project."""
    if actor is not None and not is_operator(actor):
        raise Forbidden("Only operators make projects.")
    try:
        require_valid(project.unsaved())
    except InvalidInput as error:
        raise InvalidInput(error.message, errors={"project": [error.message]}) from error


def _require_key(look: TableLook, primary_keys: Sequence[str]) -> None:
    report = look.key
    if report is not None and not report.ok:
        raise RegistrationRejected(
            f"The columns {', '.join(primary_keys)} are no key of {look.address}: "
            f"{report.null_rows:,} rows have a NULL in them and {report.duplicate_keys:,} keys occur more than once. "
            f"Name other columns, or mend the table first.",
            null_rows=report.null_rows,
            duplicate_keys=report.duplicate_keys,
            examples=list(report.examples),
        )


def refuse_registered(table_uri: str) -> None:
    """Raise ``InvalidInput`` where the table is a dataset already, whoever may see it."""
    if Dataset.objects.filter(table_uri=table_uri).exists():
        sentence = (
            "This table is a dataset already; ask an owner of that dataset or an operator for a role on it."
        )
        raise InvalidInput(sentence, errors={"table_uri": [sentence]})


def refuse_nested(table_uri: str) -> None:
    """Raise ``InvalidInput`` for a table inside of another dataset's folder, or around one, whoever may see that.

    Caring for the outer one would clear away the files of the inner one, which its log does not know.
    """
    above = places_above(table_uri)
    inside = Dataset.objects.filter(table_uri__startswith=f"{table_uri}/").values_list("table_uri", flat=True)
    if any(one.startswith(f"{table_uri}/") for one in inside):  # SQLite takes large letters for small ones
        sentence = "Another dataset's table lies inside of this folder. A table has a folder of its own."
    elif Dataset.objects.filter(table_uri__in=above).exists():
        sentence = "This folder lies inside of another dataset's table. A table has a folder of its own."
    else:
        return
    raise InvalidInput(sentence, errors={"table_uri": [sentence]})


def refuse_second(table_id: str, *, is_copy: bool, actor: User | None) -> None:
    """Raise ``InvalidInput`` where a dataset's table has this identity, whatever address it is registered at.

    Not where somebody says that it is a copy; that is for operators (``Forbidden``).
    """
    if is_copy and actor is not None and not is_operator(actor):
        raise Forbidden("Only operators say that a table is a copy of another one.")
    if not is_copy and _is_anothers(table_id):
        sentence = (
            "This table is a dataset already, under another address: its log has the same identity. Of a copy of the "
            "folder an operator says so when they register it (is_copy)."
        )
        raise InvalidInput(sentence, errors={"table_uri": [sentence]})


def _is_anothers(table_id: str) -> bool:
    return DatasetMeta.objects.filter(table_id=table_id).exists()


def may_register(actor: User, project: Project, table_uri: str) -> None:
    """Raise ``Forbidden`` for whoever may not make a dataset of a table at this address in the project."""
    if is_operator(actor):
        return
    if role_on(actor, project) is not Role.OWNER:
        raise Forbidden(f"Only owners of {project.name} and operators register datasets.")
    _require_allowed(table_uri, [project])


def may_look(actor: User, table_uri: str) -> None:
    """Raise ``Forbidden`` for whoever may make a dataset of a table at this address in no project."""
    if is_operator(actor):
        return
    require_registrar(actor)
    _require_allowed(table_uri, list(projects_to_register_in(actor)))


def require_registrar(actor: User) -> None:
    """Raise ``Forbidden`` for whoever registers tables nowhere."""
    if not may_register_somewhere(actor):
        raise Forbidden("Only owners of a project and operators add tables. Ask one of them.")


def may_register_somewhere(actor: User) -> bool:
    """Whether the person is an operator or owns a project."""
    return is_operator(actor) or projects_to_register_in(actor).exists()


def _require_allowed(table_uri: str, projects: list[Project]) -> None:
    parts = parts_below_data_root(table_uri)
    is_own = parts is not None and parts[:1] not in RESERVED_FOLDERS
    if not is_own and (parts is not None or allowed_prefix(table_uri, projects) is None):
        raise Forbidden(
            "Owners register tables below the installation's data folder, and where connections let their project; "
            "ask an operator for others."
        )
