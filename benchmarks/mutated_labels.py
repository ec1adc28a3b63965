"""Readers of label formats on damaged files: never a traceback, never wrong labels.

    python benchmarks/mutated_labels.py voc coco --files 5000 --seed 0     # all formats without names

Each file is a sample of tests/data/formats/samples/ with one to three random changes (label_mutations.py).
The reader must refuse it with a short message, or give exactly the labels that a second, naive reader of
label_oracles/ finds in it. Findings are printed with the seed that repeats them: --seed S --files 1.
"""

import argparse
import importlib
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from label_mutations import mutate  # noqa: E402

from aimonk.data.formats.image_names import ImageNames  # noqa: E402
from aimonk.data.labels import LabelTable  # noqa: E402
from aimonk.data.repeated import POLICIES, combine  # noqa: E402

SAMPLES = ROOT / "tests" / "data" / "formats" / "samples"
FORMATS = sorted(path.stem for path in (ROOT / "benchmarks" / "label_oracles").glob("*.py"))
SECONDS = 2.0  # processor time above which a file is slow
MOST_LINES, LONGEST = 11, 2000  # of a message

# of an oracle: image -> attribute -> what each annotation states, True (present), False or None (unknown)
Statements = dict[str, dict[str, list[bool | None]]]


def check(name: str, seed: int, folder: Path) -> str:
    """Change a sample by a seed, read it, and compare; `refused`, `accepted`, or what was found.

    Args:
        folder: A copy of the samples of the format, which is restored.
    """
    rng = random.Random(f"{name} {seed}")
    oracle = importlib.import_module(f"label_oracles.{name}")
    labels = folder / rng.choice(oracle.LABELS)
    settings = {
        key: str(value).format(folder=folder) if isinstance(value, str) else value
        for key, value in rng.choice(oracle.SETTINGS).items()
    }
    repeated = rng.choice(POLICIES)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    inside = [path for path in files if path == labels or labels in path.parents]
    target = rng.choice(files if rng.random() < 0.15 else inside)
    before = target.read_bytes()
    try:
        target.write_bytes(mutate(before, target.suffix, rng))
        return _read(oracle, labels, settings, repeated, folder)
    finally:
        target.write_bytes(before)


def _read(oracle: ModuleType, labels: Path, settings: dict, repeated: str, folder: Path) -> str:
    started = time.process_time()
    try:
        table = combine(oracle.READER(labels, ImageNames(None), **settings), repeated, labels)
    except (ValueError, FileNotFoundError) as error:
        finding = _check_message(f"{error}", folder)
        return finding or ("refused" if time.process_time() - started < SECONDS else "slow")
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    if time.process_time() - started > SECONDS:
        return "slow"
    try:
        stated = oracle.state(labels, **settings)
        splits = oracle.splits(labels, **settings) if hasattr(oracle, "splits") else None
    except Exception as error:
        return f"accepted, but the naive reader fails: {type(error).__name__}: {error}"[:300]
    if splits is not None and (table.splits is None) != (not splits):
        return f"splits are {table.splits}; expected {splits}"[:400]
    found = dict(zip(table.names, table.splits or [], strict=False))
    if splits and found != {name: splits[name] for name in found}:
        return f"splits are {found}; expected {splits}"[:400]
    return compare(table, stated, repeated) or "accepted"


def _check_message(message: str, folder: Path) -> str:
    lines = message.split("\n")
    if len(lines) > MOST_LINES or max(map(len, lines)) > LONGEST:
        return f"message of {len(lines)} lines, {len(message)} characters: {message[:100]}"
    if str(folder) not in message and "data." not in message:
        return f"message without a file: {message[:200]}"
    return ""


def compare(table: LabelTable, stated: Statements, repeated: str) -> str:
    """The first difference between a table and the statements; empty if there is none."""
    if set(table.names) != set(stated):
        return f"images are {sorted(table.names)}; expected {sorted(stated)}"[:400]
    for row, name in enumerate(table.names):
        if set(table.attributes) != set(stated[name]):
            return f"attributes are {table.attributes}; expected {list(stated[name])}"[:400]
        for column, attribute in enumerate(table.attributes):
            found = bool(table.labels[row, column]) if table.mask[row, column] else None
            values = stated[name][attribute]
            present, absent = values.count(True), values.count(False)
            if repeated == "error" and present and absent:
                return f"{attribute!r} of {name!r} is contradictory, but accepted"
            if repeated == "merge" and present and absent:
                present = absent = 0
            expected = None if present == absent else present > absent
            if found != expected:
                return f"{attribute!r} of {name!r} is {found}; expected {expected} from {values}"[:400]
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("formats", nargs="*", help=f"of {', '.join(FORMATS)}")
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    failed = False
    for name in arguments.formats or FORMATS:
        started, outcomes = time.process_time(), Counter()
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(shutil.copytree(SAMPLES / name, Path(temporary) / name))
            for seed in range(arguments.seed, arguments.seed + arguments.files):
                outcome = check(name, seed, folder)
                if outcome not in ("refused", "accepted"):
                    print(f"{name} --seed {seed} --files 1: {outcome!r}")
                    outcome = "wrong"
                outcomes[outcome] += 1
        failed = failed or outcomes["wrong"] > 0
        seconds = time.process_time() - started
        counts = ", ".join(f"{outcomes[key]} {key}" for key in ("accepted", "refused", "wrong"))
        print(f"{name}: {arguments.files} files, {counts}, {seconds:.0f} s of processor time")
    sys.exit(failed)


if __name__ == "__main__":
    main()
