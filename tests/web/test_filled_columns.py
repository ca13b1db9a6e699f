"""What a table fills itself, before a merge and after it: on pages, over the API, in rows that are edited by hand."""

import pyarrow as pa
import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from changerequests.services import edits, staged_rows
from datasets.models import Dataset
from datasets.roles import Role
from datasets.services.registration import register_dataset
from tests.api.clients import client_of
from tests.factories import ChangeRequestFactory, ProjectFactory, merge, person_with, rows_of, table_folder
from tests.merging.test_filled_columns import FILLING, default, identity
from tests.merging.test_rules import commit_by_hand
from tests.table_copies import create_as_copy
from tests.web.conftest import SignedIn
from tests.web.test_pages import text

pytestmark = pytest.mark.django_db

TABLE = pa.table(
    {
        "id": pa.array([1, 2], pa.int64()),
        "a": pa.array([1, 2], pa.int32()),
        "kind": ["old", "old"],
        "nr": pa.array([1, 2], pa.int64()),
        "twice": pa.array([2, 4], pa.int64()),
    }
)


@pytest.fixture
def filling() -> Dataset:
    """A table with a default, numbers and a computed column."""
    uri = table_folder("filling")
    create_as_copy(uri, TABLE, {})

    def change(metadata: dict[str, object], fields: dict[str, dict[str, dict[str, object]]]) -> None:
        fields["kind"]["metadata"] |= default("'new'")
        fields["nr"]["metadata"] |= identity(given=2)
        fields["twice"]["metadata"] |= {"delta.generationExpression": "a * 2"}

    commit_by_hand(str(uri), change, FILLING)
    return register_dataset(
        project=ProjectFactory.create(),
        slug="filling",
        name="Filling",
        table_uri=str(uri),
        primary_keys=["id"],
        required_approvals=0,
    )


@pytest.fixture
def contributor(filling: Dataset) -> User:
    return person_with(Role.CONTRIBUTOR, filling)


def test_what_the_table_fills_is_marked_before_the_merge(
    filling: Dataset, contributor: User, signed_in: SignedIn
) -> None:
    change_request = ChangeRequestFactory.create(dataset=filling, author=contributor, csv="id,a\n1,10\n9,9\n")
    diff = client_of(contributor).get(f"/api/v1/change_requests/{change_request.cr_id}/diff").json()
    filled = ["kind", "nr", "twice"]
    assert [(row["key"]["id"], row["filled"]) for row in diff["results"]] == [(1, []), (9, filled)]
    words = text(signed_in(contributor).get(reverse("changes", args=[change_request.cr_id])))
    assert words.count("filled by the table") == 3

    merge(change_request, person_with(Role.OWNER, filling))
    assert rows_of(filling) == [
        {"id": 1, "a": 10, "kind": "old", "nr": 1, "twice": 20},
        {"id": 2, "a": 2, "kind": "old", "nr": 2, "twice": 4},
        {"id": 9, "a": 9, "kind": "new", "nr": 3, "twice": 18},
    ]


def test_a_draft_row_that_is_edited_still_says_nothing_of_them(filling: Dataset, contributor: User) -> None:
    change_request = ChangeRequestFactory.create(
        dataset=filling, author=contributor, csv="id,a,nr\n9,9,NULL\n", status="draft"
    )
    assert staged_rows.row_called(change_request, {"id": 9}) == {"_op": "insert", "id": 9, "a": 9}


def test_a_statement_shows_what_the_table_would_fill(
    filling: Dataset, contributor: User, signed_in: SignedIn
) -> None:
    sql = "INSERT INTO dataset (id, a) VALUES (8, 8)"
    address = f"/api/v1/datasets/{filling.project.slug}/{filling.slug}/queries"
    query = client_of(contributor).post(address, {"sql": sql}, format="json").json()
    [row] = query["found"]["rows"]
    assert (row["key"], row["filled"]) == ({"id": 8}, ["kind", "nr", "twice"])


def test_the_schema_and_the_help_of_uploads_tell_them(
    filling: Dataset, contributor: User, signed_in: SignedIn
) -> None:
    address = [filling.project.slug, filling.slug]
    words = text(signed_in(contributor).get(reverse("dataset_schema", args=address)))
    chip = "Filled by the table</span> <code>"
    assert f"{chip}DEFAULT &#x27;new&#x27;<" in words
    assert f"{chip}GENERATED ALWAYS AS IDENTITY (START WITH 1 INCREMENT BY 1)<" in words
    assert "Computed</span> <code>a * 2<" in words


def test_a_row_that_is_added_by_hand_may_leave_them(
    filling: Dataset, contributor: User, signed_in: SignedIn
) -> None:
    address = [filling.project.slug, filling.slug]
    form = text(signed_in(contributor).get(reverse("edit_row", args=address)))
    assert "Left as it is, the table fills it: DEFAULT &#x27;new&#x27;" in form
    edits.apply(dataset=filling, actor=contributor, changes=[edits.AddRow({"id": 5, "a": 5})])
    tray = edits.tray_of(dataset=filling, person=contributor)
    assert [(cell.column, cell.problem) for cell in tray.rows[0].cells] == [("id", ""), ("a", "")]


def test_numbers_and_computed_cells_are_not_edited_by_hand(
    filling: Dataset, contributor: User, signed_in: SignedIn
) -> None:
    edits.apply(
        dataset=filling,
        actor=contributor,
        changes=[edits.SetCells(edits.RowName(key={"id": 1}), {"nr": 7, "twice": 7, "a": 7}, {})],
    )
    tray = edits.tray_of(dataset=filling, person=contributor)
    assert {cell.column: cell.problem for cell in tray.rows[0].cells} == {
        "a": "",
        "nr": "The table computes nr itself (GENERATED ALWAYS AS IDENTITY (START WITH 1 INCREMENT BY 1)).",
        "twice": "The table computes twice itself (a * 2).",
    }
    page = signed_in(contributor).get(
        reverse("edit_row", args=[filling.project.slug, filling.slug]), {"key-id": "1"}
    )
    assert "The table computes it: GENERATED ALWAYS AS IDENTITY" in text(page)
