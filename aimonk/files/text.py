"""Texts from outside, such that they do nothing but be read: in a terminal, a message, a spreadsheet."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence

JOINERS = "\u200c\u200d"  # invisible, but part of how some scripts are written
FORMULA = ("=", "+", "-", "@", "\t", "\r")
MAX_TOLD = 10


def printable(text: str) -> str:
    """A text without characters that could steer a terminal, turn a line around, or not be written at all."""
    return "".join(c if _is_harmless(c) else "\N{REPLACEMENT CHARACTER}" for c in text)


def _is_harmless(character: str) -> bool:
    # no space but the common one counts as printable; macOS puts another one into the names of screenshots
    return character.isprintable() or character in JOINERS or unicodedata.category(character) == "Zs"


def plural(count: int, noun: str) -> str:
    """A count and its noun: `1 image`, `2 images`, `0 entries`, `3 batches`."""
    if count == 1:
        return f"{count} {noun}"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{count} {noun[:-1]}ies"
    return f"{count} {noun}{'es' if noun.endswith(('s', 'x', 'ch', 'sh')) else 's'}"


def listed(items: Sequence[str], count: int = MAX_TOLD) -> str:
    """The first few of a list in one line, and how many more there are."""
    # a name with control characters could change the terminal
    told = ", ".join(item if printable(item) == item else repr(item) for item in items[:count])
    return told if len(items) <= count else f"{told} and {len(items) - count} more"


def tell(mistakes: Sequence[str]) -> str:
    """The first ten of a list of mistakes, and how many more there are."""
    told = "\n".join(mistakes[:MAX_TOLD])
    more = len(mistakes) - MAX_TOLD
    return told if more <= 0 else f"{told}\nand {more} more"


def guard(text: str) -> str:
    """A text that no spreadsheet runs as a formula: an apostrophe stands before what could start one."""
    return f"'{text}" if text.startswith(FORMULA) else text


def unguard(text: str) -> str:
    """What `guard` was given."""
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA) else text


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A CSV file; texts are guarded against spreadsheets."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([guard(name) for name in header])
    writer.writerows([guard(row[0]), *row[1:]] for row in rows)
    return text.getvalue()
