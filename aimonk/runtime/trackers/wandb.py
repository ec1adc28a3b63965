"""Records for Weights & Biases, in the run folder or also on its server."""

import os
import re
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aimonk.runtime.trackers.record import Point, Record, require_package, shorten_value

SERVER_SECONDS = 20.0  # for the first and the last answer of the server
LONGEST = 5000  # characters of a setting


class WandB:
    """A run of a project; jobs of a sweep are a group.

    Args:
        mode: `offline` or `online`.
    """

    identity: str | None = None

    def __init__(self, mode: str, project: str) -> None:
        if mode not in ("offline", "online"):
            raise ValueError(f"tracker.wandb.mode is {mode!r}; expected offline or online")
        require_package("wandb")
        self.mode, self.project = mode, project
        self._run: Any = None

    def start(self, record: Record, held: int, identity: str | None) -> int:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        known = identity is not None and re.fullmatch(r"[0-9a-f]{8}", identity)  # it becomes part of paths
        self.identity = identity if known else secrets.token_hex(4)
        if known and self.mode == "offline":
            # its last points may be missing after a kill, so the record is written again
            for folder in record.folder.glob(f"wandb/offline-run-*-{identity}"):
                shutil.rmtree(folder)
        settings = wandb.Settings(
            mode=self.mode,
            root_dir=f"{record.folder}",
            reinit="create_new",  # a failed record of an earlier job is left alone
            silent=True,
            console="off",
            disable_git=True,
            save_code=False,
            x_disable_meta=True,
            x_disable_stats=True,
            init_timeout=SERVER_SECONDS,
            finish_timeout=SERVER_SECONDS,
        )
        self._run = wandb.init(
            project=self.project,
            id=self.identity,
            name=record.name,
            group=record.group,
            config={key: _plain(value) for key, value in record.settings.items()},
            resume="allow",
            settings=settings,
        )
        # the server knows what it has; without one, the new file has everything
        return max(self._run.step - 1, 0) if self.mode == "online" else 0

    def log(self, points: Sequence[Point]) -> None:
        for iteration, values in points:
            self._run.log(values, step=iteration)

    def log_results(self, iteration: int, scores: dict[str, float], files: Sequence[Path]) -> None:
        import wandb

        pictures = {p.stem: wandb.Image(f"{p}") for p in files if p.suffix == ".png"}
        self._run.log({**scores, **pictures}, step=iteration)
        for path in files:
            # copies, since a link would break with the first move of the run folder
            copy = shutil.copy(path, self._run.dir)
            self._run.save(copy, base_path=self._run.dir, policy="now")

    def end(self, state: str) -> None:
        self._run.finish(exit_code=0 if state in ("finished", "pruned") else 1)


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | None) else shorten_value(value, LONGEST)
