"""Rows that go by a deletion vector: the file stays, its vector grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyroaring

from merging.delta.statistics import loose_stats
from merging.delta.vectors import VectorFile, read_vector
from merging.delta.writing.builder import CommitBuilder
from merging.delta.writing.file_names import vector_identity


def mark_rows(builder: CommitBuilder, removed: Mapping[int, np.ndarray]) -> None:
    """Let rows (their numbers, by the index of their file) go by vectors. A file whose rows are all gone is only
    removed. Raises MergeFailed for rows that are not live."""
    vectors = VectorFile(vector_identity(builder.attempt_id))
    store = builder.snapshot.store
    additions: list[dict[str, Any]] = []
    for file, numbers in zip(builder.snapshot.files.at(removed), removed.values(), strict=True):
        bitmap = pyroaring.BitMap64(numbers.astype(np.uint64))
        before = 0
        physical = builder.physical_records(file)
        if file.vector is not None:
            present = read_vector(store, file.vector, within=physical)
            before = len(present)
            bitmap |= present
        within = int(np.count_nonzero(numbers < physical))
        builder.remove_rows(file, len(numbers), min(len(bitmap) - before, within))
        if len(bitmap) == physical:
            builder.count("numTargetFilesRemoved", 1)
            if file.vector is not None:
                builder.count("numTargetDeletionVectorsRemoved", 1)
            continue
        builder.count(
            "numTargetDeletionVectorsUpdated" if file.vector else "numTargetDeletionVectorsAdded", 1
        )
        additions.append(builder.marked(file, vectors.append(bitmap), loose_stats(file, physical), physical))
    if vectors:
        builder.paths.append(vectors.path)
        store.write(vectors.path, vectors.content)
        builder.bytes_written += len(vectors.content)
    builder.actions += additions
