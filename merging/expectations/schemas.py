"""What a JSON Schema of a suite may refer to: itself. Judged when the suite is saved, before anything reads it.

The keywords are those of all drafts of JSON Schema (draft 3 to 2020-12; core, section 8 of 2020-12).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_REFERS = ("$ref", "$dynamicRef", "$recursiveRef", "extends")
#: What gives a part of a document an address of its own, so that references in it lead elsewhere.
_RENAMES = ("$id", "id", "$schema", "$vocabulary")
_ANCHORS = ("$anchor", "$dynamicAnchor")
#: Drafts in which a nested "id" is a keyword; in later ones it is a word like others, and only an address is refused.
_DRAFTS = (
    "json-schema.org/draft-03/schema",
    "json-schema.org/draft-04/schema",
    "json-schema.org/draft-06/schema",
    "json-schema.org/draft-07/schema",
    "json-schema.org/draft/2019-09/schema",
    "json-schema.org/draft/2020-12/schema",
)
_WITH_ID = _DRAFTS[:2]


def what_leaves(schema: Mapping[str, Any]) -> str | None:
    """What in a JSON Schema leads out of it, in words; None where nothing does.

    Everything that is held anywhere in it is looked at, as if each object were a schema: a reference may make one of
    what stands where no schema is read (in ``enum``, or under a keyword that nobody knows).
    """
    draft = schema.get("$schema")
    if draft is not None and (not isinstance(draft, str) or _bare(draft) not in _DRAFTS):
        return "$schema names a draft that is not known"
    id_is_a_keyword = draft is not None and _bare(draft) in _WITH_ID
    for part, is_root in _objects(schema):
        for keyword in (*_REFERS, *_RENAMES, *_ANCHORS):
            if keyword not in part:
                continue
            said = part[keyword]
            if isinstance(said, Mapping | bool) and keyword != "$vocabulary":
                continue  # a property of this name, or a schema in place of a reference
            if keyword == "extends" and not isinstance(said, str):
                continue  # the schemas themselves, as draft 3 has them
            if keyword in _REFERS and not (isinstance(said, str) and said.startswith("#")):
                return f"{keyword} refers to a schema outside of it"
            if keyword in _ANCHORS and not isinstance(said, str):
                return f"{keyword} is no name"
            if (
                keyword in _RENAMES
                and not is_root
                and (keyword != "id" or id_is_a_keyword or _is_address(said))
            ):
                return f"{keyword} gives a part of it another address"
            if keyword in ("$id", "id") and is_root and not isinstance(said, str):
                return f"{keyword} is no address"
    return None


def _bare(draft: str) -> str:
    return draft.removeprefix("https://").removeprefix("http://").removesuffix("#")


def _is_address(said: Any) -> bool:
    return isinstance(said, str) and (":" in said or "/" in said or "#" in said)


def _objects(schema: Any) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """All objects in it, at any depth; only the first is the root."""
    waiting: list[tuple[Any, bool]] = [(schema, True)]
    while waiting:
        part, is_root = waiting.pop()
        if isinstance(part, Mapping):
            yield part, is_root
            waiting += [(one, False) for one in part.values()]
        elif isinstance(part, list):
            waiting += [(one, False) for one in part]
