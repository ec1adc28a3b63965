"""A fast engine for frozen networks on the CPU."""

import logging
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from aimonk.inference.fusion import fuse

# maximum deviation of an engine, relative to the largest output
TOLERANCE = 1e-4
# glibc returns blocks above 32 MiB to the system, which clears them again at each allocation
GROUP_BYTES = 20e6

log = logging.getLogger(__name__)


class Engine:
    """Runs a network under inference mode, on batches of any size.

    Args:
        name: `eager` or `fused`.
        network: Processes each image independently.
        group: Maximum number of images per forward pass; None for the entire batch.
        shape: The only input shape [C, H, W]; None for any.
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
            raise ValueError(f"images are {list(images.shape)}; expected [B, {expected}]")
        threads = torch.get_num_threads()
        if self.group is None or len(images) == 1:
            return self._forward(images)
        if threads == 1 or len(images) < threads:
            return torch.cat([self._forward(group) for group in images.split(self.group)])
        # one group per thread, not all threads on one group: threads that wait for each other after every
        # layer are many times slower while another process uses a core
        rounds = math.ceil(len(images) / (threads * self.group))
        groups = images.tensor_split(min(rounds * threads, len(images)))
        with (
            _one_thread(),
            ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        ):
            return torch.cat(list(pool.map(self._forward, groups)))

    @torch.inference_mode()  # applies to the calling thread only, so not on __call__
    def _forward(self, images: Tensor) -> Tensor:
        return self.network(images)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit torch to one thread in the block, and in threads started there."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def fast_inference(module: nn.Module, example: Tensor) -> Engine:
    """The fastest engine on the CPU with the outputs of a module.

    The engine has a copy of the weights, which later training does not change. A module that cannot be made
    faster runs unchanged; the reason is logged at debug level. Building an engine takes as long as about
    twenty images; an EfficientNet saves that within fifty.

    Args:
        module: In eval mode; processes each image independently.
        example: Inputs of the module, [B, C, H, W]; the engine accepts any B.
    """
    eager = Engine("eager", module)
    try:
        with _one_thread():
            network, largest = fuse(module, example)
            fused = Engine("fused", network, max(int(GROUP_BYTES / largest), 1), example.shape[1:])
            why = _refuse(eager, fused, example[:2])
        # chosen by structure and not by timing, so that equal commands give equal numbers
        if not any(isinstance(part, nn.BatchNorm2d) for part in module.modules()):
            why = "no BatchNorm, so little to gain"
    except Exception as error:  # unusual modules, or torch without oneDNN, raise any exception
        why = f"{type(error).__name__}: {error}".splitlines()[0]
    if why is not None:
        log.debug("inference engine: eager (%s)", why)
        return eager
    log.debug("inference engine: fused, %d images per pass", fused.group)
    return fused


def _refuse(eager: Engine, fused: Engine, sample: Tensor) -> str | None:
    """Why the fused engine is rejected; None if it is accepted."""
    expected, got = eager(sample), fused(sample)
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return f"got {got.dtype} {list(got.shape)}, expected {expected.dtype} {list(expected.shape)}"
    error = ((got - expected).abs().max() / expected.abs().max()).item()
    if not error <= TOLERANCE:  # nan included
        return f"outputs differ by {error:.1e} of the largest"
    return None
