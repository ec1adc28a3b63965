"""Coverage-guided fuzzing (atheris) of the readers of untrusted files.

    pip install atheris
    python benchmarks/fuzz.py labels -max_total_time=300         # label files
    python benchmarks/fuzz.py checkpoint -max_total_time=300     # checkpoints
    python benchmarks/fuzz.py pickle -max_total_time=300         # the pickle in a checkpoint

Any outcome except a result, ValueError or FileNotFoundError is a finding, as is more than 5 s or 1 GB. The
input is written to `crash-...`, `timeout-...` or `oom-...` in the working folder. Add such inputs to
tests/corpus/<reader>/, from which later runs start; there are none so far.
"""

import contextlib
import io
import logging
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
with atheris.instrument_imports(
    include=[
        "aimonk.files.archive",
        "aimonk.models.checkpoint",
        "aimonk.data.formats.text.label_file",
        "aimonk.data.formats.text.layout",
    ]
):
    import torch

    from aimonk.data.formats.text.label_file import read_labels
    from aimonk.files.tensors import load_tensors
    from aimonk.models.checkpoint import load_model

# a gigabyte above the memory of the libraries
LIMITS = ["-timeout=5", "-rss_limit_mb=1800", "-malloc_limit_mb=1000", "-max_len=4096"]


def seeds_of_labels() -> list[bytes]:
    """Label files in each format."""
    rows = [
        "image hat scarf\na.jpg 1 NA\nb.jpg 0 1\n",
        "a.jpg\t1\t\nb.jpg\tna\t0\n",
        "image,x\n'a b.png',1\n",
    ]
    return [row.encode() for row in rows] + ['# c\r\n"a,b.jpg", 1, 0\r\n'.encode("utf-8-sig")]


def seeds_of_checkpoint() -> list[bytes]:
    """Files written by `torch.save`."""
    info = {"library": "timm", "backbone": "test_resnet", "attributes": ["hat"], "thresholds": [0.5]}
    info |= {"scale": [1.0], "bias": [0.0], "image_size": 8, "resize": "pad", "epoch": 1, "chosen_by": ""}
    values = [
        {"format": "aimonk 1", "info": info, "state": {"w": torch.ones(2, 3)}},
        [1, 2.5, None, True, "text", (1, 2, 3), {}, torch.zeros(0), torch.arange(4.0).view(2, 2).T],
    ]
    contents = []
    for value in values:
        buffer = io.BytesIO()
        torch.save(value, buffer)
        contents.append(buffer.getvalue())
    return contents


def seeds_of_pickle() -> list[bytes]:
    """The pickles in these files."""
    return [zipfile.ZipFile(io.BytesIO(c)).read("archive/data.pkl") for c in seeds_of_checkpoint()]


def read_pickle(path: Path) -> None:
    """Read the file as the pickle of a checkpoint with one storage of six floats, and all its tensors."""
    program = path.read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/data/0", bytes(24))
    touch(load_tensors(path))


def touch(value: Any, depth: int = 0) -> None:
    """Read the elements of all tensors in a nested value."""
    if isinstance(value, torch.Tensor):
        value.clone()
    elif isinstance(value, list | tuple | dict) and depth < 50:
        for item in value.values() if isinstance(value, dict) else value:
            touch(item, depth + 1)


READERS: dict[str, tuple[Callable[[Path], Any], Callable[[], list[bytes]]]] = {
    "labels": (read_labels, seeds_of_labels),
    "checkpoint": (load_model, seeds_of_checkpoint),
    "pickle": (read_pickle, seeds_of_pickle),
}


def main(name: str, options: list[str]) -> None:
    """Fuzz one reader until a finding, or a limit in libFuzzer's options."""
    read, seeds = READERS[name]
    logging.disable()
    with tempfile.TemporaryDirectory() as work:
        path, corpus = Path(work, "input"), Path(work, "corpus")
        corpus.mkdir()
        for i, content in enumerate(seeds()):
            (corpus / f"seed_{i}").write_bytes(content)

        def try_one(content: bytes) -> None:
            path.write_bytes(content)
            with contextlib.suppress(ValueError, FileNotFoundError):
                read(path)

        kept = ROOT / "tests" / "corpus" / name
        folders = [str(corpus), *([str(kept)] if kept.is_dir() else [])]
        atheris.Setup([sys.argv[0], *LIMITS, *options, *folders], try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
