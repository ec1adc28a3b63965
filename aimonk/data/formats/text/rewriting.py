"""Changed labels in the text of a label file, which keeps everything else byte for byte."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from aimonk.data.formats.image_names import ImageNames
from aimonk.data.formats.text.layout import Layout, find_layout
from aimonk.data.formats.text.tokens import Tokens
from aimonk.data.labels import check_names

LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
SEPARATORS = (",", ";", "\t", None)  # None: white space
BYTE_ORDER_MARK = "\ufeff"
Span = tuple[int, int]


class LabelText:
    """The text of a label file, and the place of every label in it.

    Args:
        content: The bytes of a file that `read_labels` accepts with the same arguments.
        path: Named in errors.
        attributes: As for `read_labels`.
        images: As for `read_labels`.
        tokens: As for `read_labels`.
    """

    def __init__(
        self,
        content: bytes,
        path: Path,
        attributes: Sequence[str] | None,
        images: Path | None,
        tokens: Tokens | None,
    ):
        self.tokens = Tokens() if tokens is None else tokens
        self.lines = LINES.findall(content.decode("utf-8"))
        rows = [(i, s) for i, s in enumerate(map(_bare, self.lines), start=1) if _is_row(s)]
        self.layout = find_layout(path, rows, self.tokens)
        names = self.layout.attributes
        if attributes and not self.layout.has_header:
            names = check_names(attributes, "data.attributes")
        self.columns = {name: self._column(i) for i, name in enumerate(names)}
        resolver = ImageNames(images)
        self.rows_of: dict[str, list[int]] = {}
        self.spellings: dict[int, Counter] = {column: Counter() for column in self.columns.values()}
        for line, text in self.layout.rows:
            fields = self.layout.split(text)
            self.rows_of.setdefault(resolver.resolve(fields[0]), []).append(line)
            for column, counts in self.spellings.items():
                counts[fields[column]] += 1

    def _column(self, attribute: int) -> int:
        """Index of the field of an attribute, behind the image and perhaps the split and the annotator."""
        column = attribute + 1
        for other in self.layout.other_columns:
            column += column >= other
        return column

    def rewrite(self, changes: Mapping[tuple[str, str], int]) -> bytes:
        """The content with other labels, in the file's own spelling; all rows of an image change.

        Args:
            changes: Image and attribute -> ABSENT, PRESENT or UNKNOWN.
        """
        of_line: dict[int, dict[int, int]] = {}
        for (image, attribute), value in changes.items():
            for line in self.rows_of[image]:
                of_line.setdefault(line, {})[self.columns[attribute]] = value
        lines = list(self.lines)
        for line, values in of_line.items():
            text = lines[line - 1]
            spans = _field_spans(text, self.layout)
            for column in sorted(values, reverse=True):
                start, end = spans[column]
                if self.tokens[text[start:end]] != values[column]:
                    text = text[:start] + self.spell(column, values[column]) + text[end:]
            lines[line - 1] = text
        return "".join(lines).encode("utf-8")

    def spell(self, column: int, value: int) -> str:
        """The most frequent token with this meaning in the column, in the file, or a built-in one."""
        everywhere = sum(self.spellings.values(), Counter())
        for counts in (self.spellings[column], everywhere):
            for token, _ in counts.most_common():
                if self.tokens[token] == value:
                    return token
        return self.tokens.spell(value)


def _bare(line: str) -> str:
    return line.rstrip("\r\n").removeprefix(BYTE_ORDER_MARK)


def _is_row(text: str) -> bool:
    return bool(text.strip()) and not text.strip().startswith("#")


def _field_spans(line: str, layout: Layout) -> list[Span]:
    """Start and end of the content of each field of a row, without white space and quotes around it."""
    fields = layout.split(_bare(line))
    for separator in SEPARATORS:
        spans = list(_split_spans(line, separator))
        # an index column is not among the fields
        for skipped in (0, 1):
            if [line[a:b].replace('""', '"') for a, b in spans[skipped:]] == fields:
                return spans[skipped:]
    raise ValueError(f"the row is {_bare(line)[:80]!r}; expected a row whose fields can be located")


def _split_spans(line: str, separator: str | None) -> Iterator[Span]:
    start = len(line) - len(line.removeprefix(BYTE_ORDER_MARK))
    stop = len(line.rstrip("\r\n"))
    if separator is None:
        yield from (match.span() for match in re.compile(r"\S+").finditer(line, start, stop))
        return
    quoted = separator != "\t" and '"' in line
    while start <= stop:
        end = _quoted_end(line, start, stop) if quoted else start
        end = line.find(separator, end, stop)
        end = stop if end < 0 else end
        yield _trim(line, start, end, quoted)
        start = end + 1


def _quoted_end(line: str, start: int, stop: int) -> int:
    """The end of a quoted field that begins at start; start itself where there is none."""
    match = re.compile(r' *"(?:[^"]|"")*"').match(line, start, stop)
    return match.end() if match else start


def _trim(line: str, start: int, end: int, quoted: bool) -> Span:
    text = line[start:end]
    start, end = start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())
    if start > end:  # white space only
        return end, end
    if quoted and end - start >= 2 and line[start] == line[end - 1] == '"':
        start, end = start + 1, end - 1
        text = line[start:end]
        start, end = start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())
        return (start, end) if start <= end else (end, end)
    return start, end
