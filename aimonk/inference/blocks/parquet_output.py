"""Parquet files of predictions: a row per image."""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from aimonk.data.shards.parquet_shard import import_parquet
from aimonk.inference.images import Answer

if TYPE_CHECKING:
    import pyarrow

OWN = ("image", "shard", "present", "reason", "features")
METADATA = b"aimonk"
GROUP = 8192  # rows that are held in memory


def column_names(attributes: Sequence[str]) -> list[str]:
    """The column of each attribute: its name, with a suffix where another column has that name."""
    names: list[str] = []
    for attribute in attributes:
        while attribute in OWN or attribute in names:
            attribute = f"{attribute} (probability)"
        names.append(attribute)
    return names


class PartWriter:
    """Writes the predictions of a block.

    Args:
        thresholds: Lowest probability at which an attribute is present, A of them.
        about: Metadata of the file.
        shard: Of the images, if any.
    """

    def __init__(
        self,
        file: BinaryIO,
        attributes: list[str],
        thresholds: list[float],
        with_features: bool,
        about: dict[str, Any],
        shard: str | None,
    ):
        parquet = import_parquet()
        self.attributes = attributes
        self.thresholds = np.array(thresholds)
        self.with_features = with_features
        self.shard = shard
        self.schema = create_schema(attributes, with_features, about)
        self.writer = parquet.ParquetWriter(file, self.schema, compression="zstd")
        self.answers: list[Answer] = []
        self.images = self.unreadable = 0

    def add(self, answers: Iterable[Answer]) -> None:
        self.answers += answers
        if len(self.answers) >= GROUP:
            self._flush()

    def __enter__(self) -> "PartWriter":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self._flush()
        self.writer.close()  # while the file is open, also where it will be thrown away

    def _flush(self) -> None:
        import pyarrow

        if not self.answers:
            return
        read = np.array([answer.reason is None for answer in self.answers])
        probs = np.zeros((len(read), len(self.attributes)), np.float32)
        if read.any():
            probs[read] = np.stack([answer.probs for answer in self.answers if answer.reason is None])
        # decided on the rounded values, so that readers of the file come to the same decisions
        present = probs.astype(np.float64) >= self.thresholds
        lists = [
            [name for name, is_present in zip(self.attributes, row, strict=True) if is_present]
            if known
            else None
            for row, known in zip(present.tolist(), read.tolist(), strict=True)
        ]
        shard = None if self.shard is None else printable_name(self.shard)
        columns = [
            pyarrow.array([printable_name(answer.image) for answer in self.answers], pyarrow.string()),
            pyarrow.array([shard] * len(read), pyarrow.string()),
            *(pyarrow.array(probs[:, i], mask=~read) for i in range(len(self.attributes))),
            pyarrow.array(lists, pyarrow.list_(pyarrow.string())),
            pyarrow.array([answer.reason for answer in self.answers], pyarrow.string()),
        ]
        if self.with_features:
            features = [answer.features for answer in self.answers]
            columns.append(pyarrow.array(features, pyarrow.list_(pyarrow.float32())))
        self.writer.write_batch(pyarrow.RecordBatch.from_arrays(columns, schema=self.schema))
        self.images += len(read)
        self.unreadable += int((~read).sum())
        self.answers = []


def create_schema(attributes: list[str], with_features: bool, about: dict[str, Any]) -> "pyarrow.Schema":
    """Columns of a file, and its metadata as JSON under `aimonk`."""
    import pyarrow

    fields = [("image", pyarrow.string()), ("shard", pyarrow.string())]
    fields += [(name, pyarrow.float32()) for name in column_names(attributes)]
    fields += [("present", pyarrow.list_(pyarrow.string())), ("reason", pyarrow.string())]
    if with_features:
        fields.append(("features", pyarrow.list_(pyarrow.float32())))
    return pyarrow.schema(fields, metadata={METADATA: json.dumps(about)})


def printable_name(name: str) -> str:
    """The name, with bytes escaped that are not UTF-8, since Parquet refuses them."""
    return name.encode(errors="backslashreplace").decode()


def count_rows(file: BinaryIO) -> tuple[int, int]:
    """Rows of a file, and how many of them are images that could not be read.

    Raises:
        ValueError: The file is damaged.
    """
    parquet = import_parquet()
    import pyarrow

    try:
        reasons = parquet.ParquetFile(file).read(["reason"], use_threads=False).column("reason")
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        raise ValueError(f"damaged Parquet file ({' '.join(f'{error}'.split())})") from None
    return len(reasons), len(reasons) - reasons.null_count
