"""Tokens of label files: the strings that mean present, absent or unknown."""

import re
from collections.abc import Sequence

from aimonk.data.annotations import ABSENT, PRESENT, UNKNOWN, Value

INVALID = 3  # besides ABSENT, PRESENT and UNKNOWN
BUILT_IN = {"1": PRESENT, "true": PRESENT, "yes": PRESENT, "0": ABSENT, "false": ABSENT, "no": ABSENT}
BUILT_IN |= dict.fromkeys(["", "na", "nan", "null", "none"], UNKNOWN)
NEVER_NAMES = ("na", "nan", "null")
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")


class Tokens(dict[str, int]):
    """Meaning of each field of a label file: ABSENT, PRESENT, UNKNOWN or INVALID.

    Letter case does not count, and equal numbers have the same meaning: `1`, `1.0`, `1.`.
    """

    def __init__(
        self,
        present: Sequence[str | float | bool] = (),
        absent: Sequence[str | float | bool] = (),
        unknown: Sequence[str | float | bool] = (),
    ):
        """Add tokens to the built-in ones, or give these another meaning.

        Raises:
            ValueError: A token is given twice.
        """
        super().__init__()
        self._meanings = dict(BUILT_IN)
        given: dict[str, str] = {}
        lists = {"present": (present, PRESENT), "absent": (absent, ABSENT), "unknown": (unknown, UNKNOWN)}
        for key, (tokens, meaning) in lists.items():
            for token in map(str, tokens):
                same = simplify(token)
                if same in given:
                    where = f"data.tokens.{given[same]}"
                    raise ValueError(f"data.tokens.{key} has {token!r}, already in {where}; expected it once")
                given[same] = key
                self._meanings[same] = meaning

    def __missing__(self, field: str) -> int:
        meaning = self._meanings.get(simplify(field), INVALID)
        if meaning != INVALID:
            self[field] = meaning  # found directly from now on
        return meaning

    def spell(self, meaning: int) -> str:
        """A token with this meaning, for a file that has none."""
        usual = {ABSENT: "0", PRESENT: "1", UNKNOWN: "NA"}[meaning]
        others = [token for token, value in self._meanings.items() if token and value == meaning]
        return usual if self[usual] == meaning else min(others, key=BUILT_IN.__contains__)

    def legend(self) -> list[Value]:
        """The values by ABSENT, PRESENT and UNKNOWN, with the tokens that were given for each."""
        built_in = {ABSENT: "0", PRESENT: "1", UNKNOWN: "NA"}
        given = [token for token, meaning in self._meanings.items() if BUILT_IN.get(token) != meaning]
        return [
            Value(", ".join([usual, *(t for t in given if self._meanings[t] == meaning)]), meaning)
            for meaning, usual in built_in.items()
        ]

    def is_word(self, field: str) -> bool:
        """Whether a token could be the name of an attribute as well: `no` and `none`, unlike `0` and `NA`."""
        return self[field] != INVALID and field.isalpha() and field.lower() not in NEVER_NAMES


def simplify(token: str) -> str:
    """The spelling that equal tokens share."""
    token = token.strip().lower()
    if NUMBER.fullmatch(token):
        token = token.removeprefix("+")
        token = token.rstrip("0").rstrip(".") if "." in token else token
    return token
