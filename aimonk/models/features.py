"""Features: outputs of the frozen stages for each image and view, computed once and stored."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from aimonk.data.store.row_set import TransientReason
from aimonk.data.store.row_store import RowStore, StoredRows
from aimonk.data.store.stored_array import Compute, Row, StoredArray
from aimonk.models.classifier import Classifier
from aimonk.runtime import distributed
from aimonk.runtime.ranks import rank, world_size

# part of every store key: increase it when equal weights and pixels give other features
CODE_VERSION = "1"
BATCH = 32

log = logging.getLogger(__name__)


class StoredFeatures:
    """Inputs of the trainable stages, from an array of all rows in all views, [views * N, ...].

    Maps are [H, W, C] in the array and [B, C, H, W] in channels_last format in a batch.

    Args:
        rows: Number of rows, N.
    """

    def __init__(self, array: StoredArray, rows: int):
        self.array = array
        self.rows = rows

    def __call__(self, rows: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        values, errors = self.array.read((views * self.rows + rows).numpy())
        features, exists = torch.from_numpy(values), torch.ones(len(rows), dtype=torch.bool)
        exists[list(errors)] = False
        if features.ndim == 4:
            features = features.permute(0, 3, 1, 2)
        return features, exists


@dataclass
class FeatureSource:
    """Features of a data set: computed where the store does not have them.

    Attributes:
        load_pixels: Rows and views to uint8 images [B, 3, H, W].
        keys: Fingerprint of the pixels of each row, N of them.
        views: Number of views of the augmentation.
        view_key: Settings that the views other than 0 depend on.
        dtype: Storage type: float16, float32, or auto for float16 maps and float32 vectors.
        watch: Wraps a sequence to show progress; called with (iterable, total, title).
        in_use: Opened sets, which keeps the store from removing them.
    """

    load_pixels: Callable
    keys: Sequence[str]
    views: int
    view_key: str
    store: RowStore
    dtype: str
    watch: Callable
    in_use: list[StoredRows] = field(default_factory=list, repr=False)

    def open(
        self, classifier: Classifier, cut: int, engine: Callable, device: torch.device
    ) -> StoredFeatures | None:
        """Outputs of the frozen stages for every row and view; None if they do not fit into the store.

        Args:
            cut: Number of frozen stages.
            engine: From the frozen stages and an example batch to a function that computes them fast.
        """
        prefix = classifier.prefix(cut).eval()
        first = torch.zeros(2, dtype=torch.int64)
        example = self.load_pixels(first, first)[0]
        with torch.inference_mode():
            shape = tuple(_to_channels_last(prefix(example[:1].to(device))).shape[1:])
        dtype = self.dtype if self.dtype != "auto" else ("float32" if len(shape) == 1 else "float16")
        keys, rows = self.row_keys(), len(self.keys)

        digest = weights_digest(prefix)

        def compute(missing: np.ndarray) -> Iterator[Row]:
            # a damaged row may be found when these stages have been trained since
            if weights_digest(prefix) != digest:
                raise ValueError("stored features are damaged; run the command again to compute them anew")
            return self._compute(engine(prefix, example), missing, device)

        def watch(rows: Iterator[Row], total: int) -> Iterator[Row]:
            return self.watch(rows, total, "features")

        family = f"features {CODE_VERSION} {cut} {digest}"
        found = find_or_compute(self.store, family, keys, shape, dtype, compute, watch)
        what = f"features of {cut} frozen stages, {rows} images x {self.views} views of {shape}"
        if found is None:
            log.info("%s: not stored, they exceed features.limit_gb or the free disk space", what)
            return None
        log.info("%s: %d computed, %d reused", what, found.computed, len(keys) - found.computed)
        self.in_use.append(found)
        return StoredFeatures(found.array, rows)

    def row_keys(self) -> list[str]:
        """A key per view and row, [views * N]; that of view 0, the image itself, names no augmentation."""
        names = ["0", *(f"{self.view_key} {view}" for view in range(1, self.views))]
        return [f"{key}\0{name}" for name in names for key in self.keys]

    def _compute(self, run: Callable, missing: np.ndarray, device: torch.device) -> Iterator[Row]:
        """Features of the missing rows, computed in fixed blocks: their last bits may depend on the block."""
        rows, total = len(self.keys), len(self.keys) * self.views
        wanted = set(missing.tolist())
        starts = np.unique(missing // BATCH) * BATCH
        for start in starts:
            block = torch.arange(start, min(start + BATCH, total))
            with torch.inference_mode():
                images, exists = self.load_pixels(block % rows, block // rows)
                features = _to_channels_last(run(images.to(device, non_blocking=True))).float().cpu().numpy()
            for row, values, found in zip(block.tolist(), features, exists.tolist(), strict=True):
                if row in wanted:
                    yield row, values if found else TransientReason("the image could not be read")


def find_or_compute(
    store: RowStore,
    family: str,
    keys: list[str],
    shape: tuple[int, ...],
    dtype: str,
    compute: Compute,
    watch: Callable,
) -> StoredRows | None:
    """The stored set; each of several processes computes its share of the missing rows."""
    if world_size() == 1:
        return store.rows(family, keys, shape, dtype, compute, watch=watch)
    found = store.find(family, keys, shape, dtype, compute)
    if not distributed.any_rank(found is None):
        return found
    shares = [(f"{family} share {r}", part) for r, part in enumerate(distributed.rank_shares(len(keys)))]
    own, mine = shares[rank()]

    def compute_mine(missing: np.ndarray) -> Iterator[Row]:
        for row, values in compute(mine[missing]):
            yield row - mine[0], values

    if found is None:
        store.rows(own, [keys[i] for i in mine], shape, dtype, compute_mine, watch=watch)
    distributed.barrier()

    def collect(missing: np.ndarray) -> Iterator[Row]:
        wanted = set(missing.tolist())
        for name, part in shares:
            share = store.find(name, [keys[i] for i in part], shape, dtype, lambda damaged: iter(()))
            for row in wanted.intersection(part.tolist()) if share is not None else ():
                values, errors = share.array.read(np.array([row - part[0]]))
                if not errors:
                    wanted.remove(row)
                    yield row, values[0]
        # without a shared cache folder, the shares of other machines are computed here too
        if wanted:
            yield from compute(np.array(sorted(wanted), dtype=np.int64))

    if found is None:
        found = store.rows(family, keys, shape, dtype, collect, watch=watch)
    counts = distributed.all_gather(torch.tensor([0 if found is None else found.computed]))
    if found is not None:
        found.computed = int(counts.max())  # the process that writes a shared set reads the shares of all
    store.remove(own, [keys[i] for i in mine], shape, dtype)
    return found


def _to_channels_last(features: Tensor) -> Tensor:
    """Maps [B, C, H, W] as [B, H, W, C]; vectors as they are."""
    return features.permute(0, 2, 3, 1).contiguous() if features.ndim == 4 else features


def weights_digest(module: torch.nn.Module) -> str:
    """A digest of the structure, weights and buffers of a module."""
    digest = hashlib.sha256(repr(module).encode())
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:24]
