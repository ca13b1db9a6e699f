"""How rows are locked, by everybody in the same way."""

from typing import TypeVar

from django.db import connection
from django.db.models import ManyToOneRel, Model, QuerySet
from django.db.transaction import TransactionManagementError

Row = TypeVar("Row", bound=Model)


def locked(rows: QuerySet[Row], *, nowait: bool = False, skip_locked: bool = False) -> QuerySet[Row]:
    """The rows, which nobody else changes or removes until the transaction ends; they are locked as they are read.

    Their keys are left alone: what refers to one is written meanwhile, else two who lock one thing and refer to the
    other's wait for each other. Rows are locked before the trail is written to, whose chains come last for everybody.
    Several are locked by their numbers, where the caller orders them by nothing else; rows that are joined are not.
    ``nowait`` and ``skip_locked`` are what PostgreSQL means by them.

    Raises ``TransactionManagementError`` outside a transaction, where it would lock nothing.
    """
    if not connection.in_atomic_block:
        raise TransactionManagementError("A row lock outside a transaction would lock nothing.")
    if not rows.query.order_by:
        rows = rows.order_by("pk")
    return rows.select_for_update(of=("self",), no_key=True, nowait=nowait, skip_locked=skip_locked)


def lock_what_goes_with(row: Model) -> None:
    """Lock all that refers to a row that the caller has locked and is about to remove, before it writes to the trail.

    The row itself goes after that, last of all: who refers to it waits then for somebody who waits for nobody.
    """
    # Relations without a name backwards are none of its ``related_objects``.
    for relation in row._meta.get_fields(include_hidden=True):
        if isinstance(relation, ManyToOneRel):
            list(locked(relation.related_model._base_manager.filter(**{relation.field.name: row})))
