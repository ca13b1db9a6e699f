"""The large database of the benchmarks, made small: it is what it says, and everything in it can be measured."""

import pytest

from audit.models import Event
from audit.services import verify_anchors, verify_chains
from benchmarks import crowd, crowd_data
from changerequests.models import ChangeRequest, MergeRun
from datasets.models import Dataset
from tests.factories import User

SMALL = crowd_data.Sizes(requests=40, people=12, events=1_000, datasets=4)


@pytest.fixture
def filled(transactional_db: None) -> crowd_data.Crowd:
    made = crowd_data.fill(SMALL)
    assert Event.objects.count() == SMALL.events
    crowd_data.merge_two(made)
    return made


def test_a_crowd_has_its_sizes_a_valid_trail_and_everything_is_measured(filled: crowd_data.Crowd) -> None:
    assert ChangeRequest.objects.count() == SMALL.requests + 2
    assert User.objects.count() == SMALL.people + 2
    assert Dataset.objects.count() == SMALL.datasets
    assert Event.objects.filter(action="change_request.merged").count() == 2
    assert list(verify_chains()) == []
    assert list(verify_anchors()) == []
    assert MergeRun.objects.filter(dataset=filled.busy).count() == 2 * 19 + 2  # one of twenty is a draft

    names = [name for name, once in crowd.things(filled) if once() != 0]

    assert names[0] == "home"
    assert names[-4:] == ["blame of a row", "sweep", "verify_anchors", "reconcile of all"]


def test_a_cost_is_a_row_of_a_table() -> None:
    assert crowd.Cost("home", 12, 0.05, 27_100).row() == ["home", "12", "0.050 s", "27 kB"]
    assert crowd.Cost("sweep", 6, 0.001, None).row() == ["sweep", "6", "0.001 s", ""]
