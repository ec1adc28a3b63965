import pytest

from aimonk.files.text import join_errors, listed, plural


@pytest.mark.parametrize(
    ("count", "noun", "expected"),
    [
        (1, "image", "1 image"),
        (2, "image", "2 images"),
        (0, "entry", "0 entries"),
        (1, "entry", "1 entry"),
        (3, "batch", "3 batches"),
        (2, "class", "2 classes"),
        (5, "key", "5 keys"),
        (2, "duplicate photograph", "2 duplicate photographs"),
    ],
)
def test_plural(count, noun, expected):
    assert plural(count, noun) == expected


def test_listed_escapes_control_characters():
    assert listed(["é a", "\x1b[31mred", "c"], 2) == "é a, '\\x1b[31mred' and 1 more"


def test_join_errors_shows_ten():
    assert join_errors(["x"] * 10) == "\n".join("x" * 10)
    assert join_errors(["x"] * 12).splitlines()[10:] == ["and 2 more"]
