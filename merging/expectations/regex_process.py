"""Matching texts with patterns in a process of its own: a program, so that it can be ended when it takes too long.

Reads ``{"patterns": [...], "wanted": "any" | "all" | "none", "texts": [...]}`` from its input and writes the places of
the texts that fail. It imports nothing of the project, so that it starts at once.
"""

from __future__ import annotations

import json
import re
import sys


def failing(patterns: list[str], wanted: str, texts: list[str]) -> list[int]:
    """The places of the texts that do not match as many of the patterns as wanted."""
    compiled = [re.compile(pattern) for pattern in patterns]
    if wanted == "none":
        return [place for place, text in enumerate(texts) if any(one.search(text) for one in compiled)]
    enough = all if wanted == "all" else any
    return [place for place, text in enumerate(texts) if not enough(one.search(text) for one in compiled)]


if __name__ == "__main__":
    question = json.load(sys.stdin.buffer)
    json.dump(failing(question["patterns"], question["wanted"], question["texts"]), sys.stdout)
