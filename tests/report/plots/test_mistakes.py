from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from aimonk.report.mistakes import worst_mistakes
from aimonk.report.plots.figure import save
from aimonk.report.plots.mistakes import plot_mistakes
from aimonk.report.thumbnails import SIDE, load_thumbnails


def check_png(figure: Figure, path: Path) -> np.ndarray:
    """Save the figure and return its pixels, which are not blank."""
    content = save(figure, path)
    assert content == path.read_bytes() and content.startswith(b"\x89PNG")
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
    return pixels


def test_each_image_is_above_its_caption(tmp_path: Path) -> None:
    labels, probs = np.zeros((6, 1)), np.linspace(0.5, 1, 6)[:, None]
    found = worst_mistakes(labels, labels == 0, probs, probs >= 0, ["$<hat>$"], [0], np.arange(6))
    images = np.stack([np.full((20, 30, 3), 40 * i, np.uint8) for i in range(6)])
    thumbnails = load_thumbnails(images, found[0].rows)
    assert sorted(thumbnails) == [2, 3, 4, 5], "the worst four"
    figure = plot_mistakes(found, thumbnails, [f"folder/{i}.jpg" for i in range(6)], "Mistakes, test images")
    texts = [text.get_text() for text in figure.texts]
    assert texts[0] == "Mistakes, test images" and "$<hat>$: 6" in texts and "$<hat>$: none" in texts
    captions = [text for text in figure.texts if text.get_text().endswith(".jpg")]
    assert [text.get_text() for text in captions] == ["1.00 5.jpg", ".90 4.jpg", ".80 3.jpg", ".70 2.jpg"]
    pixels = check_png(figure, tmp_path / "mistakes.png")
    for text, grey in zip(captions, (200, 160, 120, 80), strict=True):
        x, y = text.get_position()
        above = pixels[round(pixels.shape[0] - y) - 30, round(x) + SIDE // 2]
        assert above.tolist() == [grey] * 3


def test_unreadable_image_leaves_a_gap(tmp_path: Path) -> None:
    Image.new("RGB", (50, 40), "red").save(tmp_path / "red.png")
    paths = [tmp_path / "red.png", tmp_path / "gone.png"]
    ones = np.ones((2, 1), dtype=bool)
    found = worst_mistakes(np.zeros((2, 1)), ones, np.ones((2, 1)), ones, ["hat"], [0], np.arange(2))
    thumbnails = load_thumbnails(paths, found[0].rows)
    assert list(thumbnails) == [0] and thumbnails[0].shape == (SIDE, SIDE, 3)
    check_png(plot_mistakes(found, thumbnails, ["red.png", "gone.png"], "Mistakes"), tmp_path / "m.png")
