"""Judging texts by what users wrote (patterns, formats, schemas): functions for confined processes (``cage``).

Each takes ``{"texts": [...], ...}`` and answers with the places of the texts that fail.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

Wanted = Literal["any", "all", "none"]
Answer = dict[str, Any]


def faults(argument: Mapping[str, Any], _: object) -> Answer:
    """Why each of some patterns is no regular expression of Python; None where it is one."""
    return {"answer": [_fault(pattern) for pattern in argument["patterns"]]}


def _fault(pattern: str) -> str | None:
    try:
        _compiled(pattern)
    except re.error as error:
        return str(error)
    except OverflowError as error:
        return str(error)
    except RecursionError:
        return "it is nested too deeply"
    return None


def _compiled(pattern: str) -> re.Pattern[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a later Python may read otherwise
        return re.compile(pattern)


def unmatched(argument: Mapping[str, Any], _: object) -> Answer:
    """The texts that do not match as many of the ``patterns`` as ``wanted``."""
    return {"answer": failing(argument["patterns"], argument["wanted"], argument["texts"])}


def failing(patterns: Sequence[str], wanted: Wanted, texts: Sequence[str]) -> list[int]:
    """The places of the texts that do not match as many of the patterns as wanted."""
    compiled = [_compiled(pattern) for pattern in patterns]
    if wanted == "none":
        return [place for place, text in enumerate(texts) if any(one.search(text) for one in compiled)]
    enough = all if wanted == "all" else any
    return [place for place, text in enumerate(texts) if not enough(one.search(text) for one in compiled)]


def no_dates(argument: Mapping[str, Any], _: object) -> Answer:
    """The texts that are no dates of the ``format``."""
    return _failing_of(argument, lambda text: _is_date(text, argument["format"]))


def _is_date(text: str, written: str) -> bool:
    try:
        datetime.strptime(text, written)  # noqa: DTZ007 - only whether it can be read matters
    except ValueError:
        return False
    return True


def no_json(argument: Mapping[str, Any], _: object) -> Answer:
    """The texts that are no JSON."""
    return _failing_of(argument, _is_json)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def unfit_for_schema(argument: Mapping[str, Any], _: object) -> Answer:
    """The texts whose JSON does not fit the ``schema``, as Great Expectations judges it.

    Its registry holds the drafts of JSON Schema and retrieves nothing, whatever a reference says.
    """
    try:
        import jsonschema
        import jsonschema_specifications
        import referencing
    except ImportError:
        return {
            "unable": "it needs the package jsonschema, which is not installed here (extra: expectations)"
        }
    schema = argument["schema"]
    kind = jsonschema.validators.validator_for(schema)
    try:
        kind.check_schema(schema)
        validator = kind(schema, registry=jsonschema_specifications.REGISTRY)
        return _failing_of(argument, lambda text: validator.is_valid(json.loads(text)))
    except jsonschema.SchemaError as error:
        return {"unable": f"its schema is no JSON Schema: {error.message[:200]}"}
    except referencing.exceptions.Unresolvable as error:
        return {"unable": f"its schema refers to {str(error.ref)[:200]!r}, which it does not hold"}
    except json.JSONDecodeError as error:
        return {"unable": f"a text is no JSON at all: {error}"}
    except RecursionError:
        return {"unable": "its schema or a text is nested too deeply, or the schema refers to itself"}
    except re.error as error:
        return {"unable": f"a pattern of its schema is no regular expression of Python: {error}"}


def _failing_of(argument: Mapping[str, Any], fits: Callable[[str], bool]) -> Answer:
    return {"answer": [place for place, text in enumerate(argument["texts"]) if not fits(text)]}
