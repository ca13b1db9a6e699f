"""500 damaged uploads of all formats: each is staged or refused by name, and no process dies of one."""

import pytest

from tests.fuzz.campaign import attack
from tests.fuzz.mutants import mutant
from tests.fuzz.seeds import FORMATS

SAMPLE = {"parquet": 160, "arrow": 160, "xlsx": 100, "csv": 50, "jsonl": 30}
"""Fewer where a mutant takes longer: what is still a text is staged to its end."""


@pytest.mark.sample(2)
@pytest.mark.parametrize("file_format", FORMATS)
def test_fs1_damaged_files_are_staged_or_refused_by_name(file_format: str) -> None:
    outcome = attack(file_format, seed=2026, first=0, count=SAMPLE[file_format])
    assert outcome.findings == {}
    assert outcome.tried == SAMPLE[file_format]


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_mutant_is_known_by_its_seed_and_number(file_format: str) -> None:
    assert mutant(file_format, 5, 7) == mutant(file_format, 5, 7) != mutant(file_format, 5, 8)
