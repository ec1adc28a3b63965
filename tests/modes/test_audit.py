import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aimonk.auditing.examine import examine, summarise_evidence
from aimonk.data.annotations import ABSENT, PRESENT, Annotations, Value
from aimonk.data.formats.text.label_file import read_labels
from aimonk.data.images.folder import find_images
from aimonk.data.images.hashes import hash_images
from aimonk.data.images.headers import odd_files, read_headers
from aimonk.data.labels import LabelTable
from aimonk.report.audit_summary import QUESTIONS, summarise
from aimonk.report.html.audit import format_page

HOSTILE = "<script>alert(1)</script>"
FILES = {"rows": 80, "images": 80, "missing": [], "unreadable": {}, "unlisted": [], "odd": {}}
FILES |= {"formats": {"PNG": 80}, "shortest_side": 32, "median_side": 32, "longest_side": 32}


@pytest.fixture(scope="module")
def dirty(tmp_path_factory, cache_dir: Path, command) -> tuple[Path, str]:
    """The folder of an audit of a small data set with problems, and its output."""
    folder = tmp_path_factory.mktemp("dirty")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    rows = [f"image,bright,{HOSTILE}"]
    for i in range(60):
        bright = i % 2
        pixels = rng.integers(0, 90, (8, 8, 3)) + 160 * bright
        image = Image.fromarray(pixels.astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)
        image.save(folder / "images" / f"{i}.png")
        rows.append(f"{i}.png,{bright},{'NA' if i % 7 == 0 else rng.integers(0, 2)}")
    Image.open(folder / "images" / "3.png").save(folder / "images" / "copy.png")
    Image.open(folder / "images" / "4.png").convert("L").save(folder / "images" / "grey.jpg", "PNG")
    (folder / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    rows += ["copy.png,0,NA", "grey.jpg,NA,NA", "broken.png,1,1", "gone.png,1,0"]
    (folder / "labels.csv").write_text("\n".join(rows))
    Image.new("RGB", (9, 9)).save(folder / "images" / "unlisted.bmp")
    data = ["data=folder", "data.images=images", "data.labels=labels.csv", "data.image_size=64"]
    result = command(folder, "mode=audit", *data, f"cache_dir={cache_dir}", "hydra.run.dir=audit")
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "audit", result.stdout


def test_audit_json_lists_all_findings(dirty: tuple[Path, str]) -> None:
    found = json.loads((dirty[0] / "audit.json").read_text())
    assert found["missing"] == ["gone.png"]
    assert found["unreadable"] == ["broken.png"]
    assert found["unlisted"] == ["unlisted.bmp"]
    assert found["duplicates"] == [["3.png", "copy.png"]]
    assert found["contradictions"] == [
        {"images": ["3.png", "copy.png"], "attributes": ["bright"], "identical": True}
    ]
    assert found["odd"]["grey.jpg"] == "PNG named .jpg, greyscale"
    bright, other = found["attributes"]["bright"], found["attributes"][HOSTILE]
    assert (bright["present"], bright["absent"], bright["na"]) == (32, 31, 1)
    assert bright["evidence"] and bright["auroc"] > 0.95 and bright["p_value"] < 0.01
    assert not other["evidence"]
    assert found["suspects"][0]["image"] in ("copy.png", "3.png")
    assert {"image", "attribute", "label", "probability"} == set(found["suspects"][0])
    assert {entry["image"] for entry in found["to_label"]} >= {"grey.jpg"}
    assert found["missingness"]["policy"] == "ignore"
    assert set(found["missingness"]["attributes"]) == {"bright", HOSTILE}


def test_summary_fits_on_one_screen(dirty: tuple[Path, str]) -> None:
    output = dirty[1]
    for entry in json.loads((dirty[0] / "audit.json").read_text())["attributes"].values():
        assert f"   {entry['sentence']}\n" in output
    assert "   rows without an image (1): gone.png\n" in output
    assert "   3.png = copy.png: contradicting labels for bright\n" in output
    missingness = json.loads((dirty[0] / "audit.json").read_text())["missingness"]
    assert f"6. Why are labels missing? {missingness['sentence']}\n" in output
    for entry in missingness["attributes"].values():
        assert f"   {entry['sentence']}\n" in output
    assert len(output.splitlines()) < 48


def test_page_is_self_contained_and_escapes_names(dirty: tuple[Path, str]) -> None:
    page = (dirty[0] / "audit.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "http://" not in page and "https://" not in page and "<link" not in page
    assert page.count('<img src="data:image/jpeg;base64,') >= 3
    assert page.index("<h1>1 of 2 attributes") < page.index(QUESTIONS[0])


def test_agreement_of_annotators_is_reported() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random((80, 1)) < 0.5).astype(np.float32)
    codes = np.concatenate([labels, np.where(rng.random((80, 1)) < 0.2, 1 - labels, labels)]).astype(np.uint8)
    names = [f"{i}.png" for i in range(80)]
    legend = [Value("0", ABSENT), Value("1", PRESENT)]
    annotators = [HOSTILE] * 80 + ["ben"] * 80
    annotations = Annotations(
        names, ["hat"], legend, codes, np.arange(160) % 80, range(160), "row", annotators
    )
    table = LabelTable(names, ["hat"], labels, labels > -1, annotations=annotations)
    pixels = rng.integers(0, 256, (80, 32, 32, 3), dtype=np.uint8)
    found = examine(table, table, hash_images(pixels), rng.normal(size=(80, 20)).astype(np.float32), 5.0, 0)
    different = int((codes[:80] != codes[80:]).sum())
    assert found.agreement["pairs"][0]["different"] == different
    lines = summarise(found, FILES)
    at = lines.index("6. Do the annotators agree?")
    assert lines[at + 1].startswith("   hat: alpha 0.") and f"{different} of 80 images" in lines[at + 1]
    share = codes.mean()
    expected = f"{different} of 80 labels differ, {160 * share * (1 - share):.0f} by chance: hat {different}"
    assert lines[at + 2].endswith(expected)
    page = format_page(found, FILES, pixels, top=5)
    assert (
        "<h2>6. Do the annotators agree?</h2>" in page and "&lt;script&gt;" in page and "<script" not in page
    )


def test_random_labels_give_no_evidence_and_no_suspects() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random((80, 2)) < 0.5).astype(np.float32)
    table = LabelTable([f"{i}.png" for i in range(80)], ["a", "b"], labels, labels > -1)
    pixels = rng.integers(0, 256, (80, 32, 32, 3), dtype=np.uint8)
    found = examine(table, table, hash_images(pixels), rng.normal(size=(80, 20)).astype(np.float32), 5.0, 0)
    assert not any(entry["evidence"] for entry in found.attributes.values())
    assert found.suspects == [] and found.duplicates == [] and found.shift is not None
    assert "<h1>There is no evidence that any of these labels" in format_page(found, FILES, pixels, top=5)
    assert any("no entry can be judged" in line for line in summarise(found, FILES))
    assert found.missingness is None and not any("missing" in line for line in summarise(found, FILES))
    assert found.agreement is None and not any("annotators" in line for line in summarise(found, FILES))


def test_attribute_with_one_class_cannot_be_tested() -> None:
    entry = {"auroc": None, "p_value": None, "evidence": False}
    assert "cannot be tested" in summarise_evidence("hat", entry)


def test_real_files_are_reported() -> None:
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "aimonk"
    if not folder.is_dir():
        pytest.skip(f"no sample photographs at {folder}")
    table = read_labels(folder / "labels.txt")
    exists = find_images(folder / "images", table.names, follow_links=False)
    assert [table.names[i] for i in np.flatnonzero(~exists)] == [f"image_{i}.jpg" for i in (489, 624, 875)]
    names = [table.names[i] for i in np.flatnonzero(exists)]
    odd = odd_files(names, read_headers([folder / "images" / name for name in names]))
    assert sorted(odd) == ["image_111.jpg", "image_43.jpg", "image_534.jpg"]
    assert odd["image_43.jpg"].startswith("PNG named .jpg") and odd["image_534.jpg"] == "greyscale"


def test_contradiction_of_equal_pixels_is_listed_beside_that_of_near_copies() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random((40, 1)) < 0.5).astype(np.float32)
    labels[:3, 0] = 1, 0, 1
    table = LabelTable([f"{i}.png" for i in range(40)], ["a"], labels, labels > -1)
    pixels = rng.integers(0, 200, (40, 32, 32, 3), dtype=np.uint8)
    pixels[1], pixels[2] = pixels[0], pixels[0] + 1
    found = examine(table, table, hash_images(pixels), rng.normal(size=(40, 20)).astype(np.float32), 5.0, 0)
    assert found.contradictions == [
        {"images": ["0.png", "1.png"], "attributes": ["a"], "identical": True},
        {"images": ["0.png", "1.png", "2.png"], "attributes": ["a"], "identical": False},
    ]
