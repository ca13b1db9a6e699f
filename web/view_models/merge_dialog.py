"""The merge dialog: where, what, which gates, and what the button says."""

from dataclasses import dataclass

from changerequests import policies
from changerequests.facts import Facts
from changerequests.models import PlanCheck, Revision
from changerequests.states import Action
from web.view_models.expectations import ExpectationSummary, expectation_summary
from web.view_models.merge_box import Gate, merge_box
from web.wording import counted, listed

STRATEGIES = {
    "merge-on-read": "Only the changed rows are written; deletion vectors hide the old ones.",
    "copy-on-write": "The files that hold changed rows are written anew.",
}


@dataclass(frozen=True)
class ColumnCount:
    """How many cells of a column change, and as a share of the longest bar."""

    name: str
    cells: int
    width: int


@dataclass(frozen=True)
class MergeDialog:
    """Everything the dialog says before the merge."""

    check: PlanCheck | None
    revision: Revision | None
    moved: str
    columns: tuple[ColumnCount, ...]
    schema_sentences: tuple[str, ...]
    strategy: str
    cells: int
    row_changes: int
    failed: tuple[Gate, ...]
    held: tuple[Gate, ...]
    has_failed_gates: bool
    only_waiting: bool
    may_merge: bool
    needs_name: bool
    delete_sentence: str
    may_override: bool
    conflicts_open: bool
    expectations: ExpectationSummary | None
    button: str


def merge_dialog(facts: Facts) -> MergeDialog:
    """The dialog from the newest check, as the person sees it."""
    check, revision = facts.plan_check, facts.revision
    found = policies.blockers(facts, Action.REQUEST_MERGE)
    guard = next((blocker for blocker in found if blocker.code == "delete_guard"), None)
    standing = [blocker for blocker in found if blocker.code != "delete_guard"]
    box = merge_box(facts)
    row_changes = check.rows_added + check.rows_updated + check.rows_deleted if check else 0
    most = max(check.cells_updated.values(), default=1) if check else 1
    return MergeDialog(
        check=check if check is not None and not check.problem else None,
        revision=revision,
        moved=_moved(check, revision),
        columns=tuple(
            ColumnCount(name, cells, max(1, round(100 * cells / most)))
            for name, cells in sorted(
                (check.cells_updated if check else {}).items(), key=lambda item: (-item[1], item[0])
            )
        ),
        schema_sentences=tuple(
            f"The column {change['column']} ({change['type']}) is added."
            for change in (check.schema_changes if check else [])
        ),
        strategy=STRATEGIES.get(check.strategy, "") if check else "",
        cells=sum(check.cells_updated.values()) if check else 0,
        row_changes=row_changes,
        failed=tuple(gate for gate in box.failed if guard is None or gate.sentence != guard.sentence),
        held=box.held,
        has_failed_gates=bool(standing),
        only_waiting=bool(standing) and all(blocker.kind == "wait" for blocker in standing),
        may_merge=policies.may(facts, Action.REQUEST_MERGE),
        needs_name=guard is not None,
        delete_sentence=guard.sentence if guard else "",
        may_override=facts.owns and bool(standing) and all(blocker.overridable for blocker in standing),
        conflicts_open=any(blocker.code == "conflicts_unresolved" for blocker in standing),
        expectations=expectation_summary(facts),
        button=f"Merge {counted(row_changes, 'row change')}",
    )


def _moved(check: PlanCheck | None, revision: Revision | None) -> str:
    """How far the table moved since the base and whether any of it touches the rows of this request."""
    if check is None or revision is None:
        return ""
    steps = check.table_version - revision.base_version
    if steps <= 0:
        return "It has not moved since the changes were uploaded."
    touched = []
    if check.conflicts:
        touched.append(f"{counted(check.conflicts, 'cell')} of yours changed there too")
    if check.rows_agreed:
        touched.append(
            f"{counted(check.rows_agreed, 'row')} already {'has' if check.rows_agreed == 1 else 'have'} "
            "your values"
        )
    rest = f"; {listed(touched)}." if touched else "; none of it conflicts with your rows."
    moved = f"It moved by {counted(steps, 'version')} since the changes were uploaded"
    return f"{moved} (base: version {revision.base_version}){rest}"
