"""What a process loads that merges: not pandas, which Arrow would load at its first value, and not delta-rs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MERGED = "import json, sys\nimport merging\nmerging.warm_up()\n"
#: What Arrow makes of a series: a NaN is no value, which nobody can tell who takes it for a list.
OF_A_SERIES = "pa.array(pandas.Series([1.0, float('nan')])).to_pylist()"


def _said(program: str) -> object:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=120
    )
    return json.loads(done.stdout)


def test_a_merge_loads_neither_pandas_nor_delta_rs() -> None:
    program = MERGED + "print(json.dumps([name in sys.modules for name in ('pandas', 'deltalake')]))"
    assert _said(program) == [False, False]


@pytest.mark.parametrize(
    "loading",
    [
        "import pandas",
        "import pandas.api.types, pandas",
        "pa.table({'a': [1]}).to_pandas(); import pandas",
        "import importlib.util; importlib.util.find_spec('pandas'); import pandas",
    ],
)
def test_arrow_knows_pandas_once_that_is_loaded(loading: str) -> None:
    shown = (
        f"[{OF_A_SERIES}, pa.Table.from_pandas(pandas.DataFrame({{'a': [1]}})).to_pylist(),"
        " pa.array([2]).to_pandas().tolist(), pandas.__spec__.loader is pandas.__loader__,"
        " type(pandas.__loader__).__name__]"
    )
    program = f"{MERGED}import pyarrow as pa\n{loading}\nprint(json.dumps({shown}))"
    assert _said(program) == [[1.0, None], [{"a": 1}], [2], True, "SourceFileLoader"]


def test_whoever_uses_the_library_has_all_of_pandas() -> None:
    """Arrow learns once what `NA` and `NaT` are: a process that has not asked to do without must not miss it."""
    program = (
        "import json\nimport merging\nimport pandas\nimport pyarrow as pa\n"
        "frame = pandas.DataFrame({'a': pandas.Series([pandas.NA, 1], dtype=object)})\n"
        "times = pandas.Series([pandas.NaT, pandas.Timestamp(0)], dtype=object)\n"
        "print(json.dumps([pa.Table.from_pandas(frame).to_pylist(), pa.array(times).null_count]))"
    )
    assert _said(program) == [[{"a": None}, {"a": 1}], 1]


def test_the_application_makes_no_value_before_its_processes_decide() -> None:
    program = (
        "import json, sys\nimport django\nfrom config.env import choose_settings\nchoose_settings()\n"
        "django.setup()\nimport merging\nmerging.leave_pandas_alone()\nimport pyarrow as pa\n"
        "pa.array([1])\nprint(json.dumps('pandas' in sys.modules))"
    )
    assert _said(program) is False


def test_arrow_knows_pandas_that_was_loaded_before() -> None:
    program = f"import json, pandas\nimport merging\nimport pyarrow as pa\nprint(json.dumps({OF_A_SERIES}))"
    assert _said(program) == [1.0, None]
