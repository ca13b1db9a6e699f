"""Arrow without pandas, in processes to which nobody gives any of its values: of the engine only Great Expectations
needs it.

At its first value pyarrow looks whether pandas is there, to know its series when it sees one, and so loads it: 33 MB in
each process and half a second. Where that first look finds none, pyarrow goes on without, and looks again once it is
asked to make something of pandas (``_PandasAPIShim``). So it looks first here, while pandas cannot be found; and when
somebody loads pandas it is asked to make such a thing at once, so that it knows every series there can be.

What it looks for in C++ (``NA``, ``NaT`` and their like in columns of objects; ``InitPandasStaticData``) it looks for
once: of these it never knows afterwards. So whoever starts a process decides, and importing the library decides
nothing: it makes no value of Arrow.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

import pyarrow as pa

_NAME = "pandas"


class _Hidden(MetaPathFinder):
    """As if pandas were not there."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> None:
        if fullname == _NAME:
            raise ModuleNotFoundError(f"No module named {_NAME!r}", name=_NAME)


class _Announced(MetaPathFinder):
    """Pandas, of which pyarrow is told as soon as it is loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _NAME:
            return None
        found = PathFinder.find_spec(fullname, path, target)
        if found is not None and found.loader is not None:
            found.loader = _Announcing(found.loader)
        return found


class _Announcing(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        sys.meta_path[:] = [one for one in sys.meta_path if not isinstance(one, _Announced)]
        pa.array([]).to_pandas()


def leave_pandas_alone() -> None:
    """Have pyarrow do without pandas until that is loaded. For whoever starts a process, once, before the first value
    of Arrow is made; nothing where pandas is loaded.
    """
    if _NAME in sys.modules:
        return
    hidden = _Hidden()
    sys.meta_path.insert(0, hidden)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(hidden)
    sys.meta_path.insert(0, _Announced())
