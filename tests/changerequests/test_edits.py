"""A tray of edits: what is kept, what is told at the cell, what two tabs and two people do, and what is proposed."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

import merging
from changerequests.errors import EditsMoved, EditsProposed
from changerequests.models import ChangeRequest, EditedRow, Edits
from changerequests.services import edits, plans, retention, staging
from changerequests.services import replacing as replacing_module
from changerequests.services.edits import AddRow, DeleteRow, KeepRow, RestoreRow, RowName, SetCells
from changerequests.services.erasing import erase_person
from changerequests.services.replacing import Replacing, find, replace
from changerequests.states import Status
from datasets.errors import Forbidden, InvalidInput
from datasets.models import Dataset
from datasets.roles import Role
from datasets.services import preview
from tests.factories import PLANES, ChangeRequestFactory, DatasetFactory, merge, person_with

pytestmark = pytest.mark.django_db


def row(**key: Any) -> RowName:
    return RowName(key=key)


@pytest.fixture
def dataset() -> Dataset:
    made: Dataset = DatasetFactory.create()
    return made


@pytest.fixture
def carl(dataset: Dataset) -> User:
    return person_with(Role.CONTRIBUTOR, dataset)


def do(dataset: Dataset, person: User, *changes: edits.Change) -> edits.Applied:
    return edits.apply(dataset=dataset, actor=person, changes=changes)


def tray(dataset: Dataset, person: User) -> dict[str, Any]:
    """The tray in short: rows by their keys, with the edited cells."""
    found = edits.tray_of(dataset=dataset, person=person)
    return {
        "-".join(str(one) for one in told.key.values()): (
            told.operation, {cell.column: cell.value for cell in told.cells},
        )
        for told in found.rows
    }  # fmt: skip


def problems(dataset: Dataset, person: User) -> dict[str, str]:
    found = edits.tray_of(dataset=dataset, person=person)
    return {cell.column: cell.problem for told in found.rows for cell in told.cells if cell.problem}


def changed_in_table(dataset: Dataset, csv: str) -> None:
    """Somebody else's request, merged."""
    made: ChangeRequest = ChangeRequestFactory.create(dataset=dataset, csv=csv)
    merge(made, made.author)
    dataset.meta.refresh_from_db()


class TestEditing:
    def test_cells_rows_and_counts(self, dataset: Dataset, carl: User) -> None:
        applied = do(
            dataset,
            carl,
            SetCells(row(tailnum="N1"), {"seats": "150", "year": None}),
            DeleteRow(row(tailnum="N2")),
            AddRow({"tailnum": "N9", "seats": 4}),
        )
        assert len(applied.added) == 1
        assert tray(dataset, carl) == {
            "N1": ("update", {"seats": 150, "year": None}),
            "N2": ("delete", {}),
            "N9": ("insert", {"tailnum": "N9", "seats": 4}),
        }
        counts = edits.counts_of(edits.edits_of(dataset, carl))
        assert (counts.changes, counts.rows, counts.undo, counts.redo) == (4, 3, True, False)
        assert problems(dataset, carl) == {}

    def test_what_equals_the_table_is_no_edit(self, dataset: Dataset, carl: User) -> None:
        do(dataset, carl, SetCells(row(tailnum="N1"), {"seats": "150"}))
        do(dataset, carl, SetCells(row(tailnum="N1"), {"seats": "149"}))
        assert tray(dataset, carl) == {}

    def test_null_and_empty_text_are_two(self, dataset: Dataset, carl: User) -> None:
        do(dataset, carl, SetCells(row(tailnum="N1"), {"manufacturer": ""}))
        do(dataset, carl, SetCells(row(tailnum="N2"), {"manufacturer": None}))
        assert tray(dataset, carl) == {
            "N1": ("update", {"manufacturer": ""}),
            "N2": ("update", {"manufacturer": None}),
        }

    def test_what_does_not_fit_is_kept_and_told_at_the_cell(self, dataset: Dataset, carl: User) -> None:
        do(dataset, carl, SetCells(row(tailnum="N1"), {"seats": "many", "year": "2001"}))
        assert tray(dataset, carl)["N1"] == ("update", {"seats": "many", "year": 2001})
        assert problems(dataset, carl) == {"seats": 'Found "many"; expected a number (long).'}
        with pytest.raises(InvalidInput, match="seats"):
            edits.propose(dataset=dataset, actor=carl, title="Seats")
        assert ChangeRequest.objects.count() == 0
        assert tray(dataset, carl)["N1"][1]["seats"] == "many"

    def test_keys_name_rows(self, dataset: Dataset, carl: User) -> None:
        with pytest.raises(InvalidInput, match="part of the key"):
            do(dataset, carl, SetCells(row(tailnum="N1"), {"tailnum": "N7"}))
        with pytest.raises(InvalidInput, match="no such row"):
            do(dataset, carl, SetCells(row(tailnum="N404"), {"seats": 1}))
        with pytest.raises(InvalidInput, match="no column colour"):
            do(dataset, carl, SetCells(row(tailnum="N1"), {"colour": "red"}))
        assert tray(dataset, carl) == {}

    def test_added_rows_need_a_key_of_their_own(self, dataset: Dataset, carl: User) -> None:
        do(dataset, carl, AddRow({"seats": 1}))
        assert problems(dataset, carl) == {"tailnum": "tailnum is part of the key: give a value."}
        [name] = EditedRow.objects.values_list("name", flat=True)
        do(dataset, carl, SetCells(RowName(name=name), {"tailnum": "N1"}))
        assert problems(dataset, carl) == {"tailnum": "The table has a row N1 already: edit that one."}
        do(dataset, carl, SetCells(RowName(name=name), {"tailnum": "N8"}), AddRow({"tailnum": "N8"}))
        assert set(problems(dataset, carl).values()) == {"Another added row has the key N8, too."}
        do(dataset, carl, DeleteRow(RowName(name=name)))
        assert problems(dataset, carl) == {}

    def test_a_full_tray_says_the_way_out(
        self, dataset: Dataset, carl: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(edits, "MOST_ROWS", 2)
        do(dataset, carl, *(SetCells(row(tailnum=name), {"seats": 1}) for name in ("N1", "N2")))
        with pytest.raises(InvalidInput, match="upload the rows as a file"):
            do(dataset, carl, SetCells(row(tailnum="N3"), {"seats": 1}))
        assert set(tray(dataset, carl)) == {"N1", "N2"}

    def test_viewers_edit_nothing(self, dataset: Dataset) -> None:
        vera = person_with(Role.VIEWER, dataset)
        with pytest.raises(Forbidden):
            do(dataset, vera, SetCells(row(tailnum="N1"), {"seats": 1}))
        with pytest.raises(Forbidden):
            edits.tray_of(dataset=dataset, person=vera)
        with pytest.raises(Forbidden):
            find(dataset=dataset, actor=vera, replacing=Replacing(("manufacturer",), "B", "C"))
        assert Edits.objects.count() == 0


def test_every_type_is_edited_exactly_and_the_tables_rules_are_told() -> None:
    data = pa.table(
        {
            "id": pa.array([1], pa.int32()),
            "price": pa.array([Decimal("1.10")], pa.decimal128(20, 2)),
            "day": pa.array([date(2024, 2, 1)]),
            "flag": pa.array([True]),
            "point": pa.array([{"x": 1}]),
            "big": pa.array([2**53 + 1], pa.int64()),
        },
        schema=pa.schema(
            [
                pa.field("id", pa.int32(), nullable=False), pa.field("price", pa.decimal128(20, 2)),
                pa.field("day", pa.date32(), nullable=False), pa.field("flag", pa.bool_()),
                pa.field("point", pa.struct([("x", pa.int64())])), pa.field("big", pa.int64()),
            ]
        ),
    )  # fmt: skip
    dataset: Dataset = DatasetFactory.create(data=data, primary_keys=("id",))
    carl = person_with(Role.CONTRIBUTOR, dataset)
    given = {
        "price": "123456789012345678.25", "day": "2024-02-29", "flag": "false", "point": '{"x": 5}',
        "big": "9007199254740995",
    }  # fmt: skip
    do(dataset, carl, SetCells(row(id="1"), given))
    assert tray(dataset, carl)["1"][1] == {
        "price": "123456789012345678.25", "day": "2024-02-29", "flag": False, "point": {"x": 5},
        "big": 9007199254740995,
    }  # fmt: skip
    do(dataset, carl, SetCells(row(id="1"), {"day": None, "price": "1.005", "point": "{x", "flag": "maybe"}))
    assert problems(dataset, carl) == {
        "price": 'Found "1.005": a decimal(20,2) holds 18 digits before and 2 after the decimal point; nothing is '
        "rounded.",
        "flag": 'Found "maybe"; expected true or false.',
        "point": problems(dataset, carl)["point"],
    }
    assert "JSON" in problems(dataset, carl)["point"]
    do(dataset, carl, SetCells(row(id="1"), {"price": "2", "point": None, "flag": True}))
    assert problems(dataset, carl) == {"day": "day takes no NULL: give a value."}


class TestUndo:
    def test_steps_go_back_and_forth(self, dataset: Dataset, carl: User) -> None:
        do(dataset, carl, SetCells(row(tailnum="N1"), {"seats": 1}))
        do(dataset, carl, SetCells(row(tailnum="N1"), {"seats": 2}), DeleteRow(row(tailnum="N2")))
        both = tray(dataset, carl)
        edits.undo(dataset=dataset, actor=carl)
        assert tray(dataset, carl) == {"N1": ("update", {"seats": 1})}
        edits.undo(dataset=dataset, actor=carl)
        assert tray(dataset, carl) == {}
        assert edits.undo(dataset=dataset, actor=carl) == edits.Applied()
        edits.redo(dataset=dataset, actor=carl)
        edits.redo(dataset=dataset, actor=carl)
        assert tray(dataset, carl) == both
        edits.undo(dataset=dataset, actor=carl)
        do(dataset, carl, RestoreRow(row(tailnum="N1"), ("seats",)))
        assert tray(dataset, carl) == {}
        assert edits.redo(dataset=dataset, actor=carl) == edits.Applied()  # what was done since replaced it
        edits.undo(dataset=dataset, actor=carl)
        assert tray(dataset, carl) == {"N1": ("update", {"seats": 1})}

    def test_only_so_many_steps_are_kept(
        self, dataset: Dataset, carl: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(edits, "MOST_STEPS", 2)
        for seats in (1, 2, 3):
            do(dataset, carl, SetCells(row(tailnum="N1"), {"seats": seats}))
        for _ in range(4):
            edits.undo(dataset=dataset, actor=carl)
        assert tray(dataset, carl) == {"N1": ("update", {"seats": 1})}


class TestTwoAtOnce:
    def test_another_tab_is_told_and_undone(self, dataset: Dataset, carl: User) -> None:
        do(dataset, carl, SetCells(row(tailnum="N1"), {"seats": 1}, seen={"seats": 149}))
        applied = do(dataset, carl, SetCells(row(tailnum="N1"), {"seats": 2}, seen={"seats": 149}))
        assert [(one.column, one.before) for one in applied.overwritten] == [("seats", 1)]
        edits.undo(dataset=dataset, actor=carl)
        assert tray(dataset, carl) == {"N1": ("update", {"seats": 1})}

    def test_trays_are_each_persons_own(self, dataset: Dataset, carl: User) -> None:
        dora = person_with(Role.CONTRIBUTOR, dataset)
        do(dataset, carl, SetCells(row(tailnum="N1"), {"seats": 1}))
        do(dataset, dora, SetCells(row(tailnum="N1"), {"seats": 2}))
        assert tray(dataset, carl)["N1"][1] == {"seats": 1}
        assert tray(dataset, dora)["N1"][1] == {"seats": 2}

    def test_what_others_changed_is_shown_and_becomes_a_conflict(self, dataset: Dataset, carl: User) -> None:
        do(dataset, carl, SetCells(row(tailnum="N1"), {"seats": 1}), SetCells(row(tailnum="N2"), {"year": 1}))
        changed_in_table(dataset, "tailnum,seats\nN1,7\nN2,8\n")
        found = {told.key["tailnum"]: told for told in edits.tray_of(dataset=dataset, person=carl).rows}
        [seats] = found["N1"].cells
        assert (seats.moved, seats.seen, seats.current, seats.value) == (True, 149, 7, 1)
        assert not found["N2"].moved  # another cell of its row
        upload = edits.propose(dataset=dataset, actor=carl, title="Seats")
        upload.refresh_from_db()
        assert upload.revision is not None
        assert upload.revision.base_version == 0
        check = plans.check(change_request_id=upload.revision.change_request_id)
        assert check is not None
        assert (check.conflicts, check.unresolved) == (1, 1)

    def test_keeping_mine_is_said(self, dataset: Dataset, carl: User) -> None:
        do(dataset, carl, SetCells(row(tailnum="N1"), {"seats": 1}))
        changed_in_table(dataset, "tailnum,seats\nN1,7\n")
        do(dataset, carl, KeepRow(row(tailnum="N1")))
        [told] = edits.tray_of(dataset=dataset, person=carl).rows
        assert (told.moved, told.cells[0].seen) == (False, 7)
        upload = edits.propose(dataset=dataset, actor=carl, title="Seats")
        upload.refresh_from_db()
        assert upload.revision is not None
        check = plans.check(change_request_id=upload.revision.change_request_id)
        assert check is not None
        assert check.conflicts == 0

    def test_a_row_that_somebody_deleted(self, dataset: Dataset, carl: User) -> None:
        Dataset.objects.filter(pk=dataset.pk).update(delete_limit=1)
        do(dataset, carl, SetCells(row(tailnum="N1"), {"seats": 1}))
        changed_in_table(dataset, "_op,tailnum\ndelete,N1\nupdate,N2\n")
        [told] = edits.tray_of(dataset=dataset, person=carl).rows
        assert (told.gone, told.moved, told.current) == (True, True, None)
        with pytest.raises(InvalidInput, match="does not have the row any more"):
            do(dataset, carl, KeepRow(row(tailnum="N1")))

    @pytest.mark.django_db(transaction=True)
    def test_two_tabs_at_the_same_moment_lose_nothing(self) -> None:
        dataset: Dataset = DatasetFactory.create()
        carl = person_with(Role.CONTRIBUTOR, dataset)
        together = threading.Barrier(4)

        def edit(name: str) -> None:
            together.wait()
            try:
                do(dataset, carl, SetCells(row(tailnum=name), {"seats": 1}))
            finally:
                connection.close()

        with ThreadPoolExecutor(4) as tabs:
            list(tabs.map(edit, ("N1", "N2", "N3", "N4")))
        assert set(tray(dataset, carl)) == {"N1", "N2", "N3", "N4"}
        for _ in range(4):
            edits.undo(dataset=dataset, actor=carl)
        assert tray(dataset, carl) == {}


class TestProposing:
    def test_exactly_the_edits_are_proposed_and_the_tray_is_empty(self, dataset: Dataset, carl: User) -> None:
        do(
            dataset,
            carl,
            SetCells(row(tailnum="N1"), {"seats": 150, "manufacturer": None}),
            DeleteRow(row(tailnum="N2")),
            AddRow({"tailnum": "N9", "manufacturer": ""}),
        )
        upload = edits.propose(
            dataset=dataset, actor=carl, title="Three rows", description="Why", submit=True
        )
        upload.refresh_from_db()
        assert upload.revision is not None
        change_request = upload.revision.change_request
        assert (change_request.status, change_request.title) == (Status.PENDING, "Three rows")
        page = plans.changes_page(change_request=change_request, limit=10)
        assert [(one.operation, one.key, one.changed) for one in page.items] == [
            ("update", {"tailnum": "N1"}, ("manufacturer", "seats")),
            ("delete", {"tailnum": "N2"}, ("year", "manufacturer", "seats")),
            ("insert", {"tailnum": "N9"}, page.items[2].changed),
        ]
        assert page.items[2].proposed is not None
        assert page.items[2].proposed["manufacturer"] == ""
        assert Edits.objects.count() == 0

    @pytest.mark.usefixtures("deaf_staging")
    def test_edits_stand_still_while_they_are_proposed(self, dataset: Dataset, carl: User) -> None:
        do(dataset, carl, SetCells(row(tailnum="N1"), {"seats": 150}))
        upload = edits.propose(dataset=dataset, actor=carl, title="Seats")
        assert edits.propose(dataset=dataset, actor=carl, title="Seats again") == upload
        for refused in (
            lambda: do(dataset, carl, SetCells(row(tailnum="N1"), {"seats": 1})),
            lambda: edits.undo(dataset=dataset, actor=carl),
            lambda: edits.discard(dataset=dataset, actor=carl),
        ):
            with pytest.raises(EditsProposed):
                refused()
        assert tray(dataset, carl) == {"N1": ("update", {"seats": 150})}
        staging.stage_upload(upload_id=upload.pk, worker="here")
        assert (Edits.objects.count(), ChangeRequest.objects.count()) == (0, 1)

    @pytest.mark.usefixtures("deaf_staging")
    def test_what_is_not_staged_is_as_it_was(
        self, dataset: Dataset, carl: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        do(dataset, carl, SetCells(row(tailnum="N1"), {"seats": 150}))
        upload = edits.propose(dataset=dataset, actor=carl, title="Seats")

        def refuse(*_: Any, **__: Any) -> None:
            raise merging.StagingRejected(
                [merging.StagingProblem(line=2, column="seats", code="x", message="It is odd.", value="150")]
            )

        monkeypatch.setattr("changerequests.services.reading.merging.stage_apart", refuse)
        staging.stage_upload(upload_id=upload.pk, worker="here")
        assert ChangeRequest.objects.count() == 0
        found = edits.edits_of(dataset, carl)
        assert edits.failure_of(found) == "It is odd."
        assert tray(dataset, carl) == {"N1": ("update", {"seats": 150})}
        do(dataset, carl, SetCells(row(tailnum="N1"), {"seats": 151}))
        assert edits.failure_of(edits.edits_of(dataset, carl)) == ""

    def test_nothing_is_no_proposal(self, dataset: Dataset, carl: User) -> None:
        with pytest.raises(InvalidInput, match="nothing to propose"):
            edits.propose(dataset=dataset, actor=carl, title="Nothing")
        do(dataset, carl, SetCells(row(tailnum="N1"), {"seats": 150}))
        with pytest.raises(InvalidInput, match="title"):
            edits.propose(dataset=dataset, actor=carl, title=" ")
        edits.discard(dataset=dataset, actor=carl)
        assert tray(dataset, carl) == {}

    def test_all_other_rows_are_as_they_were_after_the_merge(self, worker_at_once: None) -> None:
        dataset: Dataset = DatasetFactory.create()
        carl = person_with(Role.CONTRIBUTOR, dataset)
        do(dataset, carl, SetCells(row(tailnum="N3"), {"year": "2002"}))
        upload = edits.propose(dataset=dataset, actor=carl, title="A year", submit=True)
        upload.refresh_from_db()
        assert upload.revision is not None
        merge(upload.revision.change_request, carl)
        expected = {one["tailnum"]: one for one in PLANES.to_pylist()}
        expected["N3"]["year"] = 2002
        page = preview(dataset=dataset, limit=10)
        assert {one["tailnum"]: one for one in page.rows} == expected


class TestReplacing:
    def test_what_is_counted_is_replaced(self, dataset: Dataset, carl: User) -> None:
        do(dataset, carl, SetCells(row(tailnum="N3"), {"manufacturer": "Boeing Brasil"}))
        replacing = Replacing(("manufacturer",), "boeing", "Boeing Co.")
        found = find(dataset=dataset, actor=carl, replacing=replacing)
        assert (len(found.cells), found.rows) == (2, 2)
        assert [(cell.before, cell.after) for cell in found.cells] == [
            ("BOEING", "Boeing Co."),
            ("Boeing Brasil", "Boeing Co. Brasil"),
        ]
        replace(dataset=dataset, actor=carl, replacing=replacing, counted=2)
        assert tray(dataset, carl) == {
            "N1": ("update", {"manufacturer": "Boeing Co."}),
            "N3": ("update", {"manufacturer": "Boeing Co. Brasil"}),
        }
        edits.undo(dataset=dataset, actor=carl)
        assert tray(dataset, carl) == {"N3": ("update", {"manufacturer": "Boeing Brasil"})}

    def test_whole_cells_case_filters_and_null(self, dataset: Dataset, carl: User) -> None:
        def cells(*columns: str, **options: Any) -> list[tuple[Any, Any]]:
            found = find(dataset=dataset, actor=carl, replacing=Replacing(columns, **options))
            return [(cell.before, cell.after) for cell in found.cells]

        assert cells("seats", find="5", replace="6") == [(55, "66")]
        assert cells("seats", find="55", replace=None, whole_cell=True) == [(55, None)]
        assert cells("manufacturer", find="bus", replace="x", match_case=True) == []
        assert cells("manufacturer", find="BUS", replace="x", match_case=True) == [("AIRBUS", "AIRx")]
        assert cells("manufacturer", find="I", replace="x", filters=(("seats", ">", "150"),)) == [
            ("AIRBUS", "AxRBUS")
        ]
        for wrong in (
            {"find": "", "replace": "x"},
            {"find": "a", "replace": None},
        ):
            with pytest.raises(InvalidInput):
                cells("manufacturer", **wrong)
        with pytest.raises(InvalidInput, match="part of the key"):
            cells("tailnum", find="N", replace="M")

    def test_rows_that_hold_it_as_a_part_hide_none_that_hold_it_as_a_whole(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = {"tailnum": ["N1", "N2", "N3"], "manufacturer": ["AIRBUS SE", "AIRBUS GROUP", "airbus"]}
        dataset = DatasetFactory.create(data=pa.table(rows))
        carl = person_with(Role.CONTRIBUTOR, dataset)
        replacing = Replacing(("manufacturer",), "AIRBUS", "Airbus", whole_cell=True)
        monkeypatch.setattr(replacing_module, "PAGE_ROWS", 1)
        found = find(dataset=dataset, actor=carl, replacing=replacing)
        assert [(cell.before, cell.after) for cell in found.cells] == [("airbus", "Airbus")]
        monkeypatch.setattr(replacing_module, "MOST_PAGES", 2)
        with pytest.raises(InvalidInput, match="More than 2 rows of manufacturer hold it somewhere"):
            find(dataset=dataset, actor=carl, replacing=replacing)

    def test_what_moved_since_it_was_counted_is_not_replaced(self, dataset: Dataset, carl: User) -> None:
        with pytest.raises(EditsMoved):
            replace(dataset=dataset, actor=carl, replacing=Replacing(("manufacturer",), "I", "x"), counted=7)
        assert tray(dataset, carl) == {}


def test_trays_that_nobody_touches_go_after_a_while(dataset: Dataset, carl: User) -> None:
    do(dataset, carl, SetCells(row(tailnum="N1"), {"seats": 1}))
    retention.apply_retention(actor=None)
    [kept] = Edits.objects.all()
    assert edits.kept_until(kept) == kept.updated_at + timedelta(days=90)
    Edits.objects.update(updated_at=timezone.now() - timedelta(days=91))
    report = retention.apply_retention(actor=None)
    assert report.counts == {"edits": 1}
    assert (Edits.objects.count(), EditedRow.objects.count()) == (0, 0)


def test_an_erased_persons_edits_are_gone(dataset: Dataset, carl: User) -> None:
    do(dataset, carl, SetCells(row(tailnum="N1"), {"seats": 1}))
    erase_person(username=carl.username, reason="Asked for")
    assert Edits.objects.count() == 0
