"""Measure shards and predictions for many images, and kill these at random moments; Markdown tables.

    python benchmarks/scale_infer.py shards                  # 200,000 images, in 200 shards or as files
    python benchmarks/scale_infer.py infer                   # predictions with one and two workers
    python benchmarks/scale_infer.py kills --kills 50        # workers and commands killed; --engine ray

`--work FOLDER` keeps the drawn images for later calls.
"""

import argparse
import io
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
MB = 2**20
ATTRIBUTES = 10


def draw(count: int, side: int) -> Iterator[tuple[str, bytes]]:
    """Names and JPEG files of images that differ."""
    rng = np.random.default_rng(0)
    for i in range(count):
        image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        file = io.BytesIO()
        image.resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
        yield f"{i:07d}.jpg", file.getvalue()


def write_shards(folder: Path, shards: int, images: int, side: int) -> Path:
    """Write shards of so many images as tar files, unless they exist."""
    if not folder.exists():
        part = Path(tempfile.mkdtemp(dir=folder.parent))
        drawn = draw(shards * images, side)
        for shard in range(shards):
            with tarfile.open(part / f"{shard:05d}.tar", "w") as archive:
                for _ in range(images):
                    name, content = next(drawn)
                    header = tarfile.TarInfo(name)
                    header.size = len(content)
                    archive.addfile(header, io.BytesIO(content))
        part.rename(folder)
    return folder


def unpack(shards: Path, files: Path, parquet_folder: Path) -> None:
    """The same images as files, 1,000 in a folder, and as Parquet files, unless they exist."""
    import pyarrow
    import pyarrow.parquet

    from aimonk.data.shards.reading import read_shard

    if parquet_folder.exists():
        return
    parquet_folder.mkdir()
    for shard in sorted(shards.iterdir()):
        (files / shard.stem).mkdir(parents=True)
        members = list(read_shard(str(shard)))
        for member in members:
            (files / shard.stem / member.name).write_bytes(member.content)
        columns = {"image": [m.content for m in members], "name": [m.name for m in members]}
        table = pyarrow.table(columns)
        pyarrow.parquet.write_table(table, parquet_folder / f"{shard.stem}.parquet", row_group_size=100)


def read(kind: str, folder: str, most: int) -> None:
    """Read images to the end, and print count, bytes, seconds and memory as JSON; runs in its own process."""
    from aimonk.data.images.folder import list_images
    from aimonk.data.shards.reading import find_shards, read_shard

    before = peak_memory()
    started, cpu = time.perf_counter(), time.process_time()
    count = size = 0
    if kind == "files":
        folders = sorted(Path(folder).iterdir())[: most // 1000]
        contents = (Path(sub, name).read_bytes() for sub in folders for name in list_images(sub))
    else:
        shards = find_shards(folder)[: most // 1000]
        contents = (member.content for shard in shards for member in read_shard(shard, with_labels=False))
    for content in contents:
        count += 1
        size += len(content)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(json.dumps([count, size, seconds, cpu, peak_memory() - before]))


def peak_memory() -> int:
    """Bytes that this process has held at most; ru_maxrss counts those of the parent, too."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


def compare_reading(work: Path, shards: int) -> None:
    """Table of reading shards and files, at a tenth of the images and at all of them."""
    folders = {"tar": write_shards(work / "tar", shards, 1000, 64)}
    folders |= {"files": work / "files", "parquet": work / "parquet"}
    unpack(folders["tar"], folders["files"], folders["parquet"])
    print("| read | images | images/s | processor time per image | memory beside the start |")
    print("|---|---|---|---|---|")
    for kind, folder in folders.items():
        for most in (shards * 100, shards * 1000):
            command = [sys.executable, __file__, "read", "--kind", kind, "--folder", str(folder)]
            command += ["--images", str(most)]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            count, _, seconds, cpu, grown = json.loads(out)
            assert count == most, f"{count} of {most} images"
            figures = f"{count / seconds:,.0f} | {cpu / count * 1e6:.0f} us | {grown / MB:.0f} MB"
            print(f"| {kind} | {count:,} | {figures} |")


def make_checkpoint(path: Path, name: str, size: int) -> Path:
    """A model with random weights, which predict as fast as others, unless it exists."""
    if path.exists():
        return path
    from aimonk.models.backbones import create_backbone
    from aimonk.models.checkpoint import ModelInfo, save_model
    from aimonk.models.classifier import Classifier

    attributes = [f"a{i}" for i in range(ATTRIBUTES)]
    info = ModelInfo(
        library="timm",
        backbone=name,
        stages="last",
        attributes=attributes,
        thresholds=[0.5] * ATTRIBUTES,
        scale=[1.0] * ATTRIBUTES,
        bias=[0.0] * ATTRIBUTES,
        image_size=size,
        resize="squash",
        epoch=1,
        chosen_by="none",
        beats_chance=[None] * ATTRIBUTES,
    )
    classifier = Classifier(create_backbone("timm", name, "random"), ATTRIBUTES)
    save_model(path, info, classifier.state_dict())
    return path


def compare_workers(work: Path, images: int) -> None:
    """Table of predictions with one and two workers of one thread, without their start."""
    from aimonk.inference.blocks.block import blocks_of_shards
    from aimonk.inference.blocks.job import Job, file_digest
    from aimonk.inference.blocks.processes import predict_in_processes

    per_shard = 64
    shards = write_shards(work / f"infer_{images}", images // per_shard, per_shard, 448)
    checkpoint = make_checkpoint(work / "model.pth", "tf_efficientnet_lite0", 224)
    blocks = blocks_of_shards(sorted(map(str, shards.iterdir())))
    print("| workers | images/s | ratio | processor time per image |\n|---|---|---|---|")
    alone = None
    for workers in (1, 2):
        with tempfile.TemporaryDirectory(dir=work) as out:
            digest = file_digest(checkpoint)
            job = Job(checkpoint, digest, "cpu", 1, per_shard, [0.5] * ATTRIBUTES, False, out, len(blocks))
            times, cpus = [], []
            for _ in predict_in_processes(job, blocks, workers):
                times.append(time.perf_counter())
                cpus.append(sum(map(processor_time, active_children())))
        # from the moment when each worker has had a block, to the moment before one has no more
        first, last = 2 * workers, len(blocks) - workers
        count = (last - first) * per_shard
        rate, cpu = count / (times[last] - times[first]), (cpus[last] - cpus[first]) / count
        alone = alone or rate
        print(f"| {workers} | {rate:.1f} | {rate / alone:.2f} | {cpu * 1e3:.1f} ms |")


def processor_time(process: object) -> float:
    """Seconds of a process on a processor."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def kill_often(work: Path, kills: int, engine: str, seed: int) -> None:
    """Kill workers and commands until it was often enough; then every image must have one row."""
    import pyarrow.parquet

    shards, images = 2000, 10
    folder = write_shards(work / "kills_2000", shards, images, 64)
    checkpoint = make_checkpoint(work / "small.pth", "test_efficientnet", 64)
    out, moments, counts = work / f"out_{engine}_{seed}", random.Random(seed), Counter()
    command = [sys.executable, str(ROOT / "run.py"), "mode=infer", f"image={folder}/*.tar", "device=cpu"]
    command += [f"checkpoint={checkpoint}", f"output={out}/", f"engine={engine}", "workers=2", "batch_size=1"]
    stamps: dict[str, int] = {}
    while True:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        counts["starts"] += 1
        while process.poll() is None and counts["kills"] < kills:
            # most moments of so small a prediction are in its start, so that some kills wait for a file
            before, waits = len(list(out.glob("part-*"))), moments.random() < 0.8
            while waits and process.poll() is None and len(list(out.glob("part-*"))) == before:
                time.sleep(0.05)
            time.sleep(moments.uniform(0, 1))
            if process.poll() is not None:
                break
            victims = find_workers(process.pid) if moments.random() < 0.6 else []
            counts["workers killed" if victims else "commands killed"] += 1
            counts["kills"] += 1
            counts["kills between first and last block"] += 0 < len(list(out.glob("part-*"))) < shards
            os.kill(moments.choice(victims) if victims else process.pid, signal.SIGKILL)
            if not victims:
                break
        _, errors = process.communicate()
        for part in out.glob("part-*"):
            stamp = part.stat().st_mtime_ns
            assert stamps.setdefault(part.name, stamp) == stamp, "a finished block was computed again"
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, errors
    table = pyarrow.parquet.read_table(out)
    names = sorted(table["image"].to_pylist())
    assert names == [f"{i:07d}.jpg" for i in range(shards * images)], "images are lost or repeated"
    assert table["reason"].null_count == len(names)
    print(f"{engine}: {dict(counts)}; {len(names):,} images, each once")


def find_workers(pid: int) -> list[int]:
    """The processes below a command that predict."""
    found, waiting = [], [pid]
    while waiting:
        try:
            for tasks in Path(f"/proc/{waiting.pop()}/task").iterdir():
                waiting += map(int, (tasks / "children").read_text().split())
        except OSError:
            continue
        for child in waiting:
            try:
                title = Path(f"/proc/{child}/cmdline").read_bytes()
            except OSError:
                continue
            if (b"spawn_main" in title or b"RayWorker" in title) and child not in found:
                found.append(child)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["shards", "infer", "kills", "read"])
    parser.add_argument("--work", type=Path)
    parser.add_argument("--shards", type=int, default=200, help="of 1,000 images, to read")
    parser.add_argument("--images", type=int, default=2560, help="to predict")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--engine", choices=["processes", "ray"], default="processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.what == "read":
        read(given.kind, given.folder, given.images)
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        if given.what == "shards":
            compare_reading(work, given.shards)
        elif given.what == "infer":
            compare_workers(work, given.images)
        else:
            kill_often(work, given.kills, given.engine, given.seed)


if __name__ == "__main__":
    main()
