"""Fill the disk at every stage of a training run, free disk space, resume, and compare.

    python benchmarks/full_disk.py --fault write          # at each write of a run, by a patched open()
    python benchmarks/full_disk.py --fault once           # only that write fails
    python benchmarks/full_disk.py --fault limit          # files cut off at a size (RLIMIT_FSIZE)
    python benchmarks/full_disk.py --fault disk           # a small tmpfs; requires root

Whatever fails, the run must end with exit status 1 and one line with advice, leave no incomplete file, and
resume to the curve of an undisturbed run. A short version is in tests/modes/test_full_disk.py.
"""

import argparse
import builtins
import contextlib
import errno
import importlib
import io
import json
import logging
import os
import re
import resource
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from small_run import ROOT, SMALL

RUN = [*SMALL, "epochs=2", "checkpoint_every=3"]
ADVICE = re.compile(r"free disk space|hydra\.run\.dir=FOLDER")


class FullDisk:
    """Counts the writes below a folder, and has no room from one of them on.

    Args:
        full_at: Number of the first write that fails, from 1; 0 for none.
        once: Whether there is room again after it.
    """

    def __init__(self, folder: Path, full_at: int, once: bool):
        self.folder = str(folder)
        self.full_at = full_at
        self.once = once
        self.count = 0
        self.open = builtins.open

    def take(self) -> None:
        """Write once.

        Raises:
            OSError: There is no room.
        """
        self.count += 1
        if self.full_at and (self.count == self.full_at or (self.count > self.full_at and not self.once)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def install(self) -> None:
        """Take the place of open(), for the rest of this process."""
        builtins.open = io.open = self._open

    def _open(self, file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, *rest):
        writes = set(mode) & set("wax+") and isinstance(file, str | os.PathLike)
        if not writes or not os.path.abspath(file).startswith(self.folder):
            return self.open(file, mode, buffering, encoding, errors, newline, *rest)
        with contextlib.suppress(FileNotFoundError):  # of the folder that the file is to lie in
            self.take()
        raw = _CountedFile(file, "".join(c for c in mode if c not in "bt"))
        raw.disk = self
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)


class _CountedFile(io.FileIO):
    disk: FullDisk

    def write(self, content) -> int:
        self.disk.take()
        return super().write(content)


def limit_size(size: int) -> None:
    """No file of this process may become larger."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@dataclass
class Ended:
    """How a run ended: its exit status, and what it wrote to the terminal."""

    status: int
    output: str


def attempt(
    arguments: list[str],
    fault: Callable[[], object] = lambda: None,
    at_end: Callable[[], object] = lambda: None,
) -> Ended:
    """Run a command of aimonk in a fork of this process, which has imported everything already.

    Args:
        fault: Called before the command, in its process.
        at_end: Called after it, in its process.
    """
    reader, writer = os.pipe()  # in place of the terminal; a limit on files is none on pipes
    child = os.fork()
    if child == 0:
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        os._exit(_run(arguments, fault, at_end))
    os.close(writer)
    with open(reader, errors="replace") as file:
        output = file.read()
    return Ended(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), output)


def _run(arguments: list[str], fault: Callable[[], object], at_end: Callable[[], object]) -> int:
    """The exit status of a command, run as Python would run it."""
    status = 0
    try:
        fault()
        sys.argv = [str(ROOT / "run.py"), *arguments]
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    logging.shutdown()
    sys.stdout.flush()
    at_end()
    return status


def find_faults(ended: Ended, folder: Path, can_tell: bool) -> list[str]:
    """What a run that failed for want of room did wrong.

    Args:
        can_tell: Whether there was room for status.json.
    """
    from aimonk.files.tensors import load_tensors

    wrong = []
    if ended.status != 1:
        wrong.append(f"exit status {ended.status}")
    if "Traceback" in ended.output or "--- Logging error" in ended.output:
        wrong.append("a traceback on the terminal")
    if sum(bool(ADVICE.search(line)) for line in ended.output.splitlines()) != 1:
        wrong.append("no line with advice")
    if any(path.name.endswith(".tmp") for path in folder.rglob("*")):
        wrong.append("an incomplete file was left")
    for path in folder.rglob("*.pth"):
        try:
            load_tensors(path)
        except ValueError as error:
            wrong.append(f"{error}")
    status = folder / "status.json"
    if status.is_file():
        recorded = json.loads(status.read_text())
        if recorded["state"] == "finished":
            wrong.append("status.json is 'finished'")
        if can_tell and not (recorded["state"] == "failed" and ADVICE.search(recorded["reason"])):
            wrong.append(f"status.json is {recorded}")
    return wrong


@dataclass
class Stage:
    """A moment at which there is no more room.

    Attributes:
        title: What the table calls it.
        fault: Takes the room, in the process that trains.
        can_tell: Whether there is room for status.json all the same.
    """

    title: str
    fault: Callable[[], object]
    can_tell: bool


def stages_of_writes(folder: Path, every: int, once: bool, common: list[str]) -> Iterator[Stage]:
    """One for each write, or each of so many, of a run."""
    total, disk = folder.with_name("writes"), FullDisk(folder, 0, once)
    start = [*common, f"hydra.run.dir={folder}"]
    attempt(start, disk.install, lambda: total.write_text(str(disk.count)))
    for number in range(1, int(total.read_text()) + 1, every):
        yield Stage(f"write {number}", FullDisk(folder, number, once).install, once)


def stages_of_limits(every: int) -> Iterator[Stage]:
    """One for each of several sizes that no file may exceed."""
    for size in [10 * 2**i for i in range(17)][::every]:
        yield Stage(f"{size} bytes a file", partial(limit_size, size), size >= 1000)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[int], None]]:
    """A disk of its own at the folder; yields what changes its size in kB."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], check=True)
    try:
        yield (
            lambda size: subprocess.run(["mount", "-o", f"remount,size={size}k", folder], check=True) and None
        )
    finally:
        subprocess.run(["umount", folder], check=True)


def empty(folder: Path) -> None:
    """Remove a run's folder."""
    subprocess.run(["rm", "-rf", folder], check=True)


def fill(work: Path, fault: str, every: int) -> list[tuple[str, str]]:
    """Fill the disk at each stage; returns for each how it went, "" where nothing was wrong.

    Raises:
        RuntimeError: The undisturbed run failed.
    """
    sys.path.insert(0, str(ROOT))
    importlib.import_module("aimonk.modes.train.lifecycle")  # so that each fork starts warm
    common = [f"cache_dir={work / 'cache'}", *RUN]
    if not (work / "complete").is_dir():
        complete = attempt([*common, f"hydra.run.dir={work / 'complete'}"])
        if complete.status != 0:
            raise RuntimeError(complete.output)
    curve = (work / "complete" / "loss.csv").read_bytes()
    with contextlib.ExitStack() as stack:
        folder, make_room = work / "run", lambda: None
        if fault == "disk":
            resize = stack.enter_context(small_disk(work / "disk"))
            folder, make_room = work / "disk" / "run", lambda: resize(64 << 10)
            needed = (
                sum(path.stat().st_size for path in (work / "complete").rglob("*") if path.is_file()) >> 10
            )
            sizes = range(4, 2 * needed, 4 * every)
            stages = [Stage(f"{size} kB", partial(resize, size), False) for size in sizes]
        elif fault == "limit":
            stages = stages_of_limits(every)
        else:
            stages = stages_of_writes(folder, every, fault == "once", common)
        results = []
        for stage in stages:
            empty(folder)
            make_room()
            results.append((stage.title, _at(stage, common, folder, make_room, curve)))
            print(f"{stage.title}: {results[-1][1] or 'fine'}", file=sys.stderr)
    return results


def _at(stage: Stage, common: list[str], folder: Path, make_room: Callable, curve: bytes) -> str:
    """Train with the fault of one stage, then resume without it."""
    start = [*common, f"hydra.run.dir={folder}"]
    ended = attempt(start, stage.fault)
    if ended.status == 0:  # the fault met nothing that the run cannot do without
        ok = (folder / "loss.csv").read_bytes() == curve and "Traceback" not in ended.output
        return "" if ok else f"it ended well, with another curve or a traceback: {ended.output}"
    wrong = find_faults(ended, folder, stage.can_tell)
    make_room()
    begun = (folder / ".hydra" / "hydra.yaml").is_file()
    again = attempt([f"resume={folder}"] if begun else start)
    # the run may not have reached the point from which it can be resumed
    if "start it again" in again.output and "Traceback" not in again.output:
        again = attempt(start)
    if again.status != 0:
        wrong.append(f"it does not resume: {again.output}")
    elif (folder / "loss.csv").read_bytes() != curve:
        wrong.append("it resumes to another curve")
    return "; ".join([*wrong, ended.output] if wrong else [])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fault", nargs="+", choices=["write", "once", "limit", "disk"], default=["write"])
    parser.add_argument("--every", type=int, default=1, help="try each of so many stages")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        report = [result for fault in options.fault for result in fill(Path(name), fault, options.every)]
    bad = [f"- {title}: {text}" for title, text in report if text]
    print(f"{len(report)} stages, {len(bad)} wrong")
    print("\n".join(bad))
    sys.exit(bool(bad))
