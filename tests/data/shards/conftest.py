import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def write_tar(tmp_path: Path) -> Callable[..., str]:
    """A function that writes members, content by name, as a tar file of tmp_path and returns its path."""

    def write(members: dict[str, bytes], name: str = "a.tar", format: int = tarfile.PAX_FORMAT) -> str:
        path = tmp_path / name
        with tarfile.open(path, "w", format=format) as archive:
            for member, content in members.items():
                header = tarfile.TarInfo(member)
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))
        return str(path)

    return write
