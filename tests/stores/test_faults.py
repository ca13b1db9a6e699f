"""Stores that fail while a request is merged: merged once, or not at all and with a reason; all rows compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

import merging
from merging import CommitUnknown, MergeFailed, MergeRequest, TableUnreachable
from merging.delta.history import read_history
from tests.stores.far_tables import in_store
from tests.stores.proxy import Fault, proxy_before
from tests.stores.servers import STORES, server

COMMIT = r"/_delta_log/0+4\.json"
DATA = r"/[^_/]*\.parquet"
VECTOR = r"/deletion_vector_[^/]*\.bin"
LOG = r"prefix=.*_delta_log"
ALWAYS = 10_000
SLOW_DOWN = b"<Error><Code>SlowDown</Code></Error>"
DENIED = b"<Error><Code>AccessDenied</Code></Error>"
ABORTED = b"<Error><Code>OperationAborted</Code></Error>"


@dataclass(frozen=True)
class Case:
    """What fails, and how the first attempt to merge ends: None where it is merged in spite of it."""

    fault: Fault
    ends: type[MergeFailed] | None = None
    vectors: bool = True
    retriable: bool = True
    stands: bool = False


CASES = {
    "commit: answer lost": lambda: Case(Fault("lose answer", "PUT", COMMIT)),
    "commit: every answer lost": lambda: Case(Fault("lose answer", "PUT", COMMIT, ALWAYS)),
    "commit: 500 once": lambda: Case(Fault("status", "PUT", COMMIT)),
    "commit: 503 for ever": lambda: Case(
        Fault("status", "PUT", COMMIT, ALWAYS, status=503, body=SLOW_DOWN), CommitUnknown
    ),
    "commit: connection reset": lambda: Case(Fault("reset", "PUT", COMMIT)),
    "commit: late": lambda: Case(Fault("late", "PUT", COMMIT, seconds=0.7)),
    "commit: slow": lambda: Case(Fault("slow", "PUT", COMMIT, seconds=0.5)),
    "commit: given up, and done later": lambda: Case(Fault("slow", "PUT", COMMIT, seconds=1.3)),
    "commit: denied": lambda: Case(
        Fault("status", "PUT", COMMIT, ALWAYS, status=403, body=DENIED), CommitUnknown
    ),
    "commit: not to be read back": lambda: Case(
        Fault("status", "GET", COMMIT, ALWAYS), TableUnreachable, stands=True
    ),
    "rows: 500 once": lambda: Case(Fault("status", "PUT", DATA)),
    "rows: answer lost": lambda: Case(Fault("lose answer", "PUT", DATA)),
    "rows: connection reset for ever": lambda: Case(Fault("reset", "PUT", DATA, ALWAYS), TableUnreachable),
    "rows: 409": lambda: Case(
        Fault("status", "PUT", DATA, ALWAYS, status=409, body=ABORTED), TableUnreachable
    ),
    "vectors: 409": lambda: Case(
        Fault("status", "PUT", VECTOR, ALWAYS, status=409, body=ABORTED), TableUnreachable
    ),
    "vectors: 503 for ever": lambda: Case(
        Fault("status", "PUT", VECTOR, ALWAYS, status=503, body=SLOW_DOWN), TableUnreachable
    ),
    "log: 500 for ever": lambda: Case(Fault("status", "GET", LOG, ALWAYS), TableUnreachable),
    "log: denied": lambda: Case(
        Fault("status", "GET", LOG, ALWAYS, status=403, body=DENIED), TableUnreachable, retriable=False
    ),
    "read: cut": lambda: Case(Fault("cut", "GET", DATA), vectors=False),
    "read: slow": lambda: Case(Fault("slow", "GET", DATA, seconds=0.4), vectors=False),
}


def test_there_are_twenty_cases() -> None:
    assert len(CASES) == 20


@pytest.mark.sample(5)
@pytest.mark.parametrize("kind", ["s3", *STORES])
@pytest.mark.parametrize("name", CASES)
def test_fo3_a_fault_ends_in_one_merge_or_in_a_reason(name: str, kind: str, tmp_path: Path) -> None:
    case, store = CASES[name](), server(kind)
    table = in_store(
        tmp_path, store.options, store.address, vectors=case.vectors, files=4, rows=60, behind=-1
    )
    changed = [{"id": one, "b": f"new {one}"} for one in (5, 65, 500)]
    staged = merging.stage(
        table.uri,
        pa.Table.from_pylist(changed),
        ["id"],
        destination=str(tmp_path / "staged"),
        storage_options=store.options,
    )
    with proxy_before(store.port, faults=[case.fault]) as proxy:
        hurried = {"timeout": "1s", "retry_timeout": "1s", "max_retries": "2"}
        request = MergeRequest(
            table.uri,
            "CR-1",
            ["id"],
            staged,
            destination=str(tmp_path / "artefacts"),
            storage_options={**store.behind(proxy.port), **hurried},
        )
        if case.ends is None:
            assert merging.merge(request).rows_affected == 3
        else:
            with pytest.raises(case.ends) as caught:
                merging.merge(request)
            assert caught.value.message
            assert getattr(caught.value, "retriable", True) == case.retriable
        assert case.fault.taken > 0
        proxy.settled()
        expected = table.after(changed)
        assert table.now() == (expected if case.ends is None or case.stands else list(table.rows))

        proxy.faults.clear()
        again = merging.merge(request)
        assert again.already_merged == (case.ends is None or case.stands)
        assert again.rows_affected == 3
    assert table.now() == expected
    merges = [one for one in read_history(table.uri, storage_options=store.options) if one.cr_id == "CR-1"]
    assert len(merges) == 1
