"""Merging without a separate worker."""

import pytest

from changerequests import queue
from changerequests.services import execution


@pytest.fixture
def worker_at_once(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that hears every bell at once: the run has ended when the call that rang returns."""
    monkeypatch.setattr(
        queue, "ring", lambda dataset_id: execution.merge_next(dataset_id=dataset_id, worker="at once")
    )


@pytest.fixture
def deaf_worker(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker hears the bell."""
    monkeypatch.setattr(queue, "ring", lambda dataset_id: None)
