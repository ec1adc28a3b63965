"""Ranges of the scores where labels are not missing at random, through the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DATA = ["data=folder", "data.images=images", "data.labels=labels.csv", "data.image_size=64", "epochs=2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Images of which half are bright and half are red; red is NA where the image is bright."""
    folder = tmp_path_factory.mktemp("missing")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    rows = ["image,bright,red"]
    for i in range(160):
        bright, red = i % 2, i // 2 % 2
        pixels = rng.integers(0, 90, (8, 8, 3)) + 80 * bright
        pixels[..., 0] += 80 * red
        image = Image.fromarray(pixels.astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)
        image.save(folder / "images" / f"{i}.png")
        rows.append(f"{i}.png,{bright},{'NA' if rng.random() < (0.8 if bright else 0.1) else red}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


def test_run_reports_the_range(folder: Path, cache_dir: Path, command) -> None:
    result = command(folder, *DATA, f"cache_dir={cache_dir}", "hydra.run.dir=run")
    assert result.returncode == 0, result.stdout + result.stderr
    scores = json.loads((folder / "run" / "metrics.json").read_text())["val"]
    red, bright = scores["attributes"]["red"], scores["attributes"]["bright"]
    assert red["na_depends_on"]["given"] in (None, "bright") and "range" not in bright
    low, high = red["range"]["ap"]
    assert low < high
    mean = [(end + bright["ap"]) / 2 for end in (low, high)]
    assert scores["range"]["mean_ap"] == pytest.approx(mean)
    assert f"NA is not random: red\nmean AP {mean[0]:.3f} to {mean[1]:.3f} if NA" in result.stdout
    page = (folder / "run" / "report.html").read_text()
    assert "NA is not random" in page and page.count("range .") + page.count("range 1.") == 6

    # the test of the predictions needs images that the model has not seen; that of the labels does not
    arguments = ["mode=evaluate", *DATA[:-1], "checkpoint=run", f"cache_dir={cache_dir}"]
    result = command(folder, *arguments, "hydra.run.dir=evaluated")
    assert result.returncode == 0, result.stdout + result.stderr
    scores = json.loads((folder / "evaluated" / "metrics.json").read_text())["evaluated"]
    assert scores["attributes"]["red"]["na_depends_on"]["given"] == "bright"
    assert "NA is not random: red" in result.stdout


def test_audit_finds_the_other_attribute(folder: Path, cache_dir: Path, command) -> None:
    result = command(folder, "mode=audit", *DATA[:-1], f"cache_dir={cache_dir}", "hydra.run.dir=audit")
    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads((folder / "audit" / "audit.json").read_text())["missingness"]
    assert list(found["attributes"]) == ["red"] and found["policy"] == "ignore"
    assert found["attributes"]["red"]["given"] == "bright"
    assert "6. Why are labels missing? missing=ignore fits 1 of 1 attribute with NA" in result.stdout
    assert "Why are labels missing" in (folder / "audit" / "audit.html").read_text()


def test_complete_labels_have_no_section(folder: Path, cache_dir: Path, command) -> None:
    text = (folder / "labels.csv").read_text().replace("NA", "1")
    (folder / "complete.csv").write_text(text)
    arguments = ["mode=audit", *DATA[:-1], "data.labels=complete.csv", f"cache_dir={cache_dir}"]
    result = command(folder, *arguments, "hydra.run.dir=complete")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "5. Which labels" in result.stdout and "Why are labels missing" not in result.stdout
    assert json.loads((folder / "complete" / "audit.json").read_text())["missingness"] is None
    assert "Why are labels missing" not in (folder / "complete" / "audit.html").read_text()
