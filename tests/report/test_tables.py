import numpy as np

from aimonk.data.labels import LabelTable
from aimonk.evaluation.evaluate import LabelledLogits, choose_operating_point, evaluate
from aimonk.report.tables import format_scores, remarks


def test_console_table_marks_scores_not_above_chance() -> None:
    names, rng = ["hat", "\x1b[31mred", "x" * 200], np.random.default_rng(0)
    labels = (rng.random((80, 3)) < 0.4).astype(np.float32)
    mask = rng.random(labels.shape) < 0.8
    logits = 2.0 * (labels - 0.5) + rng.normal(size=labels.shape)
    logits[:, 0] = np.random.default_rng(1).normal(size=80)
    table = LabelTable([f"{i}.jpg" for i in range(80)], names, labels, mask)
    data = LabelledLogits(table, logits, None)
    scores = evaluate(data, choose_operating_point(data, 0.5, None), 0).scores
    lines = format_scores(scores, "test images").split("\n")
    assert lines[0] == "test images"
    assert lines[2].startswith("hat ! ") and "\ufffd[31mred  " in lines[3] and "xxx…" in lines[4]
    assert lines[5].startswith("mean") and lines[6].startswith("! no evidence of a score above chance")
    assert len({line.rindex(" .50") for line in lines[2:5]}) == 1, "columns are aligned"
    assert "\x1b" not in "\n".join(lines)


def test_remarks_list_caveats() -> None:
    names = ["hat", "never", "red\x1b"]
    attributes = {name: {"beats_chance": True} for name in names}
    scores = {"attributes": attributes, "mean_ap_count": 2, "f1_macro": 0.5}
    assert [line.split(":")[0] for line in remarks(scores)] == [
        "The mean AP covers 2 of 3 attributes; the others lack positive or negative labels"
    ]
    scores |= {"mean_ap_count": 3, "unreached": ["red\x1b"], "optimistic": {"f1_macro": 0.625}}
    unreached, chosen = remarks(scores)
    assert unreached.startswith("No threshold reaches") and unreached.endswith(": red\ufffd")
    assert "0.500 cross-validated, 0.625 (optimistic)" in chosen
