"""What is kept below the data root, measured from time to time: to walk through it at each look costs too much."""

from __future__ import annotations

from audit.files import AUDIT_FOLDER
from datasets.data_root import data_root
from datasets.models import Measurement
from datasets.processes import measured

#: Which folder below the data root is which figure.
_FOLDERS = {
    Measurement.Name.STAGED_BYTES: "_staging",
    Measurement.Name.ARCHIVED_BYTES: "_archive",
    Measurement.Name.AUDIT_BYTES: AUDIT_FOLDER,
}


def measure_kept() -> None:
    """Measure staged content, archives and audit files, and remember it for the figures."""
    for name, folder in _FOLDERS.items():
        measured(name, sum(kept.size for kept in data_root().walk(folder)))
