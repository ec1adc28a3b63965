"""Which optimizer trains a run."""

import pytest

from aimonk.setup.checks import check_components
from aimonk.setup.optimizer import log_choice, uses_solver

SMALL = ["backbone=timm", "backbone.name=test_resnet", "backbone.weights=random"]


@pytest.mark.parametrize(
    ("overrides", "solved"),
    [
        ([], True),
        (["loss=pos_weight"], True),
        (["optimizer=lbfgs"], True),
        (["augmentation=crop_color", "features.views=4"], True),
        (["augmentation=crop_color"], False),
        (["loss=focal"], False),
        (["freeze=stages"], False),
        (["optimizer=adamw"], False),
        (["experiment=aimonk_frozen"], False),
    ],
)
def test_solver_trains_where_it_applies(overrides: list[str], solved: bool, compose_config, caplog) -> None:
    cfg = compose_config(*SMALL, *overrides)
    assert uses_solver(cfg, 100) is solved
    with caplog.at_level("INFO", logger="aimonk"):
        log_choice(cfg, 100)
    is_auto = not any(part.startswith(("optimizer=", "experiment=")) for part in overrides)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == is_auto
    if is_auto:
        assert lines[0].startswith(f"optimizer=auto picks {'lbfgs' if solved else 'adamw'}")


def test_solver_is_refused_where_it_does_not_apply(compose_config) -> None:
    with pytest.raises(ValueError, match=r"optimizer is lbfgs; expected auto, .*FocalLoss is not convex"):
        check_components(compose_config(*SMALL, "optimizer=lbfgs", "loss=focal"))
