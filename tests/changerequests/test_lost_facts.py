"""A merge whose facts are lost (log cleaned up, artefacts gone) is recorded as merged, and never tried again."""

from typing import Any

import pytest

import merging
from audit.services import verify
from changerequests.states import RunStatus, Status
from datasets.roles import Role
from tests import kept
from tests.factories import ChangeRequestFactory, DatasetFactory, drain, merge, person_with, rows_of

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("known_version", [1, None])
def test_a_merge_that_nobody_can_tell_of_is_recorded(
    monkeypatch: pytest.MonkeyPatch, known_version: int | None
) -> None:
    dataset = DatasetFactory()
    owner = person_with(Role.OWNER, dataset)
    change_request = ChangeRequestFactory(dataset=dataset)
    really_merge, commits = merging.merge, []

    def merge_and_forget(request: merging.MergeRequest, progress: Any = None) -> merging.MergeResult:
        commits.append(really_merge(request, progress).merged_version)
        raise merging.MergeFactsLost("It is merged.", version=known_version)

    monkeypatch.setattr(merging, "merge", merge_and_forget)
    if known_version is None:
        monkeypatch.setattr(merging, "find_merge", lambda *_, **__: merging.CommittedMerge(None, None, None))
    run = merge(change_request, owner)
    change_request.refresh_from_db()
    assert (run.status, run.merged_version) == (RunStatus.SUCCEEDED, 1)
    assert (change_request.status, change_request.merged_version) == (Status.MERGED, 1)
    assert run.result is not None
    assert run.result["strategy"] == "unknown"
    assert set(commits) == {1}
    assert len(rows_of(dataset)) == 5
    assert drain() == []
    assert (kept.audit_folder(change_request) / "merge_result.json").is_file()
    assert list(verify()) == []
