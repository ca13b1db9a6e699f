"""What content from strangers may hold: limits with names, kept while it is read and wherever it is read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ContentLimits:
    """The most that uploaded content may hold. Each refusal names its limit by the field.

    ``unpacked_bytes``: what comes out of compressed files, parts of archives and pages of Parquet, and what all rows
    take together. ``unpacked_ratio``: how many times larger than the file that may be, once it is more than
    ``FREE_BYTES``. ``rows``: of one upload. ``line_bytes``: a line of JSON, or a record of a CSV. ``row_bytes``: a row
    of typed content (Parquet, Arrow). ``cell_bytes``: a text or bytes in one cell. ``header_bytes``: all names of
    columns together. ``columns``: of one upload. ``json_depth``, ``type_depth``: lists and objects inside each other,
    in JSON and in the types of typed content. ``json_values``: names and values in one line, or one cell, of JSON.
    ``number_digits``: of one number that is written as text. ``sheets``, ``archive_parts``, ``shared_texts``,
    ``shared_text_bytes``: of a workbook. ``page_bytes``: one page of Parquet, or one buffer of Arrow data, unpacked.
    ``open_page_bytes``: the largest pages of all columns of a row group together, which are held at once.
    """

    unpacked_bytes: int = 64 << 30
    unpacked_ratio: int = 250
    rows: int = 200_000_000
    line_bytes: int = 32 << 20
    row_bytes: int = 128 << 20
    cell_bytes: int = 8 << 20
    header_bytes: int = 1 << 20
    columns: int = 10_000
    json_depth: int = 100
    type_depth: int = 32
    json_values: int = 1_000_000
    number_digits: int = 4_300
    sheets: int = 1_000
    archive_parts: int = 10_000
    shared_texts: int = 4_000_000
    shared_text_bytes: int = 256 << 20
    page_bytes: int = 256 << 20
    open_page_bytes: int = 1 << 30
