import pytest

from aimonk.data.formats.text.tokens import Tokens
from aimonk.data.formats.text.wrong_labels import WrongLabels

TOKENS = Tokens()


def errors_of(attributes: list[str], rows: list[list[str]]) -> list[tuple[int, str]]:
    """The errors in rows that begin on line 2."""
    wrong = WrongLabels()
    for line, fields in enumerate(rows, start=2):
        wrong.add(line, attributes, fields, bytes(TOKENS[field] for field in fields))
    return wrong.errors()


def test_one_wrong_label_names_line_and_attribute() -> None:
    fix = "data.tokens.absent=[-1] (or present, unknown) defines it"
    assert errors_of(["hat", "cap"], [["1", "0"], ["1", "-1"]]) == [
        (3, f"'cap' is '-1'; expected 1, 0 or NA; {fix}")
    ]


def test_equal_values_are_one_error() -> None:
    rows = [["1", "-1", "NA"]] * 500 + [["-1.0", "0", "u"]] * 472
    first, second = errors_of(["hat", "cap", "scarf"], rows)
    assert first[0] == 2
    assert first[1].startswith("'cap' is '-1' (972 labels of 2 attributes); expected 1, 0 or NA; data.tokens")
    assert second[0] == 502 and second[1].startswith("'scarf' is 'u' (472 labels of 1 attribute); expected")


def test_many_values_are_one_error_per_attribute() -> None:
    rows = [["1", f"0.{i}1", "NA"] for i in range(972)]
    assert errors_of(["hat", "cap", "scarf"], rows) == [
        (2, "'cap' is '0.01' (972 wrong values); expected 1, 0 or NA")
    ]
    # ten values are listed
    assert len(errors_of(["hat"], [[f"{i}"] for i in range(2, 12)])) == 10
    (error,) = errors_of(["hat"], [[f"{i}"] for i in range(2, 13)])
    assert error == (2, "'hat' is '2' (11 wrong values); expected 1, 0 or NA")


@pytest.mark.parametrize(
    ("value", "setting"),
    [
        ("-1.0", "data.tokens.absent=[-1.0] "),
        ("maybe", "data.tokens.absent=[maybe] "),
        ("not sure", "\"data.tokens.absent=['not sure']\" "),
        ("0.5", "\"data.tokens.absent=['0.5']\" "),
        ("007", "\"data.tokens.absent=['007']\" "),
        ("?", "\"data.tokens.absent=['?']\" "),
    ],
)
def test_proposed_setting_is_read_back(value: str, setting: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    ((_, error),) = errors_of(["hat"], [[value]])
    assert f"; {setting}(or present, unknown) defines it" in error
    override = OverridesParser.create().parse_override(setting.strip().strip('"'))
    (token,) = override.value()
    assert Tokens(absent=[getattr(token, "text", token)])[value] == 0


@pytest.mark.parametrize("value", ["it's", "x" * 30, "\x1b[2J", "$HOME", 'a"b'])
def test_values_that_need_care_have_no_proposed_setting(value: str) -> None:
    ((_, error),) = errors_of(["hat"], [[value]])
    assert error == f"'hat' is {value!r}; expected 1, 0 or NA"
