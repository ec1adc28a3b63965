"""Which image to show next, and why: the queues of a review."""

import numpy as np
import torch
from torch import Tensor

from aimonk.auditing.suspects import off_diagonal, probability_wrong
from aimonk.data.groups import contradictions

QUEUES = ("suspects", "uncertain", "copies", "unlike", "all")
BATCH = 10  # images that are chosen before the next solution is likely
CHOSEN = 100  # images of a queue that are chosen one after another; the others follow by their own gain
CANDIDATES = 2000  # among which they are chosen
NOISE = 0.1  # variance of a label, relative to that of the predictions before any label
NEAREST = 128  # components in which images are compared: the strongest
REFERENCES = 2000  # labelled images to which others are compared


def suspects(
    probs: np.ndarray,
    labels: np.ndarray,
    mask: np.ndarray,
    evidence: np.ndarray,
    reviewed: np.ndarray,
) -> list[tuple[int, list[int]]]:
    """Images with a label that is probably wrong, the most probable first, and these attributes.

    Args:
        probs: Out-of-fold probabilities of 1, [N, A].
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        evidence: Attributes that the features predict, [A].
        reviewed: Images that a person has confirmed, which are left out, [N].
    """
    wrong = np.nan_to_num(probability_wrong(probs, labels, mask))
    # beyond the usual ones, since a person decides: all that the model contradicts
    chosen = off_diagonal(probs, labels, mask) | (wrong > 0.5)
    wrong = np.where(chosen & evidence & ~reviewed[:, None], wrong, 0.0)
    worst = wrong.max(axis=1, initial=0)
    order = np.argsort(-worst, kind="stable")
    return [(int(n), np.flatnonzero(wrong[n]).tolist()) for n in order[: int((worst > 0).sum())]]


def copies(groups: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> list[tuple[int, list[int]]]:
    """Copies of a photograph one after another, with the attributes on which they contradict."""
    found = contradictions(groups, labels, mask)
    return [(int(n), attributes.tolist()) for rows, attributes in found for n in rows]


def uncertain(
    probs: np.ndarray, mask: np.ndarray, components: Tensor, reviewed: np.ndarray
) -> list[tuple[int, list[int]]]:
    """Images with unknown labels, in the order in which their labels help most, and these attributes.

    Where nothing is labelled yet, the images nearest to centroids of the data set come first.

    Args:
        probs: Probabilities of 1, [N, A].
        mask: True where the label is known, [N, A].
        components: Of the features, [N, R].
        reviewed: Images that a person has confirmed, which are left out, [N].
    """
    candidates = np.flatnonzero(~mask.all(axis=1) & ~reviewed)
    if not len(candidates):
        return []
    points, known = directions(components), mask.mean(axis=1)
    if not known.any():
        order = typical(points[torch.from_numpy(candidates)])
    else:
        order = informative(points, known, entropy(probs, mask), candidates)
    return [(int(n), np.flatnonzero(~mask[n]).tolist()) for n in candidates[order]]


def entropy(probs: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """How uncertain the unknown entries of each image are together, [N]."""
    p = np.clip(probs, 1e-6, 1 - 1e-6)
    return np.where(mask, 0.0, -(p * np.log(p) + (1 - p) * np.log(1 - p))).sum(axis=1)


def informative(points: Tensor, known: np.ndarray, weight: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Order of the candidates: each next one is uncertain, and makes the uncertain ones most predictable.

    The first factor is its weight. The second is how much it reduces the variance of a linear model's
    predictions, summed over the candidates with their weights, given those that are labelled and those before
    it: an image that resembles these reduces it little (Yu et al. 2006, "Active learning via transductive
    experimental design").

    Args:
        points: Of all images, [N, R].
        known: Share of known entries of each image, [N].
        weight: Uncertainty of each image, [N].
        candidates: Rows, [n].
    """
    labelled = np.flatnonzero(known)
    x, share = points[torch.from_numpy(labelled)], torch.from_numpy(known[labelled]).to(points)
    covariance = torch.linalg.inv(torch.eye(points.shape[1]) + (x * (share / NOISE)[:, None]).T @ x)
    own, importance = points[torch.from_numpy(candidates)], torch.from_numpy(weight[candidates]).to(points)
    target = (own * importance[:, None]).T @ own

    def gain(own: Tensor, importance: Tensor) -> Tensor:
        moved = own @ covariance
        return importance * ((moved @ target) * moved).sum(1) / ((moved * own).sum(1) + NOISE)

    order = torch.argsort(gain(own, importance), descending=True)
    pool, chosen = order[:CANDIDATES], []
    own, importance = own[pool], importance[pool]
    for _ in range(min(CHOSEN, len(pool))):
        gains = gain(own, importance)
        gains[chosen] = -torch.inf
        chosen.append(int(gains.argmax()))
        one, moved = own[chosen[-1]], covariance @ own[chosen[-1]]
        covariance = covariance - torch.outer(moved, moved) / (one @ moved + NOISE)
    first = pool[chosen].numpy()
    return np.concatenate([first, order.numpy()[~np.isin(order.numpy(), first)]])


def typical(points: Tensor) -> np.ndarray:
    """Order of candidates [n] without any labels: those nearest to centroids come first."""
    count = min(BATCH, len(points))
    centroids = kmeans(points, count)
    distance = torch.cdist(points, centroids)
    first: list[int] = []
    for k in range(count):
        distance[first, k] = torch.inf
        first.append(int(distance[:, k].argmin()))
    rest = np.setdiff1d(np.arange(len(points)), first)
    return np.concatenate([first, rest])


def kmeans(points: Tensor, count: int, steps: int = 20) -> Tensor:
    """Centroids [count, R] of Lloyd's algorithm, from a start far from one another."""
    chosen = [int((points - points.mean(0)).square().sum(1).argmin())]
    distance = torch.full((len(points),), torch.inf)
    while len(chosen) < count:
        distance = torch.minimum(distance, (points - points[chosen[-1]]).square().sum(1))
        chosen.append(int(distance.argmax()))
    centroids = points[chosen]
    for _ in range(steps):
        own = torch.cdist(points, centroids).argmin(1)
        sums = torch.zeros_like(centroids).index_add_(0, own, points)
        sizes = torch.bincount(own, minlength=count)[:, None]
        centroids = torch.where(sizes > 0, sums / sizes.clamp(min=1), centroids)
    return centroids


def unlike(components: Tensor, mask: np.ndarray, reviewed: np.ndarray) -> list[tuple[int, list[int]]]:
    """Images without labels, the farthest from all labelled ones first."""
    candidates = np.flatnonzero(~mask.any(axis=1) & ~reviewed)
    labelled = np.flatnonzero(mask.any(axis=1))
    if not len(candidates) or not len(labelled):
        return [(int(n), []) for n in candidates]
    points = directions(components)
    distance = nearest(points[torch.from_numpy(candidates)], points[torch.from_numpy(sample(labelled))])
    return [(int(n), []) for n in candidates[np.argsort(-distance.numpy(), kind="stable")]]


def neighbours(components: Tensor, row: int, mask: np.ndarray, count: int) -> list[int]:
    """The labelled images that are most similar to one."""
    labelled = np.flatnonzero(mask.any(axis=1))
    labelled = labelled[labelled != row]
    points = directions(components)
    distance = (points[torch.from_numpy(labelled)] - points[row]).square().sum(1)
    return labelled[torch.argsort(distance)[:count].numpy()].tolist()


def directions(components: Tensor) -> Tensor:
    """The strongest components, scaled to length 1: distances are those of the angles."""
    points = components[:, :NEAREST]
    return points / points.norm(dim=1, keepdim=True).clamp(min=1e-12)


def sample(rows: np.ndarray) -> np.ndarray:
    """At most REFERENCES of the rows."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), REFERENCES)).astype(int)]


def nearest(points: Tensor, references: Tensor) -> Tensor:
    """Distance of each point to the nearest reference, [n]."""
    return torch.cat([torch.cdist(part, references).amin(1) for part in points.split(4096)])
