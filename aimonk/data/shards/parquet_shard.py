"""Images of a Parquet file: a column `image` of bytes, or of {bytes, path} as Hugging Face writes it."""

import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from aimonk.data.images.decoding import MAX_FILE_BYTES
from aimonk.data.shards.member import Member, check_size, split_name

if TYPE_CHECKING:
    import pyarrow

BATCH_BYTES = 2**25
MAX_ROWS = 256
NAMES = ("name", "path")


def import_parquet() -> Any:
    """The module pyarrow.parquet.

    Raises:
        ValueError: It is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise ValueError(
            "Parquet files need pyarrow, which is not installed; pip install -e '.[shards]' installs it"
        ) from None
    return pyarrow.parquet


def read_parquet(file: BinaryIO, address: str, with_labels: bool) -> Iterator[Member]:
    """The images of a Parquet file, in their order.

    Args:
        file: Opened.
        address: For errors and names.
        with_labels: Whether the other columns are read.

    Raises:
        ValueError: The file is damaged, has no column of images, or an image is too large.
    """
    parquet = import_parquet()
    import pyarrow

    row = 0
    try:
        # buffered, since a group of rows may be as large as the file
        source = parquet.ParquetFile(file, buffer_size=2**20, pre_buffer=False)
        schema = source.schema_arrow
        as_struct = _check_image(schema, address)
        named = next((name for name in NAMES if name in schema.names), None)
        columns = schema.names if with_labels else ["image", *([named] if named else [])]
        for batch in source.iter_batches(_batch_rows(source.metadata), columns=columns, use_threads=False):
            for values in _rows(batch):
                yield _to_member(values, row, as_struct, named, address, with_labels)
                row += 1
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = (f"{error}".strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{address}: damaged Parquet file at or after row {row} ({reason})") from None


def _check_image(schema: "pyarrow.Schema", address: str) -> bool:
    """Whether the column `image` is a struct of bytes and path, and not bytes.

    Raises:
        ValueError: It is neither.
    """
    import pyarrow.types as types

    if "image" not in schema.names:
        raise ValueError(f"{address} has the columns {', '.join(schema.names)}; expected one named image")
    kind = schema.field("image").type
    is_bytes = [types.is_binary, types.is_large_binary, types.is_binary_view]
    as_struct = types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    values = kind.field("bytes").type if as_struct else kind
    if any(check(values) for check in is_bytes):
        return as_struct
    raise ValueError(f"{address}: column image is {kind}; expected binary, or a struct with bytes and path")


def _batch_rows(metadata: Any) -> int:
    """Rows whose bytes, decompressed, are some BATCH_BYTES in the densest group of rows."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    densest = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=1)
    return max(1, min(MAX_ROWS, int(BATCH_BYTES / max(densest, 1))))


def _rows(batch: "pyarrow.RecordBatch") -> Iterator[dict[str, Any]]:
    for i in range(batch.num_rows):
        yield {
            name: column[i].as_py() for name, column in zip(batch.schema.names, batch.columns, strict=True)
        }


def _to_member(
    values: dict[str, Any], row: int, as_struct: bool, named: str | None, address: str, with_labels: bool
) -> Member:
    image = values.pop("image")
    path = None
    if as_struct:
        image, path = (None, None) if image is None else (image["bytes"], image.get("path"))
    name = values.pop(named) if named else path
    name = f"{posixpath.basename(address)}/{row}" if name in (None, "") else f"{name}"
    content = image or b""
    check_size(f"{address}: row {row}", len(content), MAX_FILE_BYTES)
    key = (split_name(name) or (name,))[0]
    return Member(key, name, content, row, values if with_labels and values else None)
