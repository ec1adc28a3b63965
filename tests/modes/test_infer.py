import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace

import pytest
from PIL import Image

from aimonk.files.tensors import load_tensors, save_tensors
from aimonk.files.text import unguard
from aimonk.modes import infer
from aimonk.modes.infer import writing
from aimonk.modes.infer.command import check_output
from aimonk.report.predictions import Prediction, Predictions

ROOT = Path(__file__).resolve().parents[2]

ATTRIBUTES = ["sleeves", "buttons", "stripes", "hat"]
# each character is special to Hydra, OmegaConf, or a shell
ODD = "-a b,c [1] {2} (3) 'q' \"d\" ${x} #~&!;=é\\"


@pytest.fixture(scope="module")
def held_out(trained: SimpleNamespace) -> dict[str, dict[str, float]]:
    """Probabilities that the run wrote for three of its held-out images."""
    with open(trained.folder / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))[:3]
    return {row["image"]: {name: float(row[name]) for name in ATTRIBUTES} for row in rows}


@pytest.fixture(scope="module")
def place(trained, held_out, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images in `plain/` and in ODD, which has a broken one too, and a model file."""
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
    """The result of a command by its name; all commands run, two at a time."""
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


def test_newest_run_is_used_and_logged(ask: Ask, trained, held_out) -> None:
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


def test_unreadable_image_does_not_stop_the_others(ask: Ask, trained, held_out) -> None:
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


def test_pattern_with_an_output_file(ask: Ask, place: Path, held_out) -> None:
    result = ask("pattern")
    assert (result.returncode, result.stdout) == (0, "")
    rows = list(csv.DictReader(io.StringIO((place / f"{ODD} answers.csv").read_text())))
    assert [row["image"] for row in rows] == [f"plain/{name}" for name in sorted(held_out)]
    for row in rows:
        assert close({name: float(row[name]) for name in ATTRIBUTES}, held_out[Path(row["image"]).name])


def test_paths_with_special_characters(ask: Ask, held_out) -> None:
    result = ask("odd")
    assert result.returncode == 0, result.stderr
    (row,) = csv.DictReader(io.StringIO(result.stdout))
    assert unguard(row["image"]) == f"{ODD}.png"
    assert row["present"] == ";".join(ATTRIBUTES), "threshold=0"
    # resizing the PNG of a decoded JPEG gives slightly different pixels
    assert {name: float(row[name]) for name in ATTRIBUTES} == pytest.approx(
        next(iter(held_out.values())), abs=0.1
    )


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_reported_in_one_line(name: str, ask: Ask) -> None:
    result = ask(name)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert re.search(MISTAKES[name][1], line)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["image=gone.jpg"], "^no image at .*/gone.jpg$"),
        (["image=plain/*.png"], r"^no image at .*/plain/\*\.png$"),
        (["image=plain", "checkpoint=gone.pth"], "^no checkpoint at .*/gone.pth$"),
        (["image=plain", "checkpoint=plain/notes.txt"], "^plain/notes.txt is not a readable checkpoint"),
        (
            ["image=plain", "data.image_size=32"],
            "^data.image_size=32: .* come from the checkpoint$",
        ),
        (["image=plain", "loss=focal"], "^loss=focal: with mode=infer, .* come from the checkpoint$"),
        (["image=plain", "format=xml"], "^format is 'xml'; expected auto, text, csv, json, jsonl$"),
        (["image=plain", "threshold=2", "checkpoint=model.pth"], "^threshold is 2; expected a probability"),
        (["image=plain", "batch_size=0"], "^batch_size is 0; expected 1 or more$"),
    ],
)
def test_invalid_arguments_are_rejected(
    arguments: list[str], message: str, compose_config, place: Path, monkeypatch
) -> None:
    monkeypatch.chdir(place)
    if not Path("model.pth").exists():
        shutil.copy(f"{ODD}.pth", "model.pth")
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        infer.run(compose_config("mode=infer", *arguments), Path(), arguments)
    assert "\n" not in f"{caught.value}"


def test_doubtful_attributes_are_named(
    place: Path, compose_config, caplog, capsys, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(place)
    content = load_tensors(Path(f"{ODD}.pth"))
    count = len(content["info"]["attributes"])
    content["info"]["beats_chance"] = [True, False] + [None] * (count - 2)
    save_tensors(tmp_path / "doubtful.pth", content)
    arguments = ["image=plain", f"checkpoint={tmp_path / 'doubtful.pth'}", "format=json"]
    infer.run(compose_config("mode=infer", *arguments), Path(), arguments)
    doubtful = content["info"]["attributes"][1]
    assert f"no evidence that it predicts better than chance: {doubtful}" in caplog.text
    answer = json.loads(capsys.readouterr().out)
    assert list(answer["beats_chance"].values())[:2] == [True, False] and len(answer["thresholds"]) == count


def test_folder_of_the_output_is_checked_first(place: Path, compose_config, monkeypatch) -> None:
    monkeypatch.chdir(place)
    arguments = ["image=plain", "checkpoint=missing.pth", "output=no/table.csv"]
    with pytest.raises(FileNotFoundError, match=r"^output is no.table"):
        infer.run(compose_config("mode=infer", *arguments), Path(), arguments)


@pytest.mark.parametrize("format", ["text", "csv", "json", "jsonl"])
def test_terminal_output_has_no_control_characters(format: str, capsys, monkeypatch) -> None:
    prediction = Prediction("b\nc.jpg", ["h\x1b[2Jat"], {"h\x1b[2Jat": 0.9})
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    predictions = Predictions([prediction], "model", {"h\x1b[2Jat": 0.5}, {"h\x1b[2Jat": None})
    writing.write_predictions(predictions, format, None)
    assert capsys.readouterr().out.replace("\n", "").isprintable()


def test_picture_is_written_for_some_images_only(place: Path, tmp_path: Path) -> None:
    predictions = Predictions([], "model", dict.fromkeys(ATTRIBUTES, 0.5), dict.fromkeys(ATTRIBUTES))
    writing.write_predictions(predictions, "auto", str(tmp_path / "none.png"))
    image = min((place / "plain").glob("*.jpg"))
    predictions.images = [Prediction(str(image), ["hat"], {"hat": 0.9, "stripes": 0.1})] * 2
    writing.write_predictions(predictions, "auto", str(tmp_path / "two.PNG"))
    assert [path.name for path in tmp_path.iterdir()] == ["two.PNG"]
    with Image.open(tmp_path / "two.PNG") as picture:
        assert picture.format == "PNG"


def test_inference_loads_neither_matplotlib_nor_jinja2(environment) -> None:
    code = "import sys; import aimonk.modes.infer; print({'matplotlib', 'jinja2'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_no_other_files_are_written(ask: Ask, trained: SimpleNamespace, place: Path) -> None:
    for name in ("newest", "folder", "pattern", "odd", *MISTAKES):
        ask(name)
    left = {path.name for path in place.iterdir()} - {"model.pth"}
    assert left == {"plain", ODD, f"{ODD}.png", f"{ODD}.pth", f"{ODD} answers.csv"}
    assert {path.name for path in trained.cwd.iterdir()} == {"outputs"}
    assert [path.parent for path in trained.cwd.rglob("status.json")] == [trained.folder]


def test_output_may_not_be_an_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"image")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    check_output(None, [tmp_path / "a.png"])
    check_output(str(tmp_path / "b.png"), [tmp_path / "a.png"])
    with pytest.raises(ValueError, match=r"^output is .*; expected another file than the images$"):
        check_output(str(tmp_path / "link.png"), [tmp_path / "a.png"])
