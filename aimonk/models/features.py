"""What a frozen prefix makes of each image and view, computed once and stored."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from aimonk.data.store.row_set import TransientReason
from aimonk.data.store.row_store import Compute, Row, RowStore, StoredRows
from aimonk.models.classifier import Classifier
from aimonk.runtime import distributed

# part of every store key: raise it when the same weights and pixels would give other features
CODE_VERSION = "1"
BATCH = 32

log = logging.getLogger(__name__)


class StoredFeatures:
    """Inputs of the suffix, from an array of every row in every view, [views * N, ...].

    Maps lie in the array as [H, W, C] and come out as [B, C, H, W] in channels_last layout.

    Args:
        rows: How many rows there are.
        missing: Places in the array that hold nothing, since their image could not be read.
    """

    def __init__(self, array: np.ndarray, rows: int, missing: Iterable[int]):
        self.array = array
        self.rows = rows
        self.there = torch.ones(len(array), dtype=torch.bool)
        self.there[list(missing)] = False

    def __call__(self, rows: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        places = views * self.rows + rows
        features = torch.from_numpy(self.array[places.numpy()])
        if features.ndim == 4:
            features = features.permute(0, 3, 1, 2)
        return features, self.there[places]


@dataclass
class FeatureSource:
    """Where the features of a data set come from.

    Attributes:
        fetch: Rows and views to uint8 images [B, 3, H, W].
        keys: What the pixels of each row depend on, N texts.
        views: How many views the augmentation has.
        view_key: What views other than 0 depend on.
        store: Where features are kept.
        dtype: Storage type: float16, float32, or auto for float16 maps and float32 vectors.
        watch: Wraps a sequence to show progress; called with (iterable, total, title).
    """

    fetch: Callable
    keys: Sequence[str]
    views: int
    view_key: str
    store: RowStore
    dtype: str
    watch: Callable
    held: list[StoredRows] = field(default_factory=list, repr=False)  # marks them as in use

    def at(
        self, classifier: Classifier, cut: int, engine: Callable, device: torch.device
    ) -> StoredFeatures | None:
        """The prefix's output for every row and view; None when it does not fit into the store.

        Args:
            cut: How many stages the prefix has.
            engine: Turns the prefix and an example batch into something that computes it fast.
        """
        prefix = classifier.prefix(cut).eval()
        example = self.fetch(torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))[0]
        with torch.inference_mode():
            shape = _layout(prefix(example[:1].to(device))).shape[1:]
        dtype = self.dtype if self.dtype != "auto" else ("float32" if len(shape) == 1 else "float16")
        n = len(self.keys)
        keys = [f"{key}\0{v and f'{self.view_key} {v}'}" for v in range(self.views) for key in self.keys]

        def compute(missing: np.ndarray) -> Iterator[Row]:
            run = engine(prefix, example)
            wanted = np.zeros(len(keys), dtype=bool)
            wanted[missing] = True
            # always the same blocks, since the last bits of an output may depend on how many images go along
            starts = np.unique(missing // BATCH) * BATCH
            for start in self.watch(starts, len(starts), "features"):
                block = np.arange(start, min(start + BATCH, len(keys)))
                rows, views = torch.from_numpy(block % n), torch.from_numpy(block // n)
                with torch.inference_mode():
                    images, there = self.fetch(rows, views)
                    features = _layout(run(images.to(device, non_blocking=True))).float().cpu().numpy()
                for row, values, ok in zip(block.tolist(), features, there.tolist(), strict=True):
                    if wanted[row]:
                        yield row, values if ok else TransientReason("the image could not be read")

        family = f"features {CODE_VERSION} {cut} {weights_digest(prefix)}"
        found = self._find_or_compute(family, keys, tuple(shape), dtype, compute)
        what = f"features behind {cut} frozen stages, {n} images x {self.views} views of {tuple(shape)}"
        if found is None:
            log.info("%s: not stored, they would take more than features.limit_gb or than the disk has", what)
            return None
        log.info("%s: %d computed, %d reused", what, found.computed, len(keys) - found.computed)
        self.held.append(found)
        return StoredFeatures(found.array, n, found.errors)

    def _find_or_compute(
        self, family: str, keys: list[str], shape: tuple[int, ...], dtype: str, compute: Compute
    ) -> StoredRows | None:
        """The stored set; of several processes each computes its share of what is missing."""
        there = self.store.find(family, keys, shape, dtype)
        if distributed.world_size() == 1 or distributed.broadcast(there is not None):
            return there or self.store.rows(family, keys, shape, dtype, compute)
        shares = [(f"{family} share {r}", part) for r, part in enumerate(distributed.parts(len(keys)))]
        own, mine = shares[distributed.rank()]

        def compute_mine(missing: np.ndarray) -> Iterator[Row]:
            first = mine[0]
            yield from ((row - first, values) for row, values in compute(mine[missing]))

        self.store.rows(own, [keys[i] for i in mine], shape, dtype, compute_mine)
        distributed.barrier()

        def collect(missing: np.ndarray) -> Iterator[Row]:
            wanted = set(missing.tolist())
            for name, part in shares:
                stored = self.store.find(name, [keys[i] for i in part], shape, dtype)
                if stored is not None:
                    yield from (
                        (row, stored.array[row - part[0]]) for row in wanted.intersection(part.tolist())
                    )
                    wanted.difference_update(part.tolist())
            # of another machine's share nothing is seen where the cache folders are not shared
            yield from compute(np.array(sorted(wanted), dtype=np.int64)) if wanted else ()

        found = self.store.rows(family, keys, shape, dtype, collect)
        distributed.barrier()
        self.store.remove(own, [keys[i] for i in mine], shape, dtype)
        return found


def _layout(features: Tensor) -> Tensor:
    return features.permute(0, 2, 3, 1).contiguous() if features.ndim == 4 else features


def weights_digest(module: torch.nn.Module) -> str:
    """A fingerprint of a module's structure, weights and buffers."""
    digest = hashlib.sha256(repr(module).encode())
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:24]
