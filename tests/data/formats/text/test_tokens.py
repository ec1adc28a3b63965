import pytest

from aimonk.data.annotations import ABSENT, PRESENT, UNKNOWN
from aimonk.data.formats.text.tokens import INVALID, Tokens

MEANINGS = {
    PRESENT: ["1", "1.0", "1.", "1.00", "+1", "true", "True", "TRUE", "yes", "Yes"],
    ABSENT: ["0", "0.0", "0.", "0.00", "false", "FALSE", "no", "No"],
    UNKNOWN: ["", "NA", "na", "nA", "nan", "NaN", "none", "None", "null", "NULL"],
    INVALID: ["2", "-1", "0.5", "10", "1.01", "1e0", "1,0", "01", ".", "maybe", "t", "N/A", "1 0", "--1"],
}


@pytest.mark.parametrize("meaning", MEANINGS)
def test_built_in_tokens(meaning: int) -> None:
    tokens = Tokens()
    for _ in range(2):  # the second look-up is a stored one
        assert [tokens[field] for field in MEANINGS[meaning]] == [meaning] * len(MEANINGS[meaning])


def test_given_tokens_may_come_as_numbers_and_booleans() -> None:
    tokens = Tokens(present=[2, "x"], absent=[-1, True], unknown=[0.5, "Not Sure", 3.0])
    assert [tokens[field] for field in ("2", "2.0", "x", "X")] == [PRESENT] * 4
    assert [tokens[field] for field in ("-1", "-1.0", "-1.", "true")] == [ABSENT] * 4
    assert [tokens[field] for field in ("0.5", "0.50", "not sure", "3")] == [UNKNOWN] * 4


def test_given_tokens_override_the_built_in_meaning() -> None:
    tokens = Tokens(present=["0"], absent=["", 1], unknown=["no"])
    assert [tokens[field] for field in ("0.0", "1.0", "", "NO", "NA")] == [
        PRESENT,
        ABSENT,
        ABSENT,
        UNKNOWN,
        UNKNOWN,
    ]
    assert Tokens()["0"] == ABSENT


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"absent": [-1, "-1.0"]}, "data.tokens.absent has '-1.0', already in data.tokens.absent"),
        ({"absent": [-1], "unknown": [-1]}, "data.tokens.unknown has '-1', already in data.tokens.absent"),
        ({"present": ["Y"], "absent": ["y"]}, "data.tokens.absent has 'y', already in data.tokens.present"),
    ],
)
def test_token_given_twice(lists: dict, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Tokens(**lists)
    assert str(caught.value) == f"{message}; expected it once"


def test_words_may_be_names_of_attributes() -> None:
    tokens = Tokens(present=["x", "?"])
    fields = ["no", "None", "TRUE", "x", "?", "1", "0.0", "NA", "nan", "Null", "", "hat"]
    assert [field for field in fields if tokens.is_word(field)] == ["no", "None", "TRUE", "x"]
