"""Agreement of annotators who labelled the same images."""

from collections.abc import Iterator

import numpy as np

from aimonk.data.annotations import ABSENT, PRESENT, UNKNOWN, Annotations
from aimonk.evaluation.arrays import Floats, Ints

RESAMPLES = 1000
MOST_PAIRS = 1000  # pairs of annotators in a list
MOST_LABELS = 101  # of an image, where all would take minutes


def describe_agreement(annotations: Annotations, seed: int) -> dict:
    """Agreement on each attribute, and between each pair of named annotators; ready for JSON.

    Returns:
        `attributes`: name -> `images` with two or more labels, `different` ones of these, Krippendorff's
        `alpha` and `annotator_f1`, the F1 score of one annotator against the majority of the others, each
        with its 95 % interval; None where undefined. `pairs`: from `compare_annotators`.
    """
    present, absent = (annotations.count(meaning) for meaning in (PRESENT, ABSENT))
    rng = np.random.default_rng(seed)
    attributes = {
        name: describe_attribute(present[:, a], absent[:, a], rng)
        for a, name in enumerate(annotations.attributes)
    }
    return {"attributes": attributes, "pairs": compare_annotators(annotations)}


def describe_attribute(present: Ints, absent: Ints, rng: np.random.Generator) -> dict:
    """Agreement on one attribute.

    Args:
        present: How many annotators labelled each image 1, [N].
        absent: How many labelled it 0, [N].
    """
    several = present + absent > 1
    # images with equal counts are alike, so that resamples of images are multinomial counts of few patterns
    patterns, counts = np.unique(np.stack([present, absent])[:, several], axis=1, return_counts=True)
    total = int(several.sum())
    alpha, f1 = alpha_of(patterns, counts[None]), f1_of(patterns, counts[None])
    intervals: list[list[float] | None] = [None, None]
    if total > 1:
        drawn = rng.multinomial(total, counts / total, RESAMPLES)
        intervals = [interval(measure(patterns, drawn)) for measure in (alpha_of, f1_of)]
    return {
        "images": total,
        "different": int(((present > 0) & (absent > 0)).sum()),
        "alpha": number(alpha[0]),
        "alpha_interval": intervals[0],
        "annotator_f1": number(f1[0]),
        "annotator_f1_interval": intervals[1],
    }


def alpha_of(patterns: Ints, counts: Ints) -> Floats:
    """Krippendorff's alpha for nominal labels (Krippendorff 2004, "Content analysis", chapter 11), [S].

    1 - observed / expected disagreement over all pairs of labels of an image; 0 is the agreement of labels
    that do not depend on the image. nan where all labels are equal.

    Args:
        patterns: Numbers of positive and negative labels of an image, [2, P].
        counts: Number of images with each pattern in each sample, [S, P].
    """
    present, absent = patterns.astype(float)
    pairs = 2 * present * absent / np.maximum(present + absent - 1, 1)
    labels, positives = counts @ (present + absent), counts @ present
    expected = 2 * positives * (labels - positives) / np.maximum(labels - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > 0, 1 - (counts @ pairs) / expected, np.nan)


def f1_of(patterns: Ints, counts: Ints) -> Floats:
    """F1 of each label against the majority of the other labels of its image, ties left out, [S].

    nan where neither has positives. Arguments as of `alpha_of`.
    """
    present, absent = patterns.astype(float)
    true_positives = present * (present - 1 > absent)
    false_positives = present * (present - 1 < absent)
    false_negatives = absent * (present > absent - 1)
    tp, fp, fn = (counts @ values for values in (true_positives, false_positives, false_negatives))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(2 * tp + fp + fn > 0, 2 * tp / (2 * tp + fp + fn), np.nan)


def compare_annotators(annotations: Annotations) -> list[dict]:
    """The MOST_PAIRS pairs of named annotators with the most labels on which they differ, the largest first.

    Of an image, the first MOST_LABELS annotations are compared.

    Returns:
        Per pair: `annotators`, labels `compared` and `different`, the number that would differ `by_chance`
        (if labels had the frequencies of all annotators and did not depend on the image), and `attributes`:
        name -> number that differ.
    """
    if annotations.annotators is None:
        return []
    names = sorted(set(annotations.annotators) - {""})
    number_of = {name: i for i, name in enumerate(names)}
    own = np.array([number_of.get(name, -1) for name in annotations.annotators], np.int64)
    meanings = annotations.meanings()
    known = meanings != UNKNOWN
    positive = (meanings == PRESENT).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    chance = 2 * positive * (1 - positive)
    # totals first: there may be millions of pairs, too many for a number of each attribute
    parts = []
    for left, right in adjacent_rows(annotations.images, np.flatnonzero(own >= 0), own):
        both = known[left] & known[right]
        differ = both & (meanings[left] != meanings[right])
        codes, of = np.unique(pair_codes(own, left, right, len(names)), return_inverse=True)
        sums = [np.bincount(of, values) for values in (both.sum(axis=1), differ.sum(axis=1), both @ chance)]
        parts.append((codes, np.stack(sums)))
    if not parts:
        return []
    codes, of = np.unique(np.concatenate([codes for codes, _ in parts]), return_inverse=True)
    compared, different, by_chance = (
        np.bincount(of, values) for values in np.concatenate([sums for _, sums in parts], axis=1)
    )
    order = np.lexsort((codes, -different))
    most = order[compared[order] > 0][:MOST_PAIRS]
    rank = np.full(len(codes), -1)
    rank[most] = np.arange(len(most))
    each = np.zeros((len(most), meanings.shape[1]), np.int64)
    for left, right in adjacent_rows(annotations.images, np.flatnonzero(own >= 0), own):
        place = rank[np.searchsorted(codes, pair_codes(own, left, right, len(names)))]
        left, right, place = left[place >= 0], right[place >= 0], place[place >= 0]
        np.add.at(each, place, known[left] & known[right] & (meanings[left] != meanings[right]))
    return [
        {
            "annotators": [names[codes[pair] // len(names)], names[codes[pair] % len(names)]],
            "compared": int(compared[pair]),
            "different": int(different[pair]),
            "by_chance": round(float(by_chance[pair]), 1),
            "attributes": {name: n for name, n in zip(annotations.attributes, numbers, strict=True) if n},
        }
        for pair, numbers in zip(most.tolist(), each.tolist(), strict=True)
    ]


def adjacent_rows(images: Ints, rows: Ints, own: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Pairs of annotations of an image by different annotators, in batches of left and right rows.

    Of the first MOST_LABELS of each image, each pair once.

    Args:
        images: Image of each annotation, [R].
        rows: Annotations to pair, ascending.
        own: Annotator of each annotation, [R].
    """
    rows = rows[np.argsort(images[rows], kind="stable")]
    rows = rows[places_in_image(images[rows]) < MOST_LABELS]
    images = images[rows]
    for step in range(1, int(np.unique(images, return_counts=True)[1].max(initial=1))):
        left, right = rows[:-step], rows[step:]
        same = (images[:-step] == images[step:]) & (own[left] != own[right])
        yield left[same], right[same]


def places_in_image(images: Ints) -> Ints:
    """0, 1, ... for the annotations of each image, whose numbers are sorted, [R]."""
    return np.arange(len(images)) - np.searchsorted(images, images)


def pair_codes(own: Ints, left: Ints, right: Ints, count: int) -> Ints:
    """A number for each unordered pair of `count` annotators."""
    low, high = np.minimum(own[left], own[right]), np.maximum(own[left], own[right])
    return low * count + high


def interval(values: Floats) -> list[float] | None:
    """The 95 % interval of resampled values; None where more than a tenth are undefined."""
    defined = values[np.isfinite(values)]
    if len(defined) < 0.9 * len(values):
        return None
    return [float(limit) for limit in np.quantile(defined, [0.025, 0.975])]


def number(value: float) -> float | None:
    """None for nan, which JSON does not have."""
    return float(value) if np.isfinite(value) else None


def summarise_agreement(name: str, entry: dict) -> str:
    """One sentence on the agreement on an attribute."""
    if not entry["images"]:
        return f"{name}: no image has two labels"
    counts = f"{entry['different']:,} of {entry['images']:,} images with several labels differ"
    if entry["alpha"] is None:
        return f"{name}: {counts}; all labels are equal, so that alpha is undefined"
    return (
        f"{name}: alpha {spell(entry, 'alpha')}; F1 of an annotator {spell(entry, 'annotator_f1')}; {counts}"
    )


def spell(entry: dict, key: str) -> str:
    """A value with its 95 % interval.

    Args:
        key: `alpha` or `annotator_f1`.
    """
    value, limits = entry[key], entry[f"{key}_interval"]
    if value is None:
        return "undefined"
    return f"{value:.2f}" + ("" if limits is None else f" [{limits[0]:.2f}, {limits[1]:.2f}]")
