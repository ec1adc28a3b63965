"""Files of tensors and plain values, written atomically and read without executing code."""

import io
from pathlib import Path
from typing import Any

import torch

from aimonk.files.archive import read_archive
from aimonk.files.atomic import replacing


def save_tensors(path: Path, content: Any) -> None:
    """Write tensors and plain values atomically; `load_tensors` reads them.

    Raises:
        OSError: The disk is full, or the folder is not writable.
    """
    # given a path, torch.save hides the reason of a failed write
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with replacing(path) as file:
        file.write(buffer.getbuffer())


def load_tensors(path: Path) -> Any:
    """Read a file of tensors and plain values.

    Raises:
        ValueError: The file is damaged, or contains anything else.
    """
    try:
        return read_archive(path)
    except Exception as error:  # arbitrary files fail in arbitrary ways
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} is not a readable checkpoint ({reason[:200]})") from None
