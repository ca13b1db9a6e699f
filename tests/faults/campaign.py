"""Play many scenarios in one world and tell how they ended."""

import argparse
import time
from collections.abc import Callable, Iterator

from tests.faults.checks import Broken, check_trail
from tests.faults.scenarios import Scenario, every_step, play, random_scenario, sample, special
from tests.faults.world import Servers, Unsettled, World

#: The whole trail is verified after so many random scenarios, and always at the end.
TRAIL_EVERY = 10


def run(of: Servers, options: argparse.Namespace, *, say: Callable[[str], None]) -> int:
    """Play the suite; 0 if every scenario held, 1 if one broke, with how to repeat it."""
    began, failed, played = time.monotonic(), 0, 0
    world = World(of)
    try:
        for name, scenario in _scenarios(options, postgresql=of.database is not None):
            if time.monotonic() - began > options.minutes * 60:
                say(f"the time is over after {played} runs")
                break
            try:
                outcome = play(world, scenario)
                if name != "random" or played % TRAIL_EVERY == 0:
                    check_trail()
            except (Broken, Unsettled) as error:
                failed += 1
                say(f"FAILED {name} seed {scenario.seed}: {scenario}\n    {error}")
                if options.keep:
                    say(f"logs and tables are in {of.folder}; press Enter to remove them")
                    input()
                break
            played += 1
            met = len(outcome.obeyed) - sum(action.endswith("=go-on") for action in outcome.obeyed)
            say(
                f"{name} seed {scenario.seed}: ok in {outcome.seconds:.1f} s, "
                f"{met} of {len(scenario.faults)} faults met: {scenario}"
            )
        if not failed:
            check_trail()
    finally:
        world.close()
    say(f"{played} runs held, {failed} failed, in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


def _scenarios(options: argparse.Namespace, *, postgresql: bool) -> Iterator[tuple[str, Scenario]]:
    if options.suite == "sample":
        yield from (("sample", scenario) for scenario in sample(postgresql=postgresql))
    if options.suite in ("fixed", "all"):
        for scenario in [*every_step(), *special(postgresql=postgresql)]:
            yield "fixed", scenario
    if options.suite in ("random", "all"):
        for number in range(options.runs):
            yield "random", random_scenario(options.seed + number, postgresql=postgresql)
