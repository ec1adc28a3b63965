"""`mode=clean`: show the sizes of the cache and of run folders, and delete what is not needed."""

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig

from aimonk.data.store.row_store import RowStore
from aimonk.files.run_folder import find_runs
from aimonk.files.text import plural
from aimonk.setup.data import FEATURES, IMAGES, cache_folder
from aimonk.setup.shards import SHARDS

log = logging.getLogger(__name__)

CHOICES = (None, "cache", "failed", "all")
STORES = (IMAGES, FEATURES)
OUTPUTS = Path("outputs")
STATES = ("finished", "interrupted", "pruned", "failed", "running")


def run(cfg: DictConfig, out_dir: Path, overrides: list[str]) -> None:
    """Show what lies in the cache and below outputs/; delete what `delete` names.

    Sets that a running process uses are kept, as are all runs except failed ones.

    Raises:
        ValueError: An invalid choice.
    """
    if cfg.delete not in CHOICES:
        raise ValueError(f"delete is {cfg.delete!r}; expected null, cache, failed or all")
    cache = cache_folder(cfg)
    others = [folder for folder in sorted(cache.glob("demo_*")) if (folder / "labels.txt").is_file()]
    others += [folder for folder in (cache / SHARDS,) if folder.is_dir()]
    for name in STORES:
        print(f"{format_size(size_of([cache / name])):>9}  {cache / name}")
    for folder in others:
        print(f"{format_size(size_of([folder])):>9}  {folder}")
    runs = find_runs(OUTPUTS)
    runs.pop(OUTPUTS, None)  # a run there would be deleted with all others
    for state in STATES:
        own = [folder for folder, found in runs.items() if found == state]
        print(f"{format_size(size_of(own)):>9}  {plural(len(own), f'{state} run')} below {OUTPUTS}/")
    if cfg.delete in ("cache", "all"):
        freed = sum(RowStore(cache / name, 0).clear() for name in STORES) + delete(others)
        print(f"deleted: {format_size(freed)} of the cache")
    if cfg.delete in ("failed", "all"):
        failed = [folder for folder, state in runs.items() if state == "failed"]
        print(f"deleted: {format_size(delete(failed))}, {plural(len(failed), 'failed run')}")
    if cfg.delete is None:
        print("delete=cache, delete=failed or delete=all deletes; resume= continues interrupted runs")


def size_of(folders: Iterable[Path]) -> int:
    """Bytes on disk of all files in the folders."""
    files = (file for folder in folders for file in folder.rglob("*") if not file.is_symlink())
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file())


def delete(folders: list[Path]) -> int:
    """Delete folders, and return the bytes that this freed."""
    size = size_of(folders)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return size - size_of(folders)


def format_size(size: int) -> str:
    """Such as `12.3 MB`."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
