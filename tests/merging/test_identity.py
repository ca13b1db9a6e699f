"""A merge is known by what it merged: identities, digests and puts that land late (FD3, FD4, FP11)."""

from __future__ import annotations

from pathlib import Path

import deltalake
import pyarrow.parquet as pq
import pytest

import merging
from merging import MergedOtherwise, MergeExecutor, MergeFailed, TableChanged
from merging.store.client import ObjectExists
from merging.store.stores import LocalStore
from tests.merging.world import B, World, resolve, with_rows

STRATEGIES = ("merge-on-read", "copy-on-write")


@pytest.fixture(params=STRATEGIES)
def table(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(tmp_path, request.param)


def test_fd3_other_content_under_the_same_name_is_another_merge(table: World) -> None:
    first = table.stage([{"id": 1, "a": 11}])
    other = table.stage([{"id": 2, "a": 22}])
    table.merge(first)
    version, rows = table.version, table.rows()
    with pytest.raises(MergedOtherwise, match="CR-1 was merged with other content as version 1") as refused:
        table.merge(other)
    assert refused.value.data["version"] == 1
    assert refused.value.data["merged"]["staged_digest"] == first.digest
    assert refused.value.data["expected"]["staged_digest"] == other.digest
    with pytest.raises(MergedOtherwise):
        table.merge(other.location)
    with pytest.raises(MergedOtherwise):
        merging.supersede(table.request(other))
    with pytest.raises(MergedOtherwise):
        merging.find_merge(table.uri, "CR-1", staged_digest=other.digest)
    assert (table.version, table.rows()) == (version, rows)
    assert table.merge(first.location).already_merged
    assert merging.find_merge(table.uri, "CR-1", staged_digest=first.digest) is not None


def test_fd3_the_same_number_with_another_identity_is_merged(table: World) -> None:
    """As a restored database hands it out again."""
    table.merge(table.stage([{"id": 1, "a": 11}]), identity="one")
    again = table.stage([{"id": 2, "a": 22}], base_version=None)
    result = table.merge(again, identity="two")
    assert (result.already_merged, result.merged_version) == (False, 2)
    assert table.rows() == with_rows(B, {"id": 1, "a": 11}, {"id": 2, "a": 22})
    with pytest.raises(MergedOtherwise):
        merging.find_merge(table.uri, "one", staged_digest=again.digest)
    assert merging.find_merge(table.uri, "two", staged_digest=again.digest) is not None
    assert merging.find_merge(table.uri, "CR-1") is None


def test_fd3_other_choices_are_another_merge(table: World) -> None:
    staged = table.stage([{"id": 1, "a": 11}])
    table.set_current(with_rows(B, {"id": 1, "a": 77}))
    with table.plan(staged) as plan:
        conflicts = list(plan.conflicts)
    table.merge(staged, resolutions=resolve(conflicts, "current"))
    version = table.version
    with pytest.raises(MergedOtherwise, match="with other choices"):
        table.merge(staged, resolutions=resolve(conflicts, "proposed"))
    assert (table.version, table.rows()[0]["a"]) == (version, 77)
    assert table.merge(staged, resolutions=resolve(conflicts, "current")).already_merged


def test_fd3_a_digest_that_is_given_must_be_that_of_the_content(table: World) -> None:
    staged = table.stage([{"id": 1, "a": 11}])
    with pytest.raises(TableChanged, match="replaced by other content"):
        table.merge(staged.location, staged_digest="another")
    assert (table.version, table.rows()) == (0, B)


def test_fd3_where_the_log_was_cleaned_up_the_artefacts_tell_what_was_merged(table: World) -> None:
    staged, other = table.stage([{"id": 1, "a": 11}]), table.stage([{"id": 2, "a": 22}])
    table.merge(staged)
    deltalake.DeltaTable(table.uri).create_checkpoint()
    for name in Path(table.uri, "_delta_log").glob("*.json"):
        name.unlink()
    with pytest.raises(MergedOtherwise):
        table.merge(other)
    assert table.merge(staged).already_merged


def test_fd3_the_log_lists_what_was_merged(table: World) -> None:
    staged = table.stage([{"id": 1, "a": 11}])
    table.merge(staged, "CR-7", identity="seven", requested_by="olivia", message="Correct a")
    merging.supersede(table.request(staged, "CR-8", identity="eight"))
    merging.compact(table.uri, attempt_id="c", application_id="headgate/maintenance", generation=1)
    found = merging.logged_merges(table.uri, "headgate")
    merge, superseded = found.merges
    assert (merge.identity, merge.generation, merge.kind, merge.version) == ("seven", 1, "merge", 1)
    assert (merge.cr_id, merge.user, merge.message) == ("CR-7", "olivia", "Correct a")
    assert (merge.staged_digest, merge.resolutions_digest) == (staged.digest, "")
    assert merge.result is not None
    assert (merge.result.rows_affected, merge.result.already_merged) == (1, True)
    assert (superseded.identity, superseded.generation, superseded.kind) == ("eight", 2, "superseded")
    assert (found.oldest_version, found.markers_expire) == (0, False)
    assert merging.logged_merges(table.uri, "somebody-else").merges == ()
    deltalake.DeltaTable(table.uri).create_checkpoint()
    for name in Path(table.uri, "_delta_log").glob("*.json"):
        name.unlink()
    left = merging.logged_merges(table.uri, "headgate")
    assert [(one.identity, one.generation, one.kind) for one in left.merges] == [
        ("eight", 2, "unknown"),
        ("seven", 1, "unknown"),
    ]
    assert left.oldest_version == left.version + 1


def hold_puts(monkeypatch: pytest.MonkeyPatch, how_many: int) -> list[tuple[LocalStore, str, bytes]]:
    """The next puts are answered with a time-out and kept, to be delivered late."""
    put_new = LocalStore.put_new
    held: list[tuple[LocalStore, str, bytes]] = []

    def late(self: LocalStore, path: str, data: bytes) -> None:
        if len(held) < how_many:
            held.append((self, path, data))
            raise TimeoutError("no answer")
        put_new(self, path, data)

    monkeypatch.setattr(LocalStore, "put_new", late)
    return held


def test_fd4_a_put_that_is_delivered_late_finds_itself_superseded(
    table: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = table.stage([{"id": 1, "a": 11}])
    request = table.request(first)
    held = hold_puts(monkeypatch, 3)
    with pytest.raises(MergeFailed, match="could not be committed"):
        MergeExecutor(request, sleep=lambda _: None).run()
    assert [path for _, path, _ in held] == ["_delta_log/00000000000000000001.json"] * 3
    assert merging.supersede(request, put_version=1) is None
    second = table.stage([{"id": 2, "a": 22}], base_version=None)
    assert table.merge(second, generation=3).merged_version == 2
    for store, path, data in held:
        with pytest.raises(ObjectExists):
            store.put_new(path, data)
    assert table.rows() == with_rows(B, {"id": 2, "a": 22})


def test_fd4_a_put_that_landed_is_answered_instead_of_superseded(
    table: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = table.request(table.stage([{"id": 1, "a": 11}]))
    held = hold_puts(monkeypatch, 3)
    with pytest.raises(MergeFailed):
        MergeExecutor(request, sleep=lambda _: None).run()
    store, path, data = held[-1]
    store.put_new(path, data)
    found = merging.supersede(request, put_version=1)
    assert found is not None
    assert (found.version, found.attempt_id) == (1, request.attempt_id)
    assert table.rows() == with_rows(B, {"id": 1, "a": 11})
    assert table.version == 1


def test_fd4_nothing_is_written_where_nothing_can_land_any_more(table: World) -> None:
    request = table.request(table.stage([{"id": 1, "a": 11}]))
    table.set_current(with_rows(B, {"id": 2, "a": 0}))
    assert merging.supersede(request, put_version=1) is None
    assert table.version == 1
    assert merging.supersede(request, put_version=2) is None
    assert table.version == 2


def forget_markers(table: World) -> None:
    """A checkpoint as writers make it once markers have expired: without them."""
    deltalake.DeltaTable(table.uri).create_checkpoint()
    [path] = Path(table.uri, "_delta_log").glob("*.checkpoint.parquet")
    content = pq.read_table(path)
    pq.write_table(content.filter(content["txn"].is_null()), path)


def test_fp11_a_marker_that_expired_is_found_in_its_commit(table: World) -> None:
    deltalake.DeltaTable(table.uri).alter.set_table_properties(
        {"delta.setTransactionRetentionDuration": "interval 1 days"}, raise_if_not_exists=False
    )
    staged = table.stage([{"id": 1, "a": 11}])
    first = table.merge(staged)
    forget_markers(table)
    table.set_current(with_rows(B, {"id": 1, "a": 12}))
    version = table.version
    again = table.merge(staged)
    assert (again.already_merged, again.merged_version) == (True, first.merged_version)
    assert (table.version, table.rows()) == (version, with_rows(B, {"id": 1, "a": 12}))


def test_fp11_inspection_warns(table: World) -> None:

    assert merging.inspect_table(table.uri).warnings == ()
    deltalake.DeltaTable(table.uri).alter.set_table_properties(
        {"delta.setTransactionRetentionDuration": "interval 1 days"}, raise_if_not_exists=False
    )
    [warning] = merging.inspect_table(table.uri).warnings
    assert "delta.setTransactionRetentionDuration" in warning
    assert "interval 1 days" in warning
