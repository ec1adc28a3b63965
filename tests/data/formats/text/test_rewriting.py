"""Rewritten label files differ from the original in the changed fields only, and read as intended."""

from pathlib import Path

import pytest

from aimonk.data.annotations import ABSENT, PRESENT, UNKNOWN
from aimonk.data.formats.text.label_file import read_labels
from aimonk.data.formats.text.rewriting import LabelText
from aimonk.data.formats.text.tokens import Tokens

Change = dict[tuple[str, str], int]


def rewrite(folder: Path, text: str, changes: Change, **settings) -> str:
    """The new text; checks that it reads with the changed labels and no others."""
    path = folder / "labels"
    path.write_bytes(text.encode())
    names = settings.pop("attributes", None)
    tokens = Tokens(**settings)
    before = read_labels(path, names, None, tokens)
    new = LabelText(text.encode(), path, names, None, tokens).rewrite(changes)
    path.write_bytes(new)
    after = read_labels(path, names, None, tokens)
    assert (after.names, after.attributes) == (before.names, before.attributes)
    for n, name in enumerate(before.names):
        for a, attribute in enumerate(before.attributes):
            old = (ABSENT, PRESENT)[int(before.labels[n, a])] if before.mask[n, a] else UNKNOWN
            new_value = (ABSENT, PRESENT)[int(after.labels[n, a])] if after.mask[n, a] else UNKNOWN
            assert new_value == changes.get((name, attribute), old)
    return new.decode()


@pytest.mark.parametrize(
    ("text", "attribute", "expected"),
    [
        ("a.jpg 1 NA\r\nb.jpg  0\t1 \r\n", "Attr2", "a.jpg 1 NA\r\nb.jpg  0\tNA \r\n"),
        ("# top\na.jpg,1,na\n\n# mid\nb.jpg, 0 , 1", "Attr2", "# top\na.jpg,1,na\n\n# mid\nb.jpg, 0 , na"),
        ("image;hat;cap\na.jpg;yes;\nb.jpg;no;yes\n", "cap", "image;hat;cap\na.jpg;yes;\nb.jpg;no;\n"),
        ('image,"x, y",z\n"a,1.jpg","1","NA"\nb.jpg,"0","1"\n', "z", None),
        (
            "\ufeffimage\thot hat\tz\na.jpg\t1\t\nb.jpg\t0\t1\n",
            "z",
            "\ufeffimage\thot hat\tz\na.jpg\t1\t\nb.jpg\t0\t\n",
        ),
        (",image,hat,split,z\n0,a.jpg,1,train,NaN\n1,b.jpg,0,val,1\n", "z", None),
        ("image,split,hat,z\na.jpg,train,1.0,none\nb.jpg,val,0.0,1.0", "z", None),
        ("b.jpg 0 1\rb.jpg 0 1\ra.jpg 1 NA\r", "Attr2", "b.jpg 0 NA\rb.jpg 0 NA\ra.jpg 1 NA\r"),
    ],
)
def test_only_the_changed_field_differs(
    tmp_path: Path, text: str, attribute: str, expected: str | None
) -> None:
    new = rewrite(tmp_path, text, {("b.jpg", attribute): UNKNOWN})
    if expected is not None:
        assert new == expected
    assert rewrite(tmp_path, new, {("b.jpg", attribute): PRESENT}) == text


def test_spelling_is_that_of_the_column_then_of_the_file_then_built_in(tmp_path: Path) -> None:
    text = "image,a,b\n1.png,yes,1\n2.png,no,1\n"
    assert rewrite(tmp_path, text, {("2.png", "a"): PRESENT}) == "image,a,b\n1.png,yes,1\n2.png,yes,1\n"
    assert rewrite(tmp_path, text, {("2.png", "b"): ABSENT}) == "image,a,b\n1.png,yes,1\n2.png,no,no\n"
    assert rewrite(tmp_path, text, {("2.png", "b"): UNKNOWN}) == "image,a,b\n1.png,yes,1\n2.png,no,NA\n"


def test_spelling_follows_given_tokens(tmp_path: Path) -> None:
    tokens = {"absent": ["-1"], "unknown": ["0"]}
    assert (
        rewrite(tmp_path, "a.jpg 1\nb.jpg 1\n", {("b.jpg", "Attr1"): ABSENT}, **tokens)
        == "a.jpg 1\nb.jpg -1\n"
    )


def test_selected_and_renamed_columns_are_found(tmp_path: Path) -> None:
    text = "image,a,b,c\n1.png,1,0,1\n2.png,0,1,0\n"
    new = rewrite(tmp_path, text, {("1.png", "c"): ABSENT}, attributes=["c", "a"])
    assert new == "image,a,b,c\n1.png,1,0,0\n2.png,0,1,0\n"
    new = rewrite(tmp_path, "1.png 1 0\n2.png 0 1\n", {("2.png", "x"): PRESENT}, attributes=["x", "y"])
    assert new == "1.png 1 0\n2.png 1 1\n"


def test_equal_value_leaves_the_spelling(tmp_path: Path) -> None:
    assert (
        rewrite(tmp_path, "a.jpg TRUE 1\nb.jpg 0 0\n", {("a.jpg", "Attr1"): PRESENT})
        == "a.jpg TRUE 1\nb.jpg 0 0\n"
    )
