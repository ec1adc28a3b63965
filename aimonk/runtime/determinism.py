"""Deterministic algorithms: torch's switches, and the operations that have none."""

import contextlib
import os
import re
import warnings
from collections.abc import Iterator

import torch

WITHOUT = re.compile(r"^(\S+) does not have a deterministic implementation")


def make_deterministic(wanted: bool) -> None:
    """Select torch's deterministic algorithms; call it before CUDA starts."""
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    torch.use_deterministic_algorithms(wanted, warn_only=True)
    torch.backends.cudnn.benchmark = False


@contextlib.contextmanager
def noting_exceptions() -> Iterator[set[str]]:
    """Collect the names of the operations in the block that have no deterministic algorithm."""
    names: set[str] = set()
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=".* does not have a deterministic implementation")
        show = warnings.showwarning

        def note(message: Warning | str, *where: object) -> None:
            found = WITHOUT.match(f"{message}")
            if found:
                names.add(found[1])
            else:
                show(message, *where)

        warnings.showwarning = note
        yield names
