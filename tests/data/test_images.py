import io
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from aimonk.data.images import decoding
from aimonk.data.images import folder as images
from aimonk.data.images.decoding import RESIZES, UnavailableError, decode
from aimonk.data.images.folder import decode_all, find_images, fingerprints, list_images, open_pixels
from aimonk.data.store.row_set import TransientReason
from aimonk.data.store.row_store import RowStore

ROOT = Path(__file__).resolve().parents[2]
# pytest sets the filters for warnings anew; that they hold is tested in a process without it
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, bands), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze(axis=2) if bands == 1 else pixels, mode)


def blocks(*colours: tuple[int, int, int], side: int = 40, upright: bool = False) -> Image.Image:
    """Squares of plain colour side by side, or below one another."""
    row = np.concatenate([np.full((side, side, 3), c, np.uint8) for c in colours], axis=0 if upright else 1)
    return Image.fromarray(row)


def encode(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, data: bytes = b"", colour_type: int = 2) -> bytes:
    """A PNG file that claims to be of some size."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.fixture
def read(tmp_path: Path):
    """Decodes an image, or the content of a file, without changing its size where none is given."""

    def read(source: Image.Image | bytes, size: int = 8, resize: str = "squash") -> np.ndarray:
        path = tmp_path / "image.jpg"
        path.write_bytes(source if isinstance(source, bytes) else encode(source, "PNG"))
        pixels = decode(path, size, resize)
        assert pixels.shape == (size, size, 3) and pixels.dtype == np.uint8
        return pixels

    return read


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_kinds_are_told_by_content(read, kind: str, options: dict) -> None:
    image = noise(8, 8)
    assert (read(encode(image, kind, **options)) == np.asarray(image)).all()


def test_jpeg(read) -> None:
    image = noise(8, 8).resize((64, 64), Image.Resampling.BICUBIC)
    for options in ({}, {"progressive": True}):
        content = encode(image, "JPEG", quality=95, **options)
        assert (read(content, 64) == np.asarray(Image.open(io.BytesIO(content)))).all()


def test_large_jpeg_is_not_decoded_in_full(read) -> None:
    image = noise(6, 6).resize((900, 900), Image.Resampling.BICUBIC)
    expected = np.asarray(image.resize((30, 30), Image.Resampling.BOX), dtype=int)
    assert abs(read(encode(image, "JPEG", quality=95), 30) - expected).max() < 12


def test_first_frame_of_an_animation(read) -> None:
    first, second = blocks(RED, GREEN, side=4).resize((8, 8)), blocks(BLUE, side=8)
    for kind, options in (("GIF", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("PNG", {})):
        content = encode(first, kind, save_all=True, append_images=[second], **options)
        assert (read(content) == np.asarray(first)).all(), kind


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("1", (8, 8), 1), WHITE),
        (Image.new("L", (8, 8), 77), (77, 77, 77)),
        (Image.new("LA", (8, 8), (0, 51)), (204, 204, 204)),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 51)), (255, 204, 204)),
        (Image.new("RGBA", (8, 8), (9, 9, 9, 0)), WHITE),
        (Image.new("I;16", (8, 8), 65535), WHITE),
        (Image.new("I;16", (8, 8), 77 * 257), (77, 77, 77)),
    ],
)
def test_modes(read, image: Image.Image, expected: tuple) -> None:
    assert (read(image) == expected).all()


def test_palette(read) -> None:
    image = blocks(RED, BLUE, side=4).resize((8, 8)).quantize(2)
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        assert (read(encode(image, kind)) == np.asarray(image.convert("RGB"))).all()
    clear = image.getpixel((0, 0))
    expected = np.asarray(blocks(WHITE, BLUE, side=4).resize((8, 8)))
    assert (read(encode(image, "PNG", transparency=clear)) == expected).all()
    assert (read(encode(image, "GIF", transparency=clear)) == expected).all()
    half = bytes(51 if i == clear else 255 for i in range(2))
    assert read(encode(image, "PNG", transparency=half))[0, 0].tolist() == [255, 204, 204]


def test_transparent_colour_of_rgb_and_greyscale(read) -> None:
    image = blocks(RED, BLUE, side=4).resize((8, 8))
    assert (read(encode(image, "PNG", transparency=RED))[:, 0] == WHITE).all()
    assert (read(encode(Image.new("L", (8, 8), 9), "PNG", transparency=9)) == WHITE).all()


def test_cmyk(read) -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert abs(read(encode(image, "JPEG", quality=95), 16).astype(int) - RED).max() < 5
    assert (read(encode(image, "TIFF"), 16) == RED).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 0.2, 1]], np.float32), [0, 51, 255]),
        (np.array([[-5, 51, 300]], np.float32), [0, 51, 255]),
        (np.array([[np.nan, 0.2, np.inf]], np.float32), [0, 51, 255]),
        (np.array([[0, 51, 255]], np.int32), [0, 51, 255]),
        (np.array([[-9, 13107, 65535]], np.int32), [0, 51, 255]),
        (np.array([[0, 200_000, 1_000_000]], np.int32), [0, 51, 255]),
        (np.array([[0, 13107, 65535]], np.uint16), [0, 51, 255]),
        (np.array([[0, 13107, 65535]], ">u2"), [0, 51, 255]),
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_more_than_8_bits(read, values: np.ndarray, expected: list[int]) -> None:
    square = np.concatenate([values, values, values])
    pixels = read(encode(Image.fromarray(square.astype(values.dtype)), "TIFF"), 3)
    assert (pixels == np.array(expected)[None, :, None]).all()


def test_squash(read) -> None:
    pixels = read(blocks(RED, GREEN, BLUE, side=30), 30)
    assert (pixels[:, :9] == RED).all()
    assert (pixels[:, 11:19] == GREEN).all()
    assert (pixels[:, 21:] == BLUE).all()


@pytest.mark.parametrize("upright", [False, True])
def test_crop_keeps_the_centre(read, upright: bool) -> None:
    for size in (20, 40, 80):
        # a little of the neighbours shines in at the edges, as if the centre were cut out after resizing
        assert (read(blocks(RED, GREEN, BLUE, upright=upright), size, "crop")[1:-1, 1:-1] == GREEN).all()


@pytest.mark.parametrize("upright", [False, True])
def test_pad_keeps_everything(read, upright: bool) -> None:
    pixels = read(blocks(RED, GREEN, BLUE, upright=upright), 60, "pad")
    pixels = pixels.swapaxes(0, 1) if upright else pixels
    assert (pixels[:20] == WHITE).all() and (pixels[40:] == WHITE).all()
    assert (pixels[20:40, :19] == RED).all() and (pixels[20:40, 21:39] == GREEN).all()
    assert (pixels[20:40, 41:] == BLUE).all()


def test_thin_strip(read) -> None:
    strip = Image.new("RGB", (5000, 1), RED)
    assert (read(strip, 8, "squash") == RED).all()
    assert (read(strip, 8, "crop") == RED).all()
    padded = read(strip, 8, "pad")
    assert (padded == RED).all(axis=2).sum() == 8 and (padded == WHITE).all(axis=2).sum() == 56


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("resize", RESIZES)
def test_orientation(read, kind: str, resize: str) -> None:
    upright = noise(3, 2).resize((48, 31), Image.Resampling.BICUBIC)
    expected = read(upright, 16, resize).astype(int)
    undo = {2: 0, 3: 1 + 2, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose
    assert undo[3] == Image.Transpose.ROTATE_180
    for orientation in range(1, 9):
        stored = upright.transpose(undo[orientation]) if orientation in undo else upright
        exif = Image.Exif()
        exif[0x0112] = orientation
        lossless = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
        content = encode(stored, kind, exif=exif.tobytes(), **lossless)
        pixels = read(content, 16, resize).astype(int)
        assert abs(pixels - expected).max() < (12 if kind == "JPEG" else 3), orientation


def test_orientation_table() -> None:
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = Image.open(io.BytesIO(encode(noise(5, 3), "PNG", exif=exif.tobytes())))
        turned = image.convert("RGB").transpose(decoding.TURNS[orientation])
        assert (np.asarray(ImageOps.exif_transpose(image)) == np.asarray(turned)).all()


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "I;16", "F"])
def test_large_images_in_bands(read, monkeypatch: pytest.MonkeyPatch, resize: str, mode: str) -> None:
    if mode in ("I;16", "F"):
        top = 65535 if mode == "I;16" else 1
        values = np.random.default_rng(0).uniform(0, top, (97, 213))
        image = Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.float32))
    else:
        image = noise(213, 97, "RGB" if mode == "P" else mode)
        image = image.quantize(64) if mode == "P" else image
    whole = read(encode(image, "TIFF"), 12, resize).astype(int)
    monkeypatch.setattr(decoding, "BAND_PIXELS", 1000)
    monkeypatch.setattr(decoding, "HUGE_PIXELS", 2000)
    assert abs(read(encode(image, "TIFF"), 12, resize) - whole).max() <= 1
    assert not decoding.one_huge.locked()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_truncated(read, kind: str) -> None:
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
def test_refused(read, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read(content)
    assert not isinstance(caught.value, UnavailableError)


def test_other_formats_are_refused(read) -> None:
    """What the README does not name is not read either: fewer decoders for strangers to attack."""
    for kind in ("PPM", "TGA", "ICO", "EPS"):
        with pytest.raises(ValueError, match="unknown image format"):
            read(encode(noise(16, 16), kind))


def test_bounds_on_memory(read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_WEBP_PIXELS", 63)
    with pytest.raises(ValueError, match="8x8 pixels of WebP"):
        read(encode(noise(8, 8), "WEBP"))
    monkeypatch.setattr(decoding, "MAX_CHUNK_BYTES", 1000)
    assert read(encode(noise(8, 8), "TIFF")).any()
    # a tile may be far larger than the image, and a few bytes be unpacked to fill it
    for tags in ({322: 4096, 323: 4096, 324: (8,), 325: (1,)}, {278: 4096, 273: (8,), 279: (1,)}):
        content = encode(noise(64, 64), "TIFF", tiffinfo=tags, compression="tiff_deflate")
        with pytest.raises(ValueError, match="strip or tile of"):
            read(content)
    with open(tmp_path / "sparse.jpg", "wb") as file:
        file.truncate(decoding.MAX_FILE_BYTES + 2**20)
    with pytest.raises(ValueError, match="the file has 401 MB; expected at most 400 MB"):
        decode(tmp_path / "sparse.jpg", 8, "squash")


def within(seconds: float, function, *arguments):
    """The result of a function that must not hang."""
    result = []

    def call() -> None:
        try:
            result.append(function(*arguments))
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    assert result, "it hangs"
    return result[0]


def test_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
            patch.setattr(decoding.os, "stat", lambda path: regular)  # put there after the first look
            problems = {name: within(20, decode, tmp_path / name, 8, "squash") for name in names}
    assert all(isinstance(problem, ValueError) for problem in problems.values())
    assert str(problems["pipe.jpg"]) == "not a regular file"


def test_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnavailableError, match=r"^No such file or directory$"):
        decode(tmp_path / "none.jpg", 8, "squash")
    os.symlink(tmp_path / "loop.jpg", tmp_path / "loop.jpg")
    with pytest.raises(UnavailableError, match="symbolic links"):
        decode(tmp_path / "loop.jpg", 8, "squash")
    (tmp_path / "a.png").write_bytes(encode(noise(8, 8), "PNG"))

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(decoding, "_to_square", fail)
    with pytest.raises(UnavailableError, match="not enough memory"):
        decode(tmp_path / "a.png", 8, "squash")


def test_garbage_beside_the_pixels(read) -> None:
    image = noise(8, 8)
    junk = np.random.default_rng(0).bytes(3000)
    # an EXIF block whose tag claims four billion bytes, and a directory that points to itself
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


def test_mutated_images(read) -> None:
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


def test_memory_and_warnings_of_a_process(tmp_path: Path) -> None:
    """Large images are decoded one at a time, and no copies are made of the whole: 144 MB here."""
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


def test_find_images(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "sub/é [b], c.jpg", "-d.jpg"):
        (folder / name).write_bytes(b"x")
    os.symlink("a.jpg", folder / "inside.jpg")
    os.symlink("nowhere.jpg", folder / "broken.jpg")
    os.symlink("loop.jpg", folder / "loop.jpg")
    os.symlink(".", folder / "here")
    names = ["a.jpg", "sub/é [b], c.jpg", "-d.jpg", "inside.jpg", "here/here/a.jpg", "none.jpg"]
    names += ["broken.jpg", "loop.jpg", "x" * 300, "a.jpg/b.jpg"]
    assert find_images(folder, names, follow_links=False).tolist() == [True] * 5 + [False] * 5
    os.symlink(folder, tmp_path / "link")
    assert find_images(tmp_path / "link", names, follow_links=False).tolist() == [True] * 5 + [False] * 5
    with pytest.raises(FileNotFoundError, match="no images folder at"):
        find_images(tmp_path / "none", names, follow_links=False)


def test_links_that_lead_out(tmp_path: Path) -> None:
    folder, secret = tmp_path / "images", tmp_path / "images2"
    folder.mkdir()
    secret.mkdir()
    for path in (folder / "a.jpg", secret / "b.jpg"):
        path.write_bytes(b"x")
    os.symlink(secret / "b.jpg", folder / "file.jpg")
    os.symlink(secret, folder / "sub")
    names = ["a.jpg", "file.jpg", "sub/b.jpg", "sub/none.jpg"]
    with pytest.raises(
        ValueError,
        match=r"^2 images behind symbolic links to outside .*: file.jpg, sub/b.jpg; data.follow_links",
    ):
        find_images(folder, names, follow_links=False)
    assert find_images(folder, names, follow_links=True).tolist() == [True, True, True, False]


def test_list_images(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.JPG", "a.png", "sub/c.webp", "notes.txt", "x.jpg.txt", ".hidden.gif"):
        (tmp_path / name).write_bytes(b"")
    os.symlink(tmp_path, tmp_path / "sub" / "loop")
    assert list_images(tmp_path) == [".hidden.gif", "a.png", "b.JPG", "sub/c.webp"]


def test_fingerprints(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"one")
    (first,) = fingerprints([path])
    assert fingerprints([path, path]) == [first, first]
    os.utime(path, ns=(0, os.stat(path).st_mtime_ns + 1))
    (second,) = fingerprints([path])
    path.write_bytes(b"other")
    os.utime(path, ns=(0, os.stat(path).st_mtime_ns))
    assert len({first, second, *fingerprints([path])}) == 3


def plainly(results, total: int, title: str):
    return results


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for i, path in enumerate(paths):
        path.write_bytes(encode(Image.new("RGB", (8, 8), (i, i, i)), "PNG"))
    paths[4].write_bytes(b"no image")
    return paths


def test_decode_all(files: list[Path]) -> None:
    files.append(files[0].with_name("none.png"))
    results = list(decode_all(files, 8, "squash", np.array([5, 4, 0, 6])))
    assert [row for row, _ in results] == [5, 4, 0, 6]
    assert (results[0][1] == 5).all() and (results[2][1] == 0).all()
    assert type(results[1][1]) is str and "unknown image" in results[1][1]
    assert (
        results[3][1] == TransientReason("No such file or directory")
        and type(results[3][1]) is TransientReason
    )


def test_decoding_waits_for_a_slow_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr(images, "decode", lambda path, *_: started.append(path) or np.zeros(1))
    most = 0
    paths = [Path(str(i)) for i in range(400)]
    for done, (row, _) in enumerate(decode_all(paths, 8, "squash", np.arange(400))):
        assert row == done
        if done < 50:
            time.sleep(0.001)
            most = max(most, len(started) - done)
    assert 1 < most <= 5 * (os.cpu_count() or 1) + 1
    assert sorted(started) == sorted(paths)


def test_pixels_are_stored(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RowStore(tmp_path / "cache", 10**9)
    first = open_pixels(store, files, fingerprints(files), 8, "squash", plainly)
    assert first.computed == 6
    assert (first.array[:, 0, 0, 0] == [0, 1, 2, 3, 0, 5]).all()
    assert list(first.errors) == [4] and "unknown image" in first.errors[4]

    calls = []
    monkeypatch.setattr(
        images, "decode", lambda path, *_: calls.append(path) or np.full((8, 8, 3), 9, np.uint8)
    )
    second = open_pixels(store, files, fingerprints(files), 8, "squash", plainly)
    assert (second.computed, calls, second.errors) == (0, [], first.errors)
    os.utime(files[2], ns=(0, 1))
    third = open_pixels(store, files, fingerprints(files), 8, "squash", plainly)
    assert third.computed == 1 and calls == [files[2]]
    assert (third.array[:, 0, 0, 0] == [0, 1, 9, 3, 0, 5]).all()
    assert open_pixels(store, files, fingerprints(files), 8, "crop", plainly).computed == 6


def test_an_unavailable_file_is_tried_again(files: list[Path], tmp_path: Path, monkeypatch) -> None:
    store = RowStore(tmp_path / "cache", 10**9)

    def fail(path: Path, *_: object) -> np.ndarray:
        if path == files[3]:
            raise UnavailableError("Input/output error")
        return decode(path, 8, "squash")

    with monkeypatch.context() as patch:
        patch.setattr(images, "decode", fail)
        assert (
            open_pixels(store, files, fingerprints(files), 8, "squash", plainly).errors[3]
            == "Input/output error"
        )
    again = open_pixels(store, files, fingerprints(files), 8, "squash", plainly)
    assert again.computed == 1 and list(again.errors) == [4]
    assert (again.array[3] == 3).all()
    assert open_pixels(store, files, fingerprints(files), 8, "squash", plainly).computed == 0


def test_threads_give_what_one_gives(files: list[Path]) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda i: decode(files[i % 4], 8, "pad"), range(200)))
    assert all((pixels == i % 4).all() for i, pixels in enumerate(results))
