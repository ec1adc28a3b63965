import io
import os
import socket
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aimonk.data.images import decoding
from aimonk.data.images.decoding import RESIZES, UnavailableError, decode

ROOT = Path(__file__).resolve().parents[3]
# pytest resets the filters for warnings; test_malformed tests them in a process without pytest
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


def noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, bands), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze(axis=2) if bands == 1 else pixels, mode)


def encode(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, data: bytes = b"", colour_type: int = 2) -> bytes:
    """A PNG file with the given size in its header."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def within(seconds: float, function, *arguments):
    """Result or exception of a function; fails if it takes longer."""
    result = []

    def call() -> None:
        try:
            result.append(function(*arguments))
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    assert result, "no result in time"
    return result[0]


def seeds() -> list[bytes]:
    image = noise(12, 10)
    exif = Image.Exif()
    exif[0x0112] = 6
    found = [encode(image, kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")]
    found += [
        encode(image, "JPEG", progressive=True, exif=exif.tobytes()),
        encode(image.convert("CMYK"), "JPEG"),
    ]
    found += [encode(image, "TIFF", compression=c) for c in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")]
    found += [encode(noise(12, 10, "RGBA"), kind) for kind in ("PNG", "WEBP", "TIFF")]
    found.append(encode(image.quantize(16), "PNG", transparency=bytes(range(16)), exif=exif.tobytes()))
    found.append(encode(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF"))
    found.append(encode(image, "GIF", save_all=True, append_images=[noise(12, 10, seed=1)]))
    return found


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        start = int(rng.integers(0, min(len(changed), rng.choice([40, 10**6])) or 1))
        kind = rng.integers(0, 4)
        if kind == 0:
            changed[start : start + 1] = rng.bytes(1)
        elif kind == 1:
            changed[start : start + 4] = rng.choice(
                [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\1"]
            )
        elif kind == 2:
            del changed[start : start + int(rng.integers(1, 30))]
        else:
            changed[start:start] = changed[: int(rng.integers(1, 30))]
    return bytes(changed)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_truncated_files_are_refused(read, kind: str) -> None:
    content = encode(noise(64, 64), kind)
    for share in (0.03, 0.3, 0.7):
        with pytest.raises(ValueError) as caught:
            read(content[: int(share * len(content))])
        assert str(caught.value) and "image.jpg" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"not an image\n" * 9, "unknown image format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unknown image format"),
        (b"\xff\xd8\xff\xe0", "JPEG|unknown image|[Tt]runcated|eof"),
        (png(50_000, 50_000), "decompression limit"),
        (png(10_000, 10_000), "10000x10000 pixels exceed Pillow's decompression limit"),
        (png(100_000, 800), "truncated|broken|incomplete"),
        (png(0, 5), "."),
    ],
)
def test_malformed_files_are_refused(read, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read(content)
    assert not isinstance(caught.value, UnavailableError)


def test_other_formats_are_refused(read) -> None:
    """Undocumented formats are not decoded, which reduces the attack surface."""
    for kind in ("PPM", "TGA", "ICO", "EPS"):
        with pytest.raises(ValueError, match="unknown image format"):
            read(encode(noise(16, 16), kind))


def test_bounds_on_memory(read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_WEBP_PIXELS", 63)
    with pytest.raises(ValueError, match="8x8 pixels of WebP"):
        read(encode(noise(8, 8), "WEBP"))
    monkeypatch.setattr(decoding, "MAX_CHUNK_BYTES", 1000)
    assert read(encode(noise(8, 8), "TIFF")).any()
    # a tile may be far larger than the image, and a few compressed bytes may fill it
    for tags in ({322: 4096, 323: 4096, 324: (8,), 325: (1,)}, {278: 4096, 273: (8,), 279: (1,)}):
        content = encode(noise(64, 64), "TIFF", tiffinfo=tags, compression="tiff_deflate")
        with pytest.raises(ValueError, match="strip or tile of"):
            read(content)
    with open(tmp_path / "sparse.jpg", "wb") as file:
        file.truncate(decoding.MAX_FILE_BYTES + 2**20)
    with pytest.raises(ValueError, match="the file has 401 MB; expected at most 400 MB"):
        decode(tmp_path / "sparse.jpg", 8, "squash")


def test_special_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("folder.jpg", "pipe.jpg", "socket.jpg")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        cwd = os.getcwd()
        os.chdir(tmp_path)  # a socket's path must be short
        server.bind("socket.jpg")
        os.chdir(cwd)
        for name in names:
            assert str(within(20, decode, tmp_path / name, 8, "squash")) == "not a regular file"
        (tmp_path / "file.jpg").write_bytes(b"x")
        regular = os.stat(tmp_path / "file.jpg")
        with monkeypatch.context() as patch:
            patch.setattr(decoding.os, "stat", lambda path: regular)  # replaced after the first check
            problems = {name: within(20, decode, tmp_path / name, 8, "squash") for name in names}
    assert all(isinstance(problem, ValueError) for problem in problems.values())
    assert str(problems["pipe.jpg"]) == "not a regular file"


def test_unavailable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnavailableError, match=r"^No such file or directory$"):
        decode(tmp_path / "none.jpg", 8, "squash")
    os.symlink(tmp_path / "loop.jpg", tmp_path / "loop.jpg")
    with pytest.raises(UnavailableError, match="symbolic links"):
        decode(tmp_path / "loop.jpg", 8, "squash")
    (tmp_path / "a.png").write_bytes(encode(noise(8, 8), "PNG"))

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(decoding, "to_square", fail)
    with pytest.raises(UnavailableError, match="not enough memory"):
        decode(tmp_path / "a.png", 8, "squash")


def test_invalid_metadata_is_ignored(read) -> None:
    image = noise(8, 8)
    junk = np.random.default_rng(0).bytes(3000)
    # an EXIF block with a tag of four billion bytes, and a directory that refers to itself
    huge = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x07\xff\xff\xff\xff\0\0\0\x08\0\0\0\x08"
    for exif in (junk, b"Exif\0\0" + junk, b"Exif\0\0II*\0\xff\xff\xff\xff", huge, b"Exif\0\0"):
        assert (read(encode(image, "PNG", exif=exif)) == np.asarray(image)).all()
        assert read(encode(image, "JPEG", exif=exif)).any()
        assert (read(encode(image, "WEBP", exif=exif, lossless=True)) == np.asarray(image)).all()
    for orientation in (0, 9, 65535):
        exif = Image.Exif()
        exif[0x0112] = orientation
        assert (read(encode(image, "PNG", exif=exif.tobytes())) == np.asarray(image)).all()
    for kind in ("PNG", "TIFF"):
        assert (read(encode(image, kind, icc_profile=junk)) == np.asarray(image)).all()
    assert read(encode(image, "JPEG", icc_profile=junk)).any()


def test_mutated_files_are_read_or_refused(read) -> None:
    rng = np.random.default_rng(0)
    outcomes = set()
    for content in seeds():
        for number in range(25):
            try:
                read(mutate(content, rng), 8, RESIZES[number % 3])
                outcomes.add("read")
            except ValueError as error:
                assert str(error)
                outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.slow
def test_memory_and_warnings_of_a_process(tmp_path: Path) -> None:
    """Large images are decoded one at a time without complete copies: 144 MB here."""
    side = 6000
    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(60 * (1 + 4 * side))) for _ in range(side // 60)) + packer.flush()
    (tmp_path / "bomb.png").write_bytes(png(side, side, rows, colour_type=6))
    (tmp_path / "limit.png").write_bytes(png(10_000, 10_000))
    (tmp_path / "exif.jpg").write_bytes(
        encode(noise(8, 8), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09" + b"\1" * 40)
    )
    code = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from aimonk.data.images.decoding import decode
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def one(name):
    try:
        return decode(Path(name), 32, "squash").mean()
    except ValueError as error:
        return error
with ThreadPoolExecutor(4) as pool:
    print(*pool.map(one, sys.argv[1:]), sep="\\n")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    names = [tmp_path / name for name in ("bomb.png", "limit.png", "exif.jpg", "bomb.png")]
    command = [sys.executable, "-W", "always", "-c", code, *map(str, names)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    bomb, limit, exif, again, megabytes = result.stdout.splitlines()
    assert result.stderr == ""
    assert bomb == again == "255.0"
    assert "decompression limit" in limit and float(exif) > 0
    assert int(megabytes) < 270
