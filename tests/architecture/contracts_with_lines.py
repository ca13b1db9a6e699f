"""Runs import-linter where the packages lie that it is started in, once for each line that somebody might write.

A program: reads ``[[contract, module, line], …]`` as JSON, adds one line at a time to its module, and writes how
import-linter ended and what it said of that contract. One process and its cache read all other modules once.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

from importlinter.cli import lint_imports


def main() -> None:
    found = []
    for contract, module, line in json.load(sys.stdin):
        path, said = Path(module), io.StringIO()
        before = path.read_text() if path.exists() else None
        path.write_text(f"{before or ''}\n{line}\n")
        with contextlib.redirect_stdout(said):
            ended = lint_imports(limit_to_contracts=(contract,), cache_dir=".cache")
        if before is None:
            path.unlink()
        else:
            path.write_text(before)
        found.append([ended, said.getvalue()])
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
