"""Output records as the columns that a commit is given."""

from __future__ import annotations

from collections.abc import Iterable

from streamcluster.output import OutputColumns, OutputRecord


def columns_of(records: Iterable[OutputRecord]) -> OutputColumns:
    """These records as columns."""
    columns = OutputColumns()
    for record in records:
        columns.append(record)
    return columns
