"""What ``python -m benchmarks`` writes into the document."""

import pytest

from benchmarks.__main__ import DOCUMENT, LONG, RUNS, content_of, placed, with_bars


def test_each_benchmark_has_its_place_in_the_document() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for name in (*RUNS, *LONG, "bars", "machine"):
        assert content_of(placed(text, name, "| measured |"), name) == "| measured |"
    with pytest.raises(LookupError, match="has no place for what `nothing` measures"):
        placed(text, "nothing", "")


def test_a_benchmark_that_is_run_alone_replaces_its_own_bars_and_no_others() -> None:
    text = "<!-- measured: bars -->\n\n| benchmark |\n| --- |\n| load | a | 1 s | 2 s | met | then |\n<!-- end -->\n"

    text = with_bars(text, "merge --scale 1 --runs 3", [["merge --scale 1", "b", "3", "4", "met", "now"]])
    text = with_bars(text, "load", [["load", "c", "9 s", "2 s", "**missed**", "now"]])
    text = with_bars(text, "merge --scale 10 --runs 1", [["merge --scale 10", "d", "3", "4", "met", "now"]])

    assert content_of(text, "bars").splitlines()[2:] == [
        "| merge --scale 1 | b | 3 | 4 | met | now |",
        "| load | c | 9 s | 2 s | **missed** | now |",
        "| merge --scale 10 | d | 3 | 4 | met | now |",
    ]
