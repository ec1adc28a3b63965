import os
from pathlib import Path

import pytest

from aimonk.data.formats.image_names import ImageNames


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of empty files."""
    files = ["a.jpg", "b.PNG", "both.jpg", "both.png", "exact", "exact.jpg", "v1.5.jpg", "sub/c.webp"]
    for name in files:
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).touch()
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a", "a.jpg"),
        ("b", "b.PNG"),
        ("./sub/../sub/c", "sub/c.webp"),
        ("v1.5", "v1.5.jpg"),
        ("exact", "exact"),
        ("a.jpg", "a.jpg"),
        ("c", "c"),
        ("none", "none"),
        ("none.jpg", "none.jpg"),
        ("sub", "sub"),
    ],
)
def test_missing_suffix_is_completed(folder: Path, name: str, path: str) -> None:
    assert ImageNames(folder).resolve(name) == path
    assert ImageNames(folder).resolve(f"{folder}/{name}") == path
    assert ImageNames(folder / "missing").resolve(name) == os.path.normpath(name)
    assert ImageNames(None).resolve(name) == os.path.normpath(name)


def test_name_that_fits_two_images(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"^the image name is 'both'; expected one of both.jpg, both.png$"):
        ImageNames(folder).resolve("both")
    assert ImageNames(folder).resolve("both.png") == "both.png"


def test_absolute_paths_below_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)
    for given in (folder, link):
        assert ImageNames(given).resolve(f"{folder}/sub//c.webp") == "sub/c.webp"
    assert ImageNames(link).resolve(f"{link}/a.jpg") == "a.jpg"
    monkeypatch.chdir(folder / "sub")
    assert ImageNames(Path("../../photos")).resolve(f"{folder}/a.jpg") == "a.jpg"
    assert ImageNames(Path("/")).resolve("/x/a.jpg") == "x/a.jpg"


@pytest.mark.parametrize(
    "end", ["2/a.jpg", "/../a.jpg", "/..\\a.jpg", "/x/../../a.jpg", "", "/", "/C:/a.jpg"]
)
def test_paths_outside_the_folder(folder: Path, end: str) -> None:
    with pytest.raises(ValueError, match="is outside the images folder; expected a relative path inside it"):
        ImageNames(folder).resolve(f"{folder}{end}")
    if end:
        with pytest.raises(ValueError, match="is outside the images folder"):
            ImageNames(None).resolve(f"{folder}{end}")
