import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from aimonk.models.classifier import Classifier
from aimonk.setup.build import CONSTRUCTORS, build, check_types
from aimonk.setup.data import SPLIT
from aimonk.training.task import Settings

CONF = Path(__file__).resolve().parents[1] / "conf"
FILES = sorted(path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.rglob("*.yaml"))
OPTIONS = [name for name in FILES if "/" in name and not name.startswith("hydra/")]
EXPERIMENTS = [name for name in OPTIONS if name.startswith("experiment/")]
# what the code adds to a target that the configuration leaves partial
RUNTIME = {
    "data.draw": ["folder"],
    "data.reader": ["path", "images"],
    "loss": ["labels", "mask"],
    "missing": ["attributes"],
    "optimizer": ["classifier", "cut"],
    "scheduler": ["optimizer", "total_steps"],
    "sampler": ["labels", "mask"],
}
Compose = Callable[..., DictConfig]


def find_targets(node: Any, where: str = "") -> Iterator[tuple[str, dict]]:
    """Every mapping with a `_target_` and its place, nested ones too."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield where, node
        for key, value in node.items():
            yield from find_targets(value, f"{where}.{key}".lstrip("."))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from find_targets(value, f"{where}[{i}]")


def find_leaves(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is not a mapping, and its place."""
    if not isinstance(node, dict):
        yield where, node
        return
    for key, value in node.items():
        yield from find_leaves(value, f"{where}.{key}".lstrip("."))


def plain(cfg: DictConfig) -> dict:
    """The composed configuration without Hydra's own part."""
    return OmegaConf.to_container(OmegaConf.masked_copy(cfg, [k for k in cfg if k != "hydra"]), resolve=True)


def override_of(option: str) -> str:
    return "=".join(option.rsplit("/", 1))


def test_every_file_is_checked() -> None:
    on_disk = [path for path in CONF.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert len(FILES) == len(on_disk)
    assert {"config", "loss/masked", "experiment/aimonk_finetune", "mode/train"} < set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_file_opens_with_a_comment(name: str) -> None:
    lines = (CONF / f"{name}.yaml").read_text().splitlines()
    packages = {"mode": "_global_", "experiment": "_global_", "tracker": name.replace("/", ".")}
    if (package := packages.get(name.split("/")[0])) is not None:
        assert lines.pop(0) == f"# @package {'_global_' if name == 'tracker/none' else package}"
    assert re.match(r"# \S+ \S+", lines[0]), "what it is and when to choose it"


@pytest.mark.parametrize("name", OPTIONS)
def test_option_has_at_most_ten_keys(name: str) -> None:
    content = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    own = {key: value for key, value in content.items() if key not in ("defaults", "hydra")}
    own.pop("reader", None)  # passes on other keys
    keys = [key for key, _ in find_leaves(own) if not key.split(".")[-1].startswith("_")]
    assert len(keys) <= 10


@pytest.mark.parametrize("name", OPTIONS)
def test_option_composes_and_its_keys_fit_its_target(name: str, compose_config: Compose) -> None:
    cfg = compose_config(override_of(name))
    config = plain(cfg)
    targets = dict(find_targets(config))
    assert targets
    for where, node in targets.items():
        target = get_object(node["_target_"])
        signature = inspect.signature(target)
        keys = {key: value for key, value in node.items() if not key.startswith("_")}
        runtime = RUNTIME[where] if node.get("_partial_") else []
        signature.bind(*runtime, **keys)
        assert list(signature.parameters)[: len(runtime)] == runtime
        # the file is the one home of a default
        assert all(signature.parameters[key].default is inspect.Parameter.empty for key in keys)
        check_types(get_type_hints(target.__init__ if isinstance(target, type) else target), keys, where)
        if where.startswith("tracker."):
            pytest.importorskip(where.removeprefix("tracker."))
        if where != "backbone":  # its weights may not be here
            build(cfg, where)
    group = name.split("/")[0]
    if group == "tracker":
        assert list(config[group]) == [option for option in [name.split("/")[1]] if option != "none"]
    elif group not in ("data", "experiment", "mode"):
        assert "_target_" in config[group]


def test_every_group_is_chosen_by_the_defaults() -> None:
    defaults = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"))["defaults"]
    assert defaults[0] == "_self_", "or values there would beat the experiment"
    names = [next(iter(entry)) for entry in defaults[1:] if isinstance(entry, dict)]
    assert names[-2:] == ["experiment", "mode"], "or an experiment would beat the mode"
    groups = {name.split("/")[0] for name in OPTIONS}
    assert {name for name in names if not name.startswith("override")} == groups


def test_scalars_have_the_types_of_the_loop(compose_config: Compose) -> None:
    config = plain(compose_config())
    fields = set(Settings.__dataclass_fields__)
    assert fields <= set(config)
    check_types(get_type_hints(Settings), {key: config[key] for key in fields - {"workers"}}, "")
    assert config["data"].keys() >= SPLIT.keys()
    check_types(SPLIT, config["data"], "data")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_wins_over_the_defaults(name: str, compose_config: Compose) -> None:
    before, after = plain(compose_config()), plain(compose_config(override_of(name)))
    assert before != after
    content = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    for entry in content.pop("defaults", []):
        ((group, option),) = entry.items()
        group = group.removeprefix("override /")
        chosen = OmegaConf.load(CONF / group / f"{option}.yaml")
        assert after[group]["_target_"] == chosen["_target_"]
    for key, value in find_leaves(content):
        assert OmegaConf.select(OmegaConf.create(after), key) == value, key


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_command_line_wins_over_the_experiment(name: str, compose_config: Compose) -> None:
    cfg = compose_config(override_of(name), "epochs=3", "optimizer=sgd", "data.image_size=96")
    assert (cfg.epochs, cfg.optimizer._target_, cfg.data.image_size) == (
        3,
        "aimonk.training.optimizers.sgd",
        96,
    )


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_mode_wins_over_the_experiment(name: str, compose_config: Compose) -> None:
    assert compose_config("mode=infer", override_of(name)).mode == "infer"


RECIPE = {
    "batch_size": 16,
    "accumulate": 1,
    "clip_norm": None,
    "label_smoothing": 0.0,
    "ema": None,
    "patience": None,
    "backbone": {
        "_target_": "aimonk.models.backbones.create_backbone",
        "library": "torchvision",
        "name": "resnet18",
        "weights": "imagenet",
    },
    "augmentation": {"_target_": "aimonk.data.augmentation.flip"},
    "scheduler": {"_target_": "aimonk.training.schedulers.constant", "_partial_": True, "warmup": 0.0},
    "sampler": {"_target_": "aimonk.data.sampling.shuffle", "_partial_": True},
}
ADAM = {
    "_target_": "aimonk.training.optimizers.adam",
    "_partial_": True,
    "betas": [0.9, 0.999],
    "weight_decay": 0.0,
    "backbone_lr_scale": 1.0,
    "layer_decay": 1.0,
}
RECIPES = {
    "aimonk_finetune": {
        "epochs": 10,
        "freeze": {"_target_": "aimonk.models.freeze.none"},
        "loss": {
            "_target_": "aimonk.training.losses.PosWeightLoss.of_labels",
            "_partial_": True,
            "max_weight": None,
        },
        "optimizer": ADAM | {"lr": 1e-4},
    },
    "aimonk_frozen": {
        "epochs": 5,
        "freeze": {"_target_": "aimonk.models.freeze.backbone"},
        "loss": {"_target_": "aimonk.training.losses.MaskedLoss"},
        "optimizer": ADAM | {"lr": 1e-5},
    },
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_to_the_letter(name: str, compose_config: Compose) -> None:
    config = plain(compose_config(f"experiment={name}"))
    expected = RECIPE | RECIPES[name]
    assert {key: config[key] for key in expected} == expected
    assert (config["data"]["image_size"], config["data"]["resize"]) == (224, "squash")
    held_out = ("val_fraction", "test_fraction", "splits", "folds")
    assert not any(config["data"].get(key) for key in held_out)


@pytest.mark.parametrize(("name", "tensors"), [("aimonk_finetune", 62), ("aimonk_frozen", 2)])
def test_recipe_builds_its_components(name: str, tensors: int, compose_config: Compose) -> None:
    cfg = compose_config(f"experiment={name}", "backbone.weights=random")
    backbone = build(cfg, "backbone")
    assert backbone.mean == pytest.approx((0.485, 0.456, 0.406))
    assert backbone.std == pytest.approx((0.229, 0.224, 0.225))
    classifier = Classifier(backbone, 4)
    cuts = set(build(cfg, "freeze").cuts(cfg.epochs, len(classifier.stages)))
    assert len(cuts) == 1
    optimizer = build(cfg, "optimizer")(classifier, cuts.pop())
    # ResNet18 has 20 convolutions, 20 norm layers of two tensors each, and the new layer's two
    assert sum(len(group["params"]) for group in optimizer.param_groups) == tensors
    for group in optimizer.param_groups:
        assert group["lr"] == cfg.optimizer.lr
        assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.999), 1e-8, 0)
    build(cfg, "scheduler")(optimizer, 100)
    assert optimizer.param_groups[0]["lr"] == cfg.optimizer.lr


REFUSED = [
    "os.mkdir",
    "aimonk.setup.build.instantiate",
    "aimonk.training.losses",
    "aimonk.training.losses.NoSuchLoss",
    "aimonk.training.losses.nn.Module",
    "aimonk.training.optimizers.sgd",
    "aimonk.files.archive.read_archive",
    "timm.models.load_state_dict",
    "torch.optim.Adam",
    "torchvision.datasets.utils.extract_archive",
    "",
    None,
    5,
    ["aimonk.training.losses.FocalLoss"],
]


@pytest.mark.parametrize("target", REFUSED)
def test_build_refuses_other_constructors(target: Any, tmp_path: Path) -> None:
    folder = str(tmp_path / "made")
    harmful = {"_target_": target, "_args_": [folder]}
    for node in (harmful, harmful | {"_partial_": True}):
        with pytest.raises(ValueError, match=f"^loss._target_ is {re.escape(repr(target))}; expected"):
            build(OmegaConf.create({"loss": node}), "loss")
    focal = {"_target_": "aimonk.training.losses.FocalLoss", "alpha": None}
    for gamma in (harmful, [[{"a": harmful}]], harmful | {"_target_": focal["_target_"]}):
        with pytest.raises(
            ValueError, match=r"^loss\.gamma.*_target_ is .*; expected no _target_ below loss$"
        ):
            build(OmegaConf.create({"loss": focal | {"gamma": gamma}}), "loss")
    hidden = OmegaConf.create({"name": target, "loss": {"_target_": "${name}", "_args_": [folder]}})
    with pytest.raises(ValueError, match=r"^loss\._target_"):
        build(hidden, "loss")
    assert not Path(folder).exists()


def test_every_constructor_has_an_option() -> None:
    named = {
        line.split()[1]
        for path in CONF.rglob("*.yaml")
        for line in path.read_text().splitlines()
        if "_target_: aimonk" in line
    }
    built = {f"{module}.{name}" for module, names in CONSTRUCTORS.values() for name in names}
    assert named - {"aimonk.cli.sweep.RememberFolder"} == built  # which Hydra calls


def test_build_reports_the_error_of_the_constructor(compose_config: Compose) -> None:
    with pytest.raises(ValueError, match=r"^loss\.gamma is -1; expected 0 or more$"):
        build(compose_config("loss=focal", "loss.gamma=-1"), "loss")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=fast", "optimizer.lr is 'fast'; expected a number"),
        ("optimizer.lr=true", "optimizer.lr is True; expected a number"),
        ("optimizer.betas=[0.9,x]", "optimizer.betas is [0.9, 'x']; expected a list (each a number)"),
        ("optimizer.betas=0.9", "optimizer.betas is 0.9; expected a list (each a number)"),
    ],
)
def test_values_of_the_wrong_type_raise(override: str, message: str, compose_config: Compose) -> None:
    with pytest.raises(ValueError) as caught:
        build(compose_config(override), "optimizer")
    assert f"{caught.value}" == message


def test_integers_are_valid_numbers(compose_config: Compose) -> None:
    assert build(compose_config("optimizer.lr=1"), "optimizer").keywords["lr"] == 1
    assert build(compose_config("loss=focal", "loss.gamma=2", "loss.alpha=null"), "loss").gamma == 2
    with pytest.raises(ValueError, match=r"^freeze\.last is 1\.5; expected an integer$"):
        build(compose_config("freeze=stages", "freeze.last=1.5"), "freeze")
