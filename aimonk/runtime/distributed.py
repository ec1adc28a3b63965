"""The processes of torchrun, which train one model together; a single process otherwise."""

import atexit
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from aimonk.runtime.ranks import world_size


def init_process_group() -> None:
    """Join the other processes of torchrun, by gloo, and between CUDA devices by NCCL; once per process.

    The group serves all jobs of a sweep: torchrun's rendezvous does not admit a second one.
    """
    if world_size() > 1 and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        # one process may decode all images while the others wait; torchrun notices dead ones anyway
        dist.init_process_group(backend, timeout=timedelta(days=1))
        atexit.register(dist.destroy_process_group)


def broadcast(value: Any) -> Any:
    """The value of rank 0, on every rank."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def all_reduce(values: Tensor) -> Tensor:
    """The sum over all ranks."""
    if world_size() > 1:
        dist.all_reduce(values)
    return values


def any_rank(flag: object) -> bool:
    """Whether the flag is true on any rank; a collective call."""
    if world_size() == 1:
        return bool(flag)
    flags: list[Any] = [None] * world_size()
    dist.all_gather_object(flags, bool(flag))
    return any(flags)


def rank_shares(count: int) -> list[np.ndarray]:
    """Consecutive shares of 0..count-1, one per rank."""
    return np.array_split(np.arange(count), world_size())


def barrier() -> None:
    """Wait for all ranks."""
    if world_size() > 1:
        dist.barrier()


def all_gather(part: Tensor) -> Tensor:
    """The parts of all ranks concatenated along the rows, on the CPU."""
    if world_size() == 1:
        return part.cpu()
    parts: list[Any] = [None] * world_size()
    dist.all_gather_object(parts, part.cpu())
    return torch.cat(parts)
