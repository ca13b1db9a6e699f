"""Work on what strangers sent, in a process that may die alone: limited, without network, ended when it must be.

``run_confined`` calls a function of the engine in a child of its own and gives back what it answers;
``is_ready`` tells whether it would do so at once.
"""

from __future__ import annotations

from merging.confinement.bounds import Bounds
from merging.confinement.calling import is_ready, run_confined
from merging.confinement.child import Caller
from merging.confinement.syscalls import has_syscall_filter

__all__ = ["Bounds", "Caller", "has_syscall_filter", "is_ready", "run_confined"]
