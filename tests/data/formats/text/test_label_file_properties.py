import csv
import io

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aimonk.data.formats.text.label_file import read_labels
from aimonk.data.formats.text.tokens import INVALID, Tokens
from aimonk.files.text import printable

TOKENS = np.array(["0", "1", "NA"])
SPELLINGS = {
    "0": ["0", "0.0", "no", "False"],
    "1": ["1", "1.", "Yes", "TRUE"],
    "NA": ["NA", "na", "NaN", "none", "null"],
}
PROPERTY = settings(
    derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


names = st.text(st.characters(codec="utf-8", exclude_characters="/\\\r\n\0"), min_size=1, max_size=8).filter(
    lambda name: name == name.strip() and name[0] != "#" and not name.startswith((".", "\ufeff"))
)


@st.composite
def files(draw: st.DrawFn) -> tuple[list[list[str]], list[str] | None, bytes]:
    """Rows of image and tokens, the names in the header, and a file of both in one of the dialects."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    images, attributes = draw(st.integers(1, 8)), draw(st.integers(1, 5))
    separator = draw(st.sampled_from([",", ";", "\t", " "]))
    quoted = separator in ",;"
    text = names if quoted else names.filter(lambda s: not any(c.isspace() or c in ',;"' for c in s))
    rows = [
        [f"{name}{i}.jpg", *TOKENS[rng.integers(0, 3, attributes)].tolist()]
        for i, name in enumerate(draw(st.lists(text, min_size=images, max_size=images)))
    ]
    labels = text.filter(lambda s: Tokens()[s] == INVALID and printable(s) == s)
    header = draw(st.none() | st.lists(labels, min_size=attributes, max_size=attributes, unique=True))
    lines = [["image", *header]] if header else []
    for name, *tokens in rows:
        lines.append(
            [name, *(rng.choice(SPELLINGS[token] + [""] * (quoted and token == "NA")) for token in tokens)]
        )
    out = io.StringIO()
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    for line in lines:
        if draw(st.booleans()):
            out.write(draw(st.sampled_from(["# a comment, 1 0", "", "   "])) + end)
        if quoted:
            quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
            csv.writer(out, delimiter=separator, lineterminator=end, quoting=quoting).writerow(line)
        else:
            out.write(separator.join(line) + end)
    bom = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    return rows, header, bom + out.getvalue().encode()


@settings(PROPERTY, max_examples=80)
@given(files())
def test_tables_in_any_dialect_round_trip(entries, write, drawn: tuple) -> None:
    rows, header, content = drawn
    table = read_labels(write(content))
    assert entries(table) == [" ".join(row) for row in rows]
    assert table.attributes == (header or [f"Attr{i + 1}" for i in range(len(rows[0]) - 1)])


@settings(PROPERTY, max_examples=120)
@given(files(), st.data())
def test_damaged_files_give_a_table_or_an_error(write, drawn: tuple, data: st.DataObject) -> None:
    content = bytearray(drawn[2])
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        stop = min(len(content), start + data.draw(st.sampled_from([0, 1, 1, 5])))
        piece = st.sampled_from([b"", b",", b"\t", b'"', b"\n", b"..", b"/", b"NA", b"#"]) | st.binary(
            max_size=3
        )
        content[start:stop] = data.draw(piece)
    try:
        table = read_labels(write(bytes(content)))
    except ValueError as error:
        assert str(error)
        return
    shape = len(table.names), len(table.attributes)
    assert table.labels.shape == table.mask.shape == shape and 0 not in shape
    assert len(set(table.names)) == shape[0] and len(set(table.attributes)) == shape[1]
    assert not table.labels[~table.mask].any() and set(np.unique(table.labels)) <= {0, 1}
    assert not any(name.split("/")[0] in ("", "..") for name in table.names)
