"""The second judge of a statement: DuckDB's own parse tree of the SELECT that will run.

What it approves is the very tree that DuckDB runs, so that nothing hangs on two parsers reading one text alike. Kinds
of nodes that are not known (of a newer DuckDB, say) are refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from merging.errors import StagingRejected
from merging.sql.parsing import shown
from merging.sql.session import Session
from merging.staging.queries.allowed import EXPRESSIONS, FUNCTIONS, PARTS, TABLE_FUNCTIONS
from merging.staging.queries.places import Place, did_you_mean, refused

Locate = Callable[[int, str], Place | None]
"""Where the author wrote what stands at an offset of the SELECT, or the name that does."""


def judge(
    opened: Session, select: str, names: Collection[str], locate: Locate, *, names_columns: bool = True
) -> None:
    """Raise StagingRejected where the SELECT is or holds anything but what ``allowed`` lists.

    ``names`` are the tables that it may name; with ``names_columns`` each of its columns must have a name.
    """
    tree = _tree(opened, select, locate)
    reserved = {
        str(name).casefold()
        for (name,) in opened.connection.execute(
            "SELECT view_name FROM duckdb_views() UNION SELECT table_name FROM duckdb_tables()"
        ).fetchall()
    }
    judging = _Judge(names, reserved, locate)
    judging.judge(tree)
    if names_columns:
        judging.judge_columns(tree)


def _tree(opened: Session, select: str, locate: Locate) -> Mapping[str, Any]:
    [said] = opened.connection.execute("SELECT json_serialize_sql(?)", [select]).fetchall()[0]
    told = json.loads(said)
    if told.get("error"):
        offset = int(told.get("position", -1))
        raise refused("sql_syntax", f"{_sentence(told['error_message'])}.", locate(offset, ""))
    statements = told["statements"]
    if len(statements) != 1:
        raise refused("sql_several_statements", "write one statement: there is more than one.")
    node: Mapping[str, Any] = statements[0]["node"]
    return node


def _sentence(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


class _Judge:
    def __init__(self, names: Collection[str], reserved: AbstractSet[str], locate: Locate) -> None:
        self._names = {name.casefold() for name in names}
        self._reserved = reserved
        self._locate = locate

    def judge(self, query: Mapping[str, Any]) -> None:
        nodes = list(_nodes(query))
        for node in nodes:
            for entry in _entries(node.get("cte_map")):
                self._take_name(entry)
        for node in nodes:
            self._judge_node(node)

    def _take_name(self, entry: Mapping[str, Any]) -> None:
        """A name that WITH gives: never one of what DuckDB has of its own, which it could stand for elsewhere."""
        name = str(entry["key"])
        if name.casefold() in self._reserved - self._names:
            raise refused(
                "sql_name_taken",
                f"WITH cannot give the name {shown(name)}, which is taken: choose another one.",
                self._locate(-1, name),
            )
        self._names.add(name.casefold())

    def _judge_node(self, node: Mapping[str, Any]) -> None:
        kind = node.get("type")
        if "class" in node:
            if node["class"] not in EXPRESSIONS:
                raise self._not_possible(node, str(node["class"]).replace("_", " ").lower())
            if node["class"] in ("FUNCTION", "WINDOW"):
                self._judge_function(node)
        elif isinstance(kind, str):
            if kind not in PARTS:
                raise self._not_possible(node, kind.replace("_", " ").lower())
            if kind == "BASE_TABLE":
                self._judge_table(node)
            if kind == "TABLE_FUNCTION":
                self._judge_table_function(node)
        for clause in ("sample", "at_clause"):
            if node.get(clause) is not None:
                raise self._not_possible(node, {"sample": "TABLESAMPLE", "at_clause": "AT (VERSION)"}[clause])

    def _judge_function(self, node: Mapping[str, Any]) -> None:
        name = str(node["function_name"])
        if name.lower() not in FUNCTIONS or node.get("schema") or node.get("catalog"):
            raise refused(
                "sql_function_not_allowed",
                f"the function {shown(name)} is not among those that a proposal may use."
                f"{did_you_mean(name, (one for one in FUNCTIONS if one[0].isalpha()))}",
                self._place(node, name),
            )

    def _judge_table(self, node: Mapping[str, Any]) -> None:
        name = str(node["table_name"])
        if name.casefold() not in self._names or node.get("schema_name") or node.get("catalog_name"):
            raise unknown_table(name, self._place(node, name))

    def _judge_table_function(self, node: Mapping[str, Any]) -> None:
        name = str(node["function"].get("function_name", ""))
        if name.lower() not in TABLE_FUNCTIONS:
            raise refused(
                "sql_function_not_allowed",
                f"{shown(name)} cannot stand where a table does: a proposal reads its dataset alone, which is called "
                "dataset.",
                self._place(node, name),
            )

    def judge_columns(self, query: Mapping[str, Any]) -> None:
        """Each column of the result has a name: it says which column of the table is meant."""
        while query["type"] == "SET_OPERATION_NODE":
            query = query["children"][0] if query.get("children") else query["left"]
        for column in query["select_list"]:
            if not column["alias"] and column["class"] not in ("COLUMN_REF", "STAR"):
                raise refused(
                    "sql_unnamed_column",
                    "this column has no name: write AS and the name of the column of the table that it is for.",
                    self._place(column, ""),
                )

    def _not_possible(self, node: Mapping[str, Any], what: str) -> StagingRejected:
        return refused(
            "sql_not_allowed", f"{what} is not possible in a proposal: leave it out.", self._place(node, "")
        )

    def _place(self, node: Mapping[str, Any], name: str) -> Place | None:
        return self._locate(int(node.get("query_location", -1)), name)


def unknown_table(name: str, place: Place | None) -> StagingRejected:
    """The refusal of a table that is not the dataset."""
    return refused(
        "sql_unknown_table",
        f"there is no table {shown(name)} here: a proposal reads its dataset alone, which is called dataset.",
        place,
    )


def _nodes(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every object in the tree, without recursion: a tree may be as deep as its author likes."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _entries(cte_map: Any) -> list[Mapping[str, Any]]:
    return list(cte_map["map"]) if isinstance(cte_map, dict) else []
