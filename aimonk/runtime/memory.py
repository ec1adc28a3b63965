"""Settings of the garbage collector and of the C allocator that make a process faster."""

import gc


def postpone_collection() -> None:
    """Disable the garbage collector while modules are imported, which takes a third of the start-up."""
    gc.disable()


def resume_collection() -> None:
    """Enable the garbage collector, which from now on ignores the objects of imported modules."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def keep_freed_memory() -> None:
    """Keep large freed blocks in the process instead of returning them to the system; glibc only.

    The system clears every page that it hands out: about 8 % of a training step of ResNet18 on the CPU.
    """
    import ctypes  # the start-up of `--help` does without

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return
    # M_MMAP_THRESHOLD: blocks below 1 GiB are on the heap; older releases accept at most 32 MiB
    if mallopt(-3, 1 << 30) or mallopt(-3, 32 << 20):
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD: up to 1 GiB of free memory is kept
