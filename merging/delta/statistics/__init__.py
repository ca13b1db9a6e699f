"""Statistics of data files: which files can hold a key, and what we state of the files that we write.

Wrong bounds hide rows, missing ones only cost time. So bounds written by others are widened to what their
writers may have cut (`bounds`), and a bound we cannot state exactly is left out (`stating`).
"""

from __future__ import annotations

from merging.delta.statistics.first_rows import FirstFiles, files_of_first_rows
from merging.delta.statistics.pruning import candidate_files, files_between
from merging.delta.statistics.ranges import Range, stated_ranges
from merging.delta.statistics.stating import fewer_rows, loose_stats, written_stats

__all__ = [
    "FirstFiles",
    "Range",
    "candidate_files",
    "fewer_rows",
    "files_between",
    "files_of_first_rows",
    "loose_stats",
    "stated_ranges",
    "written_stats",
]
