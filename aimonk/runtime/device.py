"""The device that a network runs on."""

import torch

from aimonk.runtime.ranks import local_rank, world_size


def pick_device(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA, Apple's MPS or the CPU, the first that is available.

    Raises:
        ValueError: The device is not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda" and world_size() > 1:
        name = f"cuda:{local_rank()}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device is {name}; expected an available device ({reason})") from None
    if device.type == "cuda":
        if device.index is None:  # which torch requires below
            device = torch.device("cuda", torch.cuda.current_device())
        torch.cuda.set_device(device)
    return device
