"""The options that a store is opened with, shown to nobody."""

from __future__ import annotations


class HiddenOptions(dict[str, str]):
    """Options by name, whose values are in no trace, log or message that shows the object."""

    def __repr__(self) -> str:
        return f"HiddenOptions({', '.join(sorted(self))})"

    __str__ = __repr__
