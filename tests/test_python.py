"""The functions for use from Python."""

import json
import logging
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

import aimonk
from aimonk.inference.model import Model, Prediction
from aimonk.python import format_override

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def model(trained: SimpleNamespace) -> Model:
    return aimonk.load(trained.folder)


@pytest.fixture(scope="module")
def photos(cache_dir: Path, trained: SimpleNamespace) -> list[Path]:
    return sorted((cache_dir / "demo_60_0" / "images").iterdir())[:3]


def test_import_loads_neither_torch_nor_hydra() -> None:
    code = "import sys, aimonk; print('torch' in sys.modules, 'hydra' in sys.modules, aimonk.load.__name__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout == "False False load\n", result.stderr
    with pytest.raises(AttributeError, match="no attribute 'learn'"):
        _ = aimonk.learn
    assert set(aimonk.__all__) < set(dir(aimonk))


@pytest.mark.slow
def test_predictions_are_those_of_the_command(command, trained, model: Model, photos: list[Path]) -> None:
    result = command(trained.cwd, "mode=infer", f"image={photos[0].parent}", "format=json")
    expected = {Path(e["image"]).name: e for e in json.loads(result.stdout)["images"]}
    predictions = model.predict(photos)
    assert len(predictions) == 3
    for photo, prediction in zip(photos, predictions, strict=True):
        assert prediction == pytest.approx(expected[photo.name]["probabilities"], abs=1e-4)
        assert prediction.present == expected[photo.name]["present"]
    assert list(predictions[0]) == model.attributes


@pytest.mark.slow
def test_all_kinds_of_images_give_the_same_prediction(
    model: Model, photos: list[Path], tmp_path: Path
) -> None:
    with Image.open(photos[0]) as image:
        pixels = np.asarray(image.convert("RGB"))
    image = Image.fromarray(pixels)
    image.save(tmp_path / "a.png")
    first = model.predict(pixels)
    assert isinstance(first, Prediction) and first.keys() == set(model.attributes)
    (row,) = model.predict(pixels[None])
    for same in (row, model.predict(image), model.predict(str(tmp_path / "a.png"))):
        assert same == first and same.present == first.present
    many = model.predict(image for _ in range(70))
    assert iter(many) is many
    several = list(many)
    assert len(several) == 70 and several[-1] == pytest.approx(first, abs=1e-4)
    assert model.predict([]) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (
            np.zeros((8, 8, 4), np.uint8),
            r"image is uint8 \[8, 8, 4\]; expected uint8 \[H, W, 3\]",
        ),
        (np.zeros((8, 8, 3)), r"image is float64 \[8, 8, 3\]"),
        ([3], "image is int; expected a path, a PIL image or an array"),
        (__file__, "unknown image format"),
    ],
)
def test_wrong_images_are_refused(model: Model, image: object, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        model.predict(image)
    with pytest.raises(FileNotFoundError, match="no image at"):
        model.predict("nothing.jpg")


@pytest.mark.slow
def test_decisions_follow_the_thresholds(model: Model, photos: list[Path]) -> None:
    prediction = model.predict(photos[0])
    assert prediction.present == [a for a in model.attributes if prediction[a] >= model.thresholds[a]]
    assert set(model.beats_chance) == set(model.attributes)


@pytest.mark.slow
def test_training_equals_that_of_the_command(cache_dir: Path, trained, tmp_path: Path) -> None:
    demo = cache_dir / "demo_60_0"
    settings = {"cache_dir": cache_dir, "data.image_size": 64, "epochs": 2, "optimizer": "adamw"}
    before = GlobalHydra.instance().is_initialized()
    found: list[Model] = []
    folder = tmp_path / "a run, é=1"

    def train() -> None:
        found.append(aimonk.train(demo / "images", demo / "labels.txt", folder, refit=False, **settings))

    # not only in the main thread
    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    (model,) = found
    assert model.folder == folder
    assert (folder / "loss.csv").read_bytes() == (trained.folder / "loss.csv").read_bytes()
    assert "verdict" in (folder / "run.log").read_text()
    assert GlobalHydra.instance().is_initialized() == before
    assert not [h for h in logging.getLogger("aimonk").handlers if isinstance(h, logging.FileHandler)]


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^lr is unknown; did you mean optimizer\.lr\?"):
        aimonk.train(tmp_path, "labels.txt", tmp_path / "run", lr=0.1)
    with pytest.raises(ValueError, match=r"^loss is 'masket'; expected .*did you mean masked"):
        aimonk.train(tmp_path, "labels.txt", tmp_path / "run", loss="masket")
    with pytest.raises(FileNotFoundError, match="label file"):
        aimonk.train(tmp_path, tmp_path / "labels.txt", tmp_path / "run")
    assert not (tmp_path / "run/aimonk_model.pth").exists()


@pytest.mark.slow
def test_audit_returns_its_record(cache_dir: Path, trained: SimpleNamespace) -> None:
    demo = cache_dir / "demo_60_0"
    settings = {"cache_dir": cache_dir, "data.image_size": 64}
    found = aimonk.audit(demo / "images", demo / "labels.txt", **settings)
    assert found["images"] == 60 and set(found["attributes"]["hat"]) > {"present", "evidence"}


def test_labels_are_read_with_their_mask(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("image hat scarf\na.jpg 1 NA\nb.jpg 0 1\n")
    table = aimonk.read_labels(file, attributes=["scarf"])
    assert (table.names, table.attributes) == (["a.jpg", "b.jpg"], ["scarf"])
    assert table.labels.tolist() == [[0], [1]] and table.mask.tolist() == [[False], [True]]


@pytest.mark.parametrize(
    "value", [None, True, False, 3, -0.5, 1e-7, "a b", "a'b\\", "${x}", "[1]", [1, "a,b", None], {"a": [1]}]
)
def test_values_keep_their_type_as_overrides(value: object) -> None:
    from omegaconf import OmegaConf

    parsed = OverridesParser.create().parse_override(format_override("key", value))
    read = OmegaConf.to_container(OmegaConf.create({"key": parsed.value()}), resolve=True)["key"]
    assert read == value and type(read) is type(value)
