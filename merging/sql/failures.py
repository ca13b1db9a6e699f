"""DuckDB's errors in the engine's own family: the one place where they are named, with what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import duckdb

from merging.errors import EngineFailed, TableDamaged, TableUnreachable, UnsupportedTable

_EARLIEST = re.compile("Date out of range in timestamp conversion|calendar time: timestamp out of range")
"""What DuckDB says of a timestamp that it holds but has no text for."""

_KINDS: Mapping[str, type[duckdb.Error]] = {
    "Invalid Error": duckdb.Error,
    "Invalid Input Error": duckdb.InvalidInputException,
    "IO Error": duckdb.IOException,
    "HTTP Error": duckdb.HTTPException,
    "Out of Memory Error": duckdb.OutOfMemoryException,
    "Conversion Error": duckdb.ConversionException,
    "Out of Range Error": duckdb.OutOfRangeException,
}
"""How the texts of errors begin that reach whoever reads a stream as nothing but text."""

REFUSAL = "headgate refuses: "
"""How a message begins that SQL of ours raises on meeting a value it must not pass on (DuckDB's `error` function)."""


def engine_failure(
    error: duckdb.Error, place: str = "", data: Mapping[str, Any] | None = None
) -> EngineFailed | TableDamaged | TableUnreachable | UnsupportedTable:
    """The error to raise in place of DuckDB's; `place` says in which table."""
    # Where in our SQL it was says nothing to people.
    told = re.split(r"\n\s*LINE \d+:", str(error), maxsplit=1)[0]
    lines = [line.strip() for line in told.splitlines() if line.strip()] or [type(error).__name__]
    # What a file system of ours raised comes back as a whole traceback, whose last line says what it was.
    from_store = "Traceback (most recent call last)" in str(error)
    said = lines[-1] if from_store else lines[0]
    unreachable = TableUnreachable.in_text(str(error))
    if unreachable is not None:
        return unreachable
    if REFUSAL in said:
        return UnsupportedTable(["values"], said.partition(REFUSAL)[2])
    where = f" of {place}" if place else ""
    if "Int96 timestamp is out of range" in said:
        return UnsupportedTable(
            ["values"],
            f"A data file{where} holds an INT96 timestamp before the year -4712 or after the year 36000. Change it "
            "with the program that wrote it, then try again.",
        )
    if _EARLIEST.search(said):
        message = (
            f"A timestamp{where} lies before -290308-12-22, where the engine's calendar begins: it cannot be written "
            "again. Change it with the program that wrote it, then try again."
        )
    elif isinstance(error, duckdb.OutOfMemoryException):
        message = (
            f"Not enough memory for the rows{where}: they need more than the engine may hold. Give it more with "
            f"HEADGATE_ENGINE_MEMORY (and HEADGATE_STAGING_MEMORY for uploads). {said}"
        )
    elif from_store or says_file_is_damaged(error):
        message = f"A data file{where} cannot be read: {said}"
        if place:
            return TableDamaged(
                f"{message.rstrip('.')}. Restore the file, or the table to a version without it.", data=data
            )
    elif isinstance(error, duckdb.ConversionException | duckdb.OutOfRangeException):
        message = f"A value{where} does not fit the type of its column: {said}"
    else:
        message = f"The engine could not work on the rows{where}; please report this: {said}"
    return EngineFailed(message, data=data)


def error_in_text(text: str) -> duckdb.Error:
    """DuckDB's error of which a stream of Arrow hands on the text alone."""
    kind, _, said = text.partition(": ")
    return _KINDS[kind](said) if kind in _KINDS else duckdb.DatabaseError(text)


def says_file_is_damaged(error: duckdb.Error) -> bool:
    """Whether a file could not be read. What unpacks pages of Parquet raises errors of none of DuckDB's kinds."""
    kinds = duckdb.IOException | duckdb.HTTPException | duckdb.InvalidInputException
    return type(error) is duckdb.Error or isinstance(error, kinds)


def raise_unreachable(error: BaseException) -> None:
    """Raise TableUnreachable where that is what ended a statement, before something else is made of the error."""
    unreachable = TableUnreachable.in_text(str(error))
    if unreachable is not None:
        raise unreachable from error


@contextmanager
def naming_engine_failures(place: str = "", data: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Turn whatever DuckDB raises inside into an error of the engine's family. Everything else passes."""
    try:
        yield
    except duckdb.Error as error:
        raise engine_failure(error, place, data) from error
