"""Run folders: the names of their files, their status, and the newest finished run."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from aimonk.files.atomic import write_json

MODEL_FILE = "aimonk_model.pth"
SCORED_FILE = "aimonk_model_scored.pth"  # where the kept model is refitted
LAST_FILE = "aimonk_model_last.pth"
REFIT_FOLDER = "refit"
STATE_FILE = "state.pth"
LABELS_FILE = "labels.pth"
OUTCOME_FILE = "outcome.pth"  # result of a fold, for resuming a cross-validation
CONFIG_FILE = "config.yaml"
STATUS_FILE = "status.json"
LOCK_FILE = ".lock"
METRICS_FILE = "metrics.json"
AUDIT_FILE = "audit.json"
PREDICTIONS_FILE = "predictions.csv"
SUSPECTS_FILE = "suspects.csv"
SPLITS_FILE = "splits.csv"
LOSS_FILE = "loss.csv"
CURVE_FILE = "loss_curve.png"
REPORT_FILE = "report.html"
AUDIT_PAGE = "audit.html"


REPLACED = (STATE_FILE, OUTCOME_FILE, MODEL_FILE, SCORED_FILE, LAST_FILE, METRICS_FILE, SUSPECTS_FILE)


def clear_run_folder(out_dir: Path) -> None:
    """Delete what a resumed run or an inference would read of an earlier run in the same folder."""
    for folder in (out_dir, out_dir / REFIT_FOLDER, *out_dir.glob("*fold_*")):
        for name in REPLACED:
            (folder / name).unlink(missing_ok=True)


@contextlib.contextmanager
def locked(out_dir: Path) -> Iterator[None]:
    """Keep other runs out of a run folder.

    Raises:
        ValueError: Another run that is still running has the folder.
    """
    lock = FileLock(out_dir / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"hydra.run.dir is {out_dir}; expected a folder without a running run") from None
    except OSError:  # no write access, which the run reports itself, or a file system without locks
        pass
    try:
        yield
    finally:
        lock.release()


@dataclass
class RunStatus:
    """The status file of a run.

    Attributes:
        owned: Whether a failure is written; a folder to resume is left alone until its run is accepted.
        state: `running`, `finished`, `pruned`, `interrupted` or `failed`; empty before the first is written.
    """

    out_dir: Path
    owned: bool
    state: str = ""

    def write(self, state: str, **details: str) -> None:
        write_json(self.out_dir / STATUS_FILE, {"state": state, **details})
        self.state = state


@contextlib.contextmanager
def run_status(out_dir: Path, owned: bool) -> Iterator[RunStatus]:
    """Write `interrupted` or `failed` with the reason if the block raises."""
    status = RunStatus(out_dir, owned)
    try:
        yield status
    except BaseException as error:
        if status.owned:
            state = "interrupted" if isinstance(error, KeyboardInterrupt | SystemExit) else "failed"
            with contextlib.suppress(OSError):  # the disk may be the cause
                status.write(state, reason=f"{error}" or type(error).__name__)
        raise


def read_state(out_dir: Path) -> str:
    """State of the run in a folder; empty where its status is missing or damaged."""
    try:
        status = json.loads((out_dir / STATUS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    return str(status.get("state", "")) if isinstance(status, dict) else ""


def is_finished(out_dir: Path) -> bool:
    """Whether the folder holds a finished run."""
    return read_state(out_dir) == "finished"


def finished_runs(outputs: Path) -> list[Path]:
    """The folders below `outputs` of finished training runs, the newest last.

    Raises:
        FileNotFoundError: There is no finished run with a model.
    """
    finished = []
    for status in outputs.rglob(STATUS_FILE):
        if is_finished(status.parent) and (status.parent / MODEL_FILE).is_file():
            with contextlib.suppress(OSError):  # removed meanwhile
                finished.append((status.stat().st_mtime_ns, status.parent))
    if not finished:
        raise FileNotFoundError(
            f"no finished training run below {outputs.absolute()}; train a model or set checkpoint=PATH"
        )
    return [folder for _, folder in sorted(finished)]
