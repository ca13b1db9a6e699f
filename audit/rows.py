"""Rows of the database as the trail knows them: what stands in a row is bound to the entry that was written with it.

An entry has a digest for each row that was written in its transaction. Whoever changes such a row later, removes it or
puts one beside it cannot write the entry that would go with it: the key is not in the database.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import JSONField, Model

from audit.chain import canonical_json

#: Hex digits that stand for one column, so that a changed one can be named; the digest is what proves.
TAG: Final = 4
#: How many rows that are written at once have each a digest of its own; of more, so many share one.
SINGLY: Final = 100
#: What stands between the first and last primary key of those that share one.
BATCH: Final = ".."


@dataclass(frozen=True)
class RowKind:
    """Rows of one model, or one side of them: which columns an entry vouches for.

    ``name`` is what people read and what entries hold, with the primary key: ``review 12``. Columns that come later are
    added as a second layout, so that what earlier entries vouch for stays comparable.
    """

    name: str
    model: type[Model]
    layouts: tuple[tuple[str, ...], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that entries vouch for now."""
        return self.layouts[-1]

    def seal(self, row: Model) -> dict[str, str]:
        """What an entry holds of a row."""
        return {self.called(row.pk): self._text(row.pk, row, len(self.layouts))}

    def seals(self, rows: Sequence[Model]) -> dict[str, str]:
        """What an entry holds of several rows."""
        if len(rows) <= SINGLY:
            return {self.called(row.pk): self._text(row.pk, row, len(self.layouts)) for row in rows}
        inorder = sorted(rows, key=lambda row: row.pk)
        return dict(self._batch(inorder[start : start + SINGLY]) for start in range(0, len(rows), SINGLY))

    def is_batch_changed(self, rows: Sequence[Model], sealed: str) -> bool:
        """Whether a batch that was sealed together is other than it was."""
        return not rows or self._batch(sorted(rows, key=lambda row: row.pk))[1] != sealed

    def _batch(self, rows: Sequence[Model]) -> tuple[str, str]:
        texts = "\n".join(self._text(row.pk, row, len(self.layouts)) for row in rows)
        name = f"{self.name} {rows[0].pk}{BATCH}{rows[-1].pk}"
        return name, f"{len(self.layouts)}:{hashlib.sha256(texts.encode()).hexdigest()}:"

    def called(self, pk: object) -> str:
        """The name of one row."""
        return f"{self.name} {pk}"

    def changed(self, row: Model, sealed: str) -> list[str] | None:
        """The columns in which a row is other than it was sealed, None where it is the same."""
        layout, _, rest = sealed.partition(":")
        number = int(layout) if layout.isdecimal() else 0
        if not 1 <= number <= len(self.layouts):
            return ["?"]
        now = self._text(row.pk, row, number)
        if now == sealed:
            return None
        tags, told = now.rpartition(":")[2], rest.rpartition(":")[2]
        places = range(0, len(tags), TAG)
        columns = self.layouts[number - 1]
        return [
            column
            for column, place in zip(columns, places, strict=True)
            if tags[place : place + TAG] != told[place : place + TAG]
        ]

    def _text(self, pk: object, row: Model, layout: int) -> str:
        values = [_plain(row, column) for column in self.layouts[layout - 1]]
        whole = hashlib.sha256(canonical_json([self.name, pk, values]).encode()).hexdigest()
        tags = (hashlib.sha256(canonical_json(value).encode()).hexdigest()[:TAG] for value in values)
        return f"{layout}:{whole}:{''.join(tags)}"


def _plain(row: Model, column: str) -> Any:
    """A column's value as it reads before and after the database had it."""
    value = getattr(row, column)
    field = next(one for one in row._meta.concrete_fields if one.attname == column)
    if isinstance(field, JSONField):
        return _numbers_once(json.loads(json.dumps(value, cls=field.encoder or DjangoJSONEncoder)))
    value = field.to_python(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)


def _numbers_once(value: Any) -> Any:
    """JSON with one spelling for each number: databases keep 1e16 and 10000000000000000 as one."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {name: _numbers_once(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_numbers_once(part) for part in value]
    return value
