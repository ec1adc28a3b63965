"""Sentences of the audit."""

import pytest

from aimonk.auditing.examine import describe_shift
from aimonk.auditing.shift import Shift


@pytest.mark.parametrize(
    ("shift", "sentence"),
    [
        (Shift(False, 0, False, 0.5, []), "no evidence that the label rows are shifted or reversed (p 0.5)"),
        (Shift(True, 0, True, 0.01, []), "the features predict the label rows in reversed order (p 0.01)"),
        (
            Shift(True, -2, False, 0.01, []),
            "the features of each image predict the label row 2 earlier (p 0.01): the rows may be shifted",
        ),
    ],
)
def test_shift_sentence(shift, sentence):
    assert describe_shift(shift)["sentence"] == sentence
