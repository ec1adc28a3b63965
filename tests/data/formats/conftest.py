from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aimonk.data.labels import LabelTable


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """A function that writes a label file and returns its path."""

    def write(content: str | bytes) -> Path:
        path = tmp_path / "labels.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture(scope="session")
def entries() -> Callable[[LabelTable], list[str]]:
    """A function that gives the rows of a table, as in a label file."""

    def entries(table: LabelTable) -> list[str]:
        values = np.where(table.mask, np.where(table.labels == 1, "1", "0"), "NA")
        return [" ".join([name, *row]) for name, row in zip(table.names, values, strict=True)]

    return entries
