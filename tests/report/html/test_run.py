"""The report of a run: its order, its content, and that it is self-contained."""

import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from aimonk.data.labels import LabelTable
from aimonk.evaluation.evaluate import (
    Evaluation,
    LabelledLogits,
    choose_operating_point,
    evaluate_chosen,
    verdict,
)
from aimonk.report.html.run import NO_VERDICT, TITLES, RunReport, relative_link, write_report


def simulate(count: int, names: list[str], signal: float = 2.0) -> tuple[LabelTable, np.ndarray]:
    """A label table, and logits correlated with its labels."""
    rng = np.random.default_rng(0)
    labels = (rng.random((count, len(names))) < 0.4).astype(np.float32)
    logits = signal * (labels - 0.5) + rng.normal(size=labels.shape)
    mask = rng.random(labels.shape) < 0.8
    return LabelTable([f"{i}.jpg" for i in range(count)], names, labels * mask, mask), logits


def evaluate_with(table: LabelTable, logits: np.ndarray, rule: str | float = 0.5) -> Evaluation:
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
    files: list[Path] | None = None,
) -> str:
    parts = {name: np.arange(len(table)) for name in evaluations}
    path = folder / "report.html"
    facts = [("data", "labels.csv, 60 images"), ("model", "a network")]
    write_report(
        path,
        RunReport(
            "a run", report or {}, evaluations, table, parts, pixels, config, list(notes), facts, files
        ),
    )
    # white space between tags is not part of the content
    return re.sub(r">\s+<", "><", path.read_text(encoding="utf-8"))


def test_verdict_is_first_and_table_has_all_attributes(tmp_path: Path, parse_page) -> None:
    names = [f"attribute {i}" for i in range(30)]
    table, logits = simulate(60, names)
    evaluation = evaluate_with(table, logits)
    content = render(tmp_path, {"val": evaluation}, table)
    page = parse_page(content)
    assert page.read[0].lower() == f"{verdict(evaluation.scores)}.".lower()
    assert [a for t, a in page.tags if t == "header"] and page.tags[-1][0] == "footer"
    board = content.split("<tbody>")[1].split("</tbody>")[0]
    assert re.findall(r"<bdi>(.*?)</bdi>", board) == names
    assert "24 of 30 attributes with the lowest AUROC" in content
    for name, entry in evaluation.scores["attributes"].items():
        row = board.split(f"<bdi>{name}</bdi>")[1].split("</tr>")[0]
        assert ("not above chance" in row) == (not entry["beats_chance"])
        assert len(re.findall("<svg", row)) == 3


def test_hostile_names_are_escaped_everywhere(tmp_path: Path, parse_page, hostile) -> None:
    names = [hostile, "\u202egnp.exe", "$x^{$", "a\x1b[2Jb\0", "\udcff"]
    table, logits = simulate(60, names)
    table = LabelTable([f"{hostile}{i}" for i in range(60)], names, table.labels, table.mask)
    pixels = np.random.default_rng(0).integers(0, 255, (60, 16, 16, 3), dtype=np.uint8)
    content = render(
        tmp_path,
        {"val": evaluate_with(table, logits, "precision=0.999")},
        table,
        pixels,
        {"epoch": 1, "chosen_by": hostile},
        f"key: '{hostile}'\n\u202e",
        ((hostile, hostile),),
    )
    parse_page(content)
    assert content.count("&lt;script&gt;alert(1)&lt;/script&gt;&#34;&gt;") > 5


def test_pictures_are_written_next_to_the_page(tmp_path: Path, parse_page) -> None:
    table, logits = simulate(60, ["hat", "shoes"])
    pixels = np.zeros((60, 16, 16, 3), dtype=np.uint8)
    Image.new("RGB", (40, 30)).save(tmp_path / "loss_curve.png")
    evaluations = {"val": evaluate_with(table, logits), "test": evaluate_with(table, -logits)}
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
    expected = verdict(evaluations["test"].scores)
    assert parse_page(content).read[0].lower() == f"{expected}.".lower()


def test_mistakes_are_shown_with_image_names(tmp_path: Path) -> None:
    table, logits = simulate(60, ["hat"])
    evaluation = evaluate_with(table, logits)
    pixels = np.zeros((60, 16, 16, 3), dtype=np.uint8)
    content = render(tmp_path, {"val": evaluation}, table, pixels)
    wrong = table.mask[:, 0] & (table.labels[:, 0] == 0) & evaluation.decisions[:, 0]
    worst = np.flatnonzero(wrong)[np.argmax(evaluation.probs[wrong, 0])]
    sheet = content.split("predicted present")[1]
    assert re.findall(r"<bdi>(.*?)</bdi>", sheet)[0] == table.names[worst]
    assert sheet.count("data:image/jpeg") == len(re.findall("<figcaption>", sheet))


def test_all_mistakes_are_listed_with_links(tmp_path: Path, parse_page, hostile) -> None:
    table, logits = simulate(600, ["hat"], signal=0.1)
    names = ["javascript:alert(1)", f"a b/{hostile}.jpg", *table.names[2:]]
    table = LabelTable(names, table.attributes, table.labels, np.ones_like(table.mask))
    evaluation = evaluate_with(table, logits)
    pixels = np.zeros((600, 16, 16, 3), dtype=np.uint8)
    (tmp_path / "run").mkdir()
    files = [tmp_path / "images" / name.replace("\0", "") for name in names]
    content = render(tmp_path / "run", {"val": evaluation}, table, pixels, files=files)
    page = parse_page(content)
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    wrong = int((evaluation.decisions[:, 0] != (table.labels[:, 0] == 1)).sum())
    assert 200 < len(links) == min(wrong, len(links)) and len(links) <= 408
    assert all(link.startswith("../images/") and ":" not in link for link in links)
    decoded = {(tmp_path / "run" / unquote(link)).resolve() for link in links}
    assert decoded <= {file.resolve() for file in files}
    own = render(tmp_path / "run", {"val": evaluation}, table, pixels)
    assert "<a " not in own and "<ol" in own


def test_links_have_no_scheme(tmp_path: Path) -> None:
    assert relative_link(tmp_path / "javascript:alert(1)", tmp_path) == "javascript%3Aalert%281%29"


def test_others_are_folded_below_the_verdict(tmp_path: Path) -> None:
    table, logits = simulate(60, ["hat", "shoes"])
    logits[:, 0] = np.random.default_rng(3).normal(size=60)
    content = render(
        tmp_path, {"val": evaluate_with(table, logits)}, table, None, {"epochs": [{}], "iterations": 9}
    )
    head = content.split("</header>")[0]
    assert "1 of 2 attributes is predicted" in head and "1 without evidence" in head
    assert "<details>" in head and "<bdi>hat</bdi>" in head and "<bdi>shoes</bdi>" not in head
    assert "labels.csv, 60 images" in head and "a network" in head
    content = render(
        tmp_path, {"val": evaluate_with(table, logits)}, table, None, {"epochs": [], "iterations": 9}
    )
    assert "No verdict: " in content and "1 of 2 attributes" not in content


def test_more_than_50_attributes_are_folded(tmp_path: Path) -> None:
    table, logits = simulate(60, [f"attribute {i}" for i in range(60)])
    content = render(tmp_path, {"val": evaluate_with(table, logits)}, table)
    assert content.count("10 more attributes") == 2, "scores and balance"
    for heading in ("Scores of the validation images", "Data"):
        section = content.split(f"<h2>{heading}</h2>")[1].split("</section>")[0]
        folded = section[section.index("10 more attributes") :].split("</details>")[0]
        assert re.findall(r"<bdi>(.*?)</bdi>", folded) == table.attributes[50:]


def test_page_without_held_out_images(tmp_path: Path, parse_page) -> None:
    table, _ = simulate(20, ["hat"])
    content = render(
        tmp_path, {}, table, np.zeros((20, 8, 8, 3), np.uint8), {"epoch": 3, "chosen_by": "the last"}
    )
    assert parse_page(content).read[0] == f"{NO_VERDICT}."
    assert "Kept: the last." in content and "mode=audit" in content
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("value", [0, 1, None])
@pytest.mark.parametrize("images", [1, 20])
def test_attribute_with_one_class_or_no_labels(
    value: int | None, images: int, tmp_path: Path, parse_page
) -> None:
    table, logits = simulate(images, ["hat"])
    labels = np.full((images, 1), value or 0, dtype=np.float32)
    table = LabelTable(table.names, ["hat"], labels, np.full((images, 1), value is not None))
    evaluation = evaluate_with(table, logits, "f1")
    content = render(tmp_path, {"evaluated": evaluation}, table)
    parse_page(content)
    assert ("no known labels" if value is None else "one class only") in content
    board = content.split("<tbody>")[1].split("</tbody>")[0]
    assert board.count('<td class="score">-</td>') >= 4, "AP and AUROC of the attribute and of the mean"
    words = re.sub('base64,[^"]+', "", content)
    assert TITLES["evaluated"] in words and "None" not in words and "nan" not in words


def test_optimistic_scores_and_unreached_goals_are_shown(tmp_path: Path) -> None:
    table, logits = simulate(80, ["hat", "shoes"])
    logits[:, 0] -= 10 * table.labels[:, 0]
    evaluation = evaluate_with(table, logits, "precision=0.99")
    assert evaluation.scores["unreached"] == ["hat"]
    content = render(tmp_path, {"val": evaluation}, table)
    (remark,) = re.findall(r"No threshold reaches the requested precision.*?</p>", content, re.DOTALL)
    assert re.findall(r"<bdi>(.*?)</bdi>", remark) == evaluation.scores["unreached"]
    assert "optimistic" in content
    row = f"<td>macro F1</td><td><b>{evaluation.scores['f1_macro']:.3f}</b></td>"
    assert f"{row}<td>{evaluation.scores['optimistic']['f1_macro']:.3f}</td>" in content


def test_scores_of_folds_are_shown(tmp_path: Path) -> None:
    table, logits = simulate(60, ["hat"])
    fold = {"mean_ap": 0.81, "mean_auroc": None, "f1_macro": 0.5}
    spread = {"mean_ap_spread": 0.02, "mean_auroc_spread": None, "f1_macro_spread": 0.1}
    content = render(
        tmp_path, {"val": evaluate_with(table, logits)}, table, None, {"folds": [fold, fold], **spread}
    )
    assert "Scores of the out-of-fold images" in content and "trained on all of them" in content
    assert "<td>2</td><td>0.810</td><td>-</td><td>0.500</td>" in content
    assert "<td>0.020</td><td>-</td><td>0.100</td>" in content


@pytest.mark.slow
def test_attributes_with_dependent_na_are_named(tmp_path: Path, parse_page, hostile: str) -> None:
    names = [hostile, *(f"attribute {i}" for i in range(12))]
    table, logits = simulate(200, names)
    assert "NA is not random" not in render(tmp_path, {"val": evaluate_with(table, logits)}, table)
    mask = logits < 0.8  # the other entries are NA
    table = LabelTable(table.names, names, table.labels * mask, mask)
    content = render(tmp_path, {"val": evaluate_with(table, logits)}, table)
    read = " ".join(parse_page(content).read)
    named = read[read.index("NA is not random") :].split("):")[0]
    assert hostile in named and "attribute 8" in named and "and 3 more" in named
    board = content.split("<tbody>")[1].split("</tbody>")[0]
    assert board.count("range .") + board.count("range 1.") == 3 * 14, "13 attributes and the mean"
