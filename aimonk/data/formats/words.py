"""Words by which annotation tools state a label: tokens of label files, and present, absent, unknown."""

from collections.abc import Iterable, Mapping, Sequence

from aimonk.data.annotations import ABSENT, PRESENT, UNKNOWN
from aimonk.data.formats.text.tokens import INVALID, Tokens

PLAIN = {"present": PRESENT, "absent": ABSENT, "unknown": UNKNOWN}


class Words:
    """Meaning of words: ABSENT, PRESENT, UNKNOWN or INVALID.

    Args:
        tokens: Arguments of Tokens.
    """

    def __init__(self, tokens: Mapping[str, Sequence]):
        self._tokens = Tokens(**tokens)

    def __getitem__(self, word: str) -> int:
        meaning = self._tokens[word]
        return PLAIN.get(word.strip().lower(), INVALID) if meaning == INVALID else meaning

    def are_values(self, words: Iterable[str]) -> bool:
        """Whether all words have a meaning, and one of them is known."""
        meanings = {self[word] for word in words}
        return INVALID not in meanings and bool(meanings & {PRESENT, ABSENT})
