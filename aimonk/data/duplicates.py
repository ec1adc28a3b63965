"""Search for duplicate photographs, so that copies of one image stay in one split.

The perceptual hash is a thumbnail of 16x16 colours. It is compared in grey levels and not reduced to bits:
recompressing a file flips the sign of coefficients near zero (flat or symmetric images, such as products on
white), which would hide a copy, whereas the difference in grey levels stays as small as the change.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence

import numpy as np

from aimonk.data.groups import duplicate_groups, number_groups
from aimonk.files.text import listed, plural

log = logging.getLogger(__name__)

SIDE = 16  # of the thumbnails
DIRECTIONS = 12  # principal components that preselect pairs
BLOCK = 64  # images in memory as floats at a time
# a copy differs slightly everywhere, a different print on the same shirt strongly in one place: the largest
# difference of a cell is at most this multiple of the distance
PEAK = 5.0
# images of low contrast are similar without being copies: the distance is at most this share of their
# contrast, but at least the 1 grey level of rounding errors
CONTRAST_SHARE, ROUNDING = 0.3, 1.0


def group_images(pixels: np.ndarray, distance: float | None = 5.0) -> np.ndarray:
    """Assign equal group numbers to images that show the same photograph.

    Finds exact, recompressed, resized and mirrored copies, and copies with a faint watermark, but no rotated,
    cropped or recoloured ones. The relation is transitive: copies of a copy are in one group.

    Args:
        pixels: uint8, [N, H, W, 3], resized alike; may be memory-mapped and is read once, in blocks. Omit
            unreadable images: all blank images are copies of one another.
        distance: Largest root mean square difference of the thumbnails of two copies, in grey levels of 0 to
            255. 0 or None finds images with equal pixels only.

    Returns:
        Group numbers from 0 in the order of first appearance, [N] int64.
    """
    if pixels.ndim != 4 or pixels.shape[-1] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"pixels is {pixels.dtype} {list(pixels.shape)}; expected uint8 [N, H, W, 3]")
    if distance is not None and not 0 <= distance < 256:
        raise ValueError(f"distance is {distance}; expected null or grey levels in [0, 256)")
    if len(pixels) == 0:
        return np.zeros(0, np.int64)
    if not distance:
        return _equal(pixels)[1]
    thumbs = _thumbnails(pixels)
    # equal thumbnails are grouped first: a thousand blank images would make a million pairs
    first, which = _equal(thumbs)
    if len(first) < len(thumbs):
        thumbs = thumbs[first]
    return number_groups(_join_near(thumbs, distance)[which])


def find_groups(pixels: np.ndarray, names: Sequence[str], distance: float | None) -> np.ndarray | None:
    """Group the images and log the duplicates.

    Args:
        pixels: As for `group_images`, or a list of files, which are not compared.
        distance: As for `group_images`; None disables the search.

    Returns:
        Group numbers, [N]; None where there was no search.
    """
    if distance is None or isinstance(pixels, list):
        return None
    groups = group_images(pixels, distance)
    copies = [" = ".join(group) for group in duplicate_groups(groups, names)]
    if copies:
        count = plural(len(copies), "duplicate photograph")
        log.info("%s; copies stay in one split: %s", count, listed(copies))
    return groups


def _equal(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the first of each set of equal images, ascending [M], and the set of each image, [N]."""
    digests = [hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest() for image in images]
    _, first, which = np.unique(np.array(digests, dtype="V16"), return_index=True, return_inverse=True)
    return np.sort(first), number_groups(first[which.reshape(-1)])


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
    """Weights of `size` pixels in the averages of SIDE cells, [SIDE, size]."""
    edges = np.linspace(0, size, SIDE + 1)
    pixel = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return (np.clip(overlap, 0, 1) * (SIDE / size)).astype(np.float32)


def _join_near(thumbs: np.ndarray, distance: float) -> np.ndarray:
    """Index of the first thumbnail of each thumbnail's group, [N]."""
    root = np.arange(len(thumbs))
    contrast = np.concatenate([b.std(axis=(1, 2, 3), dtype=np.float32) for b in _blocks(thumbs)])
    limit = np.clip(CONTRAST_SHARE * contrast, ROUNDING, distance)  # [N]
    points = _mirror_invariant(thumbs)
    reach = distance + 1e-3  # the coordinates are rounded
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
    """Yield all pairs of points at most `distance` apart in every coordinate, in batches.

    The points are sorted by their first coordinate, and each is compared with its k-th successor for k = 1,
    2, ... until no successor is near enough. This takes memory for N pairs and at most N^2 / 2 comparisons.

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
