"""How far something is: bars in terminals and notebooks, silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol


class Progress(Protocol):
    """What shows how far one piece of work is."""

    def update(self, done: int, total: int | None, description: str) -> None:
        """Say how far it is; ``total`` is None where nobody knows."""

    def close(self) -> None:
        """It has ended, well or not."""


#: Makes what shows one piece of work.
ProgressFactory = Callable[[], Progress]


class Silence:
    """Shows nothing."""

    def update(self, done: int, total: int | None, description: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class RichBar:
    """A bar in a terminal, on standard error, gone when the work has ended."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress as Bars

        self._bars = Bars(console=Console(stderr=True), transient=True)
        self._task = self._bars.add_task("", total=None)
        self._bars.start()

    def update(self, done: int, total: int | None, description: str) -> None:
        """Move the bar."""
        self._bars.update(self._task, completed=done, total=total, description=description)

    def close(self) -> None:
        """Take the bar away."""
        self._bars.stop()


class TqdmBar:
    """A bar of tqdm, which knows terminals and notebooks."""

    def __init__(self) -> None:
        from tqdm.auto import tqdm

        self._bar: Any = tqdm(total=None, leave=False, unit="B", unit_scale=True)

    def update(self, done: int, total: int | None, description: str) -> None:
        """Move the bar."""
        self._bar.total = total
        self._bar.set_description(description, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()


def automatic() -> ProgressFactory:
    """Bars where somebody looks and ``rich`` or ``tqdm`` is there; silence in scripts, logs and pipes."""
    kinds: list[type[Progress]] = []
    if in_notebook():
        kinds = [TqdmBar, RichBar]
    elif sys.stderr is not None and sys.stderr.isatty():
        kinds = [RichBar, TqdmBar]

    return lambda: next(filter(None, map(_made, kinds)), Silence())


def _made(kind: type[Progress]) -> Progress | None:
    """A bar, where what draws it is installed."""
    try:
        return kind()
    except ImportError:
        return None


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in getattr(shell, "config", {})
