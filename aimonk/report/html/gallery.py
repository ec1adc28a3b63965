"""The images that a model is most wrong about: absent with a high probability, present with a low one."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import IdentityTransform
from PIL import Image

from aimonk.data.images.decoding import decode
from aimonk.report.html.page import data_uri, isolated
from aimonk.report.plots.panels import DPI, GREY, font_families
from aimonk.report.tables import short, shorten

SIDE = 112  # pixels of a thumbnail
SHOWN = 4  # images of each kind of mistake
GAP, TOP, STEP, ROW = 10, 62, SIDE + 10, SIDE + 48  # pixels of the picture
UNREADABLE = 236  # grey of an image that cannot be read any more


@dataclass(frozen=True)
class Mistakes:
    """One attribute's mistakes.

    Attributes:
        false_positives: Row of the label table and probability, the highest first; the worst of them.
        false_negatives: The same, the lowest probability first.
        counts: How many of both there are in all.
    """

    attribute: str
    false_positives: list[tuple[int, float]]
    false_negatives: list[tuple[int, float]]
    counts: tuple[int, int]


def worst_mistakes(
    labels: np.ndarray,
    mask: np.ndarray,
    probs: np.ndarray,
    decisions: np.ndarray,
    attributes: Sequence[str],
    shown: Iterable[int],
    rows: np.ndarray,
) -> list[Mistakes]:
    """The worst mistakes of the attributes in `shown`.

    Args:
        labels: 0 or 1, [n, A]; ignored where mask is False.
        mask: True where the label is known, [n, A].
        probs: [n, A].
        decisions: Attributes said to be present, [n, A].
        rows: Which rows of the label table these are, [n].
    """
    found = []
    for a in shown:
        known, present, said = mask[:, a], labels[:, a] == 1, decisions[:, a].astype(bool)
        sides = []
        for wrong, sign in ((known & ~present & said, -1), (known & present & ~said, 1)):
            own = np.flatnonzero(wrong)
            own = own[np.argsort(sign * probs[own, a], kind="stable")]
            sides.append([(int(rows[i]), float(probs[i, a])) for i in own])
        worst = [side[:SHOWN] for side in sides]
        found.append(Mistakes(attributes[a], *worst, (len(sides[0]), len(sides[1]))))
    return found


def fetch_thumbnails(
    pixels: Sequence[np.ndarray] | Sequence[Path], mistakes: Sequence[Mistakes]
) -> dict[int, np.ndarray]:
    """Small images, uint8 [SIDE, SIDE, 3] by row of the label table; without those that cannot be read."""
    rows = {row for m in mistakes for row, _ in (*m.false_positives, *m.false_negatives)}
    thumbs = {}
    for row in sorted(rows):
        source = pixels[row]
        try:
            image = decode(source, SIDE, "squash") if isinstance(source, Path) else source
        except ValueError:  # it was there when training began
            continue
        thumbs[row] = shrink(image)
    return thumbs


def shrink(pixels: np.ndarray) -> np.ndarray:
    """A thumbnail, uint8 [SIDE, SIDE, 3], of uint8 [H, W, 3]."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize((SIDE, SIDE)))


def draw_mistakes(
    mistakes: Sequence[Mistakes], thumbs: dict[int, np.ndarray], names: Sequence[str], title: str
) -> Figure:
    """A row for each attribute: on the left what is absent and said to be present, on the right the reverse.

    Args:
        names: Of the images, by row of the label table.
    """
    width, height = 2 * SHOWN * STEP + 5 * GAP, TOP + ROW * len(mistakes)
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)

    def write(x: int, y: int, content: str, **style) -> None:
        # in pixels from the top left corner, as the thumbnails are placed
        place = {"transform": IdentityTransform(), "fontfamily": font_families(), "parse_math": False}
        figure.text(x, height - y, content, **place, **style)

    write(2 * GAP, 24, title, fontsize=9, fontweight="bold")
    columns = (2 * GAP, SHOWN * STEP + 4 * GAP)
    for left, what in zip(columns, ("absent, said to be present", "present, said to be absent"), strict=True):
        write(left, 52, what, fontsize=7, color=GREY)
    for i, mistake in enumerate(mistakes):
        top = TOP + i * ROW + 20
        sides = (mistake.false_positives, mistake.false_negatives)
        for left, side, count in zip(columns, sides, mistake.counts, strict=True):
            write(left, top - 6, f"{shorten(mistake.attribute, 34)}: {count or 'none'}", fontsize=7)
            for k, (row, prob) in enumerate(side):
                x = left + k * STEP
                canvas[top : top + SIDE, x : x + SIDE] = thumbs.get(row, UNREADABLE)
                file = names[row].rsplit("/", 1)[-1]
                write(x, top + SIDE + 12, f"{short(prob)} {shorten(file, 13)}", fontsize=5, color=GREY)
    figure.figimage(canvas)
    return figure


def show_mistakes(mistakes: Sequence[Mistakes], thumbs: dict[int, np.ndarray], names: Sequence[str]) -> str:
    """The same as part of a web page, with whole names."""
    images = {row: f'<img src="{embed(thumb)}" alt="">' for row, thumb in thumbs.items()}

    def figure(row: int, prob: float) -> str:
        image = images.get(row, '<div class="gone"></div>')
        return f"<figure>{image}<figcaption><b>{short(prob)}</b> {isolated(names[row])}</figcaption></figure>"

    def sheet(entries: list[tuple[int, float]], count: int, what: str) -> str:
        shown = "".join(figure(row, prob) for row, prob in entries)
        more = f", {len(entries)} of {count:,}" if count > len(entries) else "" if count else ": none"
        return f'<div><p class="soft">{what}{more}</p><div class="sheet">{shown}</div></div>'

    blocks = []
    for m in mistakes:
        if sum(m.counts):
            left = sheet(m.false_positives, m.counts[0], "labelled absent, said to be present")
            right = sheet(m.false_negatives, m.counts[1], "labelled present, said to be absent")
            blocks.append(f'<h3>{isolated(m.attribute)}</h3><div class="sides">{left}{right}</div>')
    spotless = [isolated(m.attribute) for m in mistakes if not sum(m.counts)]
    told = f"<p>No mistakes: {', '.join(spotless)}.</p>" if spotless else ""
    return "\n".join([*blocks, told])


def embed(pixels: np.ndarray) -> str:
    """An address that holds a small JPEG of uint8 [H, W, 3]."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=72)
    return data_uri(content.getvalue(), "jpeg")
