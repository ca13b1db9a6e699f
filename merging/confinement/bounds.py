"""What one confined process may take."""

from __future__ import annotations

import re
from dataclasses import dataclass

_GIB = 1024**3
_UNITS = {
    unit: base**power
    for base, written in ((1000, "{}B"), (1024, "{}iB"))
    for power, unit in enumerate(("B", *(written.format(letter) for letter in "KMGT")))
}


def bytes_of(size: str) -> int:
    """A size as settings write it (``450MB``, ``2GB``, ``1.5GiB``) in bytes. Raises ValueError."""
    found = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*([KMGT]?i?B)\s*", size, re.IGNORECASE)
    units = {unit.lower(): factor for unit, factor in _UNITS.items()}
    if found is None or found[2].lower() not in units:
        raise ValueError(f"{size!r} is no size like 450MB or 2GB")
    return int(float(found[1]) * units[found[2].lower()])


@dataclass(frozen=True)
class Bounds:
    """Limits that the operating system keeps for one confined process.

    ``memory_bytes`` is the address space that it may add to what a process with the engine loaded has. ``seconds`` are
    told by the clock, from the moment the process begins. ``open_files`` and ``file_bytes`` limit how many files it
    holds open and how long one that it writes may become. Without ``network`` it reaches no other machine, starts no
    program and is handed no environment of the process that asked; with it, only what stores of tables ask for.
    Without ``engine`` all that has been loaded where it begins is its module, and what that needs.
    """

    memory_bytes: int = _GIB
    seconds: float = 60.0
    open_files: int = 256
    file_bytes: int = _GIB
    network: bool = False
    engine: bool = True
