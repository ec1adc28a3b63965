"""Advice for failures outside the code: a full disk, a folder without write access, a killed loader."""

import contextlib
import errno
import signal
from collections.abc import Iterator
from pathlib import Path

DISK_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


@contextlib.contextmanager
def advising(out_dir: Path, cache: Path) -> Iterator[None]:
    """Add advice to errors of the disk, and to the death of a process that loads images.

    Raises:
        OSError: The same error with the advice.
    """
    try:
        yield
    except OSError as error:
        place = str(error.filename or f"{out_dir} or {cache}")
        if error.errno in DISK_FULL:
            advice = f"free disk space and resume with resume={out_dir}"
        elif Path(place).is_relative_to(out_dir):
            advice = f"make it writable and resume with resume={out_dir}, or set hydra.run.dir=FOLDER"
        elif Path(place).is_relative_to(cache):
            advice = "cache_dir=FOLDER sets another folder"
        else:
            raise
        raise OSError(f"{place}: {error.strerror}; {advice}") from error
    except RuntimeError as error:
        if not f"{error}".startswith("DataLoader worker"):
            raise
        if hasattr(signal, "SIGCHLD"):
            # torch's handler would raise again at any later point
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        advice = f"the usual cause is lack of memory; resume with workers=1 resume={out_dir}"
        raise ChildProcessError(f"a process that loads images was killed ({error}); {advice}") from error
