"""Several processes that train one model, started by torchrun; one process otherwise."""

import atexit
import os
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """This process's number; 0 is the one that writes."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", 1))


def local_rank() -> int:
    """This process's number on its machine, which is its GPU's."""
    return int(os.environ.get("LOCAL_RANK", 0))


def init_process_group() -> None:
    """Join the other processes of torchrun, by gloo, and between CUDA devices by NCCL; once per process.

    The group serves all jobs of a sweep: torchrun's rendezvous does not admit a second one.
    """
    if world_size() > 1 and not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(dist.destroy_process_group)


def broadcast(value: Any) -> Any:
    """Rank 0's value, on every rank."""
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


def any_of(flag: object) -> bool:
    """Whether the flag is true on any rank; all ranks have to ask together."""
    if world_size() == 1:
        return bool(flag)
    flags: list[Any] = [None] * world_size()
    dist.all_gather_object(flags, bool(flag))
    return any(flags)


def parts(count: int) -> list[np.ndarray]:
    """Every rank's share of 0..count-1; together the shares are everything once, in order."""
    return np.array_split(np.arange(count), world_size())


def barrier() -> None:
    """Go on when every rank has come here."""
    if world_size() > 1:
        dist.barrier()


def all_gather(part: Tensor) -> Tensor:
    """The rows of all ranks' parts, in the order of ranks; on the CPU."""
    if world_size() == 1:
        return part.cpu()
    parts: list[Any] = [None] * world_size()
    dist.all_gather_object(parts, part.cpu())
    return torch.cat(parts)
