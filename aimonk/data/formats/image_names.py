"""Image names of label files, as paths relative to the images folder."""

import os
import posixpath
from collections import defaultdict
from functools import cached_property
from pathlib import Path

from aimonk.data.images.folder import list_images
from aimonk.data.labels import has_image_suffix
from aimonk.files.text import listed


class ImageNames:
    """Resolves the image names of a label file.

    Args:
        folder: The images folder, which need not exist; None where names are relative and complete.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder
        paths = [] if folder is None else [os.path.abspath(folder), os.path.realpath(folder)]
        self._roots = tuple(path.rstrip("/") + "/" for path in paths)

    def resolve(self, name: str) -> str:
        """The path of an image relative to the folder.

        An absolute path below the folder becomes relative. A name without the suffix of an image format
        becomes that of the file to which a suffix is missing, if there is one.

        Raises:
            ValueError: The name is no path in the folder, or fits several files.
        """
        path = self._relative(posixpath.normpath(name))
        top = posixpath.normpath(path.replace("\\", "/")).split("/")[0]
        if not name or "\0" in name or top == ".":
            raise ValueError(f"the image name is {name[:80]!r}; expected a path in the images folder")
        # a drive such as C: is outside the folder as well
        if top in ("", "..") or top[1:] == ":" or os.path.splitdrive(path)[0]:
            raise ValueError(
                f"{name[:80]!r} is outside the images folder; expected a relative path inside it"
            )
        if self.folder is None or has_image_suffix(path) or os.path.isfile(os.path.join(self.folder, path)):
            return path
        files = self._files.get(path, [path])
        if len(files) > 1:
            raise ValueError(f"the image name is {name[:80]!r}; expected one of {listed(files)}")
        return files[0]

    def _relative(self, path: str) -> str:
        if path.startswith("/"):
            for root in self._roots:
                if path.startswith(root):
                    return path.removeprefix(root)
        return path

    @cached_property
    def _files(self) -> dict[str, list[str]]:
        """The image files of the folder by their path without suffix."""
        files = defaultdict(list)
        for file in list_images(self.folder):
            files[posixpath.splitext(file)[0]].append(file)
        return dict(files)
