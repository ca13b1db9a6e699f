"""What a tiny merge asks of the database, from the claim to the cleared staging."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from changerequests.services import execution, runs
from changerequests.states import RunStatus
from datasets.roles import Role
from tests.factories import ChangeRequestFactory, DatasetFactory, approve, person_with

#: How transactions begin and end differs between the databases; what is asked does not.
TRANSACTION = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")


@pytest.mark.django_db(transaction=True)
def test_a_tiny_merge_asks_the_same_each_time_and_judges_the_gates_twice() -> None:
    dataset = DatasetFactory.create(required_approvals=1)
    owner = person_with(Role.OWNER, dataset)
    for seats in (1, 2):
        change_request = ChangeRequestFactory.create(dataset=dataset, csv=f"tailnum,seats\nN1,{seats}\n")
        approve(change_request, owner)
        runs.request_merge(change_request_id=change_request.pk, actor=owner)

        with CaptureQueriesContext(connection) as captured:
            run = execution.merge_next(dataset_id=dataset.pk, worker="test")

        assert run is not None
        assert run.status == RunStatus.SUCCEEDED
        asked = [one["sql"] for one in captured.captured_queries if not one["sql"].startswith(TRANSACTION)]
        assert len(asked) == 64 - (seats - 1), "the first run of a dataset makes its row of figures, too"
        # The roles of who asked for it and who reviewed: as it sets out, and right before the commit.
        assert sum("guardian_userobjectpermission" in sql[:200] for sql in asked) == 2
        # The choices: for the engine, and for the audit files.
        assert sum(sql.startswith('SELECT "changerequests_conflictresolution"') for sql in asked) == 2
