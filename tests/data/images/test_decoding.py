import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from aimonk.data.images import decoding
from aimonk.data.images.decoding import RESIZES

# pytest resets the filters for warnings; test_malformed tests them in a process without pytest
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
def test_format_is_detected_by_content(read, kind: str, options: dict) -> None:
    image = noise(8, 8)
    assert (read(encode(image, kind, **options)) == np.asarray(image)).all()


def test_jpeg(read) -> None:
    image = noise(8, 8).resize((64, 64), Image.Resampling.BICUBIC)
    for options in ({}, {"progressive": True}):
        content = encode(image, "JPEG", quality=95, **options)
        assert (read(content, 64) == np.asarray(Image.open(io.BytesIO(content)))).all()


def test_large_jpeg_is_decoded_at_reduced_scale(read) -> None:
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
        (np.array([[0, 819, 4095]], np.uint16), [0, 51, 255]),  # 12 bits
        (np.array([[0, 51, 255]], np.uint16), [0, 51, 255]),
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
        # edges contain a little of the neighbours, as if the centre were cropped after resizing
        assert (read(blocks(RED, GREEN, BLUE, upright=upright), size, "crop")[1:-1, 1:-1] == GREEN).all()


@pytest.mark.parametrize("upright", [False, True])
def test_pad_keeps_the_entire_image(read, upright: bool) -> None:
    pixels = read(blocks(RED, GREEN, BLUE, upright=upright), 60, "pad")
    pixels = pixels.swapaxes(0, 1) if upright else pixels
    assert (pixels[:20] == WHITE).all() and (pixels[40:] == WHITE).all()
    assert (pixels[20:40, :19] == RED).all() and (pixels[20:40, 21:39] == GREEN).all()
    assert (pixels[20:40, 41:] == BLUE).all()


def test_extreme_aspect_ratio(read) -> None:
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


def test_orientation_equals_pillow() -> None:
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = Image.open(io.BytesIO(encode(noise(5, 3), "PNG", exif=exif.tobytes())))
        turned = image.convert("RGB").transpose(decoding.TURNS[orientation])
        assert (np.asarray(ImageOps.exif_transpose(image)) == np.asarray(turned)).all()


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "I;16", "F"])
def test_bands_equal_the_entire_image(read, monkeypatch: pytest.MonkeyPatch, resize: str, mode: str) -> None:
    if mode in ("I;16", "F"):
        top = 65535 if mode == "I;16" else 1
        values = np.random.default_rng(0).uniform(0, top, (97, 213))
        image = Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.float32))
    else:
        image = noise(213, 97, "RGB" if mode == "P" else mode)
        image = image.quantize(64) if mode == "P" else image
    expected = read(encode(image, "TIFF"), 12, resize).astype(int)
    monkeypatch.setattr(decoding, "BAND_PIXELS", 1000)
    monkeypatch.setattr(decoding, "HUGE_PIXELS", 2000)
    assert abs(read(encode(image, "TIFF"), 12, resize) - expected).max() <= 1
    assert not decoding.one_huge.locked()
