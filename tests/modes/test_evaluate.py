import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from omegaconf import OmegaConf

from aimonk.data.labels import LabelTable
from aimonk.evaluation.calibration import Calibration
from aimonk.evaluation.evaluate import OperatingPoint
from aimonk.models.checkpoint import ModelInfo
from aimonk.modes.evaluate.command import evaluate_as_asked
from aimonk.modes.evaluate.subject import Subject, match_attributes, run_thresholds
from aimonk.report.csv_tables import read_predictions


def info(attributes: list[str]) -> ModelInfo:
    count = len(attributes)
    numbers = {"thresholds": [0.5] * count, "scale": [1.0] * count, "bias": [0.0] * count}
    network = {
        "stages": "last",
        "library": "timm",
        "backbone": "tf_efficientnet_lite0",
        "image_size": 64,
        "resize": "squash",
    }
    return ModelInfo(
        attributes=attributes,
        epoch=1,
        chosen_by="the test",
        beats_chance=[None] * count,
        **network,
        **numbers,
    )


def labelled(*attributes: str) -> LabelTable:
    """A row in which only the first column is 1."""
    labels = np.eye(1, len(attributes), dtype=np.float32)
    return LabelTable(["a.jpg"], list(attributes), labels, labels > -1)


def test_columns_take_the_order_of_the_model() -> None:
    model = info(["hat", "scarf"])
    for names, expected in ((("scarf", "hat"), [0, 1]), (("Attr1", "Attr2"), [1, 0])):
        table = match_attributes(labelled(*names), model, may_rename=True)
        assert table.attributes == ["hat", "scarf"] and table.labels.tolist() == [expected]
    for names, may_rename in ((("Attr1", "Attr2"), False), (("hat",), True), (("hat", "shoe"), True)):
        with pytest.raises(ValueError, match="expected hat, scarf, those of the model"):
            match_attributes(labelled(*names), model, may_rename)


def test_errors_in_predictions_have_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("image,hat\na.jpg,0.5\nb.jpg,1.5\nc.jpg\nd.jpg,x\ne.jpg,nan\n")
    with pytest.raises(ValueError) as error:
        read_predictions(path)
    assert [line.split(":")[0][-6:] for line in str(error.value).splitlines()] == [
        f"line {i}" for i in (3, 4, 5, 6)
    ]
    path.write_text("image,'=hat\na.jpg,0.5\n")
    attributes, names, probs, thresholds = read_predictions(path)
    assert thresholds is None
    assert (attributes, names, probs.tolist()) == (["=hat"], ["a.jpg"], [[0.5]])


def test_thresholds_of_the_model_are_the_default() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((60, 2)) < 0.4).astype(np.float32)
    logits = labels + rng.normal(size=labels.shape)
    table = LabelTable([f"{i}.jpg" for i in range(60)], ["hat", "scarf"], labels, labels > -1)
    own = OperatingPoint(Calibration(np.array([2.0, 0.5]), np.array([-1.0, 0.5])), np.array([0.2, 0.8]))
    probs = 1 / (1 + np.exp(-(logits * own.calibration.scale + own.calibration.bias)))
    for asked, thresholds in ((None, [0.2, 0.8]), (0.3, [0.3, 0.3]), ("f1", None)):
        cfg = OmegaConf.create({"threshold": asked, "data": {"split_seed": 0}})
        subject = Subject(table, logits, None, {"val": own}, None, {"val": np.arange(60)})
        evaluations = evaluate_as_asked(cfg, subject, "val")
        np.testing.assert_allclose(evaluations.probs, probs)
        used = [entry["threshold"] for entry in evaluations.scores["attributes"].values()]
        if thresholds is not None:
            assert used == thresholds
            assert (evaluations.decisions == (probs >= thresholds)).all()
        else:
            assert "optimistic" in evaluations.scores and used != [0.2, 0.8]


def test_model_and_predictions_score_as_the_run_did(
    command, demo: list[str], trained: SimpleNamespace, tmp_path: Path
) -> None:
    of_run = json.loads((trained.folder / "metrics.json").read_text())["val"]
    arguments = ["mode=evaluate", *demo, f"predictions={trained.folder / 'predictions.csv'}"]
    result = command(tmp_path, *arguments, "hydra.run.dir=from_table")
    assert result.returncode == 0, result.stdout + result.stderr
    scores = json.loads((tmp_path / "from_table" / "metrics.json").read_text())["val"]
    for name, entry in of_run["attributes"].items():
        assert scores["attributes"][name]["known"] == entry["known"]
        assert scores["attributes"][name]["ap"] == pytest.approx(entry["ap"], abs=0.02)  # ties after rounding
    assert scores["mean_ap"] == pytest.approx(of_run["mean_ap"], abs=0.02)

    result = command(trained.cwd, "mode=evaluate", *demo, f"hydra.run.dir={tmp_path / 'from_model'}")
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"checkpoint: {trained.folder.relative_to(trained.cwd)}" in result.stdout
    assert "the model was trained on" in result.stdout and "verdict:" in result.stdout
    rows = list(csv.reader((tmp_path / "from_model" / "predictions.csv").read_text().splitlines()))
    of_model = {row[0]: np.array(row[1:], dtype=float) for row in rows[1:]}
    assert len(of_model) == 60
    for row in list(csv.reader((trained.folder / "predictions.csv").read_text().splitlines()))[1:]:
        assert of_model[row[0]] == pytest.approx(np.array(row[1:], dtype=float), abs=1e-3)
    assert (tmp_path / "from_model" / "report.html").stat().st_size > 10_000


def test_model_and_predictions_are_mutually_exclusive(command, tmp_path: Path) -> None:
    result = command(tmp_path, "mode=evaluate", "predictions=p.csv", "checkpoint=x", "hydra.run.dir=out")
    assert result.returncode == 1 and "mutually exclusive" in result.stdout


def test_predictions_of_a_run_keep_its_parts_and_thresholds(command, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"{i}.jpg" for i in range(40)]
    (tmp_path / "labels.csv").write_text(
        "image,hat\n" + "".join(f"{n},{i % 2 or -1}\n" for i, n in enumerate(names))
    )
    rows = "".join(f"{n},{0.3 * (i % 2) + 0.2 * rng.random():.4f}\n" for i, n in enumerate(names))
    run = tmp_path / "run"
    run.mkdir()
    (run / "predictions.csv").write_text("image,hat\n" + rows)
    (run / "splits.csv").write_text(
        "image,split\n" + "".join(f"{n},{'val' if i < 15 else 'test'}\n" for i, n in enumerate(names))
    )
    metrics = {"epoch": 3, "epochs": [], "val": {"attributes": {"hat": {"threshold": 0.25}}}}
    (run / "metrics.json").write_text(json.dumps(metrics))
    data = ["mode=evaluate", "data=folder", "data.images=.", "data.labels=labels.csv"]
    data += ["data.tokens.absent=[-1]"]
    result = command(tmp_path, *data, "predictions=run/predictions.csv", "hydra.run.dir=out")
    assert result.returncode == 0, result.stdout + result.stderr
    scores = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert list(scores) == ["val", "test"]
    assert [part["attributes"]["hat"]["known"] for part in scores.values()] == [15, 25]
    assert all(part["attributes"]["hat"]["threshold"] == 0.25 for part in scores.values())
    assert all(part["attributes"]["hat"]["f1"] == 1 for part in scores.values())

    # the table of mode=infer, without a run
    photos = [
        str(tmp_path / names[0]),
        *(f"photos/../{name}" for name in names[1:]),
    ]  # paths as it writes them
    rows = "".join(
        f"{n},{'hat' if i % 2 else ''},{0.9 if i % 2 else 0.1},0.7\n" for i, n in enumerate(photos)
    )
    (tmp_path / "infer.csv").write_text("image,present,hat,hat threshold\n" + rows)
    result = command(tmp_path, *data, "predictions=infer.csv", "hydra.run.dir=other")
    assert result.returncode == 0, result.stdout + result.stderr
    scores = json.loads((tmp_path / "other" / "metrics.json").read_text())
    assert scores["evaluated"]["attributes"]["hat"]["f1"] == 1
    assert scores["evaluated"]["attributes"]["hat"]["threshold"] == 0.7


def test_each_part_of_a_run_has_its_thresholds(tmp_path: Path) -> None:
    parts = {part: {"attributes": {"hat": {"threshold": t}}} for part, t in (("val", 0.2), ("test", 0.3))}
    (tmp_path / "metrics.json").write_text(json.dumps({"epochs": [], **parts}))
    found = run_thresholds(tmp_path / "predictions.csv", ["hat"], ["val", "test"])
    assert {part: values.tolist() for part, values in found.items()} == {"val": [0.2], "test": [0.3]}
    assert run_thresholds(tmp_path / "p.csv", ["hat"], ["evaluated"])["evaluated"].tolist() == [0.2]
    assert run_thresholds(tmp_path / "p.csv", ["scarf"], ["val"])["val"].tolist() == [0.5]
