"""The highest scores that labels permit on which annotators disagree.

Disagreement has two causes, which a few labels per image do not distinguish. Both are assumed in turn, and
the best possible scores on the combined labels are estimated:

- Images differ in difficulty: annotators label image i positive with a probability q_i, which has a beta
  distribution with the prevalence as its mean and Krippendorff's alpha as the correlation of two labels of an
  image. The best model knows all q_i.
- Annotators err at random, each at a rate of his own. The best model knows the true labels.
"""

import math
from collections.abc import Sequence

import numpy as np

from aimonk.data.annotations import PRESENT, UNKNOWN, Annotations
from aimonk.evaluation.agreement import MOST_LABELS, describe_agreement, places_in_image
from aimonk.evaluation.annotator_errors import Labels, count_positives, estimate_errors
from aimonk.evaluation.arrays import Floats

DRAWS = 20_000  # images of the simulation; its error is below .003
GRID = 1001  # probabilities between which that of a majority is interpolated
MOST_NAMED = 5
UNANIMOUS = ("error", "merge")  # policies that keep only what all labels agree on


def limit_of_scores(
    annotations: Annotations | None, attributes: Sequence[str], repeated: str, seed: int
) -> tuple[dict[str, dict], str]:
    """What the disagreement of annotators means for a model that is scored on their combined labels.

    Args:
        annotations: None where no image is annotated several times.
        attributes: Attributes of the model.
        repeated: How annotations were combined, as `data.repeated`.

    Returns:
        By attribute, the entries of `describe_agreement` with `ceiling_ap` and `ceiling_f1`, each a list of
        the estimates for both distributions, or None; and a sentence. Both are empty without several
        annotations, the sentence also where all agree.
    """
    if annotations is None:
        return {}, ""
    found = describe_agreement(annotations, seed)["attributes"]
    names = [name for name in attributes if name in found]
    meanings = annotations.meanings()
    who = np.zeros(len(annotations.images), np.int64)
    if annotations.annotators is not None:
        who = np.unique(annotations.annotators, return_inverse=True)[1]
    for name in names:
        found[name] |= {"ceiling_ap": None, "ceiling_f1": None}
        alpha = found[name]["alpha"]
        if alpha is not None:
            labels = known_labels(meanings[:, annotations.attributes.index(name)], annotations.images, who)
            shares = beta_shares(labels.positive.mean(), alpha, np.random.default_rng(seed))
            counts = np.bincount(np.bincount(labels.images))
            scores = (
                best_scores(*difficult(shares, counts, repeated)),
                best_scores(*erring(labels, repeated)),
            )
            ap, f1 = zip(*scores, strict=True)
            found[name] |= {"ceiling_ap": sorted(ap), "ceiling_f1": sorted(f1)}
    return found, describe_ceiling({name: found[name] for name in names})


def known_labels(meanings: np.ndarray, images: np.ndarray, who: np.ndarray) -> Labels:
    """The known labels of an attribute, whose meanings are [R], of the images that have any.

    Of an image, these are the first MOST_LABELS.
    """
    rows = np.flatnonzero(meanings != UNKNOWN)
    rows = rows[np.argsort(images[rows], kind="stable")]
    rows = rows[places_in_image(images[rows]) < MOST_LABELS]
    return Labels(meanings[rows] == PRESENT, np.unique(images[rows], return_inverse=True)[1], who[rows])


def beta_shares(mean: float, alpha: float, rng: np.random.Generator) -> Floats:
    """Probabilities that an annotator labels an image positive, beta distributed, descending, [DRAWS]."""
    correlation = min(max(alpha, 1e-6), 1 - 1e-6)
    size = 1 / correlation - 1
    return np.sort(rng.beta(mean * size, (1 - mean) * size, DRAWS))[::-1]


def difficult(shares: Floats, counts: np.ndarray, repeated: str) -> tuple[Floats, Floats]:
    """Probabilities that labels of images with these shares combine to 1, and to 0, [DRAWS] each.

    Args:
        shares: From `beta_shares`.
        counts: Number of images by their number of labels, [M].
    """
    positive, negative = np.zeros_like(shares), np.zeros_like(shares)
    for count in np.flatnonzero(counts):
        positive += counts[count] * chance_of(shares, count, repeated)
        negative += counts[count] * chance_of(1 - shares, count, repeated)
    return positive, negative


def chance_of(shares: Floats, count: int, repeated: str) -> Floats:
    """Probability that `count` labels, each 1 with the probability of its image, combine to 1, [DRAWS]."""
    if repeated in UNANIMOUS:
        return shares**count
    grid, number = np.linspace(0, 1, GRID), np.arange(count // 2 + 1, count + 1)
    ways = np.array([math.comb(int(count), k) for k in number.tolist()], float)
    majority = (ways * grid[:, None] ** number * (1 - grid[:, None]) ** (count - number)).sum(axis=1)
    return np.interp(shares, grid, majority)


def erring(labels: Labels, repeated: str) -> tuple[Floats, Floats]:
    """The same for images that are positive, and for images that are not, [2] each."""
    errors, posterior = estimate_errors(labels)
    error, number = errors[labels.annotators], np.bincount(labels.images)
    outcomes = [combine_counts(count_positives(labels, c), number, repeated) for c in (1 - error, error)]
    weights = (posterior, 1 - posterior)
    positive, negative = (
        np.array([(weight * pair[i]).sum() for weight, pair in zip(weights, outcomes, strict=True)])
        for i in (0, 1)
    )
    return positive, negative


def combine_counts(chances: Floats, number: np.ndarray, repeated: str) -> tuple[Floats, Floats]:
    """Probabilities that the labels of each image combine to 1, and to 0, [n] each.

    Args:
        chances: From `count_positives`.
        number: Number of labels of each image, [n].
    """
    counts, number = np.arange(chances.shape[1]), number[:, None]
    if repeated in UNANIMOUS:
        positive, negative = counts == number, (counts == 0) & (number > 0)
    else:
        positive, negative = 2 * counts > number, 2 * counts < number
    return (chances * positive).sum(axis=1), (chances * negative).sum(axis=1)


def best_scores(positive: Floats, negative: Floats) -> tuple[float, float]:
    """Expected AP, and the highest expected F1 of all thresholds, of a model that ranks kinds of images.

    Args:
        positive: Number of images of each kind that are labelled 1, the kind that is ranked first first, [n].
        negative: Number that are labelled 0, [n].
    """
    found, predicted = np.cumsum(positive), np.cumsum(positive + negative)
    total = found[-1]
    if total <= 0:
        return 0.0, 0.0
    ap = (positive * found / np.maximum(predicted, 1e-300)).sum() / total
    return float(ap), float((2 * found / (total + predicted)).max())


def describe_ceiling(found: dict[str, dict]) -> str:
    """A sentence on the best possible scores; empty where no annotators differ."""
    known = {name: entry for name, entry in found.items() if entry["ceiling_f1"] is not None}
    if not any(entry["different"] for entry in known.values()):
        return ""
    (ap_low, ap_high), (f1_low, f1_high) = (
        np.mean([entry[key] for entry in known.values()], axis=0) for key in ("ceiling_ap", "ceiling_f1")
    )
    lowest = sorted(known, key=lambda name: known[name]["ceiling_f1"])[:MOST_NAMED]
    shown = ", ".join("{} {:.2f}-{:.2f}".format(name, *known[name]["ceiling_f1"]) for name in lowest)
    return (
        "annotators disagree: on labels like these, the best possible model is estimated to have a mean AP "
        f"of {ap_low:.3f} (if images differ in difficulty) to {ap_high:.3f} (if annotators err at random), "
        f"and a macro F1 of {f1_low:.2f} to {f1_high:.2f} (lowest: {shown})"
    )
