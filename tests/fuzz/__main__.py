"""Stage damaged uploads: ``python -m tests.fuzz [--formats csv,parquet] [--files 20000] [--seed 11] [--minutes 60]``.

A finding is told with its format, seed and number; ``--formats parquet --seed 11 --first 4711 --files 1`` repeats it,
and ``--keep FOLDER`` writes its file.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from tests.fuzz.campaign import attack
from tests.fuzz.mutants import mutant
from tests.fuzz.seeds import FORMATS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--files", type=int, default=20_000, help="mutants of each format")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--minutes", type=float, default=240, help="begin no further process after this time")
    parser.add_argument("--children", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--keep", type=Path, default=None, help="a folder for the files of findings")
    options = parser.parse_args()
    end = time.monotonic() + options.minutes * 60
    failed = False
    for file_format in options.formats.split(","):
        began = time.monotonic()
        outcome = attack(
            file_format,
            seed=options.seed,
            first=options.first,
            count=options.files,
            children=options.children,
            goes_on=lambda: time.monotonic() < end,
        )
        took = time.monotonic() - began
        say(f"{file_format}: {outcome.tried:,} files in {took:.0f} s, slowest {outcome.slowest:.1f} s")
        for ended, number in outcome.ended.most_common():
            say(f"  {number:7,} {ended}")
        for number, told in sorted(outcome.findings.items()):
            say(f"  FOUND --formats {file_format} --seed {options.seed} --first {number}: {told}")
            if options.keep is not None:
                ending, content = mutant(file_format, options.seed, number)
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"{options.seed}-{number}.{ending}").write_bytes(content)
        failed = failed or bool(outcome.findings)
    return 1 if failed else 0


def say(line: str) -> None:
    """One line of the report."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
