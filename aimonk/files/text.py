"""Formatting of messages, and escaping of untrusted strings for terminals and spreadsheets."""

import csv
import difflib
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

JOINERS = "\u200c\u200d"  # invisible, but required by some scripts
FORMULA = ("=", "+", "-", "@", "\t", "\r")
MAX_LISTED = 10
LONGEST = 200  # characters of a name in a message
SPACES = re.compile(r"[\t\r\n\v\f]+")


def printable(text: str) -> str:
    """Replace characters that could control a terminal, reverse text direction or fail to encode."""
    return "".join(c if _is_printable(c) else "\N{REPLACEMENT CHARACTER}" for c in text)


def _is_printable(character: str) -> bool:
    # str.isprintable rejects all spaces but U+0020; macOS uses U+202F in the names of screenshots
    return character.isprintable() or character in JOINERS or unicodedata.category(character) == "Zs"


@lru_cache(10_000)  # names of labels repeat
def one_line(text: str) -> str:
    """Replace tabs and line ends by spaces, and remove white space at both ends."""
    return SPACES.sub(" ", text).strip()


def plural(count: int, noun: str) -> str:
    """A count and its noun: `1 image`, `2 images`, `0 entries`, `3 batches`."""
    if count == 1:
        return f"{count} {noun}"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{count} {noun[:-1]}ies"
    return f"{count} {noun}{'es' if noun.endswith(('s', 'x', 'ch', 'sh')) else 's'}"


def listed(items: Sequence[str], count: int = MAX_LISTED) -> str:
    """The first items of a sequence in one line, and the number of the others."""
    # names with control characters could change the terminal
    short = [item if len(item) <= LONGEST else f"{item[:LONGEST]}..." for item in items[:count]]
    shown = ", ".join(item if printable(item) == item else repr(item) for item in short)
    return shown if len(items) <= count else f"{shown} and {len(items) - count} more"


def suggest(name: str, names: Sequence[str], expected: str = "expected") -> str:
    """The remedy for an unknown name: the name that was probably meant, otherwise the known ones."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"{expected} {listed(names)}"


def join_errors(errors: Sequence[str]) -> str:
    """The first ten errors, one per line, and the number of the others."""
    shown = "\n".join(errors[:MAX_LISTED])
    more = len(errors) - MAX_LISTED
    return shown if more <= 0 else f"{shown}\nand {more} more"


def guard(text: str) -> str:
    """Prefix an apostrophe to a string that a spreadsheet would evaluate as a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def unguard(text: str) -> str:
    """Undo `guard`."""
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA) else text


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The content of a CSV file; the header and the first column are guarded against spreadsheets."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([guard(name) for name in header])
    writer.writerows([guard(row[0]), *row[1:]] for row in rows)
    return file.getvalue()
