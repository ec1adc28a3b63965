"""Files of tensors and plain values: written atomically, read without running code from them."""

import io
from pathlib import Path
from typing import Any

import torch

from aimonk.files.archive import read_archive
from aimonk.files.atomic import replacing


def save_tensors(path: Path, content: Any) -> None:
    """Write tensors and plain values, in a form that `load_tensors` reads.

    Raises:
        OSError: The disk is full, or the folder cannot be written to.
    """
    # torch turns the failure to write a file into an error that does not tell what happened
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with replacing(path) as file:
        file.write(buffer.getbuffer())


def load_tensors(path: Path) -> Any:
    """Read a file of tensors and plain values; anything else in it is refused.

    Raises:
        ValueError: Not such a file.
    """
    try:
        return read_archive(path)
    except Exception as error:  # a foreign file fails in any way
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} is not a checkpoint that can be read ({reason[:200]})") from None
