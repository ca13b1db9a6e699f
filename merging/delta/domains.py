"""Metadata domains that say how a table's files are to be written (PROTOCOL.md, "Domain Metadata").

A domain stays until somebody replaces it, so a commit that changes none keeps them all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from merging.delta.damage import Damaged, fields_of

_CLUSTERING = "delta.clustering"


def clustering_columns(domains: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    """The columns that a table's files are clustered by, each as the stored names that lead to it from the top
    (PROTOCOL.md, "Clustered Table", whose example states columns by their names alone; Spark states paths). Raises
    Damaged.
    """
    stated = domain_fields(domains, _CLUSTERING).get("clusteringColumns") or []
    paths = [[one] if isinstance(one, str) else one for one in stated] if isinstance(stated, list) else None
    if paths is None or not all(_is_path(path) for path in paths):
        raise Damaged(f"clusteringColumns of the domain {_CLUSTERING} is no list of columns")
    return tuple(tuple(path) for path in paths)


def _is_path(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


def domain_fields(domains: Mapping[str, str], name: str) -> Mapping[str, Any]:
    """The JSON object that is a domain's configuration; {} where there is no such domain. Raises Damaged."""
    if name not in domains:
        return {}
    try:
        stated = json.loads(domains[name])
    except (ValueError, RecursionError):
        raise Damaged(f"the domain {name} is no JSON") from None
    return fields_of(stated, f"the domain {name}")
