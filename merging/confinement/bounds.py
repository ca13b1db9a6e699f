"""What one confined process may take."""

from __future__ import annotations

from dataclasses import dataclass

_GIB = 1024**3


@dataclass(frozen=True)
class Bounds:
    """Limits that the operating system keeps for one confined process.

    ``memory_bytes`` is the address space that it may add to what a process with the engine loaded has. ``seconds`` are
    told by the clock, from the moment the process begins. ``open_files`` and ``file_bytes`` limit how many files it
    holds open and how long one that it writes may become. Without ``network`` it reaches no other machine, starts no
    program and sees no environment of the process that asked.
    """

    memory_bytes: int = _GIB
    seconds: float = 60.0
    open_files: int = 256
    file_bytes: int = _GIB
    network: bool = False
