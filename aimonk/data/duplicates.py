"""Search for duplicate photographs, so that copies of one image stay in one split."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from aimonk.data.groups import duplicate_groups, number_groups
from aimonk.data.images.hashes import SIDE, Hashes
from aimonk.files.text import listed, plural
from aimonk.runtime.progress import unwatched

log = logging.getLogger(__name__)

DIRECTIONS = 12  # principal components that preselect pairs
ROWS, COLUMNS = 1024, 4096  # thumbnails compared at a time
DENSE = 0.01  # share of preselected pairs above which whole thumbnails are compared by matrix products
# more near copies of one photograph than this are a series from a fixed camera, not copies
LARGEST_GROUP, LARGEST_SHARE = 10, 0.05
# a copy differs slightly everywhere, a different print on the same shirt strongly in one place: the largest
# difference of a cell is at most this multiple of the distance
PEAK = 5.0
# images of low contrast are similar without being copies: the distance is at most this share of their
# contrast, but at least the 1 grey level of rounding errors
CONTRAST_SHARE, ROUNDING = 0.3, 1.0


class Copies(NamedTuple):
    """Images grouped by photograph."""

    groups: np.ndarray  # group numbers from 0 in the order of first appearance, int64 [N]
    refused: np.ndarray  # images that are similar to too many others to be copies, bool [N]


def group_images(hashes: Hashes, distance: float | None = 5.0, watch: Callable = unwatched) -> Copies:
    """Assign equal group numbers to images that show the same photograph.

    Finds exact, recompressed, resized and mirrored copies, and copies with a faint watermark, but no rotated,
    cropped or recoloured ones. The relation is transitive: copies of a copy are in one group. Where more than
    10 images and 5 % of all would be near copies of one another, such as aligned photographs of an
    inspection, those with equal pixels are grouped only.

    Args:
        hashes: Of images resized alike. Omit unreadable images: all blank images are copies of one another.
        distance: Largest root mean square difference of the thumbnails of two copies, in grey levels of 0 to
            255. 0 or None finds images with equal pixels only.
        watch: Wraps an iterator to show progress; called with (iterator, total, title).

    Raises:
        ValueError: Invalid distance.
    """
    if distance is not None and not 0 <= distance < 256:
        raise ValueError(f"distance is {distance}; expected null or grey levels in [0, 256)")
    thumbnails, digests = hashes
    equal = first_equal(digests)
    if not distance or not len(digests):
        return Copies(number_groups(equal), np.zeros(len(digests), bool))
    # equal thumbnails are grouped first: a thousand blank images would make a million pairs
    first, which, count = np.unique(
        first_equal(thumbnails.reshape(len(digests), -1).view(f"V{3 * SIDE**2}").reshape(-1)),
        return_inverse=True,
        return_counts=True,
    )
    most = max(LARGEST_GROUP, LARGEST_SHARE * len(digests))
    root = _join_near(thumbnails[first], count, distance, most, watch)
    near = first[root[which.reshape(-1)]]
    copies, equals = np.bincount(near)[near], np.bincount(equal)[equal]
    refused = (copies > most) & (copies > equals)
    return Copies(number_groups(np.where(refused, equal, near)), refused)


def find_groups(
    hashes: Hashes, names: Sequence[str], distance: float | None, watch: Callable = unwatched
) -> np.ndarray | None:
    """Group the images and log the duplicates.

    Args:
        distance: As for `group_images`; None disables the search.

    Returns:
        Group numbers, [N]; None where there was no search.
    """
    if distance is None:
        return None
    groups, refused = group_images(hashes, distance, watch)
    copies = [" = ".join(group) for group in duplicate_groups(groups, names)]
    if copies:
        count = plural(len(copies), "duplicate photograph")
        log.info("%s; copies stay in one split: %s", count, listed(copies))
    if refused.any():
        log.warning("%s", describe_refused(refused))
    return groups


def describe_refused(refused: np.ndarray) -> str:
    """One sentence on images that are similar to too many others."""
    return (
        f"{refused.sum()} of {plural(len(refused), 'image')} are near copies of more than "
        f"{LARGEST_SHARE:.0%} of the images, as aligned photographs are: only equal pixels count as copies "
        "there; data.duplicate_distance=null disables the search, a smaller value finds closer copies only"
    )


def first_equal(keys: np.ndarray) -> np.ndarray:
    """Index of the first entry equal to each, [N]."""
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    return first[which.reshape(-1)]


def _join_near(
    thumbs: np.ndarray, count: np.ndarray, distance: float, most: float, watch: Callable
) -> np.ndarray:
    """Index of the first thumbnail of each thumbnail's group, [N].

    Args:
        thumbs: Different thumbnails, [N, SIDE, SIDE, 3].
        count: Number of images with each thumbnail, [N].
        most: Groups of more images are not joined with one another.
    """
    root, size = np.arange(len(thumbs)), count.copy()
    contrast = np.concatenate([b.std(axis=(1, 2, 3), dtype=np.float32) for b in _blocks(thumbs)])
    limit = np.clip(CONTRAST_SHARE * contrast, ROUNDING, distance)  # [N]
    for pairs in _near_pairs(thumbs, distance + 1e-3, watch):
        for part in _blocks(pairs):  # pairs that earlier ones have joined are left out
            i, j = part.T
            apart = (root[i] != root[j]) & (np.minimum(size[root[i]], size[root[j]]) <= most)
            i, j = i[apart], j[apart]
            same = _is_same(thumbs, i, j, np.minimum(limit[i], limit[j]))
            for a, b in zip(i[same], j[same], strict=True):
                low, high = sorted((root[a], root[b]))
                if low != high:
                    root[root == high] = low
                    size[low] += size[high]
    return root


def _near_pairs(thumbs: np.ndarray, reach: float, watch: Callable) -> Iterator[np.ndarray]:
    """Yield pairs of thumbnails, [P, 2], among them all whose root mean square difference is at most `reach`.

    The thumbnails are sorted by one coordinate, and compared block by block with those near enough in it.
    """
    points = _mirror_invariant(thumbs)
    order = np.argsort(points[:, 0], kind="stable")
    first = points[order, 0]
    starts = range(0, len(order), ROWS)
    for start in watch(starts, len(starts), "duplicates"):
        rows = order[start : start + ROWS]
        end = np.searchsorted(first, first[min(start + ROWS, len(order)) - 1] + reach, side="right")
        for left in range(start, end, COLUMNS):
            columns = order[left : min(left + COLUMNS, end)]
            near = _squares(points[rows], points[columns]) <= reach**2
            if left < start + len(rows):  # a pair is visited once
                near &= np.arange(left, left + len(columns)) > np.arange(start, start + len(rows))[:, None]
            if np.count_nonzero(near) > DENSE * near.size:
                near &= _mirrored_squares(thumbs[rows], thumbs[columns]) <= reach**2
            i, j = np.divmod(np.flatnonzero(near), len(columns))  # several times as fast as np.nonzero
            if i.size:
                yield np.stack([rows[i], columns[j]], axis=1)


def _squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared distances of points x [B, D] and y [C, D], [B, C], minus a bound of their rounding error."""
    centre = y.mean(axis=0)
    x, y = x - centre, y - centre
    x_norms, y_norms = (x**2).sum(axis=1)[:, None], (y**2).sum(axis=1)
    # the relative error of a sum of D products in float32 is below 5e-5
    return (1 - 5e-5) * (x_norms + y_norms) - 2 * x @ y.T


def _mirrored_squares(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """As `_squares`, of thumbnails [B, ...] and [C, ...], mirrored or not, per cell."""
    flat = one.reshape(len(one), -1).astype(np.float32) / np.float32(SIDE * 3**0.5)
    both = (
        other.reshape(len(two), -1).astype(np.float32) / np.float32(SIDE * 3**0.5)
        for other in (two, two[:, :, ::-1])
    )
    return np.minimum(*(_squares(flat, other) for other in both))


def _mirror_invariant(thumbs: np.ndarray) -> np.ndarray:
    """Coordinates that are equal for an image and its mirror image, [N, DIRECTIONS] float32.

    These are principal components of the even part, scaled so that the distance of two points is at most the
    root mean square difference of their thumbnails, mirrored or not.
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
    """Whether thumbnails i and j are copies of one photograph, mirrored or not, [P].

    Args:
        limit: Largest root mean square difference of each pair, [P].
    """
    same = np.zeros(len(i), bool)
    one, two = thumbs[i].astype(np.float32), thumbs[j]
    for other in (two, two[:, :, ::-1]):
        difference = one - other
        square = (difference**2).mean(axis=(1, 2, 3))
        peak = np.abs(difference).max(axis=(1, 2, 3))
        same |= (square <= limit**2) & (peak <= PEAK * limit)
    return same


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    return (array[start : start + 4096] for start in range(0, len(array), 4096))
