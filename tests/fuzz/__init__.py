"""Damaged uploads by the thousand, staged where they may kill nobody: success or a named refusal, nothing else."""
