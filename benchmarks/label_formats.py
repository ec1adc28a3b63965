"""Time and memory to read label files at the size of the data sets that they come from.

    python benchmarks/label_formats.py                # all
    python benchmarks/label_formats.py coco celeba

Files are drawn at random in a temporary folder; each is read and combined to a table in a process of its own.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def draw_folder(folder: Path, rng: random.Random) -> str:
    with (folder / "folder").open("w") as file:
        file.write(" ".join(["image", *(f"a{i}" for i in range(40))]) + "\n")
        for i in range(200_000):
            file.write(f"{i:06}.jpg {' '.join(rng.choices(['1', '0', 'NA'], k=40))}\n")
    return "200,000 images, 40 attributes"


def draw_celeba(folder: Path, rng: random.Random) -> str:
    with (folder / "celeba").open("w") as file:
        file.write("202599\n" + " ".join(f"a{i}" for i in range(40)) + "\n")
        for i in range(202_599):
            file.write(f"{i + 1:06}.jpg {' '.join(rng.choices([' 1', '-1'], k=40))}\n")
    return "202,599 images, 40 attributes"


def draw_coco(folder: Path, rng: random.Random) -> str:
    ids = rng.sample(range(600_000), 118_287)
    categories = rng.sample(range(1, 91), 80)
    images = [{"id": i, "file_name": f"{i:012}.jpg", "height": 480, "width": 640, "license": 3} for i in ids]
    polygon = [round(rng.random() * 600, 2) for _ in range(40)]
    annotations = [
        {
            "segmentation": [polygon],
            "area": 702.1,
            "iscrowd": 0,
            "image_id": rng.choice(ids),
            "bbox": polygon[:4],
            "category_id": rng.choice(categories),
            "id": i,
        }
        for i in range(860_001)
    ]
    named = [{"id": i, "name": f"c{i}", "supercategory": "x"} for i in categories]
    (folder / "coco").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": named})
    )
    return "118,287 images, 80 categories, 860,001 annotations"


def draw_openimages(folder: Path, rng: random.Random) -> str:
    labels = [f"/m/0{i:04x}" for i in range(100)]
    with (folder / "openimages").open("w") as file:
        file.write("ImageID,Source,LabelName,Confidence\n")
        for i in range(250_000):
            for label in rng.sample(labels, 8):
                source = rng.choice(["verification", "crowdsource-verification", "machine"])
                value = rng.choice([0.6, 0.9]) if source == "machine" else rng.choice([0, 1])
                file.write(f"{i:016x},{source},{label},{value}\n")
    return "2,000,000 rows, 250,000 images, 100 labels"


def draw_chexpert(folder: Path, rng: random.Random) -> str:
    with (folder / "chexpert").open("w") as file:
        file.write("Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(f"o{i}" for i in range(14)) + "\n")
        for i in range(223_414):
            name = f"CheXpert-v1.0-small/train/patient{i:05}/study1/view1_frontal.jpg"
            values = rng.choices(["", "", "1.0", "0.0", "-1.0"], k=14)
            file.write(f"{name},Female,68,Frontal,AP,{','.join(values)}\n")
    return "223,414 images, 14 observations"


def draw_voc(folder: Path, rng: random.Random) -> str:
    main = folder / "voc" / "ImageSets" / "Main"
    main.mkdir(parents=True)
    for i in range(20):
        rows = [f"2008_{j:06} {rng.choice([' 1', '-1', '-1', ' 0'])}\n" for j in range(11_540)]
        (main / f"c{i}_train.txt").write_text("".join(rows[:5717]))
        (main / f"c{i}_val.txt").write_text("".join(rows[5717:]))
        (main / f"c{i}_trainval.txt").write_text("".join(rows))
    return "11,540 images, 20 classes, 60 files"


def draw_voc_xml(folder: Path, rng: random.Random) -> str:
    (folder / "voc_xml").mkdir()
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>"
    for i in range(17_125):
        objects = "".join(
            f"<object><name>c{rng.randrange(20)}</name><difficult>{rng.randrange(2)}</difficult>{box}</object>"
            for _ in range(3)
        )
        text = f"<annotation><filename>{i:06}.jpg</filename>{objects}</annotation>"
        (folder / "voc_xml" / f"{i:06}.xml").write_text(text)
    return "17,125 images, 20 classes, a file each"


DRAWN: dict[str, Callable[[Path, random.Random], str]] = {
    name.removeprefix("draw_"): function
    for name, function in list(globals().items())
    if name.startswith("draw_")
}


def measure(name: str, path: Path) -> None:
    """Read a file, and print seconds of processor time and the peak of the memory in MB."""
    from aimonk.data.formats.celeba import read_celeba
    from aimonk.data.formats.chexpert import read_chexpert
    from aimonk.data.formats.coco.reading import read_coco
    from aimonk.data.formats.image_names import ImageNames
    from aimonk.data.formats.openimages.reading import read_openimages
    from aimonk.data.formats.text.label_file import read_label_file
    from aimonk.data.formats.voc.reading import read_voc
    from aimonk.data.repeated import combine

    readers = {
        "folder": (read_label_file, (None, {})),
        "celeba": (read_celeba, (None,)),
        "coco": (read_coco, ("absent",)),
        "openimages": (read_openimages, (None, 0.8, None)),
        "chexpert": (read_chexpert, ("absent", "unknown")),
        "voc": (read_voc, (None,)),
        "voc_xml": (read_voc, ("absent",)),
    }
    reader, settings = readers[name]
    started = time.process_time()
    combine(reader(path, ImageNames(None), *settings), "merge", path)
    seconds = time.process_time() - started
    print(f"{seconds:.1f} s, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:,.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("formats", nargs="*", help=f"of {', '.join(DRAWN)}")
    parser.add_argument("--draw", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        measure(arguments.formats[0], arguments.measure)
        return
    if arguments.draw is not None:
        print(DRAWN[arguments.formats[0]](arguments.draw, random.Random(0)))
        return
    for name in arguments.formats or DRAWN:
        with tempfile.TemporaryDirectory() as folder:
            # a process inherits the peak of the memory of the one that starts it
            results = [
                subprocess.run(
                    [sys.executable, __file__, name, *options], capture_output=True, text=True, check=True
                ).stdout.strip()
                for options in (["--draw", folder], ["--measure", os.path.join(folder, name)])
            ]
            print(f"{name}: {': '.join(results)}", flush=True)


if __name__ == "__main__":
    main()
