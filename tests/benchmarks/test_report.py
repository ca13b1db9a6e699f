"""What benchmarks print, note and keep in the document."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks import report
from config.env import BASE_DIR


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        (report.Figure("staged", 6.4, "s", most=8), ["staged", "6.40 s", "at most 8 s", "met"]),
        (report.Figure("staged", 8.1, "s", most=8), ["staged", "8.10 s", "at most 8 s", "**missed**"]),
        (report.Figure("times", 8, least=10), ["times", "8", "at least 10", "**missed**"]),
        (report.Figure("times", 10, least=10), ["times", "10", "at least 10", "met"]),
        (report.Figure("sent", 0.04, "s"), ["sent", "0.040 s", "", ""]),
    ],
)
def test_a_figure_stands_beside_its_bar(figure: report.Figure, said: list[str]) -> None:
    assert figure.row() == said


def test_what_a_benchmark_printed_is_noted_and_a_missed_bar_ends_it_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = tmp_path / "notes"
    monkeypatch.setenv(report.NOTES, str(notes))
    monkeypatch.setattr(report, "_missed", [])
    report.table(("engine", "seconds"), [("ours", "0.1")])
    report.figure("staged", 6, "s", most=8)
    assert report.exit_code() == 0
    report.figure("grown", 60, "MB", most=50)
    assert report.exit_code() == report.BAR_MISSED
    tables, figures = report.noted(notes)
    assert tables[0] == "| engine | seconds |\n| --- | --- |\n| ours | 0.1 |"
    assert "| grown | 60 MB | at most 50 MB | **missed** |" in tables[1]
    assert [one.kept for one in figures] == [True, False]
    assert "grown: 60 MB (at most 50 MB: **missed**)" in capsys.readouterr().out


def test_what_could_not_be_measured_is_a_bar_that_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = tmp_path / "notes"
    monkeypatch.setenv(report.NOTES, str(notes))
    monkeypatch.setattr(report, "_missed", [])
    report.failure("texts of 1 MB", "Not enough memory\nfor a | b")
    assert report.exit_code() == report.BAR_MISSED
    [table], [figure] = report.noted(notes)
    row = "| texts of 1 MB | Not enough memory for a / b | ends well | **missed** |"
    assert table.splitlines()[-1] == row
    assert (figure.kept, figure.bar) == (False, "ends well")
    assert "texts of 1 MB: Not enough memory for a / b (ends well: **missed**)" in capsys.readouterr().out


@pytest.mark.parametrize("name", [*bench.RUNS, *bench.LONG, "bars", "machine"])
def test_the_document_has_a_place_for_each(name: str) -> None:
    text = bench.DOCUMENT.read_text(encoding="utf-8")
    written = bench.placed(text, name, "| new |")
    assert f"<!-- measured: {name} -->\n\n| new |\n\n<!-- end -->" in written
    assert written.count("<!-- end -->") == text.count("<!-- end -->")


def test_a_benchmark_that_has_no_place_or_does_not_end_is_told() -> None:
    with pytest.raises(LookupError, match="no place for what `other` measures"):
        bench.placed("", "other", "")
    assert bench.run("no_such_benchmark") is None


@pytest.mark.parametrize("command", [*bench.RUNS, *bench.LONG])
def test_every_command_is_one(command: str) -> None:
    assert (BASE_DIR / "benchmarks" / f"{command.split()[0]}.py").is_file()


def test_the_floor_is_less_than_a_merge(tmp_path: Path) -> None:
    """It reads what is staged, writes rows, vectors and a commit, and leaves the table's own log as it was."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.merge", "--scale", "0.001", "--runs", "1"),
            *("--layouts", "clustered", "--changes", "scatter", "--engines", "floor", "headgate"),
            *("--folder", str(tmp_path)),
        ],
        cwd=BASE_DIR,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, report.BAR_MISSED), done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| clustered")]
    assert [row[3] for row in rows] == ["floor", "headgate"]
    assert rows[0][2] == rows[1][2]
    assert "times the floor (at most 2 times the floor" in done.stdout
