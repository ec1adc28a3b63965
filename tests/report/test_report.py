"""The report of a run: what it says first, what it shows, and that nothing in it acts."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aimonk.data.labels import LabelTable
from aimonk.evaluation.evaluate import (
    Evaluation,
    LabelledLogits,
    choose_operating_point,
    evaluate,
    evaluate_chosen,
    verdict,
)
from aimonk.files.text import printable
from aimonk.report.html.run import TITLES, write_report
from aimonk.report.html.scoreboard import cell, optimistic_table, whisker
from aimonk.report.tables import format_scores

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


class Page(HTMLParser):
    """Tags with their attributes, and the text in the order of reading."""

    def __init__(self, content: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.read: list[str] = []
        self.within: list[str] = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        self.within.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while self.within.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if data.strip() and not {"title", "style"} & set(self.within):
            self.read.append(data.strip())


def simulate(count: int, names: list[str], signal: float = 2.0) -> tuple[LabelTable, np.ndarray]:
    """A label table, and logits that know its labels somewhat."""
    rng = np.random.default_rng(0)
    labels = (rng.random((count, len(names))) < 0.4).astype(np.float32)
    logits = signal * (labels - 0.5) + rng.normal(size=labels.shape)
    mask = rng.random(labels.shape) < 0.8
    return LabelTable([f"{i}.jpg" for i in range(count)], names, labels * mask, mask), logits


def judged_by(table: LabelTable, logits: np.ndarray, rule: str | float = 0.5) -> Evaluation:
    data = LabelledLogits(table, logits, None)
    return evaluate_chosen(data, choose_operating_point(data, rule, None), rule, None, 0)


def render(
    folder: Path,
    evaluations: dict[str, Evaluation],
    table: LabelTable,
    pixels=None,
    report: dict | None = None,
    config: str = "seed: 0",
    notes: tuple = (("images", "60"),),
) -> str:
    parts = {name: np.arange(len(table)) for name in evaluations}
    path = folder / "report.html"
    write_report(path, "a run", report or {}, evaluations, table, parts, pixels, config, list(notes))
    return path.read_text(encoding="utf-8")


def check_self_contained(content: str) -> None:
    assert not re.search(r"https?:", content)
    page = Page(content)
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base", "a"}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert "href" not in attributes and "srcset" not in attributes
        if "src" in attributes:
            kind, data = re.fullmatch(r"data:image/(png|jpeg);base64,(.+)", attributes["src"]).groups()
            with Image.open(io.BytesIO(base64.b64decode(data))) as image:
                assert image.format == kind.upper()
                image.load()
    policies = [a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1 and policies[0].startswith("default-src 'none';")
    assert "script-src" not in policies[0], "it falls back to none"


def test_verdict_stands_first_and_every_attribute_in_the_table(tmp_path: Path) -> None:
    names = [f"attribute {i}" for i in range(30)]
    table, logits = simulate(60, names)
    evaluation = judged_by(table, logits)
    content = render(tmp_path, {"val": evaluation}, table)
    check_self_contained(content)
    page = Page(content)
    assert page.read[0].lower() == f"{verdict(evaluation.scores)}.".lower()
    assert [a for t, a in page.tags if t == "header"] and page.tags[-1][0] == "footer"
    board = content.split("<tbody>")[1].split("</tbody>")[0]
    assert re.findall(r"<bdi>(.*?)</bdi>", board) == names
    assert "the 24 of 30 attributes with the lowest AUROC" in content
    for name, entry in evaluation.scores["attributes"].items():
        row = board.split(f"<bdi>{name}</bdi>")[1].split("</tr>")[0]
        assert ("not above chance" in row) == (not entry["beats_chance"])
        assert len(re.findall("<svg", row)) == 3


def test_hostile_names_do_nothing(tmp_path: Path) -> None:
    names = [HOSTILE, "\u202egnp.exe", "$x^{$", "a\x1b[2Jb\0", "\udcff"]
    table, logits = simulate(60, names)
    table = LabelTable([f"{HOSTILE}{i}" for i in range(60)], names, table.labels, table.mask)
    pixels = np.random.default_rng(0).integers(0, 255, (60, 16, 16, 3), dtype=np.uint8)
    content = render(
        tmp_path,
        {"val": judged_by(table, logits, "precision=0.999")},
        table,
        pixels,
        {"epoch": 1, "chosen_by": HOSTILE},
        f"key: '{HOSTILE}'\n\u202e",
        ((HOSTILE, HOSTILE),),
    )
    check_self_contained(content)
    assert "<img src=x" not in content and "<script" not in content
    assert content.count("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&gt;") > 5
    assert not set(content) & {"\u202e", "\x1b", "\0", "\udcff"}


def test_pictures_lie_beside_the_page(tmp_path: Path) -> None:
    table, logits = simulate(60, ["hat", "shoes"])
    pixels = np.zeros((60, 16, 16, 3), dtype=np.uint8)
    Image.new("RGB", (40, 30)).save(tmp_path / "loss_curve.png")
    evaluations = {"val": judged_by(table, logits), "test": judged_by(table, -logits)}
    content = render(tmp_path, evaluations, table, pixels)
    files = {path.name for path in tmp_path.glob("*.png")}
    assert files == {
        "loss_curve.png",
        "precision_and_recall.png",
        "reliability.png",
        "decisions.png",
        "mistakes.png",
    }
    headings = [re.sub("<.*?>", "", heading) for heading in re.findall(r"<h2>(.*?)</h2>", content)]
    assert headings == [
        "Scores of the test images",
        "Scores of the validation images",
        "Training loss",
        "Precision and recall",
        "Reliability",
        "Decisions",
        "Mistakes",
        "Data",
        "Settings",
    ]
    assert Page(content).read[0].startswith("No attribute is predicted better"), "the test images decide"


def test_mistakes_are_shown_with_their_names(tmp_path: Path) -> None:
    table, logits = simulate(60, ["hat"])
    evaluation = judged_by(table, logits)
    pixels = np.zeros((60, 16, 16, 3), dtype=np.uint8)
    content = render(tmp_path, {"val": evaluation}, table, pixels)
    wrong = table.mask[:, 0] & (table.labels[:, 0] == 0) & evaluation.decisions[:, 0]
    worst = np.flatnonzero(wrong)[np.argmax(evaluation.probs[wrong, 0])]
    sheet = content.split("said to be present")[1]
    assert re.findall(r"<bdi>(.*?)</bdi>", sheet)[0] == table.names[worst]
    assert sheet.count("data:image/jpeg") == len(re.findall("<figcaption>", sheet))


def test_nothing_held_out(tmp_path: Path) -> None:
    table, _ = simulate(20, ["hat"])
    content = render(
        tmp_path, {}, table, np.zeros((20, 8, 8, 3), np.uint8), {"epoch": 3, "chosen_by": "the last"}
    )
    check_self_contained(content)
    assert Page(content).read[0].startswith("Nothing is known of how the model does on new images")
    assert "Weights of epoch 3: the last." in content and "mode=audit" in content
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("value", [0, 1, None])
@pytest.mark.parametrize("images", [1, 20])
def test_one_attribute_of_one_value(value: int | None, images: int, tmp_path: Path) -> None:
    table, logits = simulate(images, ["hat"])
    labels = np.full((images, 1), value or 0, dtype=np.float32)
    table = LabelTable(table.names, ["hat"], labels, np.full((images, 1), value is not None))
    evaluation = judged_by(table, logits, "f1")
    content = render(tmp_path, {"evaluated": evaluation}, table)
    check_self_contained(content)
    assert ("nothing known" if value is None else "one value only") in content
    board = content.split("<tbody>")[1].split("</tbody>")[0]
    assert board.count('<td class="score">-</td>') >= 4, "AP and AUROC, of the attribute and of the mean"
    assert TITLES["evaluated"] in content and "None" not in content and "nan" not in content


def test_optimistic_figures_and_missed_goals_are_told(tmp_path: Path) -> None:
    table, logits = simulate(80, ["hat", "shoes"])
    logits[:, 0] -= 10 * table.labels[:, 0]
    evaluation = judged_by(table, logits, "precision=0.99")
    assert evaluation.scores["unreached"] == ["hat"]
    content = render(tmp_path, {"val": evaluation}, table)
    (told,) = re.findall(r"No threshold reaches the precision asked for.*?</p>", content)
    assert re.findall(r"<bdi>(.*?)</bdi>", told) == evaluation.scores["unreached"]
    assert "optimistic" in content
    row = f"<td>macro F1</td><td><b>{evaluation.scores['f1_macro']:.3f}</b></td>"
    assert f"{row}<td>{evaluation.scores['optimistic']['f1_macro']:.3f}</td>" in content


def test_equal_figures_are_not_called_optimistic() -> None:
    table = optimistic_table({"f1_macro": 0.5, "optimistic": {"f1_macro": 0.5}})
    assert "are the same" in table and "<table" not in table


def test_folds_and_test_images_are_told(tmp_path: Path) -> None:
    table, logits = simulate(60, ["hat"])
    fold = {"mean_ap": 0.81, "mean_auroc": None, "f1_macro": 0.5}
    spread = {"mean_ap_spread": 0.02, "mean_auroc_spread": None, "f1_macro_spread": 0.1}
    content = render(
        tmp_path, {"val": judged_by(table, logits)}, table, None, {"folds": [fold, fold], **spread}
    )
    assert "Scores of the images out of fold" in content and "trained on all of them" in content
    assert "<td>2</td><td>0.810</td><td>-</td><td>0.500</td>" in content
    assert "<td>0.020</td><td>-</td><td>0.100</td>" in content


def test_whisker_stands_where_the_score_does() -> None:
    drawing = whisker(0.5, [0.25, 0.75], 0.1, "ap")
    (centre,) = re.findall(r'cx="([\d.]+)"', drawing)
    ends = [float(x) for x in re.search(r'class="good" x1="([\d.]+)" x2="([\d.]+)"', drawing).groups()]
    mark = float(re.search(r'class="chance" x1="([\d.]+)"', drawing).group(1))
    assert ends[0] < float(centre) < ends[1] and mark < ends[0]
    assert float(centre) == pytest.approx(sum(ends) / 2)
    assert (float(centre) - mark) == pytest.approx((ends[1] - ends[0]) * 0.8, abs=0.2)
    assert 'class="bad"' in whisker(0.5, [0.05, 0.75], 0.1, "ap"), "the interval reaches chance"
    assert "AP .50 [.25, .75] | .10" in drawing
    assert cell(None, None, None, "ap") == '<td class="score">-</td>'


def test_console_table_marks_what_does_not_beat_chance() -> None:
    table, logits = simulate(80, ["hat", "\x1b[31mred", "x" * 200])
    logits[:, 0] = np.random.default_rng(1).normal(size=80)
    data = LabelledLogits(table, logits, None)
    scores = evaluate(data, choose_operating_point(data, 0.5, None), 0).scores
    lines = format_scores(scores, "test images").split("\n")
    assert lines[0] == "test images"
    assert lines[2].startswith("hat ! ") and "\ufffd[31mred  " in lines[3] and "xxx…" in lines[4]
    assert lines[5].startswith("mean") and lines[6].startswith("! no better than chance")
    assert len({line.rindex(" .50") for line in lines[2:5]}) == 1, "columns stay in line"
    assert "\x1b" not in "\n".join(lines)


def test_printable_keeps_scripts_and_drops_controls() -> None:
    assert printable("mütze 帽子 نمی‌خواهم") == "mütze 帽子 نمی‌خواهم"
    assert printable("1.00\u202fPM\u00a0\u3000") == "1.00\u202fPM\u00a0\u3000"
    assert printable("a\nb\u202ec\ud800") == "a\ufffdb\ufffdc\ufffd"
