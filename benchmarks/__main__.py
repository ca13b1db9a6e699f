"""All benchmarks one after the other: ``python -m benchmarks``.

About half an hour on two cores, on which nothing else should run.

The tables are made once and kept in ``var/benchmarks`` (about 15 GB with scale 10).
"""

from __future__ import annotations

import subprocess
import sys

RUNS = (
    ("Merges, 6 million rows (SF1)", "merge", "--scale", "1", "--runs", "3"),
    ("Merges, 300,000 rows", "merge", "--scale", "0.05", "--runs", "5"),
    (
        "Merges, 60 million rows (SF10)",
        *("merge", "--scale", "10", "--runs", "1", "--layouts", "clustered"),
        *("--engines", "headgate", "delta-rs", "delta-rs tuned"),
    ),
    ("Three-way merge beside doltlite", "threeway"),
    ("Expectations", "expectations", "--rows", "6000000", "--changes", "10000", "--runs", "3"),
    ("Staging", "staging"),
    ("Uploads", "uploads"),
    ("Pages of a million changes", "changes"),
    ("Downloads", "downloads"),
    ("The Python client", "client"),
    ("Queue", "queue_throughput"),
    ("Conflicts", "conflicts"),
    ("A large installation", "crowd"),
)


def main() -> None:
    """Run each in a process of its own; the first failure ends it."""
    for title, module, *arguments in RUNS:
        print(f"\n## {title}\n\n    python -m benchmarks.{module} {' '.join(arguments)}\n", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *arguments], check=True)


if __name__ == "__main__":
    main()
