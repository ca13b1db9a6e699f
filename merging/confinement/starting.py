"""The program that ``calling`` starts for its server: run as a file, so that it can leave the network first.

A process leaves its users' namespace only while it has one thread, and the engine's libraries start some when they are
loaded; so nothing of the project is loaded before.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_NEW_USERS = 0x10000000  # CLONE_NEWUSER
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET


def _leave_network() -> None:
    """Move this process into a network of its own that leads nowhere, where the kernel lets it (``unshare(2)``)."""
    kernel = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        # With users of its own it would lose what root may read; a container's root often may not do this at all.
        kernel.unshare(_NEW_NETWORK)
        return
    if kernel.unshare(_NEW_USERS | _NEW_NETWORK) != 0:
        return
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with contextlib.suppress(OSError):
            Path(f"/proc/self/{name}").write_text(text, encoding="ascii")


class _Bare(MetaPathFinder):
    """Packages of the engine without what they export, which is all of it: a module then loads what it needs itself."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "merging":
            return None
        found = PathFinder.find_spec(fullname, path, target)
        if found is None or found.submodule_search_locations is None:
            return found
        bare = ModuleSpec(fullname, None, is_package=True)
        bare.submodule_search_locations = found.submodule_search_locations
        return bare


def _start(*, control: int, parent: int, module: str, network: bool, engine: bool, path: list[str]) -> None:
    if not network:
        _leave_network()
    sys.path[:] = path
    if not engine:
        sys.meta_path.insert(0, _Bare())
    from merging.confinement.server import serve

    serve(control, module, parent)


if __name__ == "__main__":
    _start(**json.loads(sys.argv[1]))
