"""Event files in the run folder, for TensorBoard."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aimonk.runtime.trackers.record import Point, Record, require_package, shorten_value

LONGEST = 1000  # characters of a setting


class TensorBoard:
    """Curves, scores, pictures and settings as events; a continued record gets a further file."""

    identity: str | None = None

    def __init__(self) -> None:
        require_package("tensorboard")
        self._writer: Any = None

    def start(self, record: Record, held: int, identity: str | None) -> int:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        # readers drop what the earlier files have from this iteration on; it is written again
        kept = max(held - 1, 0)
        self._writer = SummaryWriter(f"{record.folder}", purge_step=kept + 1 if kept else 0)
        if not kept:
            settings = {key: _plain(value) for key, value in record.settings.items()}
            for summary in hparams(settings, {"val/mean_ap": 0.0})[:2]:
                self._writer.file_writer.add_summary(summary)
            if record.group is not None:
                self._writer.add_text("group", record.group, 0)
            self._writer.flush()
        return kept

    def log(self, points: Sequence[Point]) -> None:
        for iteration, values in points:
            for key, value in values.items():
                self._writer.add_scalar(key, value, iteration)
        self._writer.flush()

    def log_results(self, iteration: int, scores: dict[str, float], files: Sequence[Path]) -> None:
        self.log([(iteration, scores)])
        for path in files:
            if path.suffix == ".png":
                with Image.open(path) as image:
                    pixels = np.asarray(image.convert("RGB"))
                self._writer.add_image(path.stem, pixels, iteration, dataformats="HWC")
            else:
                self._writer.add_text(path.stem, f"`{path}`", iteration)
        self._writer.flush()

    def end(self, state: str) -> None:
        self._writer.add_text("state", state)
        self._writer.close()


def _plain(value: Any) -> bool | int | float | str:
    return (
        value
        if isinstance(value, bool | int | float | str) and value != ""
        else shorten_value(value, LONGEST)
    )
