from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aimonk.data.images.decoding import decode


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., np.ndarray]:
    """Decodes an image, or the content of a file."""

    def read(source: Image.Image | bytes, size: int = 8, resize: str = "squash") -> np.ndarray:
        path = tmp_path / "image.jpg"
        if isinstance(source, bytes):
            path.write_bytes(source)
        else:
            source.save(path, "PNG")
        pixels = decode(path, size, resize)
        assert pixels.shape == (size, size, 3) and pixels.dtype == np.uint8
        return pixels

    return read
