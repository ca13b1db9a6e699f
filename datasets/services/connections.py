"""Connections: made, changed, let to projects and removed by operators. Their secrets go in and never come out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Prefetch, QuerySet

import merging
from audit.bells import ring_on_commit
from audit.row_locks import lock_what_goes_with, locked
from audit.services import INSTALLATION_STREAM, dataset_stream, record
from datasets import outages
from datasets.connecting import (
    VARIABLES,
    canonical_table_uri,
    catalog_of,
    connection_at,
    is_for_connections,
    options_of,
)
from datasets.data_root import is_below_data_root, local_data_root
from datasets.encryption import SecretUnreadable, encrypted, encrypted_anew
from datasets.endpoints import endpoint_that_vouches, vouches_for_machines
from datasets.errors import ConnectionInUse, Forbidden, InvalidInput, NotFound, SettingsChanged
from datasets.evidence import DATASET
from datasets.models import Connection, ConnectionPrefix, Dataset, Project
from datasets.operators import is_operator
from datasets.roles import projects_to_register_in
from datasets.services.reach import is_in_places
from datasets.services.validating import require_valid
from datasets.storage_kinds import KINDS, SPARK_ADDRESS, StorageKind, kind_of_address
from datasets.unity_catalog import CatalogRefuses

#: What may be changed of a connection: options and references as a whole, secrets one by one (None removes one).
EDITABLE: Final = frozenset({"name", "root", "options", "secrets", "references"})
#: Options that say where secrets are sent, and how: who changes them gives the secrets anew.
_LEADS: Final = frozenset({"allow_http", "azure_storage_account_name", SPARK_ADDRESS.name})
_LONGEST_OPTION, _LONGEST_SECRET = 1_000, 20_000
_VARIABLE = re.compile(rf"env:{VARIABLES}[A-Z0-9_]{{1,80}}")
_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

Errors = dict[str, list[str]]


def connections_seen_by(actor: User) -> QuerySet[Connection]:
    """Those that the person may use, with the prefixes that let them: of operators all, else of projects they own."""
    prefixes = ConnectionPrefix.objects.select_related("project", "connection")
    if is_operator(actor):
        return Connection.objects.prefetch_related(Prefetch("prefixes", prefixes))
    prefixes = prefixes.filter(project__in=projects_to_register_in(actor))
    found = Connection.objects.filter(pk__in=prefixes.values("connection"))
    return found.prefetch_related(Prefetch("prefixes", prefixes))


def connection_seen(*, actor: User, name: str) -> Connection:
    """One of them. Raises ``NotFound``."""
    found = connections_seen_by(actor).filter(name=name).first()
    if found is None:
        raise NotFound("There is no such connection, or you may not see it.")
    return found


def create_connection(
    *,
    actor: User | None,
    name: str,
    root: str,
    options: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    references: Mapping[str, str] | None = None,
) -> Connection:
    """A new connection to a store; its kind is that of its root. For operators and (``actor`` None) commands.

    Raises ``Forbidden``, and ``InvalidInput`` with what is wrong by field, which never repeats a secret.
    """
    _require_operator(actor)
    made = Connection(name=name)
    _set(
        made,
        {"root": root, "options": options or {}, "secrets": secrets or {}, "references": references or {}},
    )
    require_valid(made)
    try:
        with transaction.atomic():
            made.save(force_insert=True)
            _record(made, "created", actor, _told(made))
    except IntegrityError:  # somebody was faster since the look above
        require_valid(made)
        raise
    return made


def change_connection(
    *, actor: User | None, name: str, changes: Mapping[str, Any], edited: Collection[str] = ()
) -> Connection:
    """Change a connection. What its tables are opened with is then other from the next opening on. For operators.

    ``edited`` are versions that the actor looked at: ``SettingsChanged`` where it is another by now.
    """
    if unknown := sorted(set(changes) - EDITABLE):
        raise InvalidInput(f"These cannot be changed: {', '.join(unknown)}.")
    with transaction.atomic():
        connection = _locked(actor, name)
        if edited and str(connection.version) not in edited:
            raise SettingsChanged(
                "Somebody changed the connection since you looked. Look again, then change."
            )
        before = _told(connection)
        _set(connection, changes)
        require_valid(connection)
        _require_around(connection)
        now = _told(connection)
        moved: dict[str, Any] = {
            one: {"before": before[one], "after": now[one]} for one in now if now[one] != before[one]
        }
        replaced = sorted(one for one, value in (changes.get("secrets") or {}).items() if value)
        if replaced:
            moved["secrets_replaced"] = replaced
        if moved:
            connection.version += 1
            try:
                with transaction.atomic():
                    connection.save()
            except IntegrityError:  # somebody took the name or the root since the look above
                require_valid(connection)
                raise
            _record(connection, "changed", actor, {"changes": moved})
            outages.forget_connection(connection.pk)
            ring_on_commit("datasets.reconcile_all")  # what its tables are opened with may be right now
    return connection


def remove_connection(*, actor: User | None, name: str) -> None:
    """Remove a connection that no dataset is opened with. For operators. Raises ``ConnectionInUse``."""
    with transaction.atomic():
        connection = _locked(actor, name)
        users = [str(one) for one in connection.datasets.order_by("pk")[:5]]
        if users:
            raise ConnectionInUse(
                f"Tables are opened with {connection.name}: {', '.join(users)}. Only one without tables is removed.",
                datasets=users,
            )
        lock_what_goes_with(connection)
        _record(connection, "removed", actor, {"root": connection.root})
        outages.forget_connection(connection.pk)
        connection.delete()


def allow_prefix(*, actor: User | None, name: str, project: str, path: str = "") -> ConnectionPrefix:
    """Let the owners of a project make tables below a folder of the connection datasets. For operators.

    ``path`` is below the root, empty for all of it. Saying it twice is saying it once.
    """
    with transaction.atomic():
        connection = _locked(actor, name)
        wanted = Project.objects.filter(slug=project).first()
        if wanted is None:
            raise InvalidInput("There is no such project.", errors={"project": ["There is no such project."]})
        folder = _folder(connection, path)
        made, is_new = ConnectionPrefix.objects.get_or_create(
            connection=connection, project=wanted, path=folder
        )
        if is_new:
            _record(connection, "prefix_allowed", actor, {"project": project, "address": made.address})
    return made


def prefix_called(name: str, project: str, path: str) -> ConnectionPrefix:
    """The prefix by what it is about. Raises ``NotFound``."""
    found = ConnectionPrefix.objects.select_related("project", "connection").filter(
        connection__name=name, project__slug=project, path=path.strip("/")
    )
    one = found.first()
    if one is None:
        raise NotFound("There is no such prefix.")
    return one


def withdraw_prefix(*, actor: User | None, name: str, prefix_id: int) -> None:
    """Let them no more; what is a dataset already stays one. For operators. Raises ``NotFound``."""
    with transaction.atomic():
        connection = _locked(actor, name)
        found = locked(connection.prefixes.select_related("project").filter(pk=prefix_id)).first()
        if found is None:
            raise NotFound("There is no such prefix any more.")
        _record(
            connection,
            "prefix_withdrawn",
            actor,
            {"project": found.project.slug, "address": found.address},
        )
        found.delete()


def adoptable(connection: Connection) -> list[Dataset]:
    """Datasets below the root that the process opens with what it has of itself, as all did before there was one."""
    known = Dataset.objects.select_related("project")
    below = known.filter(connection=None, table_uri__startswith=connection.root.rstrip("/"))
    return [one for one in below.order_by("pk") if connection_at(one.table_uri) == connection]


def adopt_tables(*, actor: User | None, name: str) -> list[Dataset]:
    """Open the tables below the root that have no connection with this one from now on; which. For operators."""
    with transaction.atomic():
        connection = _locked(actor, name)
        found = adoptable(connection)
        for dataset in locked(Dataset.objects.filter(pk__in=[one.pk for one in found], connection=None)):
            dataset.connection = connection
            dataset.save(update_fields=["connection"])
            record(
                stream=dataset_stream(dataset.pk),
                action="operator.connection_given",
                subject_type="dataset",
                subject_id=str(dataset.pk),
                actor=actor.get_username() if actor else "",
                data={"connection": connection.name, "table_uri": merging.without_secret(dataset.table_uri)},
                rows=DATASET.seal(dataset),
            )
    return found


@dataclass(frozen=True)
class TrialStep:
    """One thing that tables need of a store: in words, whether it works (None: not tried), and what is missing."""

    attempt: str
    works: bool | None
    said: str


@dataclass(frozen=True)
class Trial:
    """What became of trying a connection. Merging needs all but the removing of files, or a catalogue that answers:
    tables that it names are opened with its keys.
    """

    steps: tuple[TrialStep, ...]

    @property
    def is_usable(self) -> bool:
        """Whether tables there can be read and merged into."""
        works = {one.attempt: bool(one.works) for one in self.steps}
        return works.pop(ASK_CATALOG, False) or all(
            works[one] for one in works if one != merging.StoreNeed.DELETE
        )


#: What is tried of a connection that has a catalogue, before its store.
ASK_CATALOG: Final = "name"
#: What is tried, as people read it, and which of the kind's permissions it takes.
ATTEMPTS: Final[Mapping[str, tuple[str, str]]] = {
    merging.StoreNeed.LIST: ("List what is there", "list"),
    merging.StoreNeed.WRITE: ("Put a new file", "write"),
    merging.StoreNeed.READ: ("Read a part of a file", "read"),
    merging.StoreNeed.ONCE: ("Refuse a second file under one name", "write"),
    merging.StoreNeed.DELETE: ("Remove a file", "delete"),
}


def try_connection(*, actor: User | None, name: str) -> Trial:
    """Try what tables need of the connection's store, in ten seconds at most; recorded. For operators.

    One file of one byte is put at the root and removed; where nothing may be removed it stays, and serves again.
    """
    if actor is not None:
        connection_seen(actor=actor, name=name)
    _require_operator(actor)
    connection = Connection.objects.filter(name=name).first()
    if connection is None:
        raise NotFound("There is no such connection.")
    try:
        tried = merging.try_place(connection.root, options_of(connection))
    except merging.MergeError as error:  # a secret that is not to be had
        first, *others = merging.StoreNeed
        tried = (
            merging.Tried(first, False, error.message),
            *(merging.Tried(one, None) for one in others),
        )
    of_store = [_step(KINDS[connection.kind], one) for one in tried]
    trial = Trial((*_catalog_step(connection), *of_store))
    works = {one.attempt: one.works for one in trial.steps}
    with transaction.atomic():
        _record(connection, "tried", actor, {"works": works})
    return trial


def _catalog_step(connection: Connection) -> Iterator[TrialStep]:
    label = "Ask its Unity Catalog for names"
    try:
        catalog = catalog_of(connection)
        if catalog is None:
            return
        catalog.greet()
    except (merging.MergeError, CatalogRefuses) as error:
        yield TrialStep(ASK_CATALOG, False, f"{label}: {error}")
    else:
        said = "works. Tables that it names are opened with keys of its own, whatever is said of the store below."
        yield TrialStep(ASK_CATALOG, True, f"{label}: {said}")


def in_words(tried: merging.Tried) -> str:
    """What became of one attempt at a place that no connection leads to."""
    label, _ = ATTEMPTS[tried.attempt]
    return f"{label}: {'works.' if tried.works else tried.reason or 'not tried.'}"


def _step(kind: StorageKind, tried: merging.Tried) -> TrialStep:
    label, permission = ATTEMPTS[tried.attempt]
    if tried.works is None:
        said = f"{label}: not tried."
    elif tried.works:
        said = f"{label}: works."
    elif tried.attempt is merging.StoreNeed.ONCE:
        said = (
            f"{label}: {tried.reason} No commit would be safe there: take a store that honours If-None-Match, or "
            "switch that on."
        )
    else:
        said = f"{label}: {tried.reason} It takes {kind.permissions[permission]}."
        if tried.attempt is merging.StoreNeed.DELETE:
            said += (
                " Merging works without; what maintenance would remove stays, and so does _headgate_probe, a file of "
                "one byte that the next trial uses again."
            )
    return TrialStep(str(tried.attempt), tried.works, said)


def reseal() -> tuple[int, list[str]]:
    """Encrypt every secret under the key that encrypts now: of how many connections, and which cannot be read."""
    done, unreadable = 0, []
    for pk in Connection.objects.order_by("pk").values_list("pk", flat=True):
        with transaction.atomic():
            connection = locked(Connection.objects.filter(pk=pk)).first()
            if connection is None:  # somebody removed it meanwhile
                continue
            try:
                connection.sealed = {one: encrypted_anew(token) for one, token in connection.sealed.items()}
            except SecretUnreadable:
                unreadable.append(connection.name)
                continue
            connection.save(update_fields=["sealed"])
            done += 1
    return done, unreadable


def addresses_with_secrets() -> list[str]:
    """What keeps an address with a secret in it from before they were refused, by what it is; not the address."""
    return [
        f"the dataset {project}/{slug}"
        for project, slug, address in Dataset.objects.order_by("pk").values_list(
            "project__slug", "slug", "table_uri"
        )
        if "://" in address and merging.holds_secret(address)
    ]


def _require_operator(actor: User | None) -> None:
    if actor is not None and not is_operator(actor):
        raise Forbidden("Only operators make connections and change them.")


def _locked(actor: User | None, name: str) -> Connection:
    """The connection under its row lock, once the actor may change it."""
    if actor is not None:
        connection_seen(actor=actor, name=name)
    _require_operator(actor)
    found = locked(Connection.objects.filter(name=name)).first()
    if found is None:
        raise NotFound("There is no such connection.")
    return found


def _set(connection: Connection, changes: Mapping[str, Any]) -> None:
    """Take values over. Raises ``InvalidInput`` naming what does not fit, and never what it is."""
    before = (connection.root, _leading(connection.options))
    errors: Errors = {}
    if "name" in changes:
        connection.name = changes["name"]
    if "options" in changes:
        connection.options = {one: value for one, value in changes["options"].items() if value != ""}
    if "root" in changes:
        _set_root(connection, str(changes["root"]), errors)
    kind = kind_of_address(connection.root)
    if kind is not None:
        if connection.kind and connection.kind != kind.value:
            errors["root"] = ["A connection stays with its kind of store: make another one."]
        connection.kind = kind.value
        _require_options(kind, connection.options, errors)
        if "references" in changes:
            _set_references(connection, kind, changes["references"], errors)
        given = _set_secrets(connection, kind, changes.get("secrets") or {}, errors)
        kept = set(connection.sealed) - given
        if (
            kept
            and not connection._state.adding
            and before != (connection.root, _leading(connection.options))
        ):
            errors["secrets"] = [
                "Type the secrets again: they would be sent to another place now, or in another way."
            ]
    if errors:
        said = " ".join(f"{field}: {' '.join(sentences)}" for field, sentences in errors.items())
        raise InvalidInput(said, errors=errors)


def _leading(options: Mapping[str, str]) -> dict[str, str]:
    return {one: value for one, value in options.items() if one in _LEADS or "endpoint" in one}


def _set_root(connection: Connection, written: str, errors: Errors) -> None:
    try:
        account = str(connection.options.get("azure_storage_account_name", ""))
        if account and merging.is_uri(written):
            written = merging.canonical_uri(written, account)
        root = canonical_table_uri(written)
    except merging.StoreAddressRefused as error:
        errors["root"] = [str(error)]
        return
    except InvalidInput as error:
        errors["root"] = [error.message]
        return
    if root.startswith("az://"):
        errors["root"] = [
            "Say the storage account: abfss://container@account.dfs.core.windows.net/path, or the option "
            "azure_storage_account_name."
        ]
    elif settings.TABLE_PLACES and not is_in_places(root):
        errors["root"] = [
            "It lies outside of the places that this installation takes tables from (TABLE_PLACES)."
        ]
    elif is_below_data_root(root) or merging.is_below(_data_root(), root):
        errors["root"] = ["The installation's data folder needs no connection: its tables have it already."]
    connection.root = root


def _data_root() -> str:
    return str(local_data_root() or settings.DELTA_DATA_ROOT)


def _require_options(kind: StorageKind, options: Mapping[str, str], errors: Errors) -> None:
    possible = ", ".join(one.name for one in kind.plain) or "none"
    for name, value in options.items():
        option = kind.option(name)
        if option is None:
            sentence = f"There is no option {name[:80]}. Possible: {possible}."
        elif option.is_secret:
            sentence = f"{name} is a secret: give it among the secrets, where nobody sees it."
        elif not isinstance(value, str) or len(value) > _LONGEST_OPTION or _UNSEEN.search(value):
            sentence = f"{name} is a text of at most {_LONGEST_OPTION:,} characters."
        elif option.is_switch and value not in ("true", "false"):
            sentence = f"{name} is true or false."
        elif option.is_cluster:
            sentence = _cluster_problem(value)
        else:
            sentence = _endpoint_problem(name, value, options) if option.is_endpoint else ""
        if sentence:
            errors.setdefault("options", []).append(sentence)


def _endpoint_problem(name: str, value: str, options: Mapping[str, str]) -> str:
    try:
        parts = urlsplit(value)
        is_plain = not (parts.query or parts.fragment or "@" in parts.netloc) and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        return f"{name} is no address: write https://host."
    if parts.scheme not in ("http", "https") or not is_plain:
        return f"{name} is an address without user name and query: write https://host."
    if vouches_for_machines(parts.hostname or ""):
        return f"{name} is where a cloud tells machines who they are: name a store."
    if parts.scheme == "http" and options.get("allow_http") != "true":
        return f"{name} is reached without TLS: write https://, or set allow_http."
    return ""


def _cluster_problem(address: str) -> str:
    try:
        merging.require_address(address)
    except ValueError as error:
        return str(error)
    if vouches_for_machines(urlsplit(address).hostname or ""):
        return "A Spark cluster is not where a cloud tells machines who they are."
    return ""


def _set_references(
    connection: Connection, kind: StorageKind, references: Mapping[str, str], errors: Errors
) -> None:
    connection.references = {one: value for one, value in references.items() if value}
    folder = Path(settings.CONNECTION_SECRETS_FOLDER)
    for name, value in connection.references.items():
        sentence = _secret_name_problem(kind, name)
        if not sentence and not _VARIABLE.fullmatch(str(value)) and not _is_file_of(folder, str(value)):
            sentence = (
                f"{name} refers to a variable of the environment as env:{VARIABLES}NAME, or to a file as "
                f"file:{folder}/connection_name (CONNECTION_SECRETS_FOLDER)."
            )
        if sentence:
            errors.setdefault("references", []).append(sentence)
        connection.sealed.pop(name, None)


def _is_file_of(folder: Path, reference: str) -> bool:
    path = Path(reference.removeprefix("file:"))
    return (
        reference.startswith("file:/")
        and "\0" not in reference
        and ".." not in path.parts
        and is_for_connections(path, folder)
    )


def _set_secrets(
    connection: Connection, kind: StorageKind, secrets: Mapping[str, str | None], errors: Errors
) -> set[str]:
    """Seal what is given; its names."""
    given = set()
    for name, value in secrets.items():
        sentence = _secret_name_problem(kind, name)
        if not sentence and value and (len(value) > _LONGEST_SECRET or _UNSEEN.search(value)):
            sentence = (
                f"{name} is longer than {_LONGEST_SECRET:,} characters, or has some that cannot be seen."
            )
        if not sentence and value and endpoint_that_vouches({name: value}):
            sentence = f"{name} leads to where a cloud tells machines who they are."
        if sentence:
            errors.setdefault("secrets", []).append(sentence)
        elif value is None:
            connection.sealed.pop(name, None)
        elif value:
            connection.sealed[name] = encrypted(value.strip())
            connection.references.pop(name, None)
            given.add(name)
    return given


def _secret_name_problem(kind: StorageKind, name: str) -> str:
    option = kind.option(name)
    if option is not None and option.is_secret:
        return ""
    possible = ", ".join(one.name for one in kind.secret) or "none"
    return f"There is no secret {name[:80]}. Possible: {possible}."


def _require_around(connection: Connection) -> None:
    """Raise ``InvalidInput`` where a table of the connection would lie outside of its root."""
    addresses = connection.datasets.values_list("table_uri", flat=True)
    outside = sum(not merging.is_below(one, connection.root) for one in addresses)
    if outside:
        sentence = f"{outside} of its tables would lie outside of that root. Leave it above them."
        raise InvalidInput(sentence, errors={"root": [sentence]})


def _folder(connection: Connection, path: str) -> str:
    """A folder below the root, in the spelling that addresses have."""
    sentence = "Name a folder below the root, such as finance/daily; leave it empty for all of it."
    try:
        if "\0" in path or ".." in path.split("/"):
            raise merging.StoreAddressRefused(sentence)
        address = canonical_table_uri(f"{connection.root.rstrip('/')}/{path.strip()}")
    except (merging.StoreAddressRefused, InvalidInput):
        raise InvalidInput(sentence, errors={"path": [sentence]}) from None
    if not merging.is_below(address, connection.root):
        raise InvalidInput(sentence, errors={"path": [sentence]})
    return address.removeprefix(connection.root.rstrip("/")).strip("/")


def _told(connection: Connection) -> dict[str, Any]:
    """What the trail holds of a connection: of its secrets their names."""
    return {
        "name": connection.name,
        "kind": connection.kind,
        "root": connection.root,
        "options": dict(connection.options),
        "secrets": sorted(connection.sealed),
        "references": dict(connection.references),
    }


def _record(connection: Connection, what: str, actor: User | None, data: Mapping[str, Any]) -> None:
    record(
        stream=INSTALLATION_STREAM,
        action=f"connection.{what}",
        subject_type="connection",
        subject_id=connection.name,
        actor=actor.get_username() if actor else "",
        data=dict(data),
    )
