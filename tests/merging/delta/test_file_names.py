"""How paths of ours are spelled in the log."""

from __future__ import annotations

import urllib.parse

import pytest

from merging.delta.writing.file_names import log_path

#: What Spark makes of these (``test_spark_vacuum`` asks it).
SPELLED = {
    "p=a/x-1_2.parquet": "p=a/x-1_2.parquet",
    "p=ä%2Fö%3D%25/x": "p=ä%252Fö%253D%2525/x",
    "p=(a)+,;@&$ ~!*'/x": "p=(a)+,;@&$%20~!*'/x",
    "p=[b]^{c}#?/x": "p=%5Bb%5D%5E%7Bc%7D%23%3F/x",
    "p=\u00a0\u3000\u2028😀/x": "p=%C2%A0%E3%80%80%E2%80%A8😀/x",
    "p=\x07\x7f\x85/x": "p=%07%7F%C2%85/x",
}


@pytest.mark.parametrize(("path", "spelled"), SPELLED.items())
def test_a_path_is_spelled_as_spark_spells_it(path: str, spelled: str) -> None:
    assert log_path(path) == spelled
    assert urllib.parse.unquote(spelled) == path
