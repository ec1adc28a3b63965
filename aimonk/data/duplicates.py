"""Which images show the same photograph, so that none stands on both sides of a split.

A thumbnail of 16x16 colours is the perceptual hash. It is compared as it is and not cut down to bits: the
sign of a coefficient near zero (flat or symmetric pictures, such as products on white) flips when a file is
compressed again, and a copy would go unseen, whereas a difference in grey levels stays as small as the change
was.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence

import numpy as np

from aimonk.files.text import listed

log = logging.getLogger(__name__)

SIDE = 16  # of the thumbnails
DIRECTIONS = 12  # principal components that narrow the search down
BLOCK = 64  # images held at once as floats
# a copy differs a little everywhere, a different print on the same shirt differs much in one place: the
# largest difference in a cell may be this many times the distance
PEAK = 5.0
# pictures with hardly any contrast are alike without being the same: the distance is at most this part of
# theirs, and never below the 1 grey level that rounding makes
CONTRAST_PART, ROUNDING = 0.3, 1.0


def group_images(pixels: np.ndarray, distance: float | None = 5.0) -> np.ndarray:
    """Number the images so that the same photograph has the same number.

    Finds exact, recompressed, resized and mirrored copies, and copies with a faint watermark. Rotations,
    crops and changes of colour are taken for other photographs. Being the same carries over: when a is b, and
    b is c, a is c.

    Args:
        pixels: uint8, [N, H, W, 3], squashed or cropped alike; may be memory-mapped and is read once, in
            blocks. Give no rows that stand for unreadable images: blank pictures are the same picture.
        distance: How far copies may be apart: the root mean square difference of the thumbnails, in grey
            levels of 0 to 255. 0 or None finds equal pixels only (and no mirrored ones).

    Returns:
        Group numbers from 0 in the order of first appearance, [N] int64.
    """
    if pixels.ndim != 4 or pixels.shape[-1] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"pixels should be uint8 [N, H, W, 3]. Got {pixels.dtype} {list(pixels.shape)}")
    if distance is not None and not 0 <= distance < 256:
        raise ValueError(f"distance should be None or grey levels in [0, 256). Got {distance}")
    if len(pixels) == 0:
        return np.zeros(0, np.int64)
    if not distance:
        return _equal(pixels)[1]
    thumbs = _thumbnails(pixels)
    # equal thumbnails are one photograph already: a thousand blank pictures must not make a million pairs
    first, which = _equal(thumbs)
    if len(first) < len(thumbs):
        thumbs = thumbs[first]
    return _number(_join_near(thumbs, distance)[which])


def find_groups(pixels: np.ndarray, names: Sequence[str], distance: float | None) -> np.ndarray | None:
    """Group the images and log what was found.

    Args:
        pixels: As for `group_images`, or a list of files, which are not compared.
        distance: As for `group_images`; None looks for no groups.

    Returns:
        Group numbers, [N], or None where nothing was looked for.
    """
    if distance is None or isinstance(pixels, list):
        return None
    groups = group_images(pixels, distance)
    same = duplicate_groups(groups, names)
    if same:
        told = listed([" = ".join(group) for group in same])
        log.info(
            "%d photographs stand there more than once, their copies are kept together: %s", len(same), told
        )
    return groups


def duplicate_groups(groups: np.ndarray, names: Sequence[str]) -> list[list[str]]:
    """The names of the images in each group of two or more, in the order of their first image.

    Args:
        groups: Group number of each image, [N].
    """
    return [[names[i] for i in rows] for rows in _rows_of_groups(groups)]


def contradictions(
    groups: np.ndarray, labels: np.ndarray, mask: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Groups of the same photograph whose known labels disagree.

    Args:
        groups: Group number of each image, [N].
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].

    Returns:
        For each such group the rows of its images and the attributes on which two of them differ, as indices.
    """
    found = []
    for rows in _rows_of_groups(groups):
        present = (labels[rows] > 0.5) & mask[rows]
        absent = mask[rows] & ~present
        attributes = np.flatnonzero(present.any(axis=0) & absent.any(axis=0))
        if attributes.size:
            found.append((rows, attributes))
    return found


def _rows_of_groups(groups: np.ndarray) -> list[np.ndarray]:
    """Rows of each group of two or more, ascending, in the order of their first row."""
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    return sorted((rows for rows in parts if len(rows) > 1), key=lambda rows: rows[0])


def _number(groups: np.ndarray) -> np.ndarray:
    """The same groups, numbered from 0 in the order of first appearance."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse.ravel()]


def _equal(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of each set of equal images, ascending [M], and for each image the number of its set, [N]."""
    digests = [hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest() for image in images]
    _, first, which = np.unique(np.array(digests, dtype="V16"), return_index=True, return_inverse=True)
    return np.sort(first), _number(which.ravel())


def _thumbnails(pixels: np.ndarray) -> np.ndarray:
    """Averages over a grid of SIDE x SIDE cells, uint8 [N, SIDE, SIDE, 3]."""
    n, height, width, _ = pixels.shape
    rows, columns = _cell_weights(height), _cell_weights(width)
    thumbs = np.empty((n, SIDE, SIDE, 3), np.uint8)
    for start in range(0, n, BLOCK):
        block = pixels[start : start + BLOCK].astype(np.float32).reshape(-1, height, width * 3)
        block = (rows @ block).reshape(-1, SIDE, width, 3)  # [B, SIDE, W, 3]
        thumbs[start : start + BLOCK] = np.rint(columns @ block)  # [B, SIDE, SIDE, 3]
    return thumbs


def _cell_weights(size: int) -> np.ndarray:
    """How much each of `size` pixels counts in the average of each of SIDE cells, [SIDE, size]."""
    edges = np.linspace(0, size, SIDE + 1)
    pixel = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return (np.clip(overlap, 0, 1) * (SIDE / size)).astype(np.float32)


def _join_near(thumbs: np.ndarray, distance: float) -> np.ndarray:
    """Group number of each thumbnail, [N]; not numbered in order."""
    root = np.arange(len(thumbs))
    contrast = np.concatenate([b.std(axis=(1, 2, 3), dtype=np.float32) for b in _blocks(thumbs)])
    limit = np.clip(CONTRAST_PART * contrast, ROUNDING, distance)  # [N]
    points = _mirror_invariant(thumbs)
    reach = distance + 1e-3  # a little further than asked for, since the coordinates are rounded
    for i, j in _near_pairs(points[:, :3], reach):
        apart = root[i] != root[j]
        i, j = i[apart], j[apart]
        near = ((points[i] - points[j]) ** 2).sum(axis=1) <= reach**2
        i, j = i[near], j[near]
        same = _is_same(thumbs, i, j, np.minimum(limit[i], limit[j]))
        for a, b in zip(i[same], j[same], strict=True):
            low, high = sorted((root[a], root[b]))
            if low != high:
                root[root == high] = low
    return root


def _near_pairs(points: np.ndarray, distance: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of points at most `distance` apart in every coordinate, a batch at a time.

    The points are sorted by their first coordinate, and each is compared with its k-th successor for k = 1,
    2, ... until no successor is near enough: memory for N pairs, at worst N^2 / 2 comparisons of a few
    numbers in a row.

    Args:
        points: [N, D], widest coordinate first.
    """
    order = np.argsort(points[:, 0], kind="stable")
    first, *others = np.ascontiguousarray(points[order].T)
    for k in range(1, len(points)):
        near = first[k:] - first[:-k] <= distance
        if not near.any():
            return
        for column in others:
            near &= np.abs(column[k:] - column[:-k]) <= distance
        i = np.flatnonzero(near)
        if i.size:
            yield order[i], order[i + k]


def _mirror_invariant(thumbs: np.ndarray) -> np.ndarray:
    """Coordinates that are equal for an image and its mirror image, [N, DIRECTIONS] float32.

    The principal components of the even part, scaled so that two points are never further apart than the root
    mean square difference of their thumbnails, mirrored or not.
    """
    half = SIDE // 2

    def even(block: np.ndarray) -> np.ndarray:
        both = block[:, :, :half].astype(np.float32) + block[:, :, : half - 1 : -1]
        return both.reshape(len(block), -1)  # [B, 16 * 8 * 3]

    sample = even(thumbs[:: max(1, len(thumbs) // 4096)])
    mean = sample.mean(axis=0)
    _, vectors = np.linalg.eigh((sample - mean).T @ (sample - mean))
    directions = vectors[:, : -DIRECTIONS - 1 : -1] / np.sqrt(2 * 3 * SIDE**2)
    return np.concatenate([(even(b) - mean) @ directions for b in _blocks(thumbs)]).astype(np.float32)


def _is_same(thumbs: np.ndarray, i: np.ndarray, j: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Whether thumbnails i and j are one photograph, mirrored or not, [P].

    Args:
        limit: Largest root mean square difference of each pair, [P].
    """
    same = np.zeros(len(i), bool)
    for part in _blocks(np.arange(len(i))):
        one, two = thumbs[i[part]].astype(np.float32), thumbs[j[part]]
        for other in (two, two[:, :, ::-1]):
            difference = one - other
            square = (difference**2).mean(axis=(1, 2, 3))
            peak = np.abs(difference).max(axis=(1, 2, 3))
            same[part] |= (square <= limit[part] ** 2) & (peak <= PEAK * limit[part])
    return same


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    return (array[start : start + 4096] for start in range(0, len(array), 4096))
