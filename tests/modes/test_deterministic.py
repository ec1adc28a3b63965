import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from omegaconf import DictConfig

from aimonk.modes.train.context import RunContext
from aimonk.modes.train.one_model import TrainedModel, train_model
from aimonk.modes.train.splits import split_parts
from aimonk.runtime.determinism import make_deterministic, noting_exceptions
from aimonk.setup.data import open_data

ROOT = Path(__file__).resolve().parents[2]
GROUPS = ("loss", "augmentation", "freeze", "scheduler", "sampler", "optimizer")
SMALL = [
    *("data=folder", "data.image_size=32", "backbone=timm", "backbone.name=test_resnet"),
    *("backbone.weights=random", "batch_size=8", "epochs=3", "deterministic=true", "workers=1"),
]


def combinations() -> list[list[str]]:
    """Overrides that take every option of every group at least once."""
    options = {
        group: sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml")) for group in GROUPS
    }
    options["optimizer"].remove("lbfgs")  # it applies to few of the others
    most = max(map(len, options.values()))
    chosen = [[f"{group}={names[i % len(names)]}" for group, names in options.items()] for i in range(most)]
    return [*chosen, ["loss=pos_weight", "augmentation=flip", "freeze=backbone", "optimizer=lbfgs"]]


@pytest.fixture(autouse=True)
def switched_back() -> Iterator[None]:
    yield
    make_deterministic(False)


def train(cfg: DictConfig, out_dir: Path) -> TrainedModel:
    out_dir.mkdir()
    make_deterministic(cfg.deterministic)
    images = open_data(cfg)
    run = RunContext(cfg, images, None, out_dir, lambda: None, digest="")
    return train_model(run, split_parts(cfg, images, None))


@pytest.mark.parametrize("chosen", combinations(), ids=" ".join)
@pytest.mark.slow
def test_every_option_gives_the_same_weights_twice(
    compose_config: Callable[..., DictConfig],
    trained: SimpleNamespace,
    cache_dir: Path,
    tmp_path: Path,
    chosen: list[str],
) -> None:
    demo = cache_dir / "demo_60_0"
    data = [f"data.images={demo / 'images'}", f"data.labels={demo / 'labels.txt'}"]
    outcomes = []
    for name in ("one", "other"):
        # a cache each, so that features are computed twice
        cfg = compose_config(*SMALL, *data, *chosen, f"cache_dir={tmp_path / f'cache_{name}'}")
        outcomes.append(train(cfg, tmp_path / name))
        torch.rand(1)  # global random state is not what it depends on
    one, other = outcomes
    assert (tmp_path / "one" / "loss.csv").read_bytes() == (tmp_path / "other" / "loss.csv").read_bytes()
    assert one.last.keys() == other.last.keys()
    assert all(torch.equal(one.last[key], other.last[key]) for key in one.last)


def test_operations_without_deterministic_algorithm_are_named() -> None:
    make_deterministic(True)
    with warnings.catch_warnings(record=True) as others, noting_exceptions() as names:
        for _ in range(2):
            torch.zeros(3).put_(torch.tensor([0, 1]), torch.ones(2))
        warnings.warn("something else", stacklevel=1)
    assert names == {"put_"}
    assert [f"{warning.message}" for warning in others] == ["something else"]
    make_deterministic(False)
    with noting_exceptions() as names:
        torch.zeros(3).put_(torch.tensor([0, 1]), torch.ones(2))
    assert names == set()


def test_torch_switches_are_set_and_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    make_deterministic(True)
    assert torch.are_deterministic_algorithms_enabled() and os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    make_deterministic(False)  # as the next job of a sweep may want it
    assert not torch.are_deterministic_algorithms_enabled()
