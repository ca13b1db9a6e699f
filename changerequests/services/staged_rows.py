"""Single rows of a request's content: shown as they can be sent, edited and taken out, by the staging of all content.

An edit is new content on the same base: the rows as they stand with those that were edited in their place. So what
others changed in the table since stays a conflict, and nothing is pinned to a later version behind anybody's back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from django.contrib.auth.models import User

import merging
from changerequests import selectors
from changerequests.blockers import Blocker
from changerequests.errors import Blocked, RequestChanged
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest, Revision, Upload
from changerequests.policies import require
from changerequests.services import storage, uploads
from changerequests.services.plans import naming_missing_content
from changerequests.states import Action, Status, UploadKind
from datasets.errors import InvalidInput, NotFound
from datasets.rows import column_types, json_value, key_digest, shown_json, typed_key, write_json

#: The member of a row that names its operation.
OPERATION: Final = "_op"
#: Rows of a content that is edited row by row; more are sent whole.
MOST_ROWS = 50_000
_ROWS_A_PAGE = 1_000

Row = Mapping[str, Any]


def content_of(change_request: ChangeRequest) -> Revision:
    """The content whose rows are shown and edited. Raises ``NotFound`` where there is none, or it is merged."""
    revision = selectors.current_revision(change_request)
    if revision is None or change_request.status == Status.MERGED:
        raise NotFound(f"{change_request.cr_id} has no content that can be edited.")
    return revision


def row_as_sent(row: merging.ChangedRow) -> dict[str, Any]:
    """A staged row as content has it: its operation, its key, and the values that it gives."""
    given: dict[str, Any] = {}
    if row.proposed is not None:
        names = row.changed if row.operation == "update" else row.proposed
        # What the table fills is sent by nobody: NULL in its place would be a value.
        given = {
            name: row.proposed[name] for name in names if name in row.proposed and name not in row.filled
        }
    return {OPERATION: row.operation, **row.key, **given}


def edit_rows(
    *,
    change_request_id: int,
    actor: User,
    rows: Sequence[Row] = (),
    remove: Sequence[Row] = (),
    seen: Collection[str] = (),
    call: str = "",
) -> Upload:
    """Take ``rows`` in beside or instead of those with the same keys, and the keys of ``remove`` out, as new content.

    A row that is there keeps the values that its edit leaves out, unless it says another operation. ``seen`` are
    digests of the content that the actor looked at: ``RequestChanged`` where it is other by now. Raises what the
    policies say of ``Action.STAGE``, ``InvalidInput`` for keys that do not fit, and ``Blocked`` where the content was
    rebased: some of its rows may stand on older base images than others.
    """
    change_request = ChangeRequest.objects.select_related("dataset__meta", "dataset__project").get(
        pk=change_request_id
    )
    require(facts_of(change_request, actor), Action.STAGE)
    revision = content_of(change_request)
    _require_editable(change_request, revision, seen)
    edits = _Edits(change_request, rows, remove)
    names: set[str] = set()

    def lines() -> Iterator[str]:
        for row in edits.applied_to(_staged(change_request, revision)):
            names.update(row)
            yield f"{write_json(row)}\n"

    with uploads.written_down(lines()) as path:
        edits.require_all_used()
        if not names:
            raise InvalidInput("No row would be left. Close the request instead.")
        new = {column["name"]: column["type"] for column in revision.new_columns}
        content = uploads.ReceivedFile(
            path,
            file_name=revision.file_name or "rows",
            file_format="jsonl",
            column_types={name: kind for name, kind in new.items() if name in names},
            kind=UploadKind.ROWS,
            edits=revision,
        )
        return uploads.receive(change_request_id=change_request_id, actor=actor, content=content, call=call)


def row_called(change_request: ChangeRequest, key: Row) -> dict[str, Any] | None:
    """The row of the content with this key, as it can be sent; None where there is none."""
    revision = content_of(change_request)
    types = column_types(change_request.dataset.meta.schema_json)
    wanted = key_digest(typed_key(key, types))
    for row in _staged(change_request, revision):
        if key_digest(typed_key({name: row[name] for name in key}, types)) == wanted:
            return row
    return None


def typed_cells(change_request: ChangeRequest, cells: Row) -> dict[str, Any]:
    """Texts that somebody typed, in the forms of their columns.

    Raises ``InvalidInput`` naming each that does not fit.
    """
    dataset = change_request.dataset
    table = merging.open_for_editing(dataset.table_uri, primary_keys=tuple(dataset.primary_keys))
    typed, errors = {}, {}
    for name, value in cells.items():
        try:
            # A column that the request adds is read like content of its own.
            typed[name] = json_value(table.typed(name, value)) if name in table.columns else value
        except merging.Refused as refusal:
            errors[name] = [str(refusal)]
    if errors:
        told = "; ".join(f"{name}: {sentence}" for name, [sentence] in errors.items())
        raise InvalidInput(told, errors=errors)
    return typed


def _require_editable(change_request: ChangeRequest, revision: Revision, seen: Collection[str]) -> None:
    if seen and revision.digest not in seen:
        raise RequestChanged(f"The content of {change_request.cr_id} is another by now. Read its rows again.")
    if revision.rows > MOST_ROWS:
        raise InvalidInput(
            f"The content has {revision.rows:,} rows; up to {MOST_ROWS:,} are edited row by row. Send it whole instead."
        )
    if revision.was_rebased:
        sentence = (
            "The content was rebased, and its rows stand on base images of their own. Send it whole instead."
        )
        raise Blocked(sentence, [Blocker("rebased", "fix", sentence, "upload")])


def _staged(change_request: ChangeRequest, revision: Revision) -> Iterator[dict[str, Any]]:
    with naming_missing_content(change_request, revision):
        staged = merging.open_for_pages(storage.content_of(revision))
        after: str | None = None
        while True:
            page = staged.page(after=after, limit=_ROWS_A_PAGE)
            yield from (json_value(row_as_sent(row)) for row in page.items)
            after = page.next
            if after is None:
                return


class _Edits:
    """What is to become of single rows, by their keys."""

    def __init__(self, change_request: ChangeRequest, rows: Sequence[Row], remove: Sequence[Row]) -> None:
        self._keys = list(change_request.dataset.primary_keys)
        self._types = column_types(change_request.dataset.meta.schema_json)
        self._rows = self._by_key(rows, "rows")
        self._removed = self._by_key(remove, "remove")
        if both := self._rows.keys() & self._removed.keys():
            raise self._wrong("remove", f"{self._shown(self._removed[both.pop()])} is edited, too.")
        self._used: set[str] = set()

    def applied_to(self, staged: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The rows as they are to be: those that stay in their order, then those that are new."""
        for row in staged:
            name = self._name(row)
            if name in self._removed:
                self._used.add(name)
            elif (edit := self._rows.get(name)) is None:
                yield row
            else:
                self._used.add(name)
                replaced = OPERATION in edit or row[OPERATION] == "delete"
                yield dict(edit) if replaced else {**row, **edit}
        yield from (dict(row) for name, row in self._rows.items() if name not in self._used)

    def require_all_used(self) -> None:
        """Refuse keys to be taken out that are not there."""
        missing = [row for name, row in self._removed.items() if name not in self._used]
        if missing:
            raise self._wrong("remove", f"The content has no row {self._shown(missing[0])}.")

    def _by_key(self, rows: Sequence[Row], field: str) -> dict[str, Row]:
        found: dict[str, Row] = {}
        for row in rows:
            if absent := [name for name in self._keys if name not in row]:
                raise self._wrong(field, f"{shown_json(dict(row))} lacks {', '.join(absent)} of the key.")
            name = self._name(row)
            if name in found:
                raise self._wrong(field, f"{self._shown(row)} is there twice.")
            found[name] = row
        return found

    def _name(self, row: Row) -> str:
        return key_digest(typed_key({name: row[name] for name in self._keys}, self._types))

    def _shown(self, row: Row) -> str:
        return shown_json({name: row[name] for name in self._keys})

    def _wrong(self, field: str, sentence: str) -> InvalidInput:
        return InvalidInput(sentence, errors={field: [sentence]})
