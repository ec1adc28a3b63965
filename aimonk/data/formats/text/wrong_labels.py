"""Fields of a label file that are no labels, counted instead of listed one by one."""

import re
from dataclasses import dataclass

from aimonk.data.formats.text.tokens import INVALID, simplify
from aimonk.files.text import MAX_LISTED, plural, printable

# what Hydra reads back as the same string without quotes, and with them
PLAIN = re.compile(r"-?[1-9][0-9]{0,8}(\.0+)?|[A-Za-z]+")
QUOTABLE = re.compile(r"[^'\"\\$`!]{1,20}")


@dataclass
class Finding:
    """Wrong labels that are reported together: the first one, and the number of labels and attributes."""

    line: int
    attribute: str
    text: str
    count: int
    attributes: set[str]


class WrongLabels:
    """Wrong labels by value, or by attribute if there are more than ten different values."""

    def __init__(self):
        self._by_value: dict[str, Finding] = {}
        self._by_attribute: dict[str, Finding] = {}

    def add(self, line: int, attributes: list[str], fields: list[str], values: bytes) -> None:
        """Count the fields of a row whose value is INVALID."""
        for attribute, text, value in zip(attributes, fields, values, strict=True):
            if value == INVALID:
                self._count(self._by_attribute, attribute, line, attribute, text)
                if len(self._by_value) <= MAX_LISTED:  # with more, values are not reported
                    self._count(self._by_value, simplify(text), line, attribute, text)

    @staticmethod
    def _count(findings: dict[str, Finding], key: str, line: int, attribute: str, text: str) -> None:
        found = findings.setdefault(key, Finding(line, attribute, text, 0, set()))
        found.count += 1
        found.attributes.add(attribute)

    def errors(self) -> list[tuple[int, str]]:
        """The first line of each finding, and a message."""
        if len(self._by_value) <= MAX_LISTED:
            return [(found.line, _describe_value(found)) for found in self._by_value.values()]
        return [(found.line, _describe_attribute(found)) for found in self._by_attribute.values()]


def _describe_value(found: Finding) -> str:
    total = f"{plural(found.count, 'label')} of {plural(len(found.attributes), 'attribute')}"
    shown = f" ({total})" if found.count > 1 else ""
    token = found.text if PLAIN.fullmatch(found.text) else f"'{found.text}'"
    setting = f"data.tokens.absent=[{token}]"
    if token != found.text:
        setting = f'"{setting}"'
    can_be_given = QUOTABLE.fullmatch(found.text) and printable(found.text) == found.text
    fix = f"; {setting} (or present, unknown) defines it" if can_be_given else ""
    return f"{found.attribute[:80]!r} is {found.text[:40]!r}{shown}; expected 1, 0 or NA{fix}"


def _describe_attribute(found: Finding) -> str:
    shown = f" ({found.count:,} wrong values)" if found.count > 1 else ""
    return f"{found.attribute[:80]!r} is {found.text[:40]!r}{shown}; expected 1, 0 or NA"
