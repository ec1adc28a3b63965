"""Hard labels for any folder of photographs: 25 rare attributes that ImageNet features predict only partly.

    python benchmarks/hard_labels.py IMAGES FOLDER [--test 1000] [--seed 0]

An attribute joins two statistics of the pixels (colours of a part, directions of edges, symmetry, texture,
position of the content): it is present in the 2 to 8 % of the images where both are largest. Mirroring an
image changes none.
FOLDER gets train.csv and test.csv, complete, for data=folder data.images=IMAGES.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 96
RAREST, MOST_FREQUENT = 0.02, 0.08  # share of positives
PARTNER = 10  # distance, in the list of statistics, of the two that an attribute joins
TILES = 3  # the parts of an image: 3 x 3


def read_image(path: Path) -> np.ndarray:
    """Red, green and blue, [SIDE, SIDE, 3], 0 to 1."""
    with Image.open(path) as image:
        image.draft("RGB", (2 * SIDE, 2 * SIDE))
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)) / 255.0


def colour_statistics(rgb: np.ndarray) -> dict[str, float]:
    """How colours are distributed over the hue circle and over the image."""
    red, green, blue = np.moveaxis(rgb, 2, 0)
    alpha, beta = red - (green + blue) / 2, (green - blue) * np.sqrt(3) / 2
    chroma, light = np.hypot(alpha, beta), rgb.mean(2)
    middle = slice(SIDE // TILES, -(SIDE // TILES))
    sectors = (np.arctan2(beta, alpha) / (2 * np.pi) * 6 + 6.5).astype(int) % 6
    found = {}
    for sector, name in enumerate(("reds", "yellows", "greens", "cyans", "blues", "magentas")):
        share = np.where(sectors == sector, chroma, 0)
        found[f"{name} in the middle"] = share[middle, middle].mean() - share.mean()
    amounts = np.bincount(sectors.ravel(), chroma.ravel(), 6) + 1e-3
    amounts = amounts / amounts.sum()
    found["many hues"] = -(amounts * np.log(amounts)).sum() * min(1, chroma.mean() / 0.1)
    top, bottom = slice(None, SIDE // 3), slice(-(SIDE // 3), None)
    found["colour changes from top to bottom"] = np.hypot(
        alpha[top].mean() - alpha[bottom].mean(), beta[top].mean() - beta[bottom].mean()
    )
    found["lighter at the top"] = light[top].mean() - light[bottom].mean()
    found["skewed lightness"] = ((light - light.mean()) ** 3).mean() / (light.std() + 0.02) ** 3
    found["dark and colourful"] = np.where(light < 0.35, chroma, 0).mean()
    found["pale colours"] = np.where(light > 0.6, chroma, 0).mean()
    return found


def shape_statistics(light: np.ndarray) -> dict[str, float]:
    """Symmetry, position and extent of what differs from the border of the image."""
    border = np.concatenate([light[0], light[-1], light[:, 0], light[:, -1]])
    content = np.abs(light - np.median(border)) + 1e-3
    content = content / content.sum()
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1) - 0.5
    centre_y, centre_x = (content * y).sum(), (content * x).sum()
    var_y, var_x = (content * (y - centre_y) ** 2).sum(), (content * (x - centre_x) ** 2).sum()
    tilt = (content * (y - centre_y) * (x - centre_x)).sum()
    centred = light - light.mean()
    power = (centred**2).sum() + 1e-3
    return {
        "content at the top": -centre_y,
        "content at one side": abs(centre_x),
        "wide content": var_x / (var_y + 1e-4),
        "diagonal content": abs(tilt) / np.sqrt(var_x * var_y + 1e-8),
        "asymmetric": 1 - (centred * centred[:, ::-1]).sum() / power,
        "symmetric from top to bottom": (centred * centred[::-1]).sum() / power,
        "hollow": light[SIDE // 3 : -SIDE // 3, SIDE // 3 : -SIDE // 3].mean() - light.mean(),
    }


def texture_statistics(light: np.ndarray) -> dict[str, float]:
    """Direction, fineness and position of edges."""
    dy, dx = np.gradient(light)
    strength = np.hypot(dy, dx)
    total = strength.sum() + 1.0
    angle = np.arctan2(dy, dx)
    diagonal = (strength * np.sin(2 * angle) ** 2).sum() / total
    tiles = strength.reshape(TILES, SIDE // TILES, TILES, SIDE // TILES).mean((1, 3))
    fine = np.abs(
        light[1:-1, 1:-1] - (light[:-2, 1:-1] + light[2:, 1:-1] + light[1:-1, :-2] + light[1:-1, 2:]) / 4
    )
    return {
        "diagonal edges": diagonal,
        "horizontal edges": (strength * np.sin(angle) ** 4).sum() / total,
        "fine texture": fine.mean() / (light.std() + 0.05),
        "edges in the corners": tiles[::2, ::2].mean() - tiles.mean(),
        "edges below the middle": tiles[2].mean() / (tiles.mean() + 0.01),
        "one edge direction": np.hypot(
            (strength * np.cos(2 * angle)).sum(), (strength * np.sin(2 * angle)).sum()
        )
        / total,
    }


def label(images: list[Path]) -> tuple[list[str], np.ndarray]:
    """Names of the attributes, and 1 or 0 for each image, [N, 25]."""
    rows = []
    for path in images:
        rgb = read_image(path)
        light = rgb.mean(2)
        rows.append(colour_statistics(rgb) | shape_statistics(light) | texture_statistics(light))
    names = list(rows[0])
    values = np.array([[row[name] for name in names] for row in rows])
    shares = np.linspace(RAREST, MOST_FREQUENT, len(names))[np.random.default_rng(0).permutation(len(names))]
    ranks = values.argsort(axis=0).argsort(axis=0)
    both = np.minimum(ranks, np.roll(ranks, PARTNER, axis=1))
    limits = [np.quantile(both[:, i], 1 - share) for i, share in enumerate(shares)]
    partners = np.roll(names, PARTNER)
    joined = [f"{a} and {b}".replace(" ", "_") for a, b in zip(names, partners, strict=True)]
    return joined, (both > limits).astype(int)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--test", type=int, default=1000, help="images of test.csv; the others train")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    images = sorted(arguments.images.iterdir())
    names, labels = label(images)
    order = np.random.default_rng(arguments.seed).permutation(len(images))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for part, rows in (("test", order[: arguments.test]), ("train", order[arguments.test :])):
        with (arguments.folder / f"{part}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["image", *names])
            writer.writerows([images[i].name, *labels[i]] for i in sorted(rows))
        share = labels[rows].mean()
        print(f"{part}.csv: {len(rows)} images x {len(names)} attributes, {share:.1%} positive")


if __name__ == "__main__":
    main()
