import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aimonk.data.demo import dataset as demo
from aimonk.data.demo.dataset import ATTRIBUTES, NA_SHARE, draw_demo, draw_labels, draw_picture
from aimonk.data.demo.drawing import SIZE


def read_rows(file: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Header, image names and entries [N, A] of a label file."""
    header, *rows = [line.split(" ") for line in file.read_text(encoding="utf-8").splitlines()]
    return header, [row[0] for row in rows], np.array([row[1:] for row in rows])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def difference(seed: int, attribute: str) -> np.ndarray:
    """Change of each pixel when an attribute is added, [H, W]."""
    present = dict.fromkeys(ATTRIBUTES, False)
    without, shown = (
        np.asarray(draw_picture(present | {attribute: value}, np.random.default_rng(seed)), dtype=float)
        for value in (False, True)
    )
    return np.abs(without - shown).max(axis=2)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_demo(tmp_path_factory.mktemp("cache") / "demo é, [1]", images=40, seed=7)


def test_files_have_the_documented_format(drawn: Path) -> None:
    header, names, labels = read_rows(drawn / "labels.txt")
    assert header == ["image", *ATTRIBUTES]
    assert names == [f"demo_{index:03d}.jpg" for index in range(40)]
    assert sorted(path.name for path in (drawn / "images").iterdir()) == names
    assert set(labels.ravel()) == {"0", "1", "NA"}
    assert sorted(path.name for path in drawn.iterdir()) == ["demo.json", "images", "labels.txt", "truth.txt"]


def test_truth_agrees_with_known_labels(drawn: Path) -> None:
    header, names, labels = read_rows(drawn / "labels.txt")
    truth_header, truth_names, truth = read_rows(drawn / "truth.txt")
    assert (truth_header, truth_names) == (header, names)
    assert set(truth.ravel()) == {"0", "1"}
    known = labels != "NA"
    assert (labels[known] == truth[known]).all()
    expected_truth, expected_mask = draw_labels(40, 7)
    assert ((truth == "1") == expected_truth).all()
    assert (known == expected_mask).all()


def test_images_are_distinct_rgb_jpegs(drawn: Path) -> None:
    pixels = set()
    for path in (drawn / "images").iterdir():
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (SIZE, SIZE))
            pixels.add(image.tobytes())
    assert len(pixels) == 40


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shares_of_attributes_and_unknowns(seed: int) -> None:
    truth, mask = draw_labels(600, seed)
    assert truth.shape == mask.shape == (600, 4)
    np.testing.assert_allclose(truth.mean(axis=0), [0.88, 0.81, 0.53, 0.08], atol=1 / 600)
    # four standard deviations of a binomial share, over all entries and per attribute
    deviation = np.sqrt(NA_SHARE * (1 - NA_SHARE) / mask.size)
    assert abs((~mask).mean() - NA_SHARE) < 4 * deviation
    assert (abs((~mask).mean(axis=0) - NA_SHARE) < 8 * deviation).all()


def test_small_demo_contains_the_rare_attribute() -> None:
    truth, _ = draw_labels(24, 0)
    assert truth.any(axis=0).all()
    assert not truth.all(axis=0).any()


def test_attributes_and_unknowns_are_independent() -> None:
    truth, mask = draw_labels(20_000, 0)
    correlation = np.corrcoef(np.concatenate([truth, mask], axis=1).T)
    # a correlation of independent columns has a standard deviation of 1 / sqrt(N)
    assert abs(correlation[~np.eye(8, dtype=bool)]).max() < 4 / np.sqrt(20_000)


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_attribute_changes_a_part_of_the_picture(attribute: str) -> None:
    for seed in range(8):
        change = difference(seed, attribute)
        assert 0.004 < (change > 30).mean() < 0.25
        # background, light and noise do not change
        assert not change[-8:, -8:].any()


def test_equal_seeds_give_equal_files(tmp_path: Path) -> None:
    first, second = (contents(draw_demo(tmp_path / name, images=5, seed=3)) for name in ("a", "b"))
    assert first == second


def test_seeds_change_labels_and_pixels(tmp_path: Path) -> None:
    first, second = (contents(draw_demo(tmp_path / str(seed), images=5, seed=seed)) for seed in (3, 4))
    assert first.keys() == second.keys()
    assert all(first[name] != second[name] for name in first)


def test_global_generator_is_not_changed(tmp_path: Path) -> None:
    np.random.seed(0)
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    draw_demo(tmp_path / "demo", images=2, seed=0)
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]


def test_existing_demo_is_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = draw_demo(tmp_path / "demo", images=3, seed=0)
    # and without a lock, since the folder may be read-only
    monkeypatch.setattr(demo, "FileLock", lambda *_: pytest.fail("locked"))
    monkeypatch.setattr(demo, "draw_picture", lambda *_: pytest.fail("drawn again"))
    assert draw_demo(folder, images=3, seed=0) == folder


def test_demo_of_another_process_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "demo"
    drawn_by_another = draw_demo(tmp_path / "other", images=2, seed=0)

    @contextmanager
    def wait_for_the_other(_: Path) -> Iterator[None]:
        drawn_by_another.rename(folder)
        yield

    monkeypatch.setattr(demo, "FileLock", wait_for_the_other)
    monkeypatch.setattr(demo, "draw_picture", lambda *_: pytest.fail("drawn again"))
    assert draw_demo(folder, images=2, seed=0) == folder


@pytest.mark.parametrize(("images", "seed"), [(4, 0), (3, 1)])
def test_demo_of_other_parameters_is_replaced(tmp_path: Path, images: int, seed: int) -> None:
    folder = draw_demo(tmp_path / "demo", images=3, seed=0)
    draw_demo(folder, images=images, seed=seed)
    assert contents(folder) == contents(draw_demo(tmp_path / "fresh", images=images, seed=seed))
    assert not list(tmp_path.glob("demo.replaced"))


def test_demo_of_another_version_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = draw_demo(tmp_path / "demo", images=2, seed=0)
    (folder / "labels.txt").write_text("stale")
    monkeypatch.setattr(demo, "DRAWING_VERSION", demo.DRAWING_VERSION + 1)
    draw_demo(folder, images=2, seed=0)
    assert (folder / "labels.txt").read_text().startswith("image ")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_interrupted_drawing_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    pictures = iter([Image.new("RGB", (8, 8))])

    def interrupted(*_: object) -> Image.Image:
        for picture in pictures:
            return picture
        raise error

    folder = tmp_path / "demo"
    with monkeypatch.context() as patch:
        patch.setattr(demo, "draw_picture", interrupted)
        with pytest.raises(error):
            draw_demo(folder, images=3, seed=0)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    draw_demo(folder, images=3, seed=0)
    assert len(list((folder / "images").iterdir())) == 3


def test_remains_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    remains = tmp_path / "demo.unfinished"
    (remains / "images").mkdir(parents=True)
    (remains / "images" / "demo_999.jpg").write_bytes(b"half a pictu")
    folder = draw_demo(tmp_path / "demo", images=2, seed=0)
    assert len(list((folder / "images").iterdir())) == 2
    assert not remains.exists()


def test_concurrent_processes_draw_once(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(draw_demo, [folder] * 3, [20] * 3, [0] * 3))
    assert results == [folder] * 3
    assert contents(folder) == contents(draw_demo(tmp_path / "alone", images=20, seed=0))
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"demo", "alone"}


@pytest.mark.parametrize("note", ["note.txt", "demo.json"])
def test_other_folders_are_not_changed(tmp_path: Path, note: str) -> None:
    (tmp_path / note).write_text('{"mine": 1}')
    with pytest.raises(FileExistsError, match="not a demo data set"):
        draw_demo(tmp_path, images=2, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == [note]


def test_empty_folder_is_filled(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    draw_demo(folder, images=2, seed=0)
    assert (folder / "labels.txt").is_file()


@pytest.mark.parametrize(
    ("images", "seed", "message"),
    [(0, 0, "images is 0; expected 1 or more"), (5, -1, "seed is -1; expected 0 or more")],
)
def test_parameters_out_of_range(tmp_path: Path, images: int, seed: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_demo(tmp_path / "demo", images=images, seed=seed)
    assert not list(tmp_path.iterdir())
