"""What merges did and how to undo or renew them: diffs, traced rows, reverts, rebases."""
