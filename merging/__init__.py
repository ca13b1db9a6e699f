"""The merge engine: staging, three-way plans and exactly-once merges on Delta tables. A pure library.

Everything that callers outside need is exported here; nothing else is imported from outside.

A change request's life in four calls: ``stage`` reads, types and checks proposed rows and pins the rows they were made
from; ``plan`` tells what merging them would do to the table as it is now; ``merge`` does it, atomically and exactly
once; ``invert`` makes the reverse of what was merged, as new staged content.
"""

from __future__ import annotations

from merging.confinement import Bounds, has_syscall_filter, run_confined
from merging.delta import VersionSize, set_reach
from merging.errors import (
    CommitDiffers,
    CommitRefused,
    CommitUnknown,
    ConfinedCancelled,
    ConfinedDied,
    ConfinedFailure,
    ConfinedOutOfMemory,
    ConfinedTooLong,
    DuplicateKeys,
    FileMissing,
    FilesElsewhere,
    InvalidCursor,
    InvalidFilter,
    InvalidKeys,
    InvalidResolution,
    MergeConflict,
    MergedOtherwise,
    MergeError,
    MergeFactsLost,
    MergeFailed,
    StagedCorrupt,
    StagingRejected,
    StorageFull,
    TableChanged,
    TableElsewhere,
    TableNotFound,
    TableUnreachable,
    TooLargeForWorkbook,
    UnsupportedTable,
    VersionGone,
    VersionMoved,
)
from merging.executing.executor import ENGINE_VERSION, MergeExecutor, merge, supersede
from merging.executing.markers import (
    LoggedMerge,
    LoggedMerges,
    find_merge,
    logged_merges,
    result_from_document,
)
from merging.executing.results import CommittedMerge, MergeDiffers, MergeResult, VersionDiff
from merging.expectations import (
    ExpectationReport,
    ExpectationResult,
    Suite,
    SuiteProblem,
    SuiteRejected,
    explain,
    parse_suite,
    validate_suite,
)
from merging.expectations.report import ValidationFailed, ValidationReport
from merging.expectations.rules import ExpectationRules
from merging.expectations.shapes import ExpectationShape, expectation_shapes, suite_value
from merging.expectations.tables import check_table, propose_expectations
from merging.history.comparing import (
    Differences,
    changes_merged,
    changes_staged,
    compare_staged,
    compare_versions,
    read_diff,
)
from merging.history.conflicts import stream_conflicts
from merging.history.going_back import stage_version
from merging.history.keys import contents_touched, key_filters, merges_that_may_hold
from merging.history.rebasing import Rebased, Underneath, changes_under, rebase
from merging.history.reverting import invert
from merging.history.tracing import TracedRow, trace_row, trace_rows
from merging.model import (
    CellText,
    ChangedRow,
    ChangesFilter,
    ChangesPage,
    Check,
    Choice,
    Column,
    ColumnAction,
    Conflict,
    ConflictFilter,
    ConflictKind,
    EmptyCells,
    Held,
    KeyReport,
    LeftOut,
    Page,
    Progress,
    RekeyedRow,
    Resolution,
    Row,
    SchemaChange,
    Sides,
    SplitCounts,
    StagingProblem,
    TableInfo,
    TablePage,
    TableVersion,
    UnknownColumn,
    ValueGroup,
)
from merging.sql.content_limits import ContentLimits
from merging.sql.encodings import FileFormat, encoded
from merging.sql.equality import same_value
from merging.sql.moments import FarDate, FarMoment
from merging.sql.parsing import Refused
from merging.sql.session import Limits, set_limits
from merging.sql.streams import RowStream, StreamEnded
from merging.sql.strict_json import read_json, write_json
from merging.sql.values import json_form, text_form, typed_value
from merging.staging import stage
from merging.staging.apart import stage_apart, stage_query_apart, stage_table_apart
from merging.staging.choices import ChoiceLine, read_choices
from merging.staging.sources import format_of
from merging.staging.splitting import Split, split, split_counts
from merging.staging.staged import Staged, open_for_pages, open_staged
from merging.store.folders import Contents, Folders, open_folders
from merging.store.keeping import keep_file, kept_files
from merging.store.space import naming_full_disks
from merging.tables.creating import TableProblem, create_empty_table, new_table_problems
from merging.tables.editing import BrokenRule, EditedTable, open_for_editing
from merging.tables.looking import check_keys, create_table, history, inspect_table, preview, sizes
from merging.tables.maintaining import (
    Compacted,
    RemovableFiles,
    TableCondition,
    compact,
    find_orphaned_files,
    find_unneeded_files,
    remove_files,
    table_condition,
    write_checkpoint,
)
from merging.tables.streaming import stream_rows
from merging.tables.warming import warm_up
from merging.threeway.kept_conflicts import (
    ConflictColumn,
    KeptConflicts,
    StandingChoice,
    keep_conflicts,
    open_conflicts,
)
from merging.threeway.plan import MergePlan, plan
from merging.threeway.request import MergeRequest

__all__ = [
    "ENGINE_VERSION",
    "Bounds",
    "BrokenRule",
    "CellText",
    "ChangedRow",
    "ChangesFilter",
    "ChangesPage",
    "Check",
    "Choice",
    "ChoiceLine",
    "Column",
    "ColumnAction",
    "CommitDiffers",
    "CommitRefused",
    "CommitUnknown",
    "CommittedMerge",
    "Compacted",
    "ConfinedCancelled",
    "ConfinedDied",
    "ConfinedFailure",
    "ConfinedOutOfMemory",
    "ConfinedTooLong",
    "Conflict",
    "ConflictColumn",
    "ConflictFilter",
    "ConflictKind",
    "ContentLimits",
    "Contents",
    "Differences",
    "DuplicateKeys",
    "EditedTable",
    "EmptyCells",
    "ExpectationReport",
    "ExpectationResult",
    "ExpectationRules",
    "ExpectationShape",
    "FarDate",
    "FarMoment",
    "FileFormat",
    "FileMissing",
    "FilesElsewhere",
    "Folders",
    "Held",
    "InvalidCursor",
    "InvalidFilter",
    "InvalidKeys",
    "InvalidResolution",
    "KeptConflicts",
    "KeyReport",
    "LeftOut",
    "Limits",
    "LoggedMerge",
    "LoggedMerges",
    "MergeConflict",
    "MergeDiffers",
    "MergeError",
    "MergeExecutor",
    "MergeFactsLost",
    "MergeFailed",
    "MergePlan",
    "MergeRequest",
    "MergeResult",
    "MergedOtherwise",
    "Page",
    "Progress",
    "Rebased",
    "Refused",
    "RekeyedRow",
    "RemovableFiles",
    "Resolution",
    "Row",
    "RowStream",
    "SchemaChange",
    "Sides",
    "Split",
    "SplitCounts",
    "Staged",
    "StagedCorrupt",
    "StagingProblem",
    "StagingRejected",
    "StandingChoice",
    "StorageFull",
    "StreamEnded",
    "Suite",
    "SuiteProblem",
    "SuiteRejected",
    "TableChanged",
    "TableCondition",
    "TableElsewhere",
    "TableInfo",
    "TableNotFound",
    "TablePage",
    "TableProblem",
    "TableUnreachable",
    "TableVersion",
    "TooLargeForWorkbook",
    "TracedRow",
    "Underneath",
    "UnknownColumn",
    "UnsupportedTable",
    "ValidationFailed",
    "ValidationReport",
    "ValueGroup",
    "VersionDiff",
    "VersionGone",
    "VersionMoved",
    "VersionSize",
    "changes_merged",
    "changes_staged",
    "changes_under",
    "check_keys",
    "check_table",
    "compact",
    "compare_staged",
    "compare_versions",
    "contents_touched",
    "create_empty_table",
    "create_table",
    "encoded",
    "expectation_shapes",
    "explain",
    "find_merge",
    "find_orphaned_files",
    "find_unneeded_files",
    "format_of",
    "has_syscall_filter",
    "history",
    "inspect_table",
    "invert",
    "json_form",
    "keep_conflicts",
    "keep_file",
    "kept_files",
    "key_filters",
    "logged_merges",
    "merge",
    "merges_that_may_hold",
    "naming_full_disks",
    "new_table_problems",
    "open_conflicts",
    "open_folders",
    "open_for_editing",
    "open_for_pages",
    "open_staged",
    "parse_suite",
    "plan",
    "preview",
    "propose_expectations",
    "read_choices",
    "read_diff",
    "read_json",
    "rebase",
    "remove_files",
    "result_from_document",
    "run_confined",
    "same_value",
    "set_limits",
    "set_reach",
    "sizes",
    "split",
    "split_counts",
    "stage",
    "stage_apart",
    "stage_query_apart",
    "stage_table_apart",
    "stage_version",
    "stream_conflicts",
    "stream_rows",
    "suite_value",
    "supersede",
    "table_condition",
    "text_form",
    "trace_row",
    "trace_rows",
    "typed_value",
    "validate_suite",
    "warm_up",
    "write_checkpoint",
    "write_json",
]
