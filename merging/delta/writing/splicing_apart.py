"""Files spliced by a process beside this one: two threads of Python would only take turns.

It is a confined process that is lent files and holds nothing that cannot be done again: where it dies, is refused
memory or meets a damaged file, whoever lent it one writes that here, and hears here what is wrong with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from merging.confinement import Bounds, is_ready, run_confined
from merging.delta.fields import TableField
from merging.delta.pages import NotTaken
from merging.delta.snapshot import Snapshot
from merging.delta.writing.asked import Rewrite
from merging.delta.writing.data_files import WrittenFile
from merging.delta.writing.splicer import Left
from merging.delta.writing.splicing import as_written, cut_of
from merging.errors import ConfinedFailure

_CHILD = "merging.delta.writing.splicer:splice_in_child"
#: In all, and for one file: a hundred megabytes take some seconds. What is left then is written here.
_SECONDS, _SECONDS_OF_A_FILE = 86_400.0, 120.0
#: Without rows a file is smaller, but for what is packed less well.
_LARGEST_TIMES = 2


def can_splice_apart() -> bool:
    """Whether the process would begin at once. Where it is not so, what it comes from is started, and nobody waits."""
    return is_ready(_CHILD, _bounds(0))


def splice_apart(
    snapshot: Snapshot,
    fields: Sequence[TableField],
    take: Callable[[], Rewrite | None],
    made: Callable[[Rewrite, WrittenFile | None], None],
    *,
    largest: int,
) -> Rewrite | None:
    """Have the files spliced that `take` gives, of `largest` bytes at most, until it gives None. `made` hears what each
    became, None where it is to be written in another way. The one that it was lent when it ended before its time, if it
    did: nothing is left of it.

    Raises what `take` and `made` raise; FileNotFoundError, MergeFailed where a file is missing or no Parquet.
    """
    lent: Rewrite | None = None
    since = time.monotonic()

    def answer(told: Mapping[str, Any]) -> dict[str, Any] | None:
        nonlocal lent, since
        if lent is not None:
            one, lent = lent, None
            made(one, _written(snapshot, fields, one, told["left"]))
        lent, since = take(), time.monotonic()
        return None if lent is None else _asked(snapshot, lent)

    def takes_too_long() -> bool:
        return time.monotonic() - since > _SECONDS_OF_A_FILE

    try:
        run_confined(_CHILD, {}, _bounds(largest), on_question=answer, is_cancelled=takes_too_long)
    except ConfinedFailure:
        if lent is not None:
            snapshot.store.delete([lent.path])
    return lent


def _bounds(largest: int) -> Bounds:
    return Bounds(seconds=_SECONDS, file_bytes=_LARGEST_TIMES * largest, engine=False)


def _asked(snapshot: Snapshot, one: Rewrite) -> dict[str, Any]:
    file, store = snapshot.files[one.files[0]], snapshot.store
    with store.writing(one.path) as target:
        return {
            "source": str(Path(store.uri, store.relative(file.path)).absolute()),
            "target": str(target.absolute()),
            "cut": cut_of(snapshot, file, np.asarray(one.removed)).document(),
        }


def _written(
    snapshot: Snapshot, fields: Sequence[TableField], one: Rewrite, told: Mapping[str, Any] | None
) -> WrittenFile | None:
    with suppress(NotTaken):
        if told is not None:
            return as_written(snapshot.files[one.files[0]], fields, one.path, Left.of(told))
    snapshot.store.delete([one.path])
    return None
