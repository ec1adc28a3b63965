"""Images of a tar file in the naming of webdataset, read as a stream."""

import json
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from aimonk.data.images.decoding import MAX_FILE_BYTES
from aimonk.data.shards.member import Member, check_size, is_image, split_name

BUFFER = 2**16
MAX_JSON_BYTES = 2**24
MAX_HEADER_BYTES = 2**20  # of a long name
EXTENDED = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)


class StrictHeader(tarfile.TarInfo):
    """A header whose damage is an error. By default, a damaged one ends the file: images would be lost."""

    @classmethod
    def frombuf(cls, buffer: bytes, encoding: str, errors: str) -> "StrictHeader":
        try:
            header = super().frombuf(buffer, encoding, errors)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            reason = "no end-of-archive mark, so it is incomplete" if len(buffer) < 512 else f"{error}"
            raise tarfile.ReadError(reason) from None
        if header.size < 0 or (header.type in EXTENDED and header.size > MAX_HEADER_BYTES):
            raise tarfile.ReadError("a header with an invalid size")
        return header


def read_tar(file: BinaryIO, address: str, with_labels: bool) -> Iterator[Member]:
    """The images of a tar file, in their order.

    Args:
        file: Opened, at its start; read forwards only.
        address: For errors.
        with_labels: Whether JSON members are read; an image then waits for the last member of its sample.

    Raises:
        ValueError: The file is damaged, or a member is a link, a special file or too large.
    """
    parts = _read_parts(file, address, with_labels)
    return _join_samples(parts, address) if with_labels else parts


def _read_parts(file: BinaryIO, address: str, with_labels: bool) -> Iterator[Member]:
    """Images, and members with the labels of a key, of which only `key` and `labels` count."""
    last = "the start"
    try:
        with tarfile.open(
            fileobj=file,
            mode="r|",
            bufsize=BUFFER,
            tarinfo=StrictHeader,
            encoding="utf-8",
            errors="surrogateescape",
        ) as archive:
            for header in archive:
                archive.members = []  # which would grow with the file
                last = repr(name := header.name.removeprefix("./"))
                if not (header.isfile() or header.isdir()) or header.issparse():
                    raise ValueError(f"{address}: {name!r} is a link or a special file; expected files only")
                key, extension = split_name(name) or ("", "")
                if not header.isfile() or not key:
                    continue
                if is_image(name):
                    check_size(f"{address}: {name!r}", header.size, MAX_FILE_BYTES)
                    content = archive.extractfile(header).read()
                    yield Member(key, name, content, header.offset_data, None)
                elif with_labels and extension == "json":
                    check_size(f"{address}: {name!r}", header.size, MAX_JSON_BYTES)
                    labels = _parse(archive.extractfile(header).read(), f"{address}: {name!r}")
                    yield Member(key, name, b"", header.offset_data, labels)
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{address}: damaged tar file at or after {last} ({error})") from None


def _parse(content: bytes, name: str) -> dict[str, Any]:
    try:
        labels = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no JSON ({error})") from None
    if not isinstance(labels, dict):
        raise ValueError(f"{name} is a JSON {type(labels).__name__}; expected an object")
    return labels


def _join_samples(parts: Iterator[Member], address: str) -> Iterator[Member]:
    """Images with the labels of their sample, whose members are adjacent."""
    key, images, labels, size = "", [], None, 0
    for part in parts:
        if part.key != key:
            yield from (_with_labels(image, labels) for image in images)
            key, images, labels, size = part.key, [], None, 0
        if part.labels is not None:
            labels = part.labels
            continue
        images.append(part)
        size += len(part.content)
        if size > MAX_FILE_BYTES:
            raise ValueError(
                f"{address}: the images of sample {key!r} exceed {MAX_FILE_BYTES >> 20} MB; expected names "
                "that differ before the first dot"
            )
    yield from (_with_labels(image, labels) for image in images)


def _with_labels(image: Member, labels: dict[str, Any] | None) -> Member:
    return Member(image.key, image.name, image.content, image.offset, labels)
