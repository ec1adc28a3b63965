"""A trained model that predicts the attributes of images in memory and in files."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeAlias, overload

import numpy as np
from PIL import Image

from aimonk.data.images.decoding import decode, to_square
from aimonk.inference.onnx_file import OnnxModel
from aimonk.inference.predictor import SEVERAL, CalibratedModel
from aimonk.models.checkpoint import ModelInfo

Picture: TypeAlias = str | Path | Image.Image | np.ndarray


class Prediction(dict[str, float]):
    """Probability of every attribute, by name.

    Attributes:
        present: Attributes whose probability reaches their threshold.
    """

    def __init__(self, probs: dict[str, float], present: list[str]):
        super().__init__(probs)
        self.present = present

    def __repr__(self) -> str:
        return f"{super().__repr__()}, present: {', '.join(self.present) or 'nothing'}"


class Model:
    """A trained classifier.

    Attributes:
        folder: The run folder or file that it was loaded from.
        attributes: Names.
        thresholds: Lowest probability at which an attribute is present, by name.
        beats_chance: Whether its run found evidence of a score above chance, by name; None where this was not
            tested.
    """

    def __init__(self, folder: Path, model: CalibratedModel | OnnxModel):
        info = model.info
        self.folder = folder
        self.attributes = list(info.attributes)
        self.thresholds = dict(zip(info.attributes, info.thresholds, strict=True))
        self.beats_chance = dict(zip(info.attributes, info.beats_chance, strict=True))
        self._model = model

    def __repr__(self) -> str:
        return f"Model({str(self.folder)!r}, attributes: {', '.join(self.attributes)})"

    @overload
    def predict(self, images: Picture, batch_size: int = ...) -> Prediction: ...
    @overload
    def predict(self, images: Sequence[Picture], batch_size: int = ...) -> list[Prediction]: ...
    @overload
    def predict(self, images: Iterable[Picture], batch_size: int = ...) -> Iterator[Prediction]: ...
    def predict(
        self, images: Picture | Iterable[Picture], batch_size: int = SEVERAL
    ) -> Prediction | list[Prediction] | Iterator[Prediction]:
        """Probabilities and decisions.

        Args:
            images: The path of a file, a PIL image, or an array uint8 [H, W, 3] or [H, W], of any size; or a
                list, an array [B, H, W, 3], or an iterator of these.

        Returns:
            A prediction for an image, a list for a list, and for an iterator an iterator, which holds one
            batch in memory.

        Raises:
            FileNotFoundError: A file does not exist.
            ValueError: An image cannot be read, or an array has another type or shape.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; expected 1 or more")
        if isinstance(images, np.ndarray) and images.ndim == 4:
            images = list(images)
        if isinstance(images, str | Path | Image.Image | np.ndarray):
            return next(self._predict([images], 1))
        if isinstance(images, Sequence):
            return list(self._predict(images, batch_size, count=len(images)))
        return self._predict(images, batch_size, count=SEVERAL)

    def _predict(self, images: Iterable[Picture], batch_size: int, count: int = 1) -> Iterator[Prediction]:
        self._model.expect(count)
        info, remaining = self._model.info, iter(images)
        while batch := [read_square(image, info) for image in islice(remaining, batch_size)]:
            for row in self._model(np.stack(batch)).tolist():
                named = dict(zip(info.attributes, row, strict=True))
                yield Prediction(named, [a for a, p in named.items() if p >= self.thresholds[a]])


def read_square(image: Picture, info: ModelInfo) -> np.ndarray:
    """Pixels uint8 [size, size, 3] of an image, as the model was trained on them.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The image cannot be read.
    """
    if isinstance(image, str | Path):
        path = Path(image)
        if not path.exists():
            raise FileNotFoundError(f"no image at {path.absolute()}")
        try:
            return decode(path, info.image_size, info.resize)
        except ValueError as error:
            raise ValueError(f"{image}: {error}") from None
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
            got = f"{image.dtype} {list(image.shape)}"
            raise ValueError(f"image is {got}; expected uint8 [H, W, 3] or [H, W], 0 to 255")
        image = Image.fromarray(image)
    if not isinstance(image, Image.Image):
        raise ValueError(f"image is {type(image).__name__}; expected a path, a PIL image or an array")
    return to_square(image, info.image_size, info.resize)
