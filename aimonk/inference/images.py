"""Predictions for a stream of images, in order and in bounded memory."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from aimonk.data.images.stream import decode_each
from aimonk.inference.onnx_file import OnnxModel
from aimonk.inference.predictor import CalibratedModel


@dataclass
class Answer:
    """What a model predicts for one image.

    Attributes:
        probs: Calibrated probabilities [A]; None where the image could not be read.
        features: Inputs of the head, float32 [D]; None where they were not wanted, too.
        reason: Why the image could not be read; None where it could.
    """

    image: str
    probs: np.ndarray | None
    features: np.ndarray | None
    reason: str | None


def predict_images(
    model: CalibratedModel | OnnxModel,
    images: Iterable[tuple[str, Path | bytes]],
    batch_size: int,
    threads: int,
    with_features: bool,
) -> Iterator[list[Answer]]:
    """The answers for names and files, or contents of files, in batches.

    Args:
        threads: That decode; with 1, the caller decodes.
        with_features: Not for an OnnxModel.
    """
    names: deque[str] = deque()

    def contents() -> Iterator[Path | bytes]:
        for name, image in images:
            names.append(name)
            yield image

    # the next batch is decoded while the network processes this one
    decoded = decode_each(contents(), model.info.image_size, model.info.resize, threads, ahead=batch_size)
    while batch := list(islice(decoded, batch_size)):
        readable = [pixels for pixels in batch if not isinstance(pixels, str)]
        probs = features = iter(())
        if readable and with_features:
            probs, features = map(iter, model.with_features(np.stack(readable)))
        elif readable:
            probs = iter(model(np.stack(readable)))
        yield [
            Answer(names.popleft(), None, None, pixels)
            if isinstance(pixels, str)
            else Answer(names.popleft(), next(probs), next(features, None), None)
            for pixels in batch
        ]
