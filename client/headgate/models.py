"""What the API answers, as types: plain dictionaries at run time, known to editors and type checkers.

Written by client/write-models from docs/openapi.yaml; not edited by hand. A newer server may answer with more members.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from typing_extensions import NotRequired


ActionEnum = Literal["rename", "add", "leave_out"]


class Adopted(TypedDict):
    """Tables that are opened with the connection from now on."""

    datasets: list[str]


class Answer(TypedDict):
    """What a receiver answered."""

    status: int
    excerpt: str
    milliseconds: int


class Applied(TypedDict):
    """The rows that were touched, as they stand now; a row that is not edited any more is among `restored` alone."""

    version: int
    counts: TrayCounts
    rows: list[EditedRow]
    problems: int
    moved: int
    kept_until: str | None
    upload: int | None
    failure: str
    added: list[str]
    restored: list[str]
    overwritten: list[Overwritten]


AttemptEnum = Literal["name", "list", "write", "read", "once", "delete"]


class AuditFile(TypedDict):
    """One audit file of a merged request."""

    name: str
    sha256: str
    url: str


BlankEnum = Literal[""]


class Blocker(TypedDict):
    """One reason why an action is not possible now."""

    code: str
    kind: BlockerKind
    sentence: str
    link: str
    overridable: bool


BlockerKind = Literal["fix", "wait"]


class Cell(TypedDict):
    """One changed cell; for inserts ``base`` and for deletes ``proposed`` is null because the row is absent."""

    column: str
    base: Any
    proposed: Any


class CellOrigin(TypedDict):
    """Where a cell's value of today comes from."""

    value: Any
    change_request: str | None
    through: list[str]
    from_outside: bool


class ChangeGroup(TypedDict):
    """Changed rows that are looked at together."""

    group: str
    kind: ChangeGroupKindEnum
    column: str
    old: Any
    new: Any
    rows: int
    viewed: bool


ChangeGroupKindEnum = Literal["edit", "column", "insert", "delete"]


class ChangeRequest(TypedDict):
    """A proposal of row changes to one dataset, as lists show it."""

    cr_id: str
    title: str
    status: NotRequired[ChangeRequestStatus]
    readiness: Readiness | None
    dataset: DatasetReference
    author: str
    revision: RevisionSummary | None
    plan: PlanSummary | None
    open_threads: int
    active_run: int | None
    merged_version: NotRequired[int | None]
    merged_at: NotRequired[str | None]
    created_at: str
    updated_at: str


class ChangeRequestDetail(TypedDict):
    """A change request with the blockers of every action for the caller: an empty list means that it is possible."""

    cr_id: str
    title: str
    status: NotRequired[ChangeRequestStatus]
    readiness: Readiness | None
    dataset: DatasetReference
    author: str
    revision: RevisionSummary | None
    plan: PlanSummary | None
    open_threads: int
    active_run: int | None
    merged_version: NotRequired[int | None]
    merged_at: NotRequired[str | None]
    created_at: str
    updated_at: str
    description: NotRequired[str]
    close_reason: NotRequired[str]
    merge_schema: NotRequired[bool]
    merged_by: str | None
    merge_when_ready: WaitingMerge | None
    verdicts: list[Review]
    approvals: int
    awaited_reviews: list[str]
    blockers: dict[str, list[Blocker]]


ChangeRequestStatus = Literal["draft", "pending", "merging", "merged", "closed"]


class Check(TypedDict):
    """The outcome of one check of the merged result."""

    name: str
    ok: bool
    message: str
    failures: int


class ChosenForMany(TypedDict):
    """What a choice for many did."""

    chosen: int
    unresolved: int
    undo: str


class Column(TypedDict):
    """A column of the table."""

    name: str
    type: str
    nullable: bool
    comment: str


class ColumnAction(TypedDict):
    """What is to become of a column of the content."""

    action: ActionEnum
    to: NotRequired[str]
    type: NotRequired[str]


class ColumnAuthor(TypedDict):
    """Somebody whose requests changed the column."""

    author: str
    times: int
    version: int
    merged_at: str | None


class ColumnChange(TypedDict):
    """What one merged request did to the column."""

    change_request: str
    title: str
    version: int
    merged_at: str | None
    author: str
    merged_by: str
    approved_by: list[str]
    reverts: str | None
    cells: int
    added: bool


class ColumnHistory(TypedDict):
    """A page of a column's changes, newest first, and everybody whose requests changed it."""

    next: str | None
    column: str
    is_there: bool
    times: int
    people: list[ColumnAuthor]
    results: list[ColumnChange]


class Comment(TypedDict):
    """A remark on the request, a row or a cell; ``thread`` is null for the first of a thread."""

    id: int
    thread: int | None
    author: str
    body: str
    row_key: dict[str, Any] | None
    column: NotRequired[str]
    revision: int | None
    cell: CommentedCell | None
    suggestion: Suggestion | None
    resolved_by: str | None
    resolved_at: NotRequired[str | None]
    created_at: str


class CommentedCell(TypedDict):
    """What the content did to the row, or cell, that a remark is about, when it was written."""

    operation: OperationEnum
    base: Any
    proposed: Any


class ComparedCell(TypedDict):
    """One cell that differs; null where the row is absent, too."""

    column: str
    to: Any


class ComparedRow(TypedDict):
    """One row that differs: its key and the cells that do."""

    key: dict[str, Any]
    operation: OperationEnum
    cells: list[ComparedCell]


class ComparisonPage(TypedDict):
    """A page of differing rows in key order."""

    next: str | None
    previous: str | None
    total: int
    reads: list[EngineRead]
    results: list[ComparedRow]


class Conflict(TypedDict):
    """A cell (or, with ``column`` null, a row) that Current and Proposed both changed."""

    key: dict[str, Any]
    column: str | None
    kind: str
    base: Any
    current: Any
    proposed: Any
    inputs_digest: str
    legal_choices: list[str]
    message: str
    choice: str | None
    value: Any
    beside: int


ConflictChoice = Literal["current", "proposed", "base", "custom", "keep", "delete"]


ConflictPolicyEnum = Literal["cell", "row"]


class ConflictsPage(TypedDict):
    """A page of conflicts with the exact counts of all of them."""

    next: str | None
    total: int
    unresolved: int
    matching: int
    table_version: int
    offered: dict[str, int]
    selection: str
    selections: dict[str, str]
    choices: list[StandingChoice]
    results: list[Conflict]


class Connection(TypedDict):
    """A store that tables lie in. What is for operators alone is null for others."""

    name: str
    kind: ConnectionKindEnum
    root: str
    options: dict[str, str] | None
    secrets: list[str] | None
    references: dict[str, str] | None
    prefixes: list[Prefix]
    created_at: str


ConnectionKindEnum = Literal["local", "s3", "gcs", "azure"]


class ContentError(TypedDict):
    """ContentError."""

    line: int | None
    column: str | None
    code: str
    message: str
    value: str | None


class Counts(TypedDict):
    """Counts as Great Expectations gives them."""

    element_count: int
    missing_count: int | None
    missing_percent: float | None
    unexpected_count: int
    unexpected_percent: float | None
    unexpected_percent_total: float | None


class Dataset(TypedDict):
    """One Delta table with primary key columns."""

    id: int
    project: str
    slug: str
    name: str
    description: NotRequired[str]
    table_uri: str
    catalog_table: str
    primary_keys: list[str]
    meta: Meta
    created_at: str


class DatasetDetail(TypedDict):
    """A dataset with its rules and the caller's role."""

    id: int
    project: str
    slug: str
    name: str
    description: NotRequired[str]
    table_uri: str
    catalog_table: str
    primary_keys: list[str]
    meta: MetaWithSchema
    created_at: str
    role: RoleOrNone
    required_approvals: NotRequired[int]
    contributors_may_merge: NotRequired[bool]
    threads_must_be_resolved: NotRequired[bool]
    service_approvals_count: NotRequired[bool]
    delete_limit: NotRequired[str]
    conflict_policy: NotRequired[ConflictPolicyEnum]
    staging_cleanup: NotRequired[StagingCleanupEnum]
    write_checkpoints: NotRequired[bool]
    compact_files: NotRequired[bool]
    remove_old_files: NotRequired[bool]
    keep_files_days: NotRequired[int]
    block_pre_existing: NotRequired[bool]
    engine: NotRequired[DatasetEngine]


DatasetEngine = Literal["auto", "duckdb", "spark"]


class DatasetReference(TypedDict):
    """Which dataset a change request is for."""

    id: int
    project: str
    slug: str
    name: str


class Decision(TypedDict):
    """What was chosen for a conflict of the row or one of its cells."""

    column: str | None
    choice: str
    chosen_by: str


class Delivery(TypedDict):
    """One message on its way to a webhook."""

    id: int
    kind: str
    event: str | None
    status: MaintenanceStatus
    attempts: NotRequired[int]
    queued_at: str
    next_attempt_at: str | None
    finished_at: NotRequired[str | None]
    response: Answer | None
    error: str
    repeats: int | None


class DeviceSignIn(TypedDict):
    """How a program that waits to be let in tells its person, and goes on asking (RFC 8628)."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class DiffPage(TypedDict):
    """A page of the cell-level diff in key order."""

    next: str | None
    previous: str | None
    total: int
    results: list[RowChange]


class EditedCell(TypedDict):
    """One edited cell."""

    column: str
    value: Any
    seen: Any
    current: Any
    moved: bool
    problem: str


class EditedRow(TypedDict):
    """One edited row."""

    name: str
    operation: OperationEnum
    key: dict[str, Any]
    cells: list[EditedCell]
    problem: str
    gone: bool
    current: dict[str, Any] | None


EmptyCells = Literal["keep", "null", "text"]


class EngineRead(TypedDict):
    """What looked for rows in the table: in how many ``files``, of how many ``bytes`` as a whole, and what it found."""

    engine: ReadingEngine
    files: int
    bytes: int
    rows: int
    seconds: float


EngineWork = Literal["rewrite", "write"]


class EngineWrite(TypedDict):
    """What wrote data files for a merge: rows of the table again (``rewrite``) or those that came (``write``)."""

    engine: ReadingEngine
    work: EngineWork
    files: int
    bytes: int
    rows: int
    seconds: float


class Event(TypedDict):
    """One entry of the audit trail."""

    sequence: int
    occurred_at: str
    actor: str
    action: str
    data: dict[str, Any]
    request_id: str
    hash: str
    previous_hash: str


class ExpectationCheck(TypedDict):
    """What the expectations say of a change request: of its changed rows, or (``full``) of the merged result."""

    suite_version: int
    revision_digest: str
    table_version: int
    full: bool
    run: int | None
    checked_at: str
    passed: int
    warnings: int
    pre_existing: int
    deferred: int
    unanswered: list[int]
    overrides: list[ExpectationOverride]
    results: list[ExpectationResult]


class ExpectationOverride(TypedDict):
    """An owner answers for broken expectations, while suite, content and choices stay."""

    suite_version: int
    revision_digest: str
    expectations: list[dict[str, Any]]
    reason: str
    given_by: str
    given_at: str


class ExpectationResult(TypedDict):
    """The verdict on one expectation; its rows have an address of their own."""

    number: int
    type: str
    columns: list[str]
    severity: str
    state: str
    scope: str
    blocking: bool
    overridden: bool
    message: str
    observed: Any
    before: Any
    counts: Counts | None
    counts_before: Counts | None
    new_failures: int
    pre_existing_failures: int
    failing_rows_total: int
    error: str | None


class FailingRow(TypedDict):
    """A row that fails: its key, what was judged, and what stood there before where the change replaces it."""

    key: dict[str, Any]
    values: dict[str, Any]
    before: dict[str, Any] | None
    new: bool


class FailingRowsPage(TypedDict):
    """Failing rows of one expectation, the new ones first; ``total`` is exact, ``kept`` of them are listed."""

    next: str | None
    total: int
    kept: int
    results: list[FailingRow]


class Folder(TypedDict):
    """What lies in a folder, by name."""

    address: str
    above: str | None
    places: list[Place]
    has_more: bool


FollowUpEnum = Literal["submit", "merge_when_ready"]


class FollowedUp(TypedDict):
    """What was done with a request after its content was staged; why no more where that was not all."""

    outcome: OutcomeEnum
    code: NotRequired[str]
    message: NotRequired[str]


class Found(TypedDict):
    """What the content would change, proposed as it is."""

    version: int
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    noop_rows: int
    cells_updated: dict[str, int]
    columns: list[str]
    new_columns: dict[str, str]
    warnings: list[str]
    rows: list[FoundRow]


class FoundCell(TypedDict):
    """A cell that would be replaced."""

    key: dict[str, Any] | None
    row: str
    column: str
    before: Any
    after: Any


class FoundRow(TypedDict):
    """One row that would change: its key and the cells that do."""

    key: dict[str, Any]
    operation: OperationEnum
    cells: list[Cell]
    filled: list[str]


class Group(TypedDict):
    """People who get roles together."""

    id: int
    name: str
    members: int


class GroupedChange(TypedDict):
    """Equal edits of one column: ``column: old -> new, rows``."""

    column: str
    old: Any
    new: Any
    rows: int


class HistoryPage(TypedDict):
    """Versions of the table, newest first."""

    next: str | None
    is_complete: bool
    results: list[TableVersion]


class Invitation(TypedDict):
    """Somebody who was asked in and has no account yet."""

    id: int
    email: str
    first_name: NotRequired[str]
    last_name: NotRequired[str]
    project: str | None
    role: NotRequired[str]
    invited_by: str
    created_at: str
    expires_at: str


class KeyLook(TypedDict):
    """How columns do as a key."""

    is_key: bool
    null_rows: int
    duplicate_keys: int
    examples: list[dict[str, Any]]


LevelEnum = Literal["watch", "participating", "mute"]


class LookedAt(TypedDict):
    """The same, with what a person decides by."""

    version: int
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    noop_rows: int
    cells_updated: dict[str, int]
    columns: list[str]
    new_columns: dict[str, str]
    warnings: list[str]
    rows: list[FoundRow]
    duplicate_rows: NotRequired[int]
    cells_becoming_null: NotRequired[dict[str, int]]
    unknown_columns: NotRequired[list[UnknownColumn]]


class Maintenance(TypedDict):
    """The dry run, what is due by the settings, and the last visits, newest first."""

    condition: TableCondition | None
    due: list[MaintenanceJob]
    old_files: RemovableFiles | None
    leftover_files: RemovableFiles | None
    runs: list[MaintenanceRun]


MaintenanceJob = Literal["checkpoint", "compaction", "orphans", "vacuum"]


class MaintenanceRun(TypedDict):
    """One visit to the table."""

    id: int
    jobs: list[MaintenanceJob]
    status: NotRequired[MaintenanceStatus]
    requested_by: str | None
    reason: NotRequired[str]
    queued_at: str
    started_at: NotRequired[str | None]
    finished_at: NotRequired[str | None]
    version_before: NotRequired[int | None]
    version_after: NotRequired[int | None]
    row_count: NotRequired[int | None]
    report: dict[str, Any]
    waits_for_store: StoreWait | None
    error_code: NotRequired[str]
    error_message: NotRequired[str]


MaintenanceStatus = Literal["queued", "running", "succeeded", "failed"]


class MarkedRead(TypedDict):
    """How many were unread before, and how many still are."""

    marked: int
    unread: int


class Member(TypedDict):
    """Who has which role on the dataset or project, and whether the dataset's project gives it."""

    kind: MemberKind
    name: str
    role: Role
    inherited: bool


MemberKind = Literal["user", "group"]


class MergeResult(TypedDict):
    """A merge that stands in the table."""

    merged_version: int
    commit_id: str
    rows_affected: int
    rows_agreed: int
    diff: VersionDiff
    cells_updated: dict[str, int]
    strategy: str
    reads: NotRequired[list[EngineRead]]
    writes: NotRequired[list[EngineWrite]]
    conflicts_overridden: int
    validation: list[Check]


class MergeRun(TypedDict):
    """One attempt to merge a change request."""

    id: int
    change_request: str
    dataset: int
    status: NotRequired[MergeRunStatus]
    phase: NotRequired[MergeRunPhase]
    requested_by: str
    requested_for: NotRequired[str]
    message: NotRequired[str]
    revision_digest: str
    suite_version: int | None
    skip_conflict_check: NotRequired[bool]
    force_merge: NotRequired[bool]
    override_reason: NotRequired[str]
    overridden: list[Overridden]
    attempts: NotRequired[int]
    queued_at: str
    started_at: NotRequired[str | None]
    finished_at: NotRequired[str | None]
    waits_for_store: StoreWait | None
    error: RunError | None
    result: MergeResult | None


class MergeRunDetail(TypedDict):
    """A run with its place in the queue."""

    id: int
    change_request: str
    dataset: int
    status: NotRequired[MergeRunStatus]
    phase: NotRequired[MergeRunPhase]
    requested_by: str
    requested_for: NotRequired[str]
    message: NotRequired[str]
    revision_digest: str
    suite_version: int | None
    skip_conflict_check: NotRequired[bool]
    force_merge: NotRequired[bool]
    override_reason: NotRequired[str]
    overridden: list[Overridden]
    attempts: NotRequired[int]
    queued_at: str
    started_at: NotRequired[str | None]
    finished_at: NotRequired[str | None]
    waits_for_store: StoreWait | None
    error: RunError | None
    result: MergeResult | None
    queue_position: int | None


MergeRunPhase = Literal["queued", "checking", "validating", "writing", "committing", "recording", "done"]


MergeRunStatus = Literal["queued", "running", "succeeded", "conflicted", "invalid", "failed", "cancelled"]


class MergedContract(TypedDict):
    """The answer of ``POST /delta/merge-cr`` once the merge stands."""

    status: MergedContractStatusEnum
    merged_version: int
    commit_id: str
    rows_affected: int
    diff: VersionDiff
    cleanup: bool


MergedContractStatusEnum = Literal["ok"]


class MergedRowChange(TypedDict):
    """What one merged change request did to the row."""

    change_request: str
    title: str
    description: str
    version: int
    merged_at: str | None
    author: str
    merged_by: str
    requested_for: str
    message: str
    override_reason: str
    approved_by: list[str]
    decisions: list[Decision]
    reverts: str | None
    operation: OperationEnum
    changed: list[str]
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    changed_outside: list[str]


class Meta(TypedDict):
    """What is known of the table: right after every merge, reconciled when others write."""

    table_id: str
    delta_version: int
    row_count: NotRequired[int | None]
    size_bytes: int
    file_count: int
    partition_columns: NotRequired[Any]
    strategy: NotRequired[str]
    problem: NotRequired[str]
    difference: NotRequired[str]
    unreachable_since: NotRequired[str | None]
    unreachable_reason: NotRequired[str]
    unreachable_for_good: NotRequired[bool]
    version_timestamp: NotRequired[str | None]
    checked_at: str


class MetaWithSchema(TypedDict):
    """The same, with the table's schema in Delta's own JSON."""

    table_id: str
    delta_version: int
    row_count: NotRequired[int | None]
    size_bytes: int
    file_count: int
    partition_columns: NotRequired[Any]
    strategy: NotRequired[str]
    problem: NotRequired[str]
    difference: NotRequired[str]
    unreachable_since: NotRequired[str | None]
    unreachable_reason: NotRequired[str]
    unreachable_for_good: NotRequired[bool]
    version_timestamp: NotRequired[str | None]
    checked_at: str
    schema_json: Any


class Moved(TypedDict):
    """What happened in the table to the rows of an open request since its base version."""

    base_version: int
    version: int
    rows_moved: int
    rows_settled: int
    conflicts: int
    cells_moved: dict[str, int]
    cells_edited: dict[str, int]
    columns_gained: list[str]
    rows: list[MovedRow]


class MovedCell(TypedDict):
    """A cell that moved in the table; where the request changes it too (``edited``), ``proposed`` says to what."""

    column: str
    base: Any
    current: Any
    edited: bool
    proposed: Any


class MovedRow(TypedDict):
    """A row of the request that is not as it was: updated in the table, or inserted or deleted as a whole."""

    key: dict[str, Any]
    operation: OperationEnum
    cells: list[MovedCell]


class NewColumn(TypedDict):
    """A column that the table does not have yet."""

    name: str
    type: str


class NewInvitation(TypedDict):
    """An invitation and, this once, the address that opens an account."""

    id: int
    email: str
    first_name: NotRequired[str]
    last_name: NotRequired[str]
    project: str | None
    role: NotRequired[str]
    invited_by: str
    created_at: str
    expires_at: str
    address: str
    mailed: bool


class NewToken(TypedDict):
    """A token for the header ``Authorization: Token …``; it is shown once."""

    token: str
    expiry: str | None
    number: str
    name: str
    scopes: list[ScopesEnum]
    agent: str


class NewWebhook(TypedDict):
    """A webhook with its secret, which is told this once."""

    id: int
    name: str
    project: str | None
    dataset: str | None
    host: str
    format: WebhookFormat
    actions: list[str]
    is_active: bool
    stopped: WebhookStopped | None
    failing_since: NotRequired[str | None]
    former_secret_ends_at: str | None
    created_by: str
    created_at: str
    secret: str


class Notification(TypedDict):
    """One piece of news: what happened, why the caller is told, and what to do next."""

    id: int
    kind: NotificationKind
    reason: NotificationReason
    headline: str
    why: str
    what_to_do: str
    action: str
    actor: str
    change_request: str | None
    dataset: int | None
    occurred_at: str
    read_at: NotRequired[str | None]


NotificationKind = Literal[
    "review_requested",
    "mentioned",
    "conversation",
    "reviewed",
    "changed",
    "state",
    "merged",
    "merge_stopped",
    "dataset",
    "access",
]


NotificationReason = Literal[
    "concerned",
    "review_requested",
    "mentioned",
    "merger",
    "author",
    "thread",
    "participant",
    "owner",
    "watching",
    "watching_dataset",
]


class NotificationSettings(TypedDict):
    """How to be told of each kind; in a change those that are left out stay as they are."""

    review_requested: NotRequired[NotificationWay]
    mentioned: NotRequired[NotificationWay]
    conversation: NotRequired[NotificationWay]
    reviewed: NotRequired[NotificationWay]
    changed: NotRequired[NotificationWay]
    state: NotRequired[NotificationWay]
    merged: NotRequired[NotificationWay]
    merge_stopped: NotRequired[NotificationWay]
    dataset: NotRequired[NotificationWay]
    access: NotRequired[NotificationWay]


NotificationWay = Literal["inbox", "email", "digest", "off"]


OperationEnum = Literal["insert", "update", "delete"]


OutcomeEnum = Literal["reading", "staged", "submitted", "merge_when_ready", "nothing_to_change"]


class Overridden(TypedDict):
    """A gate that an owner overrode."""

    code: str
    sentence: str


class Overwritten(TypedDict):
    """A cell that held something else than the caller saw; undoing brings it back."""

    row: str
    column: str
    before: Any


class OwnToken(TypedDict):
    """The token that is sent, and whose it is."""

    number: str
    name: str
    scopes: list[ScopesEnum]
    created: str
    expiry: str | None
    agent: str
    last_used_at: str | None
    username: str


class PaginatedChangeRequestList(TypedDict):
    """PaginatedChangeRequestList."""

    next: NotRequired[str]
    previous: NotRequired[str]
    results: list[ChangeRequest]


class PaginatedCommentList(TypedDict):
    """PaginatedCommentList."""

    next: NotRequired[str]
    previous: NotRequired[str]
    results: list[Comment]


class PaginatedDatasetList(TypedDict):
    """PaginatedDatasetList."""

    next: NotRequired[str]
    previous: NotRequired[str]
    results: list[Dataset]


class PaginatedDeliveryList(TypedDict):
    """PaginatedDeliveryList."""

    next: NotRequired[str]
    previous: NotRequired[str]
    results: list[Delivery]


class PaginatedEventList(TypedDict):
    """PaginatedEventList."""

    next: NotRequired[str]
    previous: NotRequired[str]
    results: list[Event]


class PaginatedGroupList(TypedDict):
    """PaginatedGroupList."""

    next: NotRequired[str]
    previous: NotRequired[str]
    results: list[Group]


class PaginatedInvitationList(TypedDict):
    """PaginatedInvitationList."""

    next: NotRequired[str]
    previous: NotRequired[str]
    results: list[Invitation]


class PaginatedMergeRunList(TypedDict):
    """PaginatedMergeRunList."""

    next: NotRequired[str]
    previous: NotRequired[str]
    results: list[MergeRun]


class PaginatedNotificationList(TypedDict):
    """PaginatedNotificationList."""

    next: NotRequired[str]
    previous: NotRequired[str]
    results: list[Notification]


class PaginatedProjectList(TypedDict):
    """PaginatedProjectList."""

    next: NotRequired[str]
    previous: NotRequired[str]
    results: list[Project]


class PaginatedReviewList(TypedDict):
    """PaginatedReviewList."""

    next: NotRequired[str]
    previous: NotRequired[str]
    results: list[Review]


class PaginatedRevisionList(TypedDict):
    """PaginatedRevisionList."""

    next: NotRequired[str]
    previous: NotRequired[str]
    results: list[Revision]


class PaginatedServiceAccountList(TypedDict):
    """PaginatedServiceAccountList."""

    next: NotRequired[str]
    previous: NotRequired[str]
    results: list[ServiceAccount]


class PaginatedSuiteVersionList(TypedDict):
    """PaginatedSuiteVersionList."""

    next: NotRequired[str]
    previous: NotRequired[str]
    results: list[SuiteVersion]


class Person(TypedDict):
    """Somebody with an account."""

    username: str
    name: str


class Place(TypedDict):
    """A folder, a Delta table, or one that is a dataset already."""

    name: str
    address: str
    kind: PlaceKindEnum


PlaceKindEnum = Literal["folder", "table", "dataset"]


class Places(TypedDict):
    """Where tables may lie that the caller may register, and one folder of it."""

    roots: list[str]
    folder: Folder


class Plan(TypedDict):
    """What a merge would do on ``table_version``; ``problem`` says why no plan could be made."""

    revision: int
    revision_digest: str
    resolutions_digest: str
    plan_digest: NotRequired[str]
    table_version: int
    strategy: NotRequired[str]
    rows_added: NotRequired[int]
    rows_updated: NotRequired[int]
    rows_deleted: NotRequired[int]
    rows_agreed: NotRequired[int]
    cells_updated: dict[str, int]
    schema_changes: list[SchemaChange]
    conflicts: NotRequired[int]
    unresolved: NotRequired[int]
    row_count_before: NotRequired[int]
    row_count_after: NotRequired[int]
    deleted_share: NotRequired[float]
    reads: list[EngineRead]
    problem_code: NotRequired[str]
    problem: NotRequired[str]
    checked_at: str


class PlanSummary(TypedDict):
    """The last check in the numbers that lists show."""

    table_version: int
    outdated: bool
    conflicts: NotRequired[int]
    unresolved: NotRequired[int]
    problem_code: NotRequired[str]
    checked_at: str


class Prefix(TypedDict):
    """A folder below which the owners of a project add tables."""

    id: int
    project: str
    path: NotRequired[str]
    address: str


class Preview(TypedDict):
    """A look at content before it is proposed: where that stands, how it is read, and what was found."""

    id: int
    status: MaintenanceStatus
    dataset: int
    change_request: str | None
    kind: UploadKind
    sql: str
    file_name: NotRequired[str]
    size_bytes: NotRequired[int]
    columns: dict[str, ColumnAction]
    empty_cells: EmptyCells | BlankEnum
    rows_read: NotRequired[int]
    waits_for_store: StoreWait | None
    found: LookedAt | None
    problem: UploadProblem | None
    asked_at: str
    finished_at: NotRequired[str | None]
    url: str


class Project(TypedDict):
    """A group of datasets."""

    id: int
    slug: str
    name: str
    description: NotRequired[str]
    created_at: str


class ProjectDetail(TypedDict):
    """A project with the caller's role."""

    id: int
    slug: str
    name: str
    description: NotRequired[str]
    created_at: str
    role: RoleOrNone


class Proposal(TypedDict):
    """What became of a proposal so far."""

    upload: ReceivedUpload | None
    change_request: ChangeRequestDetail | None
    outcome: OutcomeEnum


class Query(TypedDict):
    """A statement that is tried: where that stands, and what was found."""

    id: int
    status: MaintenanceStatus
    dataset: int
    sql: str
    merge_schema: NotRequired[bool]
    rows_read: NotRequired[int]
    waits_for_store: StoreWait | None
    found: Found | None
    problem: UploadProblem | None
    asked_at: str
    finished_at: NotRequired[str | None]
    url: str


class ReadExpectation(TypedDict):
    """One expectation in words."""

    number: int
    type: str
    severity: str
    explanation: str
    columns: list[str]


Readiness = Literal[
    "merging", "queued", "checking", "conflicts", "changes_requested", "blocked", "needs_review", "ready"
]


ReadingEngine = Literal["duckdb", "spark"]


class ReceivedUpload(TypedDict):
    """An upload: where it stands, what came of it, and where to go on."""

    id: int
    state: UploadState
    dataset: int
    change_request: str | None
    revision: int | None
    waits_for_store: StoreWait | None
    problem: UploadProblem | None
    kind: UploadKind
    source: str
    follow_up: FollowUpEnum | BlankEnum
    followed_up: FollowedUp | None
    file_name: NotRequired[str]
    size_bytes: NotRequired[int]
    rows_read: NotRequired[int]
    uploaded_by: str
    received_at: str
    finished_at: NotRequired[str | None]
    cancel_requested: bool
    url: str
    change_request_url: str | None


class RemovableFiles(TypedDict):
    """Files that would be removed now."""

    files: int
    size_bytes: int


class Replaced(TypedDict):
    """What was found; `tray` where it was replaced."""

    cells: int
    rows: int
    shown: list[FoundCell]
    tray: Applied | None


class Review(TypedDict):
    """A verdict on one revision together with the choices as they stood then."""

    id: int
    reviewer: str
    verdict: VerdictEnum
    body: NotRequired[str]
    revision: int
    revision_digest: str
    resolutions_digest: str
    created_at: str


class ReviewRequest(TypedDict):
    """Somebody, or one of a group, was asked for a review."""

    id: int
    user: str | None
    group: str | None
    asked_by: str
    asked_at: str
    answered: bool


class Revision(TypedDict):
    """One immutable staged content."""

    number: int
    digest: str
    base_version: int
    rows: int
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    noop_rows: int
    columns: list[str]
    cells_updated: dict[str, int]
    new_columns: list[NewColumn]
    warnings: list[str]
    file_name: NotRequired[str]
    created_by: str
    created_at: str


class RevisionSummary(TypedDict):
    """The current content in numbers."""

    number: int
    digest: str
    base_version: int
    rows: int
    rows_inserted: int
    rows_updated: int
    rows_deleted: int


Role = Literal["viewer", "contributor", "owner"]


RoleOrNone = Literal["viewer", "contributor", "owner", "none"]


class RowChange(TypedDict):
    """One changed row: its key and the cells that change."""

    key: dict[str, Any]
    operation: OperationEnum
    cells: list[Cell]
    filled: NotRequired[list[str]]


class RowHistory(TypedDict):
    """Every merged change of a row, oldest first, and the origin of each of its cells of today."""

    key: dict[str, Any]
    is_complete: bool
    current: dict[str, Any] | None
    changes: list[MergedRowChange]
    cells: dict[str, CellOrigin]
    unreadable: dict[str, str]


class RowPage(TypedDict):
    """Rows of the table in a stable order."""

    next: str | None
    previous: str | None
    version: int
    columns: list[Column]
    reads: list[EngineRead]
    results: list[dict[str, Any]]


class RunError(TypedDict):
    """Why a run ended without a merge; of one that succeeded, how the table differs from what was planned."""

    code: str
    message: str


class SavedView(TypedDict):
    """A view: what it is of, and what it filters by."""

    id: int
    name: str
    dataset: int | None
    filters: dict[str, str]
    updated_at: str


class SchemaChange(TypedDict):
    """A change of the table's schema that the merge makes."""

    kind: str
    column: str
    type: str


ScopesEnum = Literal["read", "propose", "review", "merge", "admin"]


class ServiceAccount(TypedDict):
    """What a pipeline is here."""

    id: int
    username: str
    purpose: NotRequired[str]
    project: NotRequired[str | None]
    made_by: NotRequired[str | None]
    created_at: str
    is_active: bool


class Session(TypedDict):
    """A browser in which the caller is signed in."""

    started_at: str | None
    last_seen_at: str | None
    address: str
    browser: str


class Split(TypedDict):
    """A request that was parted."""

    revision: Revision
    follow_up: str


class SplitCounts(TypedDict):
    """What leaving it out does."""

    rows_left: int
    rows_parted: int
    rows_kept: int
    rows_whole: int
    cells_left: dict[str, int]


class StagedRows(TypedDict):
    """A page of staged rows in key order."""

    next: str | None
    previous: str | None
    results: list[dict[str, Any]]


StagingCleanupEnum = Literal["remove", "archive"]


class StandingChoice(TypedDict):
    """A choice that stands for a conflict: what was chosen, by whom and when."""

    key: dict[str, Any]
    column: str | None
    choice: ConflictChoice
    value: Any
    chosen_by: str
    chosen_at: str
    digest: str


class StillWaiting(TypedDict):
    """Nobody has decided yet."""

    interval: int


class StoreWait(TypedDict):
    """Why work waits: the store of the table does not answer. It is tried again by itself, and given up after hours."""

    reason: str
    next_try: str
    tries: int


class Subscription(TypedDict):
    """What the caller wants to hear."""

    level: LevelEnum


class Suggestion(TypedDict):
    """Another value for the cell."""

    value: Any
    taken: bool


class SuiteDetail(TypedDict):
    """A version with the suite itself, and each expectation in words."""

    version: int
    expectation_count: int
    note: str
    restored_from: int | None
    created_by: str
    created_at: str
    document: dict[str, Any]
    expectations: list[ReadExpectation]


class SuiteProposal(TypedDict):
    """A suite from the table's own data; ``document`` is null until a worker has made it."""

    id: int
    asked_at: str
    finished_at: str | None
    waits_for_store: StoreWait | None
    document: dict[str, Any] | None
    problem: str


class SuiteTrial(TypedDict):
    """A suite that was tried on the table; ``results`` are null until a worker has looked."""

    id: int
    asked_at: str
    finished_at: str | None
    waits_for_store: StoreWait | None
    table_version: int | None
    results: list[TriedExpectation] | None
    problem: str


class SuiteVersion(TypedDict):
    """One version of a dataset's expectations: who saved it, when and why."""

    version: int
    expectation_count: int
    note: str
    restored_from: int | None
    created_by: str
    created_at: str


class Table(TypedDict):
    """Schema and properties of the table at one version, from its log."""

    is_current: bool
    version: int
    table_id: str
    columns: list[Column]
    partition_columns: list[str]
    row_count: int | None
    size_bytes: int
    file_count: int
    strategy: str
    features: list[str] | None
    constraints: dict[str, str] | None
    properties: dict[str, str] | None
    warnings: list[str]
    timestamp: str | None


class TableCondition(TypedDict):
    """How worn the table is, from its log."""

    version: int
    row_count: int
    size_bytes: int
    files: int
    small_files: int
    vectors: int
    dead_rows: int
    misspelt_files: int
    checkpoint_due: bool
    obstacles: list[str]


class TableLook(TypedDict):
    """A table that may become a dataset."""

    table_uri: str
    catalog_table: str
    name: str
    version: int
    row_count: int
    size_bytes: int
    file_count: int
    columns: list[Column]
    partition_columns: list[str]
    strategy: str
    features: list[str]
    warnings: list[str]
    shares_identity: bool
    key: KeyLook | None


class TableVersion(TypedDict):
    """One commit of the table: which change request or which foreign job wrote it."""

    version: int
    timestamp: str | None
    operation: str
    user: str
    engine: str
    change_request: str | None
    rows_added: int | None
    rows_updated: int | None
    rows_deleted: int | None


class Token(TypedDict):
    """A token as the list shows it: not the token itself."""

    number: str
    name: str
    scopes: list[ScopesEnum]
    created: str
    expiry: str | None
    agent: str
    last_used_at: str | None


class Tray(TypedDict):
    """Edits of the caller that are not proposed yet, against the table as it is now."""

    version: int
    counts: TrayCounts
    rows: list[EditedRow]
    problems: int
    moved: int
    kept_until: str | None
    upload: int | None
    failure: str


class TrayCounts(TypedDict):
    """How much there is."""

    changes: int
    rows: int
    undo: bool
    redo: bool


class Trial(TypedDict):
    """What became of trying a connection."""

    is_usable: bool
    steps: list[TrialStep]


class TrialStep(TypedDict):
    """One thing that tables need of a store."""

    attempt: AttemptEnum
    works: bool | None
    said: str


class TriedExpectation(TypedDict):
    """What the table as it is says of one expectation."""

    number: int
    type: str
    columns: list[str]
    severity: str
    explanation: str
    ok: bool
    error: str | None
    observed: Any
    counts: Counts | None
    failing_rows: list[FailingRow]
    failing_rows_total: int


class Undone(TypedDict):
    """What undoing did."""

    restored: int
    kept: int
    unresolved: int


class UnknownColumn(TypedDict):
    """A column of the content that the table lacks, and that nobody has decided about."""

    name: str
    suggestion: str
    type: str


class Unresolved(TypedDict):
    """How many conflicts still need a choice."""

    unresolved: int


UploadKind = Literal["file", "rows", "sql", "table"]


class UploadProblem(TypedDict):
    """What ended an upload that was not staged: as the operation would have answered that waited for it."""

    code: str
    message: str
    errors: NotRequired[list[ContentError]]
    total: NotRequired[int]
    unknown_columns: NotRequired[list[UnknownColumn]]


UploadState = Literal["received", "reading", "checking", "staged", "refused", "failed", "cancelled"]


VerdictEnum = Literal["approve", "request_changes", "comment"]


class VersionDiff(TypedDict):
    """What the merge did to the table, in rows."""

    version_before: int
    version_after: int
    rows_added: int
    rows_updated: int
    rows_deleted: int


class ViewedGroups(TypedDict):
    """The groups of the content, and which of them the caller has viewed."""

    revision_digest: str
    total: int
    viewed: int
    groups: list[ChangeGroup]


class WaitingMerge(TypedDict):
    """Who wants the request merged as soon as nothing has to be waited for."""

    asked_by: str
    asked_at: str
    message: str


class Webhook(TypedDict):
    """A webhook, without its address and secret: they open something elsewhere, and are told to nobody again."""

    id: int
    name: str
    project: str | None
    dataset: str | None
    host: str
    format: WebhookFormat
    actions: list[str]
    is_active: bool
    stopped: WebhookStopped | None
    failing_since: NotRequired[str | None]
    former_secret_ends_at: str | None
    created_by: str
    created_at: str


WebhookFormat = Literal["json", "slack", "teams"]


WebhookStopped = Literal["by_owner", "failing", "gone"]
