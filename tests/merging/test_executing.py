"""Exactly once: repeats, races, failures at every step (group H)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import pytest

import merging
from merging import MergeConflict, MergeExecutor, MergeFactsLost, MergeFailed, TableChanged
from merging.store.stores import TableStore
from tests.merging.sites import Site
from tests.merging.world import B, World, replaced, with_rows

pytestmark = pytest.mark.any_store


class Stop(Exception):
    """Raised by a progress hook."""


def data_files(world: World) -> set[str]:
    return {path for path in world.paths() if not path.startswith("_delta_log/")}


def at(phase: str, action: Callable[[], object], times: int = 1) -> Callable[..., None]:
    """A progress hook that does something when a phase begins."""
    left = [times]

    def hook(current: str, **facts: Any) -> None:
        if current == phase and left[0]:
            left[0] -= 1
            action()

    return hook


def test_phases_are_told_in_order(world: World) -> None:
    seen: list[str] = []
    result = world.merge(
        world.stage([{"id": 1, "a": 11}]), progress=lambda phase, **facts: seen.append(phase)
    )
    assert seen == ["checking", "validating", "writing", "committing", "recording"]
    assert set(result.phases) == set(seen)
    assert result.attempts == 1


def test_merging_twice_answers_the_first_result(make_world: Callable[..., World]) -> None:
    """H02: by the request's name, not by comparing data."""
    world = make_world()
    staged = world.stage([{"id": 1, "a": 11}, {"id": 9, "a": 1}])
    first = world.merge(staged, requested_by="olivia")
    world.set_current(with_rows(B, {"id": 1, "a": 77}))
    version = world.version
    again = world.merge(staged)
    assert again.already_merged
    assert not first.already_merged
    assert replaced_result(again) == replaced_result(first)
    assert (world.version, world.rows()[0]["a"]) == (version, 77)
    found = merging.find_merge(world.uri, "CR-1")
    assert found is not None
    assert (found.version, found.attempt_id) == (first.merged_version, first.attempt_id)
    assert merging.find_merge(world.uri, "CR-2") is None
    assert merging.find_merge(world.uri, "CR-1", installation="other") is None
    assert merging.find_merge(world.uri, "CR-1", generation=2) is None


def replaced_result(result: merging.MergeResult) -> dict[str, Any]:
    facts = dict(vars(result))
    del facts["already_merged"], facts["phases"]
    return facts


def test_a_foreign_commit_between_check_and_commit(make_world: Callable[..., World]) -> None:
    """H05, H07: lost the race, checked again on the new version, merged once; no file is left over."""
    world = make_world()
    staged = world.stage([{"id": 1, "a": 11}])
    hook = at(
        "committing", lambda: world.set_current(with_rows(B, {"id": 1, "b": "o"}, {"id": 2, "a": 0})), 2
    )
    result = world.merge(staged, progress=hook)
    assert result.attempts == 3
    assert world.rows()[:2] == [{"id": 1, "a": 11, "b": "o", "c": 1.5}, {"id": 2, "a": 0, "b": "y", "c": 2.5}]
    table = deltalake.DeltaTable(world.uri)
    known = {os.path.basename(path) for path in table.file_uris()}
    mine = {name for name in data_files(world) if result.attempt_id in name and name.endswith(".parquet")}
    assert {os.path.basename(name) for name in mine} <= known
    assert [path.name for path in (world.folder / "artefacts").iterdir()] == [result.attempt_id]


def test_a_foreign_commit_that_conflicts(make_world: Callable[..., World]) -> None:
    """H06, H08, H09: nothing of ours lands, no file stays."""
    world = make_world()
    staged = world.stage([{"id": 1, "a": 11}, {"id": 2, "a": 22}])
    hook = at("committing", lambda: world.set_current(with_rows(B, {"id": 1, "a": 99})))
    request = world.request(staged)
    with pytest.raises(MergeConflict) as refused:
        merging.merge(request, hook)
    assert [(one.key, one.column) for one in refused.value.conflicts] == [({"id": 1}, "a")]
    assert world.rows()[:2] == [{"id": 1, "a": 99, "b": "x", "c": 1.5}, B[1]]
    assert not [name for name in data_files(world) if request.attempt_id in name]
    assert not list((world.folder / "artefacts").iterdir())


def test_two_requests_at_once(make_world: Callable[..., World]) -> None:
    """H05: disjoint rows both land, each as its own version."""
    world = make_world()
    first, second = world.stage([{"id": 1, "a": 11}]), world.stage([{"id": 2, "a": 22}])
    result = world.merge(first, "CR-1", progress=at("committing", lambda: world.merge(second, "CR-2")))
    assert (result.attempts, result.merged_version) == (2, world.version)
    assert [row["a"] for row in world.rows()] == [11, 22, 30]


@pytest.mark.parametrize("phase", ["checking", "validating", "writing", "committing"])
def test_the_caller_can_stop_before_the_commit(make_world: Callable[..., World], phase: str) -> None:
    """H04, H16: the table, the staged content and the folder of files are as before."""
    world = make_world()
    staged = world.stage([{"id": 1, "a": 11}])
    files, version = data_files(world), world.version

    def stop() -> None:
        raise Stop

    with pytest.raises(Stop):
        world.merge(staged, progress=at(phase, stop))
    assert (data_files(world), world.version, world.rows()) == (files, version, B)
    assert not (world.folder / "artefacts").exists() or not list((world.folder / "artefacts").iterdir())
    assert world.merge(staged).merged_version == version + 1


def test_death_after_the_commit(make_world: Callable[..., World]) -> None:
    """H03: the marker tells; the second run only answers."""
    world = make_world()
    staged = world.stage([{"id": 1, "a": 11}])

    def die() -> None:
        raise Stop

    request = world.request(staged)
    with pytest.raises(Stop):
        merging.merge(request, at("recording", die))
    version = world.version
    result = merging.merge(replaced(request, attempt_id="another"))
    assert (result.already_merged, result.merged_version, world.version) == (True, version, version)
    assert result.attempt_id == request.attempt_id


def test_the_same_request_in_two_workers(world: World) -> None:
    """Both answer the one commit; the loser's files go."""
    staged = world.stage([{"id": 1, "a": 11}, {"id": 9, "a": 9}])
    one, two = world.request(staged), world.request(staged)
    results: list[merging.MergeResult] = []
    outer = merging.merge(one, at("committing", lambda: results.append(merging.merge(two))))
    assert outer.already_merged
    assert (outer.merged_version, outer.attempt_id) == (results[0].merged_version, two.attempt_id)
    assert world.version == 1
    assert not [name for name in data_files(world) if one.attempt_id in name]
    assert [path.name for path in (world.folder / "artefacts").iterdir()] == [two.attempt_id]


def test_a_newer_generation_stops_an_old_worker(world: World) -> None:
    staged = world.stage([{"id": 1, "a": 11}])
    edited = world.stage([{"id": 1, "a": 12}])
    world.merge(edited, generation=2)
    with pytest.raises(TableChanged, match="generation 2"):
        world.merge(staged, generation=1)
    assert world.rows()[0]["a"] == 12
    assert world.merge(world.stage([{"id": 1, "a": 13}], base_version=None), generation=3).merged_version == 2


def test_attempts_are_bounded(world: World) -> None:
    staged = world.stage([{"id": 1, "a": 11}])
    counter = iter(range(100))
    slept: list[float] = []

    def interfere(phase: str, **facts: Any) -> None:
        if phase == "committing":
            world.set_current(with_rows(B, {"id": 2, "a": next(counter)}))

    executor = MergeExecutor(world.request(staged), interfere, max_attempts=4, sleep=slept.append)
    with pytest.raises(MergeFailed, match="4 times"):
        executor.run()
    assert len(slept) == 4
    assert world.rows()[0] == B[0]


def test_many_threads_merge_many_requests(world: World) -> None:
    """Every change lands exactly once."""
    staged = [world.stage([{"id": n, "a": n}]) for n in range(100, 106)]
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            world.merge(staged[number], f"CR-{number}")
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert world.version == 6
    assert [row["id"] for row in world.rows()] == [1, 100, 101, 102, 103, 104, 105, 2, 3]


def test_a_commit_that_lands_late_finds_its_files(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that gave up answering may do what it was asked all the same, when nobody waits for it any more."""
    staged = world.stage([{"id": 1, "a": 11}])
    kind = type(world.store)
    put_new = kind.put_new
    under_way: list[tuple[TableStore, str, bytes]] = []

    def answer_lost(self: TableStore, path: str, data: bytes) -> None:
        if not under_way and path.startswith("_delta_log/"):
            under_way.append((self, path, data))
            raise TimeoutError("no answer")
        put_new(self, path, data)

    monkeypatch.setattr(kind, "put_new", answer_lost)
    result = MergeExecutor(world.request(staged), sleep=lambda _: put_new(*under_way[0])).run()
    assert (result.merged_version, result.already_merged) == (1, True)
    assert result.artefacts is not None
    assert Path(result.artefacts).is_dir()
    assert world.rows() == with_rows(B, {"id": 1, "a": 11})


@pytest.mark.parametrize("partition_by", [[], ["b"]], ids=["whole", "partitioned"])
def test_a_shallow_clone_gets_files_of_its_own(tmp_path: Path, partition_by: list[str]) -> None:
    """Its log names the files of another table by absolute paths: what is rewritten belongs into its own folder."""
    source = World(tmp_path, "copy-on-write", partition_by=partition_by)
    clone = World(tmp_path, "copy-on-write")
    log = Path("_delta_log", f"{0:020d}.json")
    named = Path(source.uri, log).read_text().replace('"path":"', f'"path":"file://{source.uri}/')
    Path(clone.uri, log).write_text(named)
    before = data_files(source)
    clone.merge(clone.stage([{"id": 1, "a": 11}, {"id": 2, "a": 22}]))
    assert clone.rows() == with_rows(B, {"id": 1, "a": 11}, {"id": 2, "a": 22})
    merging.compact(clone.uri, attempt_id="one", application_id="test/maintenance", generation=1)
    assert clone.rows() == with_rows(B, {"id": 1, "a": 11}, {"id": 2, "a": 22})
    assert (source.rows(), data_files(source)) == (B, before)


def test_checks_of_the_caller_see_the_merged_result(world: World) -> None:
    """H13, E09: on the merged rows, before anything is written."""
    staged = world.stage([{"id": 1, "a": 11}])
    world.set_current(with_rows(B, {"id": 1, "b": "o"}))
    version = world.version
    condition = {"type": "comparison", "column": {"name": "b"}, "operator": "==", "parameter": "o"}
    rule = {
        "type": "expect_column_values_to_be_in_set",
        "kwargs": {"column": "a", "value_set": [10], "row_condition": condition},
    }
    with pytest.raises(merging.ValidationFailed, match="where b is o") as caught:
        world.merge(staged, expectations={"name": "rules", "expectations": [rule]})
    [failed] = caught.value.data["expectations"]
    [row] = failed["failing_rows"]
    assert row == {
        "key": {"id": 1},
        "values": {"a": 11, "b": "o"},
        "before": {"a": 10, "b": "o"},
        "new": True,
    }
    assert world.version == version


def test_a_constraint_of_the_table_holds(site: Site) -> None:
    """E04: each side valid, the merged row not."""
    world = World(site, "merge-on-read")
    deltalake.DeltaTable(world.uri).alter.add_constraint({"apart": "c IS NULL OR a <> c"})
    world.base_version = world.version
    staged = world.stage([{"id": 1, "a": 7}])
    world.set_current(with_rows(B, {"id": 1, "c": 7.0}))
    before, version = world.rows(), world.version
    with pytest.raises(merging.ValidationFailed, match="apart"):
        world.merge(staged)
    assert (world.rows(), world.version) == (before, version)


def test_append_only_tables_take_new_rows_only(site: Site) -> None:
    world = World(site, "merge-on-read")
    deltalake.DeltaTable(world.uri).alter.set_table_properties({"delta.appendOnly": "true"})
    world.base_version = world.version
    with pytest.raises(merging.StagingRejected, match="append-only"):
        world.stage([{"id": 1, "a": 11}])
    assert world.merge(world.stage([{"id": 8, "a": 11}]), "CR-2").diff.rows_added == 1


def test_the_commit_tells_history_what_happened(world: World) -> None:
    staged = world.stage([{"id": 1, "a": 11}, {"id": 9, "a": 9}])
    world.merge(staged, "CR-7", requested_by="olivia", message="Correct a")
    newest = merging.history(world.uri)[0]
    assert (newest.cr_id, newest.user, newest.operation) == ("CR-7", "olivia", "MERGE")
    assert (newest.rows_added, newest.rows_updated, newest.rows_deleted) == (1, 1, 0)
    commit = deltalake.DeltaTable(world.uri).history(1)[0]
    assert commit["userMetadata"] == "Correct a"


def test_a_wide_change_set_writes_little(site: Site) -> None:
    """Merge-on-read: the untouched rows are not written again."""
    rows = [{"id": n, "a": n % 7, "b": f"text {n}" * 5, "c": float(n)} for n in range(50_000)]
    world = World(site, "merge-on-read", rows=rows)
    result = world.merge(world.stage([{"id": n, "a": -1} for n in range(0, 50_000, 5_000)]))
    assert (result.rows_affected, dict(result.cells_updated)) == (10, {"a": 10})
    assert result.bytes_written < 20_000
    assert len(world.rows()) == 50_000


def test_the_result_survives_a_cleaned_up_log(world: World) -> None:
    """commitInfo is lost when the log is cleaned, the marker stays in the checkpoint."""
    staged = world.stage([{"id": 1, "a": 11}])
    first = world.merge(staged)
    deltalake.DeltaTable(world.uri).create_checkpoint()
    world.store.delete([path for path in world.paths() if path.endswith(".json")])
    again = world.merge(staged)
    assert replaced_result(again) == replaced_result(first)
    found = merging.find_merge(world.uri, "CR-1")
    assert found is not None
    assert found.version is None
    with pytest.raises(MergeFactsLost, match="is merged") as failed:
        world.merge(staged, destination=None)
    assert failed.value.version is None
