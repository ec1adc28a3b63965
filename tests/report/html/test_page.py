import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from aimonk.report.html.page import environment, make_printable, render


def test_values_are_escaped_and_made_printable() -> None:
    template = environment().from_string('<p title="{{ name }}">{{ name }}</p>{{ "%s" | format(name) }}')
    content = template.render(name="<b>\"'\u202e\x1b\0\udcff")
    assert content.count("&lt;b&gt;&#34;&#39;\ufffd\ufffd\ufffd\ufffd") == 3
    assert "<b>" not in content


def test_macros_escape_their_arguments_once() -> None:
    source = "{% macro f(name) %}<b>{{ name }}</b>\n{% endmacro %}{{ f(name) }}"
    assert environment().from_string(source).render(name="<&\x1b") == "<b>&lt;&amp;\ufffd</b>\n"


def test_undefined_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="verdict"):
        render("run.html.j2", title="a run")
    with pytest.raises(UndefinedError):
        environment().from_string("{{ name }}").render()


@pytest.mark.parametrize("text", ["mütze 帽子 نمی‌خواهم", "1.00\u202fPM\u00a0\u3000", ""])
def test_letters_of_all_scripts_are_kept(text: str) -> None:
    assert make_printable(text) == text


@pytest.mark.parametrize(("value", "expected"), [("a\nb\u202ec\ud800", "a\ufffdb\ufffdc\ufffd"), (3, "3")])
def test_control_characters_are_replaced(value: object, expected: str) -> None:
    assert make_printable(value) == expected
    assert make_printable(Markup("<b>\n</b>")) == "<b>\n</b>"
