"""Decoding of a stream of images, files or bytes, in order and in bounded memory."""

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from aimonk.data.images.decoding import decode

Item, Result = TypeVar("Item"), TypeVar("Result")


def decode_each(
    images: Iterable[Path | bytes], size: int, resize: str, threads: int, ahead: int
) -> Iterator[np.ndarray | str]:
    """Pixels uint8 [size, size, 3] or an error message for each image.

    Args:
        images: Files, or the content of files.
        threads: With 1, nothing runs beside the caller.
        ahead: Images that are decoded before they are requested.
    """

    def decode_one(image: Path | bytes) -> np.ndarray | str:
        if image == b"":
            return "the file is empty"
        try:
            return decode(io.BytesIO(image) if isinstance(image, bytes) else image, size, resize)
        except ValueError as error:
            return f"{error}"

    if threads == 1:
        yield from map(decode_one, images)
        return
    yield from map_in_threads(decode_one, images, threads, ahead)


def map_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int
) -> Iterator[Result]:
    """Yield the function's results in order, of which at most `ahead` wait for a slow consumer."""
    # threads suffice: Pillow releases the interpreter lock while it decodes and resizes
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
