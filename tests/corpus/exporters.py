"""How people get a table out of Delta Lake: with the tools that they have, as those tools write."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.feather as arrow_feather
import pyarrow.ipc as arrow_ipc
import pyarrow.parquet as arrow_parquet

Exporter = Callable[[pa.Table, Path], None]


def _without_zones(frame: pd.DataFrame) -> pd.DataFrame:
    """As pandas itself asks for: workbooks hold no time zones."""
    zoned = [name for name in frame if isinstance(frame[name].dtype, pd.DatetimeTZDtype)]
    return frame.assign(**{name: frame[name].dt.tz_localize(None) for name in zoned})


def pandas_csv(table: pa.Table, path: Path) -> None:
    table.to_pandas().to_csv(path, index=False)


def pandas_csv_gz(table: pa.Table, path: Path) -> None:
    table.to_pandas().to_csv(path, index=False)


def pandas_tsv(table: pa.Table, path: Path) -> None:
    table.to_pandas().to_csv(path, index=False, sep="\t")


def pandas_json(table: pa.Table, path: Path) -> None:
    table.to_pandas().to_json(path, orient="records", lines=True, date_format="iso", double_precision=15)


def pandas_parquet(table: pa.Table, path: Path) -> None:
    # A filter leaves gaps in the index, which pandas then writes as a column of its own.
    frame = table.to_pandas()
    frame[frame.index % 7 != 3].to_parquet(path)


def pandas_feather(table: pa.Table, path: Path) -> None:
    table.to_pandas().to_feather(path)


def pandas_xlsx(table: pa.Table, path: Path) -> None:
    _without_zones(table.to_pandas()).to_excel(path, index=False, engine="openpyxl")


def polars_csv(table: pa.Table, path: Path) -> None:
    _polars(table).write_csv(path)


def polars_json(table: pa.Table, path: Path) -> None:
    _polars(table).write_ndjson(path)


def polars_parquet(table: pa.Table, path: Path) -> None:
    _polars(table).write_parquet(path)


def polars_arrow(table: pa.Table, path: Path) -> None:
    _polars(table).write_ipc(path)


def polars_xlsx(table: pa.Table, path: Path) -> None:
    frame = _polars(table)
    zoned = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime) and kind.time_zone]
    frame.with_columns(pl.col(name).dt.replace_time_zone(None) for name in zoned).write_excel(path)


def _polars(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def pyarrow_csv(table: pa.Table, path: Path) -> None:
    arrow_csv.write_csv(table, path)


def pyarrow_parquet(table: pa.Table, path: Path) -> None:
    arrow_parquet.write_table(table, path, row_group_size=400)


def pyarrow_arrow(table: pa.Table, path: Path) -> None:
    with arrow_ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=333)


def pyarrow_stream(table: pa.Table, path: Path) -> None:
    with arrow_ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=333)


def pyarrow_feather(table: pa.Table, path: Path) -> None:
    arrow_feather.write_feather(table, path)


def duckdb_csv(table: pa.Table, path: Path) -> None:
    _duckdb(table, path, "FORMAT csv, HEADER")


def duckdb_json(table: pa.Table, path: Path) -> None:
    _duckdb(table, path, "FORMAT json")


def duckdb_parquet(table: pa.Table, path: Path) -> None:
    _duckdb(table, path, "FORMAT parquet")


def _duckdb(table: pa.Table, path: Path, settings: str) -> None:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("source", table)
        connection.execute(f"COPY (FROM source) TO '{path}' ({settings})")


def openpyxl_xlsx(table: pa.Table, path: Path) -> None:
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("rows")
    sheet.append(table.column_names)
    for row in table.to_pylist():
        sheet.append([_naive(value) for value in row.values()])
    book.save(path)


def _naive(value: Any) -> Any:
    return value.replace(tzinfo=None) if isinstance(value, datetime.datetime) else value


EXPORTERS: dict[str, tuple[Exporter, str]] = {
    "pandas CSV": (pandas_csv, "csv"),
    "pandas CSV gzip": (pandas_csv_gz, "csv.gz"),
    "pandas TSV": (pandas_tsv, "tsv"),
    "pandas JSON lines": (pandas_json, "jsonl"),
    "pandas Parquet": (pandas_parquet, "parquet"),
    "pandas Feather": (pandas_feather, "feather"),
    "pandas workbook": (pandas_xlsx, "xlsx"),
    "Polars CSV": (polars_csv, "csv"),
    "Polars JSON lines": (polars_json, "jsonl"),
    "Polars Parquet": (polars_parquet, "parquet"),
    "Polars Arrow": (polars_arrow, "arrow"),
    "Polars workbook": (polars_xlsx, "xlsx"),
    "pyarrow CSV": (pyarrow_csv, "csv"),
    "pyarrow Parquet": (pyarrow_parquet, "parquet"),
    "pyarrow Arrow": (pyarrow_arrow, "arrow"),
    "pyarrow Arrow stream": (pyarrow_stream, "arrow"),
    "pyarrow Feather": (pyarrow_feather, "feather"),
    "DuckDB CSV": (duckdb_csv, "csv"),
    "DuckDB JSON lines": (duckdb_json, "jsonl"),
    "DuckDB Parquet": (duckdb_parquet, "parquet"),
    "openpyxl workbook": (openpyxl_xlsx, "xlsx"),
}
