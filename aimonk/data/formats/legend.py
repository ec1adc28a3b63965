"""The legend of a format whose values are found while its file is read."""

from collections.abc import Sequence

from aimonk.data.annotations import Value

MOST_VALUES = 256


class GrowingLegend:
    """Values, numbered in the order in which they occur.

    Args:
        values: The first ones.
    """

    def __init__(self, values: Sequence[Value]):
        self.values = list(values)
        self._codes: dict[str, int] = {}

    def code(self, text: str, meaning: int) -> int:
        """The index of a value, which is added where it is new.

        Raises:
            ValueError: The values are too many.
        """
        if text not in self._codes:
            if len(self.values) == MOST_VALUES:
                raise ValueError(f"the value {text[:40]!r} is one too many; expected {MOST_VALUES} values")
            self._codes[text] = len(self.values)
            self.values.append(Value(text, meaning))
        return self._codes[text]
