"""Pictures with a panel for each attribute, against the scores that they stand for."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from aimonk.evaluation.metrics import score
from aimonk.report.html.gallery import SIDE, draw_mistakes, fetch_thumbnails, worst_mistakes
from aimonk.report.plots.figure import save
from aimonk.report.plots.panels import (
    MOST_POINTS,
    PANELS,
    hardest,
    plot_decisions,
    plot_precision_recall,
    plot_reliability,
    precision_recall,
    reliability,
    wilson_limits,
)

NAMES = ["hat", "$\\frac{<b>$", "帽子", "never", "unknown"]


@pytest.fixture
def case() -> dict:
    """Predictions of five attributes; the fourth is never present, the fifth never known."""
    rng = np.random.default_rng(0)
    labels = (rng.random((80, 5)) < 0.4).astype(float)
    labels[:, 3] = 0
    mask = rng.random((80, 5)) < 0.8
    mask[:, 4] = False
    probs = np.round(np.clip(0.3 * labels + 0.7 * rng.random((80, 5)), 0, 1), 2)
    scores = score(labels, mask, probs, np.full(5, 0.5), NAMES)
    return {"labels": labels, "mask": mask, "probs": probs, "scores": scores}


def lines(axes: Axes) -> dict[str, np.ndarray]:
    """Points [n, 2] of each line, by its name in the legend."""
    return {line.get_label(): line.get_xydata() for line in axes.lines}


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def check_png(figure: Figure, path: Path) -> np.ndarray:
    """Written and read back: a PNG on which something is drawn."""
    content = save(figure, path)
    assert content == path.read_bytes() and content.startswith(b"\x89PNG")
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
    return pixels


def test_precision_recall_shows_chance_and_the_decision(case: dict, tmp_path: Path) -> None:
    figure = plot_precision_recall(**case, shown=[0, 1, 2, 3, 4], title="Precision and recall, test images")
    assert figure.get_suptitle() == "Precision and recall, test images"
    assert [axes.get_title(loc="left") for axes in figure.axes] == NAMES
    for axes, entry in zip(figure.axes[:3], list(case["scores"]["attributes"].values())[:3], strict=True):
        drawn = lines(axes)
        np.testing.assert_allclose(drawn["chance"][:, 1], entry["prevalence"])
        np.testing.assert_allclose(drawn["as decided"], [[entry["recall"], entry["precision"]]])
        curve = drawn["precision"]
        (line,) = [line for line in axes.lines if line.get_label() == "precision"]
        assert line.get_drawstyle() == "steps-pre", "the area below is the sum below"
        assert (np.diff(curve[:, 0]) * curve[1:, 1]).sum() == pytest.approx(entry["ap"])
        assert curve[-1, 0] == 1
    assert texts(figure.axes[3]) == ["one value only"] and texts(figure.axes[4]) == ["nothing known"]
    check_png(figure, tmp_path / "curve.png")


def test_long_curves_are_thinned() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(20_000) < 0.5).astype(float)
    recall, precision = precision_recall(labels, rng.random(20_000) + 0.2 * labels)
    assert len(recall) == len(precision) == MOST_POINTS + 1
    assert recall[0] == 0 and recall[-1] == 1 and (np.diff(recall) >= 0).all()


def test_reliability_bins_are_those_of_the_calibration_error(case: dict, tmp_path: Path) -> None:
    known = case["mask"][:, 0]
    counts, means, shares = reliability(case["labels"][known, 0], case["probs"][known, 0])
    assert counts.sum() == known.sum()
    error = np.nansum(counts * np.abs(means - shares)) / counts.sum()
    assert error == pytest.approx(case["scores"]["attributes"]["hat"]["ece"])

    figure = plot_reliability(**case, shown=[0, 3, 4], title="Reliability")
    axes = figure.axes[0]
    assert lines(axes)["as often as said"].tolist() == [[0, 0], [1, 1]]
    points = axes.containers[-1].lines[0].get_xydata()
    np.testing.assert_allclose(points, np.stack([means, shares], axis=1)[counts > 0])
    assert [int(text) for text in texts(axes)] == counts[counts > 0].tolist()
    assert texts(figure.axes[2]) == ["nothing known"]
    check_png(figure, tmp_path / "reliability.png")


def test_wilson_limits() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    low, high = wilson_limits(np.array([81 / 263, 15 / 148, 0, 1 / 29]), np.array([263, 148, 20, 29]))
    np.testing.assert_allclose(low, [0.2553, 0.0624, 0, 0.0061], atol=1e-4)
    np.testing.assert_allclose(high, [0.3662, 0.1605, 0.1611, 0.1718], atol=1e-4)


def test_decisions_show_counts_and_shares(case: dict, tmp_path: Path) -> None:
    figure = plot_decisions(case["scores"], [0, 3, 4], "Decisions")
    entry = case["scores"]["attributes"]["hat"]
    told = texts(figure.axes[0])
    assert [int(n) for n in told[::2]] == [entry[key] for key in ("tp", "fn", "fp", "tn")]
    assert told[1] == f"{entry['recall']:.0%}" and told[7] == f"{entry['specificity']:.0%}"
    assert texts(figure.axes[1])[1] == "-", "nothing is present, so there is no share of it"
    assert texts(figure.axes[2]) == ["nothing known"]
    check_png(figure, tmp_path / "decisions.png")


def test_all_attributes_are_shown_or_those_told_worst() -> None:
    def scores(auroc: list[float | None]) -> dict:
        return {"attributes": {f"a{i}": {"auroc": value} for i, value in enumerate(auroc)}}

    assert hardest(scores([0.9, None, 0.2])) == [0, 1, 2]
    assert hardest(scores([0.9, None, 0.2, 0.5]), most=2) == [2, 3]
    assert len(hardest(scores([0.5] * 80))) == PANELS


@pytest.mark.parametrize("count", [1, 2, 5, PANELS])
def test_panels_keep_their_size(count: int, case: dict) -> None:
    scores = {"attributes": {f"a{i}": case["scores"]["attributes"]["hat"] for i in range(count)}}
    figure = plot_decisions(scores, list(range(count)), "Decisions")
    width, height = figure.get_size_inches()
    for axes in figure.axes:
        box = axes.get_position()
        assert 1.8 < box.width * width < 3.5 and 1.5 < box.height * height < 3.5


def test_worst_mistakes_come_first() -> None:
    labels = np.array([[0], [0], [0], [1], [1], [0], [1]])
    mask = np.array([[1], [1], [1], [1], [1], [0], [1]], dtype=bool)
    probs = np.array([[0.6], [0.9], [0.1], [0.4], [0.2], [0.99], [0.8]])
    rows = np.arange(7) + 10
    (found,) = worst_mistakes(labels, mask, probs, probs >= 0.5, ["hat"], [0], rows)
    assert found.attribute == "hat" and found.counts == (2, 2)
    assert found.false_positives == [(11, 0.9), (10, 0.6)]
    assert found.false_negatives == [(14, 0.2), (13, 0.4)]


def test_gallery_places_each_image_under_its_caption(tmp_path: Path) -> None:
    labels, probs = np.zeros((6, 1)), np.linspace(0.5, 1, 6)[:, None]
    found = worst_mistakes(labels, labels == 0, probs, probs >= 0, ["$<hat>$"], [0], np.arange(6))
    images = np.stack([np.full((20, 30, 3), 40 * i, np.uint8) for i in range(6)])
    thumbs = fetch_thumbnails(images, found)
    assert sorted(thumbs) == [2, 3, 4, 5], "the worst four"
    figure = draw_mistakes(found, thumbs, [f"folder/{i}.jpg" for i in range(6)], "Mistakes, test images")
    told = [text.get_text() for text in figure.texts]
    assert told[0] == "Mistakes, test images" and "$<hat>$: 6" in told and "$<hat>$: none" in told
    captions = [text for text in figure.texts if text.get_text().endswith(".jpg")]
    assert [text.get_text() for text in captions] == ["1.00 5.jpg", ".90 4.jpg", ".80 3.jpg", ".70 2.jpg"]
    pixels = check_png(figure, tmp_path / "mistakes.png")
    for text, grey in zip(captions, (200, 160, 120, 80), strict=True):
        x, y = text.get_position()
        above = pixels[round(pixels.shape[0] - y) - 30, round(x) + SIDE // 2]
        assert above.tolist() == [grey] * 3


def test_images_that_are_gone_leave_a_gap(tmp_path: Path) -> None:
    Image.new("RGB", (50, 40), "red").save(tmp_path / "there.png")
    paths = [tmp_path / "there.png", tmp_path / "gone.png"]
    ones = np.ones((2, 1), dtype=bool)
    found = worst_mistakes(np.zeros((2, 1)), ones, np.ones((2, 1)), ones, ["hat"], [0], np.arange(2))
    thumbs = fetch_thumbnails(paths, found)
    assert list(thumbs) == [0] and thumbs[0].shape == (SIDE, SIDE, 3)
    check_png(draw_mistakes(found, thumbs, ["there.png", "gone.png"], "Mistakes"), tmp_path / "m.png")
