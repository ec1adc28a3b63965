"""Equal weights for equal seeds: torch's own switches, and what they do not cover."""

import contextlib
import os
import re
import warnings
from collections.abc import Iterator

import torch

WITHOUT = re.compile(r"^(\S+) does not have a deterministic implementation")


def make_deterministic(wanted: bool) -> None:
    """Have torch take algorithms that give the same numbers each time; to be called before CUDA starts."""
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read once, when CUDA starts
    torch.use_deterministic_algorithms(wanted, warn_only=True)
    torch.backends.cudnn.benchmark = False


@contextlib.contextmanager
def noting_exceptions() -> Iterator[set[str]]:
    """Collect the names of the operations that have no such algorithm, as they are used."""
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
