import math
import re

from hypothesis import example, given
from hypothesis import strategies as st

from aimonk.report.scalars import progress, safe_name, scalars


def test_points_follow_what_a_record_holds() -> None:
    history = [{"epoch": 1, "iteration": 2, "val_loss": None}, {"epoch": 2, "iteration": 4, "val_loss": 0.5}]
    points = progress([4.0, 3.0, 2.0, 1.0, math.nan], history, held=1)
    assert points == [
        (2, {"epoch/epoch": 1, "train/loss": 3}),
        (3, {"train/loss": 2}),
        (4, {"epoch/epoch": 2, "epoch/val_loss": 0.5, "train/loss": 1}),
        (5, {}),
    ]


def test_scores_have_chance_and_interval() -> None:
    entry = {"ap": 0.5, "auroc": None, "f1": 0.2, "known": 9, "interval": {"ap": [0.4, 0.6], "f1": None}}
    entry |= {"chance": {"ap": 0.1, "f1": 0.2}}
    val = {"mean_ap": 0.5, "mean_ap_count": 1, "beats_chance": True, "attributes": {"hat": entry}}
    val |= {"chance": {"mean_ap": 0.1}, "interval": {"mean_ap": [0.4, 0.6]}}
    assert scalars({"epoch": 3, "val": val}) == {
        "val/mean_ap": 0.5,
        "val/mean_ap_chance": 0.1,
        "val/mean_ap_low": 0.4,
        "val/mean_ap_high": 0.6,
        "val/beats_chance": 1.0,
        "val/ap/hat": 0.5,
        "val/ap_chance/hat": 0.1,
        "val/ap_low/hat": 0.4,
        "val/ap_high/hat": 0.6,
        "val/f1/hat": 0.2,
        "val/f1_chance/hat": 0.2,
    }


@given(st.lists(st.text(max_size=300), unique=True, max_size=5))
@example(["a/b", "a:b", "a_b", "..", ".", "", " a", "a", "a" * 300, "a" * 301, "\udc80", "帽" * 200])
def test_names_are_safe_and_distinct(names: list[str]) -> None:
    safe = [safe_name(name) for name in names]
    assert len(set(safe)) == len(names)
    for name in safe:
        assert re.fullmatch(r"[\w .-]+", name) and name.strip(". ") and len(name.encode()) < 200
    assert safe_name("Hat size-2.x") == "Hat size-2.x"
