"""Where the numbers are crunched."""

import ctypes

import torch

from aimonk.runtime import distributed


def pick_device(name: str) -> torch.device:
    """The device to use: `auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        ValueError: No such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda" and distributed.world_size() > 1:
        name = f"cuda:{distributed.local_rank()}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device={name} cannot be used here ({str(error).splitlines()[0]})") from None
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if device.type == "cpu":
        keep_freed_memory()
    return device


def keep_freed_memory() -> None:
    """Let the C library hand out large blocks again, which it would return to the system.

    The system clears every page that it gives: some 8 % of a training step of ResNet18. Only glibc is told.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return
    # M_MMAP_THRESHOLD: blocks below 1 GiB come from the heap; older releases allow no more than 32 MiB
    if mallopt(-3, 1 << 30) or mallopt(-3, 32 << 20):
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD: up to 1 GiB of it may lie free
