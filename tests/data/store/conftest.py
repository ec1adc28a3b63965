from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from aimonk.data.store.row_set import INDEX_FILE
from aimonk.data.store.row_store import RowStore, StoredRows
from aimonk.data.store.stored_array import Row

KEYS = [f"image {i} é\0{i}" for i in range(20)]
SHAPE, DTYPE = (3, 4), "float32"


class Computer:
    """Computes rows: row i is filled with i + offset. Records the requested rows.

    Args:
        errors: Row number -> error message.
        fail_at: The row at which it raises.
    """

    def __init__(self, offset: float = 0, errors: dict[int, str] | None = None, fail_at: int | None = None):
        self.offset, self.errors, self.fail_at = offset, errors or {}, fail_at
        self.requested: list[list[int]] = []

    def __call__(self, rows: np.ndarray) -> Iterator[Row]:
        self.requested.append(rows.tolist())
        for row in rows.tolist():
            if row == self.fail_at:
                raise OSError(28, "the network is on fire")
            yield row, self.errors.get(row, np.full(SHAPE, row + self.offset, DTYPE))


@pytest.fixture
def computer() -> type[Computer]:
    return Computer


@pytest.fixture
def fetch(tmp_path: Path) -> Callable[..., StoredRows | None]:
    """Requests rows from the store in tmp_path / "cache"."""

    def fetch(
        compute: Callable, keys: list[str] = KEYS, family: str = "family", limit: int = 10**9, **options
    ) -> StoredRows | None:
        return RowStore(tmp_path / "cache", limit).rows(family, keys, SHAPE, DTYPE, compute, **options)

    return fetch


@pytest.fixture
def sets(tmp_path: Path) -> Callable[[], list[Path]]:
    """Lists the folders of the complete sets in tmp_path / "cache"."""

    def sets() -> list[Path]:
        found = [file.parent for file in tmp_path.glob(f"cache/*/*/{INDEX_FILE}")]
        return [folder for folder in found if not folder.name.startswith("building")]

    return sets


@pytest.fixture
def values() -> Callable[[StoredRows], list[int]]:
    """Returns the number that fills each row."""

    def values(found: StoredRows) -> list[int]:
        rows, _ = found.array.read(np.arange(len(found.array)))
        assert (rows == rows[:, :1, :1]).all()
        return rows[:, 0, 0].astype(int).tolist()

    return values
