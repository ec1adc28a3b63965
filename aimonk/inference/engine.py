"""Frozen networks on the CPU, several times as fast as module by module."""

import logging
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from aimonk.inference.fusion import fuse

# largest deviation of an accepted engine, relative to the largest magnitude among the outputs
TOLERANCE = 1e-4
# larger activations are memory that the kernel maps and clears anew each time: glibc hands out nothing above
# 32 MiB again
GROUP_BYTES = 20e6

log = logging.getLogger(__name__)


class Engine:
    """Runs a network under inference mode, on batches of any size.

    Args:
        name: `eager` or `fused`.
        network: Treats each image alone.
        group: At most so many images pass through the network at once; None for the whole batch.
        shape: The only [C, H, W] that the network takes; None for any.
    """

    def __init__(
        self, name: str, network: nn.Module, group: int | None = None, shape: torch.Size | None = None
    ):
        self.name = name
        self.network = network
        self.group = group
        self.shape = shape

    def __call__(self, images: Tensor) -> Tensor:
        if self.shape is not None and images.shape[1:] != self.shape:
            expected = ", ".join(map(str, self.shape))
            raise ValueError(f"images are {list(images.shape)}; this engine was made for [B, {expected}]")
        threads = torch.get_num_threads()
        if self.group is None or len(images) == 1:
            return self._forward(images)
        if threads == 1 or len(images) < threads:
            return torch.cat([self._forward(group) for group in images.split(self.group)])
        # one group per thread instead of all threads on one group: they need not wait for each other after
        # every layer, which takes many times as long while something else runs on one of the cores
        rounds = math.ceil(len(images) / (threads * self.group))
        groups = images.tensor_split(min(rounds * threads, len(images)))
        with (
            _one_thread(),
            ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        ):
            return torch.cat(list(pool.map(self._forward, groups)))

    @torch.inference_mode()  # holds for the calling thread alone, so it stands here and not on __call__
    def _forward(self, images: Tensor) -> Tensor:
        return self.network(images)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread here, and in every thread that starts meanwhile."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def fast_inference(module: nn.Module, example: Tensor) -> Engine:
    """The fastest way to run a module on the CPU whose outputs are the module's own.

    The engine has a copy of the weights: it does not see later training. A module that cannot be made faster
    runs as it is; the log says why at debug level. Making an engine takes as long as some twenty images take
    without it, which an EfficientNet repays within fifty.

    Args:
        module: In eval mode; treats each image alone.
        example: One image or more as the module takes them, [B, C, H, W]; the engine takes any B.
    """
    eager = Engine("eager", module)
    try:
        with _one_thread():
            network, largest = fuse(module, example)
            fused = Engine("fused", network, max(int(GROUP_BYTES / largest), 1), example.shape[1:])
            why = _refuse(eager, fused, example[:2])
        # by structure and not by a stopwatch, so that the same command gives the same numbers
        if not any(isinstance(part, nn.BatchNorm2d) for part in module.modules()):
            why = "it has no BatchNorm, and so next to nothing to gain"
    except Exception as error:  # whatever an unusual module, or a build of torch without oneDNN, raises
        why = f"{type(error).__name__}: {error}".splitlines()[0]
    if why is not None:
        log.debug("inference engine: eager (%s)", why)
        return eager
    log.debug("inference engine: fused, %d images at once", fused.group)
    return fused


def _refuse(eager: Engine, fused: Engine, sample: Tensor) -> str | None:
    """Why the fused engine will not do; None when it will."""
    expected, got = eager(sample), fused(sample)
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return f"got {got.dtype} {list(got.shape)}, expected {expected.dtype} {list(expected.shape)}"
    error = ((got - expected).abs().max() / expected.abs().max()).item()
    if not error <= TOLERANCE:  # nan included
        return f"outputs differ by {error:.1e} of the largest"
    return None
