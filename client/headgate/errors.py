"""What can go wrong, as classes: one for each code of the API, each with what to do.

``except headgate.MergeConflict`` asks for one code, ``except headgate.HeadgateError`` for all of them. A server newer
than this client may know codes that it does not: they arrive as ``HeadgateError`` with their code and message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar


class HeadgateError(Exception):
    """Something did not work.

    ``code`` is stable and for programs, ``message`` says what is wrong, ``what_to_do`` the way out, ``problem`` is the
    whole answer of the server (RFC 9457), and ``request_id`` what an operator finds it by.
    """

    #: The code of the API that the class stands for.
    code: str = ""
    #: The way out, where the message does not know it better.
    advice: ClassVar[str] = "Read the message; name the request's id to an operator where it does not help."
    #: Whether the same call may well work a moment later, and is sent again by itself.
    passes: ClassVar[bool] = False

    def __init__(
        self, message: str, *, code: str = "", status: int = 0, problem: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.status = status
        self.problem: Mapping[str, Any] = problem or {}

    @property
    def what_to_do(self) -> str:
        """The way out, in a sentence or two."""
        return self.advice

    @property
    def request_id(self) -> str:
        """What the server's logs have of the call stands under it; empty where no server answered."""
        return str(self.problem.get("request_id", ""))

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The single problems, where the answer lists some: of fields, or of lines and columns of what was sent."""
        return list(self.problem.get("errors", ()))

    def __str__(self) -> str:
        return " ".join(part for part in (self.message, self.what_to_do) if part)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.message, self.code, self.status, dict(self.problem))


def _again(
    kind: type[HeadgateError], message: str, code: str, status: int, problem: Mapping[str, Any]
) -> HeadgateError:
    """The same error in another process."""
    return kind(message, code=code, status=status, problem=problem)


# --- What never came from a server -----------------------------------------------------------------------


class ConnectionFailed(HeadgateError):
    """No answer came: the server cannot be reached, or the connection broke each time."""

    code = "connection_failed"
    advice = (
        "Check the address and the network; send the call again, it is done once however often it arrives."
    )
    passes = True


class NotHeadgate(HeadgateError):
    """Something answered that is no Headgate, or an answer that cannot be read."""

    code = "not_headgate"
    advice = "Check the address: it is that of the server, without /api/v1."


class WaitedTooLong(HeadgateError):
    """What was waited for has not ended yet; it goes on without you."""

    code = "waited_too_long"
    advice = "Wait again, with a longer timeout: nothing is lost."


class NotSignedIn(HeadgateError):
    """There is no token for the server."""

    code = "not_signed_in"
    advice = "Give token=…, set HEADGATE_TOKEN, or sign in with `headgate login`. Tokens are made on the account page."


class ContentUnusable(HeadgateError):
    """What shall be proposed cannot be written as a file; nothing was sent."""

    code = "content_unusable"
    advice = "Give the column one type, or hand over a file or an Arrow table."


# --- Who you are, and what you may ------------------------------------------------------------------------


class NotAuthenticated(HeadgateError):
    """The token is unknown, expired or revoked."""

    code = "not_authenticated"
    advice = "Make a new token on the account page, or sign in again with `headgate login`."


class Forbidden(HeadgateError):
    """You may see it, but not do this."""

    code = "forbidden"
    advice = "Ask an owner of the dataset for the role that may."


class SignInDenied(Forbidden):
    """The person did not let the program in."""

    code = "sign_in_denied"
    advice = "Run `headgate login` again, and choose “Let it in” in the browser."


class SignInExpired(HeadgateError):
    """Nobody decided in time on letting the program in, or its token was taken already."""

    code = "sign_in_expired"
    advice = "Run `headgate login` again; the code holds for ten minutes."


class InvitationOver(HeadgateError):
    """The address of an invitation opens nothing any more."""

    code = "invitation_over"
    advice = "Ask whoever invited you for another; it holds for a week."


class PasswordsOff(Forbidden):
    """A password was sent where people sign in through their provider alone."""

    code = "passwords_off"
    advice = (
        "Run `headgate login`: it is let in from a browser. Pipelines have a service account and its token."
    )


class SignInRefused(Forbidden):
    """The provider knows the person, but they may not come in here."""

    code = "sign_in_refused"
    advice = "Ask an operator of the installation."


class SignInLinkOver(HeadgateError):
    """A link that signs in once was used or is too old."""

    code = "sign_in_link_over"
    advice = "Make another with `manage.py sign_in_link`."


class ProviderFailed(HeadgateError):
    """The provider through which people sign in did not answer, or not as it should."""

    code = "provider_failed"
    advice = "Begin again; ask an operator where it stays so."


class EmailTaken(HeadgateError):
    """An account here has the e-mail address of somebody who comes for the first time."""

    code = "email_taken"
    advice = "Sign in to that account and link it, or ask an operator to."


class IdentityTaken(HeadgateError):
    """An account is linked to another person of the provider, or the person to another account."""

    code = "identity_taken"
    advice = "Ask an operator: `manage.py link_person` takes a link away."


class ScopeMissing(Forbidden):
    """The token is not for this, whatever its person may; ``scope`` is what it lacks."""

    code = "scope_missing"

    @property
    def scope(self) -> str:
        """The scope that the call needs."""
        return str(self.problem.get("scope", ""))

    @property
    def what_to_do(self) -> str:
        """Which scope a token needs for this."""
        return f"Use a token with the scope `{self.scope}`; tokens are made on the account page."


class NotFound(HeadgateError):
    """It is not there, or you may not see it; the two are never told apart."""

    code = "not_found"
    advice = "Check the name, and that your account has a role on the dataset."


class Throttled(HeadgateError):
    """Too many calls in too short a time."""

    code = "throttled"
    advice = "Wait as long as the answer says, then go on."
    passes = True


# --- What was sent does not fit -----------------------------------------------------------------------------


class Invalid(HeadgateError):
    """Members of the call do not fit; ``errors`` names each."""

    code = "invalid"
    advice = "Mend the members named, and send it again."


class InvalidResolution(Invalid):
    """A choice that its conflict does not allow."""

    code = "invalid_resolution"
    advice = "Choose one of the conflict's `legal_choices`."


class InvalidKeys(Invalid):
    """The key columns are not those of the dataset, or cannot be keys."""

    code = "invalid_keys"
    advice = "Name the dataset's key columns: `dataset.details()['primary_keys']`."


class InvalidFilter(Invalid):
    """A filter that cannot be read or does not fit its column."""

    code = "invalid_filter"
    advice = "Write filters as `column:operator:value`."


class InvalidCursor(Invalid):
    """A page's address that is none any more."""

    code = "invalid_cursor"
    advice = "Begin with the first page again."


class StagingRejected(HeadgateError):
    """The content was refused whole and nothing was staged; ``errors`` lists problems by line and column.

    Of a statement that was refused, ``column`` is the character in its line.
    """

    code = "staging_rejected"
    advice = "Mend the cells named and propose again."

    @property
    def of_statement(self) -> bool:
        """Whether a statement was refused as it is written, and not rows."""
        return any(str(one.get("code", "")).startswith("sql_") for one in self.errors)

    @property
    def what_to_do(self) -> str:
        """The way out."""
        if self.of_statement:
            return "Mend the statement at the place that is named, and try again."
        return self.advice

    @property
    def total(self) -> int:
        """How many problems there are; ``errors`` is capped."""
        return int(self.problem.get("total", len(self.errors)))


class NothingToChange(HeadgateError):
    """The rows equal the table, or there are none; no request is left behind."""

    code = "nothing_to_change"
    advice = 'Nothing needs doing. Say on_nothing_to_change="ignore" where that is no error.'


class TooLarge(HeadgateError):
    """More bytes, fields or rows than the address takes."""

    code = "too_large"
    advice = "Send it in several proposals, as Parquet, or only what differs (only_changes=True)."


class UnsupportedMediaType(HeadgateError):
    """A media type that the address does not read."""

    code = "unsupported_media_type"
    advice = "Send CSV, Parquet, Arrow, JSON lines or XLSX."


class NotAcceptable(HeadgateError):
    """None of the media types asked for is answered here."""

    code = "not_acceptable"
    advice = "Ask for one that the operation has in the OpenAPI document."


class MethodNotAllowed(HeadgateError):
    """The address does not take this method."""

    code = "method_not_allowed"
    advice = "See the OpenAPI document of the server; it may be older than this client."


class SuiteRejected(Invalid):
    """A suite of expectations that cannot be used; ``problems`` stand in ``problem`` by their place."""

    code = "suite_rejected"
    advice = "Mend the expectations named and save it again."


class UnsupportedTable(HeadgateError):
    """The table has features that Headgate does not write, or cannot hold what was asked."""

    code = "unsupported_table"
    advice = "See the operations manual on table features."


class TableNotFound(HeadgateError):
    """There is no Delta table at the address."""

    code = "table_not_found"
    advice = "Check the table's address and its connection."


class FilesElsewhere(HeadgateError):
    """The table names data files outside of its own folder, which needs an operator's leave."""

    code = "files_elsewhere"
    advice = "Ask an operator to allow it for this table."


class TableElsewhere(HeadgateError):
    """The table lies in a place that the installation does not read, or does not any more."""

    code = "table_elsewhere"
    advice = "Ask an operator: the table's folder became a link, or TABLE_PLACES was narrowed."


class CutShort(HeadgateError):
    """What was asked for takes longer than a call may, and was ended before it was done."""

    code = "cut_short"
    advice = "Ask for less at once; the message names what takes any time."


class TooLargeForWorkbook(HeadgateError):
    """More rows, or a longer text, than a workbook holds."""

    code = "too_large_for_workbook"
    advice = "Take CSV, Parquet or Arrow, or choose fewer rows by a filter."


# --- Not as things stand now ---------------------------------------------------------------------------------


class MergeConflict(HeadgateError):
    """Current and Proposed both changed the same cells or rows, and nobody has chosen; ``conflicts`` are the first."""

    code = "merge_conflict"
    advice = "Look at `change_request.conflicts()`, choose with `change_request.resolve(…)`, merge again."

    @property
    def conflicts(self) -> list[dict[str, Any]]:
        """The first conflicts, at most a hundred."""
        return list(self.problem.get("conflicts", ()))


class Blocked(HeadgateError):
    """Gates stand in the way; ``blockers`` says which, and what mends each."""

    code = "blocked"

    @property
    def blockers(self) -> list[dict[str, Any]]:
        """What stands in the way: ``code``, ``kind`` (fix or wait), ``sentence``."""
        return list(self.problem.get("blockers", ()))

    @property
    def what_to_do(self) -> str:
        """What each blocker says."""
        return " ".join(str(one.get("sentence", "")) for one in self.blockers)


class InvalidTransition(HeadgateError):
    """The action does not exist in the change request's present status."""

    code = "invalid_transition"
    advice = "Look at its status first: `change_request.refresh().status`."


class PlanChanged(HeadgateError):
    """What was looked at is not what would happen any more."""

    code = "plan_changed"
    advice = "Look again, and decide again."


class InFlight(HeadgateError):
    """The same call, sent before, has not ended yet."""

    code = "in_flight"
    advice = "Wait a moment and send it again."
    passes = True


class DatasetBusy(HeadgateError):
    """Something else is under way on the dataset."""

    code = "dataset_busy"
    advice = "Try again when it has ended."


class ConnectionInUse(HeadgateError):
    """Tables are opened with the connection."""

    code = "connection_in_use"
    advice = "Only a connection without tables is removed."


class ProjectNotEmpty(HeadgateError):
    """The project still has datasets."""

    code = "project_not_empty"
    advice = "Move or remove its datasets first."


class LastOwner(HeadgateError):
    """Somebody must own it."""

    code = "last_owner"
    advice = "Make somebody else an owner first."


class RunStopped(HeadgateError):
    """Something came in the way after the merge was asked for."""

    code = "run_stopped"
    advice = "Look at the run's message, and ask for the merge again."


class Cancelled(HeadgateError):
    """Somebody cancelled it."""

    code = "cancelled"
    advice = "Ask again if it is still wanted."


class VersionMoved(HeadgateError):
    """The table moved on while it was read."""

    code = "version_moved"
    advice = "Try again."


class TableChanged(HeadgateError):
    """The table is not what it was: its columns or properties changed."""

    code = "table_changed"
    advice = "Look at the table's columns, and propose again."


class TableReplaced(HeadgateError):
    """Another table stands at the dataset's address."""

    code = "table_replaced"
    advice = "An owner looks at the dataset's settings."


class TableDamaged(HeadgateError):
    """A file of the table is missing, cut, or not what the table's log says; the message names it."""

    code = "table_damaged"
    advice = "Restore the file, or the table to a version without it, then try again."


class MergedOtherwise(HeadgateError):
    """The table holds a merge of this request with other content."""

    code = "merged_otherwise"
    advice = "An operator looks at the request's audit files."


class ContentMissing(HeadgateError):
    """The staged files are gone."""

    code = "content_missing"
    advice = "Propose the rows again."


class ContentGone(HeadgateError):
    """The content of an older revision was cleaned up."""

    code = "content_gone"
    advice = "Look at the newest revision."


class ContentMoved(HeadgateError):
    """What was read was merged or replaced meanwhile."""

    code = "content_moved"
    advice = "Read it again."


class DuplicateKeys(HeadgateError):
    """The table holds rows that share a key."""

    code = "duplicate_keys"
    advice = "An owner mends the table first; a merge would not know which row is meant."


class MaintenanceStopped(HeadgateError):
    """Maintenance of the table ended before its end."""

    code = "maintenance_stopped"
    advice = "Look at the run's message, and start it again."


class SuiteChanged(HeadgateError):
    """Somebody saved another version of the expectations meanwhile."""

    code = "suite_changed"
    advice = "Read the suite again, and save on top of it."


class SettingsChanged(HeadgateError):
    """Somebody changed it since you looked (If-Match)."""

    code = "settings_changed"
    advice = "Read it again, and change what is there now."


class RequestChanged(HeadgateError):
    """Somebody changed the request, or what it holds, since you looked (If-Match)."""

    code = "request_changed"
    advice = "Read it again, and change what is there now."


class EditsProposed(HeadgateError):
    """Your edits of the dataset stand still: what proposes them is being read."""

    code = "edits_proposed"
    advice = "Wait for the upload to end, then look at the edits again."


class EditsMoved(HeadgateError):
    """What you counted before is not what would be replaced any more."""

    code = "edits_moved"
    advice = "Look again what would be replaced."


class VersionGone(HeadgateError):
    """The table had this version once; its log or its files were cleaned up."""

    code = "version_gone"
    advice = "Ask for a newer version."


class ValidationFailed(HeadgateError):
    """The merged result breaks expectations; ``expectations`` in ``problem`` has failing rows of each."""

    code = "validation_failed"
    advice = "Mend the rows and propose again, or let an owner answer for it."

    @property
    def expectations(self) -> list[dict[str, Any]]:
        """What is broken: ``message``, ``columns``, ``observed`` and the first ``failing_rows`` of each."""
        return list(self.problem.get("expectations", ()))


# --- Uploads that ended without a revision ---------------------------------------------------------------------


class UploadFailed(HeadgateError):
    """Reading the content failed for a reason that is not in it."""

    code = "upload_failed"
    advice = "Propose again; an operator looks where it happens twice."


class UploadReplaced(HeadgateError):
    """Newer content was uploaded to the same request and staged meanwhile."""

    code = "upload_replaced"
    advice = "Look at the request: the newer content holds."


class UploadLost(HeadgateError):
    """The received file is gone."""

    code = "upload_lost"
    advice = "Propose again."


class ReaderDied(HeadgateError):
    """The process that read the content died of it."""

    code = "reader_died"
    advice = "Propose again, as Parquet or in smaller parts."


class UploadTookTooLong(ReaderDied):
    """Reading the content took longer than it may."""

    code = "upload_took_too_long"


class UploadOutOfMemory(ReaderDied):
    """Reading the content took more memory than it may."""

    code = "upload_out_of_memory"


class ConfinedFailed(HeadgateError):
    """A process with limits failed at its task."""

    code = "confined_failed"


class ConfinedDied(HeadgateError):
    """A process with limits was lost."""

    code = "confined_died"
    advice = "Try again; an operator looks where it happens twice."


class ConfinedTooLong(HeadgateError):
    """A process with limits took longer than it may."""

    code = "confined_too_long"
    advice = "Ask for less at once."


class ConfinedOutOfMemory(HeadgateError):
    """A process with limits took more memory than it may."""

    code = "confined_out_of_memory"
    advice = "Ask for less at once."


class ConfinedCancelled(Cancelled):
    """A process with limits was stopped because somebody cancelled."""

    code = "confined_cancelled"


# --- The server's own troubles ---------------------------------------------------------------------------------


class ServerFailed(HeadgateError):
    """A fault of the server; the operator finds it by the request's id."""

    code = "internal_error"
    advice = "Name the request's id to an operator."

    @property
    def what_to_do(self) -> str:
        """Whom to ask, and by which id."""
        return f"Name {self.request_id} to an operator." if self.request_id else self.advice


class MergeFailed(ServerFailed):
    """The merge failed; nothing was committed."""

    code = "merge_failed"


class MergeError(ServerFailed):
    """The engine failed."""

    code = "merge_error"


class EngineFailed(ServerFailed):
    """Rows cannot be read, or memory did not suffice; the message says what to do."""

    code = "engine_failed"


class CommitDiffers(ServerFailed):
    """The commit stands, but the table is not what was planned; nothing more is merged until an operator has looked."""

    code = "commit_differs"


class StagedCorrupt(ServerFailed):
    """Staged files are not what was staged."""

    code = "staged_corrupt"
    advice = "Propose the rows again."


class AuditFailed(ServerFailed):
    """The audit could not be written, so nothing was done."""

    code = "audit_failed"


class AuditAppendOnly(AuditFailed):
    """Something tried to change the audit trail."""

    code = "audit_append_only"


class AuditFileExists(AuditFailed):
    """An audit file stands already, with other content."""

    code = "audit_file_exists"


class StorageFull(ServerFailed):
    """A disk or quota of the server is full; nothing was changed."""

    code = "storage_full"


class Unavailable(HeadgateError):
    """The server's database does not answer, or is too busy."""

    code = "unavailable"
    advice = "Try again in a moment."
    passes = True


class TooManyDownloads(Unavailable):
    """The server streams as many files as it may."""

    code = "too_many_downloads"


class StreamsUnavailable(HeadgateError):
    """The server runs without ASGI, and so sends no news in a stream."""

    code = "streams_unavailable"
    advice = "Ask from time to time instead."


class OutcomeUnknown(HeadgateError):
    """The table's store did not say whether a commit took place; it is found out and recorded by itself."""

    code = "outcome_unknown"
    advice = "Wait a moment, and look at the request again."
    passes = True


class ClusterFailed(HeadgateError):
    """The Spark cluster that was to read the table did not; nothing was changed. The message says why."""

    code = "cluster_failed"
    advice = "Try again once the cluster works; or an owner chooses DuckDB in the dataset's settings."


class TableUnreachable(HeadgateError):
    """The store of the table does not answer, fails or refuses; nothing was changed. The message says why."""

    code = "table_unreachable"
    advice = "Try again later; where the message speaks of access or options, an operator looks."


def known_errors() -> Iterator[type[HeadgateError]]:
    """Every class of error, the ones beneath others included."""
    waiting: list[type[HeadgateError]] = [HeadgateError]
    while waiting:
        kind = waiting.pop()
        yield kind
        waiting += kind.__subclasses__()


_CLASS_OF_CODE: dict[str, type[HeadgateError]] = {kind.code: kind for kind in known_errors() if kind.code}


def error_of(problem: Mapping[str, Any], status: int = 0) -> HeadgateError:
    """The error that a problem of the API stands for; of the class of its code, where there is one."""
    code = str(problem.get("code", ""))
    kind = _CLASS_OF_CODE.get(code, HeadgateError)
    return kind(str(problem.get("message", "")), code=code, status=status, problem=problem)
