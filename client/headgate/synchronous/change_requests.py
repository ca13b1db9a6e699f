"""A change request: waiting for it, looking at it, choosing, reviewing, merging."""
# Written by client/write-sync from the module of the same name; not edited by hand.

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from time import monotonic
from typing import Any, cast

from headgate import display, models
from headgate.choosing import Rule, chosen_by_rule, chosen_in_rows, is_rule, rows_of_choices
from headgate.content.rows import json_value
from headgate.errors import AuditFailed, error_of
from headgate.protocol import API, Call, Parameters, change_request_path, new_key, path_to
from headgate.results import Conflicts, Diff
from headgate.synchronous.reading import digest_of, download
from headgate.synchronous.resources import Followed
from headgate.synchronous.transport import Transport
from headgate.synchronous.waiting import look_until

#: The status of what is not done yet.
ACCEPTED = 202


class ChangeRequest(Followed):
    """A proposal of row changes to one dataset. ``data`` is what the server said last; ``refresh()`` asks again."""

    def __init__(
        self,
        transport: Transport,
        data: Mapping[str, Any],
        *,
        upload: int | None = None,
    ) -> None:
        super().__init__(transport, change_request_path(data["cr_id"]))
        self.data = cast("models.ChangeRequestDetail", data)
        self._upload = upload

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.cr_id} {self.status}: {self.title}>"

    def _repr_html_(self) -> str:
        return display.change_request_html(self.data, self.url)

    @property
    def cr_id(self) -> str:
        """The public id, for example ``CR-7``."""
        return self.data["cr_id"]

    @property
    def title(self) -> str:
        """Its title."""
        return self.data["title"]

    @property
    def status(self) -> str:
        """Where it stands: ``draft``, ``pending``, ``merging``, ``merged`` or ``closed``."""
        return self.data["status"]

    @property
    def url(self) -> str:
        """Its page, for people."""
        return f"{self._transport.settings.address}/change-requests/{self.cr_id}/"

    def _act(self, action: str, **members: Any) -> ChangeRequest:
        self.data = self._post(action, json=members)
        return self

    def refresh(self) -> ChangeRequest:
        """Ask the server again, blockers included."""
        self.data = self._get()
        return self

    def expect(self, upload: int | None) -> None:
        """An upload that is waited for next."""
        self._upload = upload

    # --- Waiting ------------------------------------------------------------------------------------------

    def wait(self, timeout: float = 600) -> ChangeRequest:
        """Wait until its content is staged, and a merge that is under way has ended.

        A server that is away meanwhile is waited for, too. Raises what the content was refused for
        (``StagingRejected``, ``NothingToChange``, …) or the merge ended with, and ``WaitedTooLong``.
        """
        deadline = monotonic() + timeout
        if self._upload is not None:
            upload = self._staged(self._upload, deadline)
            self._upload = None
            self.refresh()
            followed_up = upload.get("followed_up")
            if followed_up is not None and followed_up.get("code"):
                raise error_of(cast("Mapping[str, Any]", followed_up))
        else:
            self.refresh()
        if self.data["active_run"] is not None:
            self._ended(self.data["active_run"], deadline)
            self.refresh()
        return self

    def _staged(self, number: int, deadline: float) -> models.ReceivedUpload:
        """The upload once it is staged; raises why it is not."""
        bar = self._transport.progress()
        try:
            seen: models.ReceivedUpload = look_until(
                self._transport,
                f"{API}/uploads/{number}",
                _has_settled,
                deadline,
                lambda upload: bar.update(upload["rows_read"], None, f"{self.cr_id} {upload['state']}"),
            )
        finally:
            bar.close()
        if seen["state"] != "staged":
            raise error_of(
                seen["problem"] or {"code": "upload_failed", "message": f"It was {seen['state']}."}
            )
        return seen

    def _ended(self, number: int, deadline: float) -> models.MergeRunDetail:
        """The run once it has ended with a merge; raises why it did not."""
        bar = self._transport.progress()
        try:
            run: models.MergeRunDetail = look_until(
                self._transport,
                f"{API}/runs/{number}",
                lambda run: run["status"] not in ("queued", "running"),
                deadline,
                lambda run: bar.update(0, None, f"{self.cr_id} {run['phase']}"),
            )
        finally:
            bar.close()
        if run["status"] != "succeeded":
            raise error_of(
                run["error"] or {"code": "merge_failed", "message": f"The merge is {run['status']}."}
            )
        return run

    # --- What it changes ------------------------------------------------------------------------------------

    def diff(
        self, *, operation: str | None = None, column: str | None = None, revision: int | None = None
    ) -> Diff:
        """What it changes, cell by cell: Base against Proposed; once merged, what the merge changed."""
        parameters: Parameters = {"operation": operation, "column": column, "revision": revision}
        call = Call("GET", change_request_path(self.cr_id, "diff"), parameters)
        return Diff(f"{self.cr_id} {self.title}", download(self._transport, call, f"reading {self.cr_id}"))

    def compare_revisions(self, before: int, after: int) -> Diff:
        """What two of its revisions propose differently."""
        call = Call(
            "GET", change_request_path(self.cr_id, "revisions", "compare"), {"from": before, "to": after}
        )
        found = download(self._transport, call, f"comparing {self.cr_id}")
        return Diff(f"{self.cr_id}, revision {before} to {after}", found)

    def plan(self) -> models.Plan:
        """What a merge would do now."""
        found: models.Plan = self._get("plan")
        return found

    def revisions(self) -> Iterator[models.Revision]:
        """Its contents, newest first."""
        for found in self._results("revisions"):
            yield found

    def events(self) -> Iterator[models.Event]:
        """Who did what, hash-chained."""
        for found in self._results("events"):
            yield found

    def verify(self) -> list[str]:
        """Compare its audit files, as the server has them now, with the hashes that the audit trail names.

        Gives the names of the files. Raises ``AuditFailed`` with the first that is not what was written, and
        ``NotFound`` while it is not merged.
        """
        named = {
            name: digest
            for event in self.events()
            for name, digest in (event["data"].get("audit_files") or {}).items()
        }
        files: list[models.AuditFile] = self._get("audit")
        missing = sorted(set(named) - {file["name"] for file in files})
        if missing:
            raise AuditFailed(f"The audit trail of {self.cr_id} names {missing[0]}, which is not there.")
        for file in files:
            digest = digest_of(self._transport, Call("GET", self._transport.path_of(file["url"])))
            if named.get(file["name"]) != digest:
                raise AuditFailed(f"{file['name']} of {self.cr_id} is not what the audit trail names.")
        return [file["name"] for file in files]

    # --- Conflicts ---------------------------------------------------------------------------------------------

    def conflicts(self, *, column: str | None = None) -> Conflicts:
        """The conflicts with the table as it is now, those with a choice included."""
        call = Call("GET", change_request_path(self.cr_id, "conflicts"), {"limit": 1000, "column": column})
        return Conflicts(
            self.cr_id, [cast("models.ConflictsPage", page) for page in self._transport.pages(call)]
        )

    def resolve(self, choices: Any) -> int:
        """Choose for conflicts; gives how many are left without a choice.

        ``choices`` is one choice for all that are open (``"proposed"``), choices by column
        (``{"seats": "current", None: "keep"}``), a function from a conflict to its choice (or ``("custom", value)``,
        or None to leave it), or the frame of ``conflicts()`` with ``choice`` and ``value`` filled in. All are stored
        or none.

        Raises ``PlanChanged`` where values moved or somebody else chose since you looked, ``InvalidResolution``.
        """
        conflicts = self.conflicts()
        if is_rule(choices):
            chosen = chosen_by_rule(cast("Rule", choices), conflicts)
        else:
            chosen = chosen_in_rows(rows_of_choices(choices), conflicts)
        if not chosen:
            return conflicts.unresolved
        left: models.Unresolved = self._post("conflicts", json={"resolutions": chosen})
        return left["unresolved"]

    def resolve_matching(
        self, choice: str, where: Mapping[str, Any] | None = None, *, seen: str | None = None
    ) -> models.ChosenForMany:
        """Make one choice for every open conflict that fits; ``undo_choices`` takes it back.

        ``where`` may name a ``column`` (empty for whole rows), a ``kind`` (``"modify/modify"``) and, with the column,
        the value of ``current`` or ``proposed`` (None is NULL): ``{"column": "seats", "current": 0}``. ``seen`` is what
        ``selection`` said of that filter.

        Raises ``PlanChanged`` where the conflicts or their choices are others than ``seen`` says, ``Invalid`` where no
        open conflict offers the choice.
        """
        asked = {**(where or {}), "choice": choice, "seen": seen}
        done: models.ChosenForMany = self._post("conflicts", "bulk", json=asked)
        return done

    def undo_choices(self, chosen: models.ChosenForMany) -> models.Undone:
        """Let what stood before ``resolve_matching`` stand again, wherever nobody chose since."""
        done: models.Undone = self._post("conflicts", "undo", json={"undo": chosen["undo"]})
        return done

    # --- Review ------------------------------------------------------------------------------------------------

    def comment(
        self,
        body: str = "",
        *,
        key: Mapping[str, Any] | None = None,
        column: str = "",
        thread: int | None = None,
        suggestion: Any = ...,
    ) -> models.Comment:
        """Say something: of the request, of a row (``key``), of a cell (``column`` too), or in a ``thread``.

        ``suggestion`` is a value that the cell should get instead; None is NULL.
        """
        members: dict[str, Any] = {"body": body}
        if key is not None:
            members["row_key"] = {name: json_value(value) for name, value in key.items()}
        if column:
            members["column"] = column
        if thread is not None:
            members["thread"] = thread
        if suggestion is not ...:
            members["suggestion"] = {"value": json_value(suggestion)}
        made: models.Comment = self._post("comments", json=members)
        return made

    def comments(self) -> Iterator[models.Comment]:
        """What was said."""
        for found in self._results("comments"):
            yield found

    def take(self, comment: int) -> ChangeRequest:
        """Take the value over that a comment suggests, by its number: a new revision. For the author and owners.

        Waits until it is staged. Raises ``PlanChanged`` where the content proposes another value by now.
        """
        path = path_to(self._address, "comments", comment, "take")
        headers = {"Idempotency-Key": new_key(), "Prefer": "respond-async"}
        answer = self._transport.send(Call("POST", path, headers=headers))
        if answer.status == ACCEPTED:
            self.expect(answer.json()["id"])
        return self.wait()

    def settle(self, comment: int, *, resolved: bool = True) -> models.Comment:
        """Mark a discussion, by the number of its first comment, as resolved; or open it again."""
        settled: models.Comment = self._post("threads", comment, json={"resolved": resolved})
        return settled

    def ask_for_review(self, *users: str, groups: Iterable[str] = ()) -> list[models.ReviewRequest]:
        """Ask people, and groups, for a review; gives everybody who is asked now."""
        asked: list[models.ReviewRequest] = self._post(
            "review_requests", json={"users": list(users), "groups": list(groups)}
        )
        return asked

    def review_requests(self) -> list[models.ReviewRequest]:
        """Who was asked for a review, and whether they judged what stands now."""
        found: list[models.ReviewRequest] = self._get("review_requests")
        return found

    def withdraw_review_request(self, number: int) -> None:
        """Take back that somebody was asked, by the ``id`` of the asking."""
        self._send("DELETE", "review_requests", number)

    def review(self, verdict: str, body: str = "") -> models.Review:
        """Give a verdict on what stands now: ``approve``, ``request_changes`` or ``comment``."""
        made: models.Review = self._post("reviews", json={"verdict": verdict, "body": body})
        return made

    def reviews(self) -> Iterator[models.Review]:
        """The verdicts given."""
        for found in self._results("reviews"):
            yield found

    # --- Its life ------------------------------------------------------------------------------------------------

    def submit(self) -> ChangeRequest:
        """Ask for review."""
        return self._act("submit")

    def return_to_draft(self) -> ChangeRequest:
        """Take it back from review."""
        return self._act("return_to_draft")

    def close(self, reason: str = "") -> ChangeRequest:
        """Give it up; rejecting somebody else's needs a reason."""
        return self._act("close", reason=reason)

    def reopen(self) -> ChangeRequest:
        """Make it a draft again."""
        return self._act("reopen")

    def rebase(self) -> models.Revision:
        """Let its base follow the table: what it does not edit is as it is there now."""
        made: models.Revision = self._post("rebase")
        self.refresh()
        return made

    def revert(self) -> ChangeRequest:
        """A new draft that proposes what was there before this was merged. For owners of the dataset."""
        return ChangeRequest(self._transport, self._post("revert"))

    def merge(
        self,
        *,
        wait: bool = True,
        timeout: float = 600,
        message: str = "",
        reason: str = "",
        force_merge: bool = False,
        idempotency_key: str | None = None,
    ) -> models.MergeRunDetail:
        """Merge it, a draft after submitting it; gives the run, whose ``result`` has the version that it made.

        Without ``wait`` the run is queued and given as it stands. ``reason`` lets an owner override gates, with
        ``force_merge`` conflicts too. Raises ``MergeConflict``, ``Blocked``, ``ValidationFailed``, ``WaitedTooLong``, …
        """
        if self._upload is not None:
            self.wait(timeout)
        deadline = monotonic() + timeout
        if self.status == "draft":
            self.submit()
        members = {"message": message, "reason": reason, "force_merge": force_merge}
        headers = {
            "Idempotency-Key": idempotency_key or new_key(),
            "Prefer": f"wait={int(min(timeout, 20))}" if wait else "respond-async",
        }
        run: models.MergeRunDetail = self._post("merge", json=members, headers=headers)
        if wait and run["status"] in ("queued", "running"):
            run = self._ended(run["id"], deadline)
        self.refresh()
        return run


def _has_settled(upload: models.ReceivedUpload) -> bool:
    """Whether an upload has ended, and with it what was asked to follow."""
    if upload["state"] in ("received", "reading", "checking"):
        return False
    return upload["state"] != "staged" or not upload["follow_up"] or upload["followed_up"] is not None
