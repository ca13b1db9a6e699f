"""Merges tables with doltlite, as a program of its own: its library takes the place of SQLite in the whole process.

One JSON object a line on standard input: ``columns`` (name and SQL type), ``keys``, and the rows of ``base``,
``current`` and ``proposed`` as objects. One line out: the ``rows`` after the merge, Current's where in conflict, and
``conflicts`` as the key with how both sides changed the row.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import doltlite

doltlite.bootstrap()  # before anything imports sqlite3

import sqlite3  # noqa: E402  (the line above decides what it is)


def merge(case: dict[str, Any]) -> dict[str, Any]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    names = [name for name, _ in case["columns"]]
    columns = ", ".join(f'"{name}" {kind}' for name, kind in case["columns"])
    keys = ", ".join(f'"{key}"' for key in case["keys"])
    connection.execute(f"CREATE TABLE t ({columns}, PRIMARY KEY ({keys})) WITHOUT ROWID")

    def commit(side: str) -> None:
        connection.execute("DELETE FROM t")
        places = ", ".join("?" for _ in names)
        rows = [[row[name] for name in names] for row in case[side]]
        connection.executemany(f"INSERT INTO t VALUES ({places})", rows)
        connection.execute("SELECT dolt_commit('-A', '--allow-empty', '-m', ?)", [side])

    commit("base")
    connection.execute("SELECT dolt_branch('proposed')")
    commit("current")
    connection.execute("SELECT dolt_checkout('proposed')")
    commit("proposed")
    connection.execute("SELECT dolt_checkout('main')")
    connection.execute("BEGIN")
    conflicts: list[Any] = []
    try:
        connection.execute("SELECT dolt_merge('proposed')")
    except sqlite3.OperationalError as error:
        if "conflict(s)" not in str(error):
            raise
        found = connection.execute("SELECT * FROM dolt_conflicts_t")
        described = [one[0] for one in found.description]
        for values in found.fetchall():
            row = dict(zip(described, values, strict=True))
            side = next(
                one for one in ("our", "their", "base") if row[f"{one}_{case['keys'][0]}"] is not None
            )
            key = [row[f"{side}_{name}"] for name in case["keys"]]
            conflicts.append([key, row["our_diff_type"], row["their_diff_type"]])
    rows = [dict(zip(names, row, strict=True)) for row in connection.execute("SELECT * FROM t").fetchall()]
    connection.close()
    return {"rows": rows, "conflicts": conflicts}


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(merge(json.loads(line))) + "\n")
        sys.stdout.flush()
