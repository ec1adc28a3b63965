"""`mode=export`: files that predict as `mode=infer` does, and nothing left of an export that fails."""

import ast
import compileall
import csv
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import aimonk
from aimonk.modes import export, infer
from aimonk.modes.export import command as export_command

pytest.importorskip("onnxscript")
FILES = {"README.md", "app.py", "decoding.py", "model.onnx", "predict.py", "requirements.txt"}
# runs predict.py of the folder beside the working folder where neither torch nor aimonk can be imported
ALONE = """import runpy, sys
sys.modules["torch"] = sys.modules["aimonk"] = sys.modules["onnx"] = None
sys.path.insert(0, "../out")
sys.argv = ["predict.py", *sys.argv[1:]]
runpy.run_path("../out/predict.py", run_name="__main__")"""


@pytest.fixture(scope="module")
def place(trained: SimpleNamespace, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images of all kinds in `photos/`."""
    place = tmp_path_factory.mktemp("export")
    photos = place / "photos"
    photos.mkdir()
    plain = Image.open(cache_dir / "demo_60_0" / "images" / "demo_001.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    plain.save(photos / "=turned.jpg", exif=turned)
    plain.convert("CMYK").save(photos / "cmyk.jpg")
    plain.convert("L").save(photos / "grey.png")
    alpha = plain.convert("RGBA")
    alpha.putalpha(plain.convert("L"))
    alpha.save(photos / "alpha.png")
    Image.fromarray(np.asarray(plain.convert("L")).astype(np.uint16) * 257).save(photos / "deep.png")
    plain.resize((1500, 900)).save(photos / "large.jpg")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (photos / "notes.txt").write_text("no image\n")
    return place


@pytest.fixture(scope="module")
def exported(command, trained: SimpleNamespace, place: Path) -> SimpleNamespace:
    """The folder `out` that the command wrote, and what it logged."""
    result = command(place, "mode=export", f"checkpoint={trained.folder}", "output=out/", "image=photos")
    assert result.returncode == 0, result.stdout + result.stderr
    return SimpleNamespace(folder=place / "out", log=result.stderr)


def test_exported_file_predicts_from_python_as_the_run(trained, place: Path, exported) -> None:
    photos = [place / "photos" / name for name in ("=turned.jpg", "cmyk.jpg", "grey.png")]
    run, file = aimonk.load(trained.folder), aimonk.load(exported.folder / "model.onnx")
    assert (file.attributes, file.thresholds) == (run.attributes, run.thresholds)
    for expected, prediction in zip(run.predict(photos), file.predict(photos), strict=True):
        assert prediction == pytest.approx(expected, abs=1e-4)


def test_folder_is_complete_and_compiles(exported: SimpleNamespace) -> None:
    assert {path.name for path in exported.folder.iterdir()} - {"__pycache__"} == FILES
    assert compileall.compile_dir(exported.folder, quiet=1)
    assert "parity with mode=infer on 6 given images: probabilities differ by " in exported.log
    assert "full-size images, which the model resizes itself: " in exported.log
    assert "broken.jpg: " in exported.log


def test_page_predicts_with_the_model(exported: SimpleNamespace, place: Path, environment) -> None:
    code = (
        "import sys; from unittest.mock import MagicMock; sys.modules['gradio'] = MagicMock(); import app; "
    )
    code += "print(app.predict(sys.argv[1]))"
    script = [sys.executable, "-c", code, str(place / "photos" / "cmyk.jpg")]
    result = subprocess.run(script, cwd=exported.folder, env=environment(), capture_output=True, text=True)
    present, probs = ast.literal_eval(result.stdout)
    assert list(probs) == ["sleeves", "buttons", "stripes", "hat"]
    assert present == (", ".join(name for name, p in probs.items() if p >= 0.5) or "nothing")


def test_card_has_scores_chance_and_training_data(exported: SimpleNamespace) -> None:
    card = (exported.folder / "README.md").read_text()
    for part in (
        "Validation images: 12",
        "AP [95 %]|chance",
        "Images: 48 train, 12 val.",
        "| sleeves | 0.500 |",
    ):
        assert part in card, part


def test_script_without_torch_writes_the_table_of_infer(
    exported: SimpleNamespace, trained, place: Path, command, environment
) -> None:
    script = [sys.executable, "-c", ALONE, ".", "--output", "../alone.csv", "--threads", "1"]
    photos = place / "photos"  # names there start with a sign that spreadsheets evaluate
    alone = subprocess.run(script, cwd=photos, env=environment(), capture_output=True, text=True)
    for name, source in (("onnx", "../out/model.onnx"), ("pth", str(trained.folder))):
        arguments = ("mode=infer", "image=.", f"checkpoint={source}", f"output=../{name}.csv")
        result = command(photos, *arguments)
        assert result.returncode == 1 and result.stderr.splitlines()[-1] == alone.stderr.splitlines()[-1]
    tables = {n: list(csv.reader((place / f"{n}.csv").open(newline=""))) for n in ("alone", "onnx", "pth")}
    assert tables["alone"] == tables["onnx"]
    assert [row[:2] for row in tables["alone"]] == [row[:2] for row in tables["pth"]]
    figures = [np.array([row[2:] for row in tables[name][1:]], float) for name in ("alone", "pth")]
    np.testing.assert_allclose(*figures, atol=1e-4)
    assert len(figures[0]) == 6


def test_model_that_differs_is_not_kept(
    exported, trained, place: Path, compose_config, monkeypatch, tmp_path: Path
) -> None:
    import onnx

    model = onnx.load(exported.folder / "model.onnx")
    bias = next(t for t in model.graph.initializer if list(t.dims) == [4] and t.name.endswith("head.bias"))
    values = onnx.numpy_helper.to_array(bias) + np.float32(0.01)
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        export_command, "write_model", lambda path, *rest: path.write_bytes(model.SerializeToString())
    )
    for output in ("new/", "model.onnx"):
        arguments = [f"checkpoint={trained.folder}", f"output={output}"]
        with pytest.raises(ValueError, match=r"differs from .* on 12 drawn images: .*; nothing is written$"):
            export.run(compose_config("mode=export", *arguments), Path(), arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["output=model.txt"], "^output is model.txt; expected a file .onnx or .pt2, or a folder"),
        (["output=null"], "^output is None; expected a file .onnx"),
        (["output=no/model.onnx"], "^output is no/model.onnx; expected a file in an existing folder"),
        (
            ["output=photos/"],
            "^output is photos/?; expected a new or empty folder",
        ),
        (["precision=int4"], "^precision is 'int4'; expected fp32, fp16, int8"),
        (["precision=int8"], "^image is null; expected images"),
        (["precision=int8", "output=m.pt2", "image=photos"], "^precision is int8; expected fp32 or fp16"),
        (["image=gone"], "^no image at .*/gone"),
        (["image=photos/broken.jpg"], "^none of 1 image could be read"),
        (["checkpoint=gone.pth"], "^no checkpoint at .*/gone.pth"),
        (["checkpoint=model.onnx"], "^checkpoint is model.onnx; expected a run"),
        (["data=folder", "data.labels=gone.txt"], "^no label file at .*/gone.txt"),
    ],
)
def test_invalid_arguments_are_rejected(
    arguments, message, place, trained, compose_config, monkeypatch
) -> None:
    monkeypatch.chdir(place)
    if not any(argument.startswith("checkpoint=") for argument in arguments):
        arguments = [*arguments, f"checkpoint={trained.folder}"]
    before = set(place.iterdir())
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        export.run(compose_config("mode=export", *arguments), Path(), arguments)
    assert "\n" not in f"{caught.value}"
    assert set(place.iterdir()) == before


def test_missing_package_is_named(trained, compose_config, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("onnxscript", "onnxruntime"):
        with (
            monkeypatch.context() as context,
            pytest.raises(ValueError, match=f"^{name} is not installed"),
        ):
            context.setitem(sys.modules, name, None)
            arguments = [f"checkpoint={trained.folder}"]
            export.run(compose_config("mode=export", *arguments), Path(), arguments)


def test_damaged_onnx_checkpoint_is_one_line(place: Path, compose_config, monkeypatch, exported) -> None:
    monkeypatch.chdir(place)
    Path("half.onnx").write_bytes((exported.folder / "model.onnx").read_bytes()[:1_000_000])
    arguments = ["image=photos", "checkpoint=half.onnx"]
    with pytest.raises(ValueError, match=r"^half\.onnx is not a ") as caught:
        infer.run(compose_config("mode=infer", *arguments), Path(), arguments)
    assert "\n" not in f"{caught.value}"
    Path("half.onnx").unlink()
