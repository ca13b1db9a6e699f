"""Errors of the catalogue. They carry a stable code and data, and know nothing of HTTP."""

from collections.abc import Mapping
from typing import Any


class DomainError(Exception):
    """Something a person asked for cannot be done; the message says why and what to do."""

    code = "invalid"

    def __init__(self, message: str, **data: Any) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class Forbidden(DomainError):
    """The person may see the thing but not do this to it."""

    code = "forbidden"


class NotFound(DomainError):
    """There is no such thing, or the person may not see it: the two are never told apart."""

    code = "not_found"


class InvalidInput(DomainError):
    """What was entered does not fit; ``data["errors"]`` maps fields to sentences where it applies."""

    code = "invalid"

    @property
    def by_field(self) -> Mapping[str | None, list[str]]:
        """The sentences for each field of a form; under None what is of no field."""
        found: Mapping[str | None, list[str]] = self.data.get("errors", {None: [self.message]})
        return found


class RegistrationRejected(InvalidInput):
    """A table cannot become a dataset: no Delta table, unsupported features, or keys that do not hold."""


class SuiteChanged(DomainError):
    """Somebody else saved the suite meanwhile; ``data["number"]`` is the version that holds now."""

    code = "suite_changed"


class TableReplaced(DomainError):
    """The table at the dataset's address is not the one that was registered."""

    code = "table_replaced"


class DatasetBusy(DomainError):
    """Somebody else is at work on the dataset; later it is possible."""

    code = "dataset_busy"


class MaintenanceStopped(DomainError):
    """A visit to a table stopped before it had finished; nothing it had begun was committed."""

    code = "maintenance_stopped"


class LastOwner(DomainError):
    """Somebody is the only owner of something, which must keep one; ``data["targets"]`` names what."""

    code = "last_owner"

    def __init__(self, names: list[str]) -> None:
        super().__init__(
            f"Nobody else owns {', '.join(sorted(names))}. Make somebody else an owner first.",
            targets=sorted(names),
        )


class InFlight(DomainError):
    """The same call was sent a moment ago and has not ended yet."""

    code = "in_flight"


class SettingsChanged(DomainError):
    """Somebody changed settings, or who has which role, since the person looked at them."""

    code = "settings_changed"


class ProjectNotEmpty(DomainError):
    """A project that still holds datasets, which are not deleted with it."""

    code = "project_not_empty"


class ConnectionInUse(DomainError):
    """A connection that datasets are opened with, which stays; ``data["datasets"]`` names the first of them."""

    code = "connection_in_use"


class BodyTooLarge(DomainError):
    """A body of a kind that is held in memory has more bytes than that may have."""

    code = "too_large"
