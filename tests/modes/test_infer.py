import csv
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace

import pytest
from PIL import Image

from aimonk.files.text import unguard
from aimonk.modes import infer

ATTRIBUTES = ["sleeves", "buttons", "stripes", "hat"]
# each character means something to Hydra, to OmegaConf, or to a shell
ODD = "-a b,c [1] {2} (3) 'q' \"d\" ${x} #~&!;=é\\"


@pytest.fixture(scope="module")
def held_out(trained: SimpleNamespace) -> dict[str, dict[str, float]]:
    """Of three images that the run held out, the probabilities it wrote down itself."""
    with open(trained.folder / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))[:3]
    return {row["image"]: {name: float(row[name]) for name in ATTRIBUTES} for row in rows}


@pytest.fixture(scope="module")
def place(trained, held_out, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `plain/` and ODD (images; in ODD one more that is broken), and a model in a file."""
    place = tmp_path_factory.mktemp("place")
    for name in ("plain", ODD):
        (place / name).mkdir()
        for image in held_out:
            shutil.copy(cache_dir / "demo_60_0" / "images" / image, place / name)
        (place / name / "notes.txt").write_text("no image\n")
    (place / ODD / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    with Image.open(place / "plain" / next(iter(held_out))) as image:
        image.save(place / f"{ODD}.png")
    shutil.copy(trained.folder / "aimonk_model.pth", place / f"{ODD}.pth")
    return place


Ask = Callable[[str], CompletedProcess]
MISTAKES = {
    "no image given": ([], "^Missing mandatory value: image$"),
    "no run": (["image=plain"], "^no finished training run below .*/outputs; .*checkpoint=PATH$"),
}


@pytest.fixture(scope="module")
def ask(command, trained: SimpleNamespace, held_out, place: Path) -> Iterator[Ask]:
    """The result of a command by its name; all of them run, two at a time."""
    run = f"checkpoint={trained.folder}"
    commands = {
        "newest": (trained.cwd, f"image={place / 'plain' / min(held_out)}"),
        "folder": (place, f"image={ODD}", run, "format=json"),
        "pattern": (place, "image=plain/*.jpg", run, "batch_size=2", f"output={ODD} answers.csv"),
        "odd": (place, f"image={ODD}.png", f"checkpoint={ODD}.pth", "format=csv", "threshold=0"),
    }
    commands |= {name: (place, *arguments) for name, (arguments, _) in MISTAKES.items()}
    with ThreadPoolExecutor(2) as pool:
        results = {
            name: pool.submit(command, cwd, "mode=infer", *arguments)
            for name, (cwd, *arguments) in commands.items()
        }
        yield lambda name: results[name].result()


def close(probs: dict[str, float], expected: dict[str, float]) -> bool:
    return probs == pytest.approx(expected, abs=2e-3)


def test_newest_run_answers_and_is_named(ask: Ask, trained, held_out) -> None:
    result = ask("newest")
    assert result.returncode == 0, result.stderr
    (line,) = result.stdout.splitlines()
    image = min(held_out)
    assert line.split(": ")[0].endswith(f"plain/{image}")
    present = [name for name in ATTRIBUTES if held_out[image][name] >= 0.5]
    assert line.split(": ")[1].startswith(", ".join(present) or "nothing")
    for name, probability in held_out[image].items():
        assert f"{name} {probability:.2f}"[:-1] in line
    assert str(trained.folder.relative_to(trained.cwd)) in result.stderr


def test_folder_with_an_unreadable_image_is_done_all_the_same(ask: Ask, trained, held_out) -> None:
    result = ask("folder")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "broken.jpg: " in result.stderr
    assert result.stderr.splitlines()[-1] == "1 of 4 images could not be read"
    answer = json.loads(result.stdout)
    assert answer["checkpoint"] == str(trained.folder)
    assert [entry["image"] for entry in answer["images"]] == [f"{ODD}/{name}" for name in sorted(held_out)]
    for entry in answer["images"]:
        expected = held_out[Path(entry["image"]).name]
        assert close(entry["probabilities"], expected)
        assert entry["present"] == [name for name in ATTRIBUTES if entry["probabilities"][name] >= 0.5]


def test_pattern_into_a_file(ask: Ask, place: Path, held_out) -> None:
    result = ask("pattern")
    assert (result.returncode, result.stdout) == (0, "")
    rows = list(csv.DictReader(io.StringIO((place / f"{ODD} answers.csv").read_text())))
    assert [row["image"] for row in rows] == [f"plain/{name}" for name in sorted(held_out)]
    for row in rows:
        assert close({name: float(row[name]) for name in ATTRIBUTES}, held_out[Path(row["image"]).name])


def test_paths_of_any_name(ask: Ask, held_out) -> None:
    result = ask("odd")
    assert result.returncode == 0, result.stderr
    (row,) = csv.DictReader(io.StringIO(result.stdout))
    assert unguard(row["image"]) == f"{ODD}.png"
    assert row["present"] == ";".join(ATTRIBUTES), "threshold=0"
    # a PNG of the decoded JPEG is resized a little otherwise
    assert {name: float(row[name]) for name in ATTRIBUTES} == pytest.approx(
        next(iter(held_out.values())), abs=0.1
    )


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_in_one_line(name: str, ask: Ask) -> None:
    result = ask(name)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert re.search(MISTAKES[name][1], line)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["image=gone.jpg"], "^no image at .*/gone.jpg$"),
        (["image=plain/*.png"], r"^no image at .*/plain/\*\.png$"),
        (["image=plain", "checkpoint=gone.pth"], "^no checkpoint at .*/gone.pth$"),
        (["image=plain", "checkpoint=plain/notes.txt"], "^plain/notes.txt is not a readable checkpoint"),
        (
            ["image=plain", "data.image_size=32"],
            "^data.image_size=32: .* from the checkpoint$",
        ),
        (["image=plain", "loss=focal"], "^loss=focal: with mode=infer .* from the checkpoint$"),
        (["image=plain", "format=xml"], "^format is 'xml'; expected auto, text, csv, json$"),
        (["image=plain", "threshold=2", "checkpoint=model.pth"], "^threshold is 2; expected a probability"),
        (["image=plain", "batch_size=0"], "^batch_size is 0; expected 1 or more$"),
    ],
)
def test_other_mistakes(arguments: list[str], told: str, compose_config, place: Path, monkeypatch) -> None:
    monkeypatch.chdir(place)
    if not Path("model.pth").exists():
        shutil.copy(f"{ODD}.pth", "model.pth")
    with pytest.raises((ValueError, FileNotFoundError), match=told) as caught:
        infer.run(compose_config("mode=infer", *arguments), Path(), arguments)
    assert "\n" not in f"{caught.value}"


def test_nothing_else_is_left_behind(ask: Ask, trained: SimpleNamespace, place: Path) -> None:
    for name in ("newest", "folder", "pattern", "odd", *MISTAKES):
        ask(name)
    left = {path.name for path in place.iterdir()} - {"model.pth"}
    assert left == {"plain", ODD, f"{ODD}.png", f"{ODD}.pth", f"{ODD} answers.csv"}
    assert {path.name for path in trained.cwd.iterdir()} == {"outputs"}
    assert [path.parent for path in trained.cwd.rglob("status.json")] == [trained.folder]
