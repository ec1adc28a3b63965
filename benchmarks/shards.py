"""Time and memory of reading images from tar shards, against the same images as files; a Markdown table.

    python benchmarks/shards.py --shards 200 --images 1000      # 200,000 drawn images; some minutes

The images are JPEG of 64x64 pixels, so that the time is that of reading and of bookkeeping, and little of it
that of decoding. Every step runs in a process of its own, which the imports of torch and aimonk precede.
"""

import argparse
import io
import json
import platform
import re
import resource
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
ATTRIBUTES = 10
DRAWN = 256  # different images
MB = 2**20
PERIOD = 0.02  # seconds between two samples of the memory
STEPS = {
    "shards: list, first start": ("shards", "list_images"),
    "shards: list, later starts": ("shards", "list_images"),
    "files: list": ("files", "list_images"),
    "shards: decode and hash all": ("shards", "open_all"),
    "files: decode and hash all": ("files", "open_all"),
    "shards: an epoch of random order": ("shards", "load_epoch"),
    "files: an epoch of random order": ("files", "load_epoch"),
    "shards: an epoch in windows of 8 shards": ("windows", "load_epoch"),
}


def draw(work: Path, shards: int, images: int) -> None:
    """Write the shards with labels in JSON members, and the same images and labels as files."""
    rng = np.random.default_rng(0)
    contents = [draw_image(rng) for _ in range(DRAWN)]
    (work / "shards").mkdir()
    lines = [f"image {' '.join(f'a{i}' for i in range(ATTRIBUTES))}"]
    for shard in range(shards):
        (work / "files" / f"{shard:03}").mkdir(parents=True)
        with tarfile.open(work / "shards" / f"{shard:03}.tar", "w") as archive:
            for i in range(images):
                content = contents[i % DRAWN]
                labels = rng.integers(0, 2, ATTRIBUTES).tolist()
                name = f"{shard:03}/{i:06}"
                add(archive, f"{name}.jpg", content)
                entry = {f"a{k}": label for k, label in enumerate(labels)}
                add(archive, f"{name}.json", json.dumps(entry).encode())
                (work / "files" / f"{name}.jpg").write_bytes(content)
                lines.append(f"{name}.jpg {' '.join(map(str, labels))}")
    (work / "labels.txt").write_text("\n".join(lines) + "\n")


def draw_image(rng: np.random.Generator) -> bytes:
    """A JPEG file of 64x64 smooth pixels."""
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((64, 64)).save(buffer, "JPEG")
    return buffer.getvalue()


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    archive.addfile(header, io.BytesIO(content))


class Memory(threading.Thread):
    """Samples the anonymous memory of this process and its children.

    Attributes:
        peak: Largest sum of the samples, bytes.
        peak_child: Largest sample of a child.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = self.peak_child = 0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(PERIOD):
            children = Path("/proc/self/task").glob("*/children")
            pids = [pid for file in children for pid in file.read_text().split()]
            sizes = [anonymous(pid) for pid in pids]
            self.peak = max(self.peak, anonymous("self"))
            self.peak_child = max([self.peak_child, *sizes])


def anonymous(pid: str) -> int:
    """Memory of a process that is not mapped from files, bytes; 0 where it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def compose(work: Path, kind: str) -> object:
    """The config of a data set, whose decoded images are not stored."""
    from aimonk.python import compose_config

    settings = {"cache_dir": f"{work / 'cache'}", "data.image_size": 64, "data.store": False}
    settings |= {"data.duplicate_distance": None, "augmentation": "none"}
    if kind == "files":
        return compose_config("train", work / "files", work / "labels.txt", settings)[0]
    settings |= {"data": "shards", "data.shards": f"{work / 'shards'}/*.tar", "data.labels": None}
    return compose_config("train", "", "", settings)[0]


def list_images(work: Path, kind: str) -> Callable[[], object]:
    """Names, places and labels of all images."""
    from aimonk.data.images.folder import find_images, fingerprints
    from aimonk.setup.data import label_paths, read_table
    from aimonk.setup.shards import uses_shards

    cfg = compose(work, kind)

    def step() -> None:
        images, labels = label_paths(cfg)
        table = read_table(cfg, labels, images)
        if not uses_shards(cfg):
            find_images(work / "files", table.names, False)
            fingerprints([work / "files" / name for name in table.names])

    return step


def open_all(work: Path, kind: str) -> Callable[[], object]:
    """The start of a run without a store: every image is decoded and hashed once."""
    from aimonk.setup.data import open_data

    cfg = compose(work, kind)
    return lambda: open_data(cfg)


def load_epoch(work: Path, kind: str) -> Callable[[], object]:
    """All batches of an epoch, from two loader processes."""
    from aimonk.data.loading import Pixels, Rows, create_loader
    from aimonk.data.sampling import BatchList, plan_epoch, split_batches
    from aimonk.data.streaming import Stream

    images, shards = locate(work, kind)
    labels = np.zeros((len(images), ATTRIBUTES), np.float32)
    mask = np.ones(labels.shape, bool)
    order, views = plan_epoch(np.arange(len(images)), None, 1, 0, 1)
    if kind == "windows":
        order = order[Stream(shards, 8, needed=True).arrange(order, 0, 1, 64, 1)]
    batches = BatchList()
    batches.batches = split_batches(order, views, mask, 64, 1, 0, 1)
    pixels = Pixels(images, lambda pixels, views: pixels, 64, "squash")

    def step() -> None:
        # the processes end with the loader, so that their time is counted
        loader = create_loader(Rows(pixels, labels, mask), batches, 2, pin_memory=False)
        loaded = sum(int(found.sum()) for _, _, _, found in loader)
        if loaded != len(images):
            raise RuntimeError(f"{loaded} of {len(images)} images")

    return step


def locate(work: Path, kind: str) -> tuple[list, np.ndarray | None]:
    """The images of a data set, and the shards of those in shards."""
    if kind == "files":
        lines = (work / "labels.txt").read_text().splitlines()[1:]
        return [work / "files" / line.split()[0] for line in lines], None
    from aimonk.data.formats.text.tokens import Tokens
    from aimonk.setup.shards import find_in_shards

    found = find_in_shards(compose(work, kind), work / "cache", Tokens(), None, lambda table: None)
    return found.paths, found.shards


def processor_time() -> float:
    """Seconds of this process and of its children that have ended."""
    usages = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(work: Path, kind: str, name: str) -> dict[str, float]:
    """Seconds and memory of a step, in this process."""
    import aimonk.setup.data
    import aimonk.setup.task  # noqa: F401

    step = globals()[name](work, kind)
    before, memory = anonymous("self"), Memory()
    memory.start()
    start, cpu = time.perf_counter(), processor_time()
    step()
    result = {"seconds": time.perf_counter() - start, "cpu": processor_time() - cpu}
    memory.ended.set()
    memory.join()
    return result | {"before": before / MB, "peak": memory.peak / MB, "child": memory.peak_child / MB}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=int, default=200)
    parser.add_argument("--images", type=int, default=1000, help="per shard")
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.step:
        folder, kind, name = options.step
        print(json.dumps(measure(Path(folder), kind, name)))
        sys.exit()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), options.shards, options.images)
        columns = [f"{options.shards} x {options.images:,} images", "seconds", "of them processor"]
        columns += ["anonymous MB before", "peak", "peak of a loader process"]
        print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
        for title, (kind, name) in STEPS.items():
            command = [sys.executable, __file__, "--step", folder, kind, name]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found = json.loads(output.splitlines()[-1])
            row = f"| {title} | {found['seconds']:.1f} | {found['cpu']:.1f} | {found['before']:.0f} |"
            print(f"{row} {found['peak']:.0f} | {found['child']:.0f} |", flush=True)
