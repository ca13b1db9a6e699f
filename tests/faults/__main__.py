"""Run faults: ``python -m tests.faults [--world production|embedded|both] [--suite fixed|random|sample|all] …``.

Every random run prints its seed; ``--suite random --seed 4711 --runs 1`` repeats it.
"""

import argparse
import os
import subprocess
import sys
import time

import django
from django.core.management import call_command

from tests.faults.servers import servers


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--world", choices=("production", "embedded", "both"), default="both")
    parser.add_argument("--suite", choices=("fixed", "random", "sample", "all"), default="all")
    parser.add_argument("--runs", type=int, default=100, help="random runs in each world")
    parser.add_argument("--seed", type=int, default=None, help="seed of the first random run")
    parser.add_argument("--minutes", type=float, default=30, help="begin no further run after this time")
    parser.add_argument("--keep", action="store_true", help="leave logs and tables of a failed world")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = int(time.time()) % 1_000_000
    if options.world == "both":
        return _both(options)
    return _one(options)


def _both(options: argparse.Namespace) -> int:
    """One process per world, side by side."""
    arguments = [
        *("--suite", options.suite, "--runs", str(options.runs), "--seed", str(options.seed)),
        *("--minutes", str(options.minutes), *(["--keep"] if options.keep else [])),
    ]
    processes = [
        subprocess.Popen([sys.executable, "-m", "tests.faults", "--world", world, *arguments])
        for world in ("production", "embedded")
    ]
    return max(process.wait() for process in processes)


def _one(options: argparse.Namespace) -> int:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.faults.settings"
    with servers(options.world) as of:
        os.environ.update(of.environment())
        django.setup()
        call_command("migrate", verbosity=0)
        from tests.faults import campaign  # needs the settings

        return campaign.run(of, options, say=lambda line: say(options.world, line))


def say(world: str, line: str) -> None:
    """One line of the report."""
    sys.stdout.write(f"{world:10} {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
