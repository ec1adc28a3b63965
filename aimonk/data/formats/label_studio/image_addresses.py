"""Addresses under which an annotation tool shows images, as paths relative to the images folder."""

import os
import posixpath
import re
from collections.abc import Iterator
from urllib.parse import unquote, unquote_plus, urlsplit

from aimonk.data.formats.image_names import ImageNames

LOCAL_FILE = re.compile(r"(?:.*/)?data/local-files/?\?(?:.*&)?d=([^&]*)", re.DOTALL)
UPLOAD = re.compile(r"(?:.*/)?upload/(?:.*/)?[0-9a-f]{8}-([^/]+)", re.DOTALL)
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class ImageAddresses:
    """Resolves addresses, each image having one.

    The path of an image is the longest end of its address that is a file in the folder. Where there is none,
    it is the path behind `local-files/?d=`, a relative path itself, and otherwise the name of the file; of
    uploads without the eight digits that Label Studio puts before it.
    """

    def __init__(self, images: ImageNames):
        self._images = images
        self._addresses: dict[str, str] = {}

    def resolve(self, address: str) -> str:
        """The path of an image.

        Raises:
            ValueError: There is none in the address, or an image with another address has the same one.
        """
        name = self._find(address)
        before = self._addresses.setdefault(name, address)
        if before != address:
            raise ValueError(
                f"the image {address[:120]!r} has the name {name[:80]!r}, as {before[:120]!r} has; rename or "
                "remove one of them, or let data.images be a folder that has both"
            )
        return name

    def _find(self, address: str) -> str:
        folder = self._images.folder
        *paths, usual = _paths(address)
        if folder is not None and os.path.isdir(folder):
            ends = {end: None for path in (*paths, usual) for end in _ends(path)}
            for end in sorted(ends, key=lambda end: -end.count("/")):
                if os.path.isfile(os.path.join(folder, end)):
                    return self._images.resolve(end)
        return self._images.resolve(usual)


def _paths(address: str) -> Iterator[str]:
    """Paths that an address may mean, the last one where none of them exists."""
    if local := LOCAL_FILE.fullmatch(address):
        yield local[1]
        yield unquote(local[1], errors="surrogateescape")
        yield unquote_plus(local[1], errors="surrogateescape").lstrip("/")
        return
    path = address
    if SCHEME.match(address):
        # only web addresses have queries; keys of buckets may contain any character
        is_web = address.startswith(("http://", "https://"))
        path = urlsplit(address).path if is_web else SCHEME.sub("", address)
    elif not address.startswith("/"):
        yield unquote(address)
        if not UPLOAD.fullmatch(address):
            yield address
            return
    yield path
    yield unquote(path)
    if upload := UPLOAD.fullmatch(path):
        yield unquote(upload[1])
    else:
        yield posixpath.basename(unquote(path))


def _ends(path: str) -> Iterator[str]:
    """All ends of a path that begin at a folder or at the file."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for i in range(len(parts)):
        if ".." not in parts[i:]:
            yield "/".join(parts[i:])
