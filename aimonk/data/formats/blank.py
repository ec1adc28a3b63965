"""The setting `data.blank`: what it means that a file does not state a label."""

from aimonk.data.annotations import ABSENT, UNKNOWN

MEANINGS = {"absent": ABSENT, "unknown": UNKNOWN}


def blank_meaning(blank: str | None, what: str, absent: str, unknown: str) -> int:
    """ABSENT or UNKNOWN, as `data.blank` chooses: there is no default, since a wrong guess would be silent.

    Args:
        what: What is blank, such as `a category without annotation`.
        absent: When `absent` is right, such as `if every image was searched for every category`.
        unknown: When `unknown` is right.

    Raises:
        ValueError: It is not given, or neither of the two.
    """
    if blank not in MEANINGS:
        got = "null" if blank is None else repr(blank)
        raise ValueError(
            f"data.blank is {got}; expected absent or unknown, the meaning of {what}: "
            f"absent {absent}, unknown {unknown}"
        )
    return MEANINGS[blank]
