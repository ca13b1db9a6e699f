"""The merge engine: staging, three-way plans and exactly-once merges on Delta tables. A pure library.

Everything that callers outside need is exported here; nothing else is imported from outside.

A change request's life in four calls: ``stage`` reads, types and checks proposed rows and pins the rows they were made
from; ``plan`` tells what merging them would do to the table as it is now; ``merge`` does it, atomically and exactly
once; ``invert`` makes the reverse of what was merged, as new staged content.
"""

from __future__ import annotations

from merging.diffs import read_diff
from merging.errors import (
    DuplicateKeys,
    InvalidCursor,
    InvalidFilter,
    InvalidKeys,
    InvalidResolution,
    MergeConflict,
    MergedOtherwise,
    MergeError,
    MergeFailed,
    StagedCorrupt,
    StagingRejected,
    StorageFull,
    TableChanged,
    TableNotFound,
    UnsupportedTable,
    ValidationFailed,
    VersionMoved,
)
from merging.executing import ENGINE_VERSION, MergeExecutor, merge, supersede
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
from merging.expectations.planned import ExpectationRules
from merging.expectations.tables import check_table, propose_expectations
from merging.maintaining import (
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
from merging.markers import LoggedMerge, LoggedMerges, find_merge, logged_merges, result_from_document
from merging.model import (
    ChangedRow,
    Check,
    Choice,
    Column,
    CommittedMerge,
    Conflict,
    KeyReport,
    MergeRequest,
    MergeResult,
    Page,
    Progress,
    RekeyedRow,
    Resolution,
    SchemaChange,
    StagingProblem,
    TableInfo,
    TablePage,
    TableVersion,
    ValidationReport,
    ValueGroup,
    VersionDiff,
)
from merging.moments import FarDate, FarMoment
from merging.parsing import Refused
from merging.planning import MergePlan, plan
from merging.rebasing import Rebased, Underneath, changes_under, rebase
from merging.reverting import invert
from merging.space import naming_full_disks
from merging.staged import Staged, open_staged
from merging.staging import stage
from merging.strict_json import read_json
from merging.tables import check_keys, create_table, history, inspect_table, preview
from merging.tracing import TracedRow, trace_row
from merging.values import json_form, text_form, typed_value
from merging.warming import warm_up

__all__ = [
    "ENGINE_VERSION",
    "ChangedRow",
    "Check",
    "Choice",
    "Column",
    "CommittedMerge",
    "Compacted",
    "Conflict",
    "DuplicateKeys",
    "ExpectationReport",
    "ExpectationResult",
    "ExpectationRules",
    "FarDate",
    "FarMoment",
    "InvalidCursor",
    "InvalidFilter",
    "InvalidKeys",
    "InvalidResolution",
    "KeyReport",
    "LoggedMerge",
    "LoggedMerges",
    "MergeConflict",
    "MergeError",
    "MergeExecutor",
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
    "SchemaChange",
    "Staged",
    "StagedCorrupt",
    "StagingProblem",
    "StagingRejected",
    "StorageFull",
    "Suite",
    "SuiteProblem",
    "SuiteRejected",
    "TableChanged",
    "TableCondition",
    "TableInfo",
    "TableNotFound",
    "TablePage",
    "TableVersion",
    "TracedRow",
    "Underneath",
    "UnsupportedTable",
    "ValidationFailed",
    "ValidationReport",
    "ValueGroup",
    "VersionDiff",
    "VersionMoved",
    "changes_under",
    "check_keys",
    "check_table",
    "compact",
    "create_table",
    "explain",
    "find_merge",
    "find_orphaned_files",
    "find_unneeded_files",
    "history",
    "inspect_table",
    "invert",
    "json_form",
    "logged_merges",
    "merge",
    "naming_full_disks",
    "open_staged",
    "parse_suite",
    "plan",
    "preview",
    "propose_expectations",
    "read_diff",
    "read_json",
    "rebase",
    "remove_files",
    "result_from_document",
    "stage",
    "supersede",
    "table_condition",
    "text_form",
    "trace_row",
    "typed_value",
    "validate_suite",
    "warm_up",
    "write_checkpoint",
]
