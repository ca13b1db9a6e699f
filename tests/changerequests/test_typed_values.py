"""Cells reach pages and API as the engine gives them: no text stands for a value of another type on the way."""

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from django.contrib.auth.models import User
from django.utils.html import strip_tags

from changerequests.models import ChangeRequest, ConflictResolution
from changerequests.services import conflicts, plans
from changerequests.services.blame import row_history
from changerequests.services.rebasing import what_moved
from changerequests.states import RunStatus
from datasets.models import Dataset
from datasets.rows import Sides, same_value
from tests.factories import ChangeRequestFactory, DatasetFactory, merge
from web.view_models.conflicts import conflict_lines

pytestmark = pytest.mark.django_db

DAY = date(2024, 2, 1)
FIRST = {"at": datetime(2024, 2, 1, tzinfo=UTC), "price": Decimal("0.50"), "raw": b"\x00", "x": math.nan}
OURS = {"at": datetime(2024, 2, 2, tzinfo=UTC), "price": Decimal("1.50"), "raw": b"\x01", "x": math.nan}
THEIRS = {"at": datetime(2024, 2, 3, tzinfo=UTC), "price": Decimal("2.50"), "raw": b"\x02", "x": math.nan}


@pytest.fixture
def dataset() -> Dataset:
    schema = pa.schema(
        [
            ("day", pa.date32()),
            ("at", pa.timestamp("us", tz="UTC")),
            ("price", pa.decimal128(10, 2)),
            ("raw", pa.binary()),
            ("x", pa.float64()),
        ]
    )
    made: Dataset = DatasetFactory.create(
        data=pa.Table.from_pylist([{"day": DAY, **FIRST}], schema=schema), primary_keys=("day",)
    )
    return made


def proposed(dataset: Dataset, row: dict[str, Any]) -> ChangeRequest:
    line = f"{DAY},{row['at'].isoformat()},{row['price']},0x{row['raw'].hex()},NaN"
    made: ChangeRequest = ChangeRequestFactory.create(dataset=dataset, csv=f"day,at,price,raw,x\n{line}\n")
    return made


def same(found: Any, expected: dict[str, Any]) -> bool:
    """Equal in value and type, NaN as NaN."""
    return all(same_value(found[n], v) and type(found[n]) is type(v) for n, v in expected.items())


def test_read_models_hold_the_tables_types(dataset: Dataset, owner: User) -> None:
    ours = proposed(dataset, OURS)
    [row] = plans.changes_page(change_request=ours).items
    assert row.key == {"day": DAY}
    assert row.changed == ("at", "price", "raw")
    assert same(row.before, FIRST)
    assert same(row.after, OURS)
    groups = plans.grouped_changes(change_request=ours)
    assert {(one.column, one.old, one.new) for one in groups} == {
        (name, FIRST[name], OURS[name]) for name in ("at", "price", "raw")
    }

    assert merge(proposed(dataset, THEIRS), owner).status == RunStatus.SUCCEEDED
    [moved] = what_moved(change_request=ours).rows
    assert all(
        same(image, {"day": DAY, **expected})
        for image, expected in zip(moved.sides, (FIRST, THEIRS, OURS), strict=True)
    )
    found = plans.conflicts_page(change_request=ours).conflicts
    assert {one.column: one.sides for one in found} == {
        name: Sides(FIRST[name], THEIRS[name], OURS[name]) for name in ("at", "price", "raw")
    }

    custom = {"at": "2024-03-01T00:00:00+00:00", "price": "9.5", "raw": "0x09"}
    conflicts.resolve(
        change_request_id=ours.pk,
        actor=ours.author,
        choices=[
            conflicts.Choosing(
                {"day": "2024-02-01"}, one.column, "custom", one.inputs_digest, custom[one.column]
            )
            for one in found
            if one.column is not None
        ],
    )
    stored = {one.column: (one.key, one.value) for one in ConflictResolution.objects.all()}
    assert stored == {
        "at": ({"day": "2024-02-01"}, "2024-03-01T00:00:00+00:00"),
        "price": ({"day": "2024-02-01"}, "9.50"),
        "raw": ({"day": "2024-02-01"}, "0x09"),
    }
    wanted = {"at": datetime(2024, 3, 1, tzinfo=UTC), "price": Decimal("9.50"), "raw": b"\x09"}
    chosen = plans.conflicts_page(change_request=ours).conflicts
    assert {one.column: (one.choice, one.value) for one in chosen} == {
        n: ("custom", v) for n, v in wanted.items()
    }

    assert merge(ours, owner).status == RunStatus.SUCCEEDED
    [row] = plans.changes_page(change_request=ChangeRequest.objects.get(pk=ours.pk)).items
    assert same(row.before, THEIRS)
    assert same(row.after, wanted)
    history = row_history(dataset=dataset, key={"day": "2024-02-01"})
    assert history.key == {"day": DAY}
    assert same(history.current, {**wanted, "x": math.nan})
    assert all(
        same(change.row.before, expected)
        for change, expected in zip(history.changes, (FIRST, THEIRS), strict=True)
    )


def test_nan_is_no_change(dataset: Dataset, owner: User) -> None:
    """Neither is it changed past Headgate, nor does it differ between the rows of a conflict."""
    doomed: ChangeRequest = ChangeRequestFactory.create(dataset=dataset, csv=f"day,_op\n{DAY},delete\n")
    assert merge(proposed(dataset, OURS), owner).status == RunStatus.SUCCEEDED
    assert merge(proposed(dataset, THEIRS), owner).status == RunStatus.SUCCEEDED
    history = row_history(dataset=dataset, key={"day": DAY})
    assert [change.changed_outside for change in history.changes] == [(), ()]
    assert (history.cells["x"].change, history.cells["x"].from_outside) == (None, False)

    page = plans.conflicts_page(change_request=doomed)
    assert [(one.column, one.kind) for one in page.conflicts] == [(None, "modify/delete")]
    [line] = conflict_lines(doomed, page, {})
    assert [(one.column, [strip_tags(side) for side in one.sides]) for one in line.images] == [
        ("at", ["2024-02-01 00:00 UTC", "2024-02-03 00:00 UTC", "no such row"]),
        ("price", ["0.50", "2.50", "no such row"]),
        ("raw", ["0x00", "0x02", "no such row"]),
    ]
