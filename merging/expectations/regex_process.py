"""Matching texts with patterns of users: for a confined process, which can be ended when it takes too long."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def failing(patterns: list[str], wanted: str, texts: list[str]) -> list[int]:
    """The places of the texts that do not match as many of the patterns as wanted."""
    compiled = [re.compile(pattern) for pattern in patterns]
    if wanted == "none":
        return [place for place, text in enumerate(texts) if any(one.search(text) for one in compiled)]
    enough = all if wanted == "all" else any
    return [place for place, text in enumerate(texts) if not enough(one.search(text) for one in compiled)]


def places(argument: Mapping[str, Any], _: object) -> list[int]:
    """``failing`` of ``{"patterns": [...], "wanted": "any" | "all" | "none", "texts": [...]}``."""
    return failing(argument["patterns"], argument["wanted"], argument["texts"])
