"""The conflicts of a plan as rows of a file, for people who choose in a spreadsheet or a notebook.

The key columns in their types, then ``column`` (NULL: the row itself), ``kind``, ``base``, ``current``, ``proposed``,
``choice``, ``value`` (of a custom choice), ``inputs_digest`` and ``seen``, the digest of the choice. Values of many
columns stand in one, so they are texts (``values.text_form``); NULL stays NULL. Such a file comes back with choices
(``staging.choices``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from merging.model import Conflict, ConflictFilter
from merging.sql.streams import RowStream
from merging.sql.values import arrow_values, text_form
from merging.staging.choices import CHOICE_COLUMNS, free_names
from merging.threeway.kept_conflicts import KeptConflicts

_ROWS = 1_000


def stream_conflicts(
    found: KeptConflicts,
    wanted: ConflictFilter,
    *,
    seen: Callable[[Conflict], str],
    close: Callable[[], None],
) -> RowStream:
    """The conflicts that a filter lets through, in key order; ``seen`` names the choice that stands for one, ``close``
    ends ``found`` with the stream.
    """
    keys = [] if found.alignment.conflicts else list(found.alignment.keys)
    names = free_names(keys)
    schema = pa.schema(
        [
            *(found.alignment.schema.field(name).remove_metadata() for name in keys),
            *(pa.field(names[name], pa.string()) for name in CHOICE_COLUMNS),
        ]
    )

    def batches() -> Iterator[pa.RecordBatch]:
        after = None
        while True:
            page = found.page(wanted, after=after, limit=_ROWS)
            if page.items:
                yield _batch(page.items, keys, schema, seen)
            if page.next is None:
                return
            after = page.next

    return RowStream(schema, found.version, batches(), found.interrupt, close)


def _batch(
    found: Sequence[Conflict], keys: Sequence[str], schema: pa.Schema, seen: Callable[[Conflict], str]
) -> pa.RecordBatch:
    columns = [arrow_values([one.key[name] for one in found], schema.field(name).type) for name in keys]
    texts = [
        [one.column for one in found],
        [one.kind for one in found],
        *([_text(getattr(one, side)) for one in found] for side in ("base", "current", "proposed")),
        [one.choice for one in found],
        [_text(one.value) for one in found],
        [one.inputs_digest for one in found],
        [seen(one) for one in found],
    ]
    return pa.RecordBatch.from_arrays(
        [*columns, *(pa.array(text, pa.string()) for text in texts)], schema=schema
    )


def _text(value: object) -> str | None:
    return None if value is None else text_form(value)
