"""What a merge leaves beside the table: the cell-level diff, the images of every changed row, a summary.

Written to ``<destination>/<attempt_id>/`` before the commit, so that a merged request always has them:
``diff.parquet`` one row per changed cell (``operation``, the key columns, ``column``, ``old``, ``new`` as text; an
added or deleted row is one entry without column), ``images.parquet`` whole rows before and after (what ``invert``
reads; a column that is alike in every row that stays is held once, see ``images_sql``), ``validation.json`` all checks
of the merged result, ``summary.json`` the counts, with the checksum of both Parquet files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from merging.delta.fields import stored_names
from merging.errors import MergeFailed
from merging.expectations.report import ValidationReport
from merging.sql.failures import naming_engine_failures
from merging.sql.quoting import literal, quote
from merging.sql.types import delta_field, is_text
from merging.store.publishing import file_facts, flush_file, local_folder, write_json
from merging.threeway.request import MergeRequest

if TYPE_CHECKING:
    from merging.threeway.plan import MergePlan

DIFF = "diff.parquet"
IMAGES = "images.parquet"
SUMMARY = "summary.json"
VALIDATION = "validation.json"
FORMAT_VERSION = 2
KNOWN_FORMATS = (1, 2)
"""The first had every column twice in its images."""
_ROWS_PER_GROUP = 20_480
_BYTES_PER_GROUP = 16 << 20


def artefact_folder(request: MergeRequest) -> Path | None:
    """Where the artefacts of the request's attempt go, if anywhere."""
    if request.destination is None:
        return None
    return local_folder(request.destination, "Artefacts are") / request.attempt_id


def remove_artefacts(request: MergeRequest) -> None:
    """Remove what an attempt wrote that did not commit."""
    folder = artefact_folder(request)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def find_summary(request: MergeRequest) -> dict[str, Any] | None:
    """The summary of the one attempt of the request that left artefacts; None where that is not one."""
    folder = artefact_folder(request)
    if folder is None or not folder.parent.is_dir():
        return None
    found = []
    for path in sorted(folder.parent.glob(f"*/{SUMMARY}")):
        summary = json.loads(path.read_text(encoding="utf-8"))
        if (summary["application_id"], summary["generation"]) == (request.application_id, request.generation):
            found.append(summary)
    return found[0] if len(found) == 1 else None


@contextmanager
def writing_images(plan: MergePlan, rows: int) -> Iterator[None]:
    """Write diff and images of a plan, if its request wants them, while the block writes the files of its commit: each
    of the three keeps one core busy and no more, for most of its time. Of few ``rows`` to start a thread for each takes
    as long as it spares; of wide ones they would hold too many.

    All have ended where this ends. Raises what the block raises, else what stopped the writing.
    """
    folder = artefact_folder(plan.request)
    if folder is None:
        yield
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    wanted = ((DIFF, _diff_sql(plan)), (IMAGES, _images_sql(plan)))
    if plan.session.rows_are_wide:
        yield
        for name, query in wanted:
            _write(plan.session.connection.cursor(), query, folder / name)
        return
    with ThreadPoolExecutor(max_workers=len(wanted) if rows > _ROWS_PER_GROUP else 1) as pool:
        written = [
            pool.submit(_write, plan.session.connection.cursor(), query, folder / name)
            for name, query in wanted
        ]
        yield
    for one in written:
        one.result()


def _write(cursor: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    # Of small row groups few rows are read to trace one. The second version of the format takes a quarter less time;
    # nobody looks for a value by its Bloom filter here.
    with cursor, naming_engine_failures():
        cursor.execute("SET TimeZone = 'UTC'")
        cursor.execute(
            f"COPY ({query}) TO {literal(str(path))} (FORMAT parquet, PARQUET_VERSION V2, COMPRESSION zstd, "
            f"ROW_GROUP_SIZE {_ROWS_PER_GROUP}, ROW_GROUP_SIZE_BYTES {_BYTES_PER_GROUP}, WRITE_BLOOM_FILTER false)"
        )
    flush_file(path)


def write_artefacts(
    plan: MergePlan, schema_json: str, report: ValidationReport, facts: Mapping[str, Any]
) -> None:
    """Write the checks and the summary beside the images of a plan, if its request wants them.

    ``schema_json`` is the table's schema after the merge.
    """
    folder = artefact_folder(plan.request)
    if folder is None:
        return
    write_json(folder / VALIDATION, _validation_json(report))
    summary = {
        "format": FORMAT_VERSION,
        **facts,
        "table_uri": plan.request.table_uri,
        "table_id": plan.snapshot.table_id,
        "version": plan.version + 1,
        "application_id": plan.request.application_id,
        "generation": plan.request.generation,
        "primary_keys": list(plan.staged.primary_keys),
        "fields": [delta_field(field) for field in plan.alignment.schema],
        "stored_names": stored_names(schema_json),
        "alike": sorted(plan.cells.alike),
        "added_columns": [change.column for change in plan.schema_changes],
        "files": {name: file_facts(folder / name) for name in (DIFF, IMAGES)},
    }
    write_json(folder / SUMMARY, summary)


def _validation_json(report: ValidationReport) -> dict[str, Any]:
    """All checks, and the full report on the suite where there was one."""
    checks = [
        {"name": one.name, "ok": one.ok, "message": one.message, "failures": one.failures}
        for one in report.checks
    ]
    expectations = report.expectations.as_json() if report.expectations is not None else None
    return {"ok": report.ok, "checks": checks, "expectations": expectations}


def _diff_sql(plan: MergePlan) -> str:
    """The entries of all rows, in the order of the rows and in each of the table's columns."""
    if plan.alignment.conflicts:
        raise MergeFailed("A plan with schema conflicts has no diff.")
    keys = ", ".join(
        f"k{place} AS {quote('key_' + name)}" for place, name in enumerate(plan.staged.primary_keys)
    )
    # Lists side by side in one look at the rows: to look for the cells of each column alone is planned, and held, in
    # the square of their number.
    names, olds, news = ["NULL::VARCHAR"], ["NULL::VARCHAR"], ["NULL::VARCHAR"]
    holds = ["action <> 'update'"]
    for column in plan.alignment.values:
        updated = plan.updates(column)
        if updated is None or column.name not in plan.cells_updated:
            continue  # an entry for each column that changes somewhere, whatever the table's width
        position = column.position
        old, new = f"c{position}", f"m{position}"
        if not is_text(column.type):
            old, new = f"{old}::VARCHAR", f"{new}::VARCHAR"
        changes = f"action = 'update' AND {updated}"
        names.append(literal(column.name))
        olds.append(f"CASE WHEN {changes} THEN {old} END")
        news.append(f"CASE WHEN {changes} THEN {new} END")
        holds.append(changes)
    listed = ", ".join(
        f'unnest([{", ".join(cells)}]) AS "{name}"'
        for name, cells in (("column", names), ("old", olds), ("new", news), ("holds", holds))
    )
    return f"SELECT * EXCLUDE (holds) FROM (SELECT action AS operation, {keys}, {listed} FROM merged) WHERE holds"


def _images_sql(plan: MergePlan) -> str:
    parts = ["action AS op"]
    parts += [f"k{place}" for place in range(len(plan.staged.primary_keys))]
    for column in plan.alignment.values:
        position = column.position
        if position in plan.cells.alike:
            parts.append(f"v{position}")
            continue
        parts.append(f"CASE WHEN action <> 'insert' THEN c{position} END AS b{position}")
        parts.append(f"CASE WHEN action <> 'delete' THEN m{position} END AS a{position}")
    return f"SELECT {', '.join(parts)} FROM merged"


def images_sql(folder: Path, summary: Mapping[str, Any]) -> str:
    """The images that a merge left, as a relation in key order: ``n``, ``op``, ``k<j>`` keys, ``b<i>`` and ``a<i>``
    values before and after.
    """
    alike = summary.get("alike", ())
    hidden = ", ".join(["file_row_number", *(f"v{position}" for position in alike)])
    shown = [f"* EXCLUDE ({hidden})", "file_row_number AS n"]
    for position in alike:
        shown.append(f"CASE WHEN op <> 'insert' THEN v{position} END AS b{position}")
        shown.append(f"CASE WHEN op <> 'delete' THEN v{position} END AS a{position}")
    source = f"read_parquet({literal(str(folder / IMAGES))}, file_row_number = true)"
    return f"(SELECT {', '.join(shown)} FROM {source})"
