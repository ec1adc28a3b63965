import pytest

from aimonk.files.text import plural


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
