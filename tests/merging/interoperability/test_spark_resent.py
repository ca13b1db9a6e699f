"""Plans that are sent to Spark again: a connection or a session that is lost in the middle merges once, or not at all.

The client asks for the rest of an answer by the operation's own id (`ReattachExecute`), so the cluster works once.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import merging
from merging import delta
from merging.engines import Cluster, EngineChoice, spark_files
from merging.engines import writing as engine_writing
from tests.merging.interoperability.conftest import StandaloneCluster
from tests.merging.interoperability.spark_connect import held_up, hold_up_questions
from tests.merging.world import STRATEGIES, B, World, with_rows

pytestmark = pytest.mark.spark


class Line:
    """A TCP connection to a server, through a port of its own, that can be cut."""

    def __init__(self, server: int) -> None:
        self.opened = 0
        self.cuts = 0
        self._server = server
        self._ends: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, name="line", daemon=True).start()

    @property
    def choice(self) -> EngineChoice:
        """Spark at the end of it, whatever there is to read or write."""
        return EngineChoice("spark", Cluster(f"sc://127.0.0.1:{self.port}", seconds=120))

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(("127.0.0.1", self._server))
                self.opened += 1
                self._ends += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()

    def cut(self) -> None:
        """Break what is open; whoever comes again gets through."""
        self.cuts += 1
        for one in self._ends:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._ends.clear()

    def close(self) -> None:
        self._listening.close()
        self.cut()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(1 << 16):
            target.sendall(part)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


@pytest.fixture
def line(standalone: StandaloneCluster) -> Iterator[Line]:
    """The way by which the engine reaches the cluster."""
    made = Line(standalone.port)
    yield made
    merging.set_engines(lambda _: EngineChoice())
    made.close()


class Once:
    """Does something two seconds after the first time that it is told to."""

    def __init__(self) -> None:
        self.told = 0
        self.done_at = 0.0

    def soon(self, what: Callable[[], Any]) -> None:
        def do() -> None:
            what()
            self.done_at = time.monotonic()

        self.told += 1
        if self.told == 1:
            threading.Timer(2, do).start()


def moved(folder: Path, strategy: str) -> tuple[World, merging.Staged]:
    """A request whose row stands elsewhere than when it was staged."""
    world = World(folder, strategy)
    merging.set_engines(lambda _: EngineChoice("duckdb"))
    return world, world.stage([{"id": 1, "a": 11}])


def assert_merged_once(world: World, staged: merging.Staged, before: int) -> None:
    """It is in the log once, and who asks again is told so."""
    mine = [one for one in delta.read_history(world.uri, limit=100) if one.cr_id]
    assert len(mine) == 1
    assert mine[0].version == world.version == before + 1
    again = world.merge(staged)
    assert (again.merged_version, world.version) == (before + 1, before + 1)
    assert [(row["id"], row["a"]) for row in world.rows()] == [(1, 11), (2, 20), (3, 33)]
    assert not list(Path(world.uri, "_headgate").rglob("*.parquet"))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_connection_that_breaks_while_the_plan_is_computed(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    world, staged = moved(tmp_path, strategy)
    world.set_current(with_rows(B, {"id": 3, "a": 33}))
    before, cut = world.version, Once()
    hold_up_questions(monkeypatch, seconds=4, first=lambda _: cut.soon(line.cut))
    merging.set_engines(lambda _: line.choice)
    result = world.merge(staged)
    assert (line.cuts, cut.done_at > 0, line.opened > 1) == (1, True, True)
    assert "spark" in [read.engine for read in result.reads]
    assert result.merged_version == before + 1
    assert_merged_once(world, staged, before)


def test_a_connection_that_breaks_while_files_are_written_again(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is sent with its operation's id again: the files are written once."""
    world, staged = moved(tmp_path, "copy-on-write")
    world.set_current(with_rows(B, {"id": 3, "a": 33}))
    before, cut, written = world.version, Once(), spark_files._write

    def write(rows: Any, number: str, into: str) -> None:
        cut.soon(line.cut)
        written(held_up(rows, seconds=4), number, into)

    monkeypatch.setattr(spark_files, "_write", write)
    monkeypatch.setattr(engine_writing, "REWRITES_FROM", 0)
    merging.set_engines(lambda _: line.choice)
    result = world.merge(staged)
    assert (line.cuts, cut.done_at > 0) == (1, True)
    assert [(one.engine, one.work) for one in result.writes] == [("spark", "rewrite"), ("duckdb", "write")]
    assert_merged_once(world, staged, before)


def test_a_session_that_is_lost_leaves_the_request_pending_with_a_reason(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client sends the plan again into a session that is no more: nothing is changed, and the next try merges."""
    world, staged = moved(tmp_path, "merge-on-read")
    world.set_current(with_rows(B, {"id": 3, "a": 33}))
    before, paths, lost = world.version, world.paths(), Once()
    merging.set_engines(lambda _: line.choice)
    with monkeypatch.context() as slow:
        hold_up_questions(slow, seconds=4, first=lambda session: lost.soon(session.client.release_session))
        with pytest.raises(merging.ClusterFailed, match="lost the session") as failed:
            world.merge(staged)
    assert (failed.value.retriable, failed.value.code) == (True, "cluster_failed")
    assert (world.version, world.paths()) == (before, paths)
    assert world.merge(staged).merged_version == before + 1
    assert_merged_once(world, staged, before)
