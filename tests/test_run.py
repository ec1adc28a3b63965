import json
import logging
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aimonk.models.all_stages import choose_stages
from aimonk.models.backbones import create_backbone
from aimonk.models.checkpoint import load_model
from aimonk.models.classifier import Classifier
from aimonk.modes import train
from aimonk.setup.task import copy_run

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data" / "aimonk"
FILES = {
    "aimonk_model.pth",
    "loss_curve.png",
    "loss.csv",
    "metrics.json",
    "predictions.csv",
    "config.yaml",
    "run.log",
    "status.json",
}
# each character means something to Hydra, to OmegaConf, or to a shell
ODD = "-a b,c [1] {2} (3) 'q' \"d\" #~&!;=é\\"


def read_losses(folder: Path) -> np.ndarray:
    """The training loss of each iteration, [n]."""
    header, *rows = (folder / "loss.csv").read_text().splitlines()
    assert header == "iteration_number,training_loss"
    numbers, losses = zip(*(row.split(",") for row in rows), strict=True)
    assert numbers == tuple(str(i) for i in range(1, len(rows) + 1))
    return np.array([float(loss) for loss in losses])


def check_run_folder(folder: Path, state: str = "finished") -> None:
    assert {path.name for path in folder.iterdir()} >= FILES
    assert not list(folder.glob(".*.pth*")), "nothing half-written"
    assert json.loads((folder / "status.json").read_text())["state"] == state
    assert (folder / "loss_curve.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert np.isfinite(read_losses(folder)).all()
    OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"), resolve=True, throw_on_missing=True)
    load_model(folder)


def check_error(result: subprocess.CompletedProcess, message: str) -> None:
    """The command ends with exit code 1 and a one-line message."""
    output = result.stdout + result.stderr
    assert result.returncode == 1, output
    assert "Traceback" not in output
    assert [line for line in output.splitlines() if re.search(message, line)], output


@pytest.fixture(scope="session")
def small_set(trained: SimpleNamespace, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `images/` and `labels.txt`: ten images, the last row without one."""
    folder, demo = tmp_path_factory.mktemp("small") / ODD, cache_dir / "demo_60_0"
    (folder / "images").mkdir(parents=True)
    rows = (demo / "labels.txt").read_text().splitlines()[1:11]
    for row in rows:
        shutil.copy(demo / "images" / row.split()[0], folder / "images")
    (folder / "labels.txt").write_text("\n".join([*rows, "gone.jpg 1 0 NA 1"]) + "\n")
    return folder


@pytest.fixture(scope="session")
def torch_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of torch's hub in which a stand-in takes the place of ResNet18's ImageNet weights."""
    home = tmp_path_factory.mktemp("torch")
    checkpoints = home / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.manual_seed(0)
    name = torchvision.models.ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[1]
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), checkpoints / name)
    return home


def test_run_folder_is_complete(trained: SimpleNamespace) -> None:
    folder = trained.folder
    assert re.fullmatch(r"\d\d-\d\d-\d\d-\d{6}_masked", folder.name)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", folder.parent.name)
    check_run_folder(folder)
    assert len(read_losses(folder)) == 2 * 3  # 48 images, 16 a step
    assert len(re.findall("^epoch ", trained.output, re.MULTILINE)) == 2, "one line an epoch"
    assert "Traceback" not in trained.output
    assert f"finished: {folder}" in trained.output
    assert {path.name for path in trained.cwd.iterdir()} == {"outputs"}


def test_metrics_and_predictions_of_a_run(trained: SimpleNamespace, cache_dir: Path) -> None:
    metrics = json.loads((trained.folder / "metrics.json").read_text())
    names = ["sleeves", "buttons", "stripes", "hat"]
    assert metrics["images_per_second"] > 0
    val = metrics["val"]
    assert {"mean_ap", "f1_macro", "f1_micro", "attributes"} <= val.keys()
    assert list(val["attributes"]) == names
    figures = {"ap", "auroc", "f1", "precision", "recall", "threshold", "known", "positives", "prevalence"}
    assert all(figures <= scores.keys() for scores in val["attributes"].values())
    defined = [scores["ap"] for scores in val["attributes"].values() if scores["ap"] is not None]
    assert val["mean_ap"] == pytest.approx(np.mean(defined))

    header, *rows = (trained.folder / "predictions.csv").read_text().splitlines()
    assert header.split(",")[0] == "image"
    assert set(names) <= set(header.split(","))
    assert len(rows) == 12
    images = {row.split(",")[0] for row in rows}
    labelled = {line.split()[0] for line in (cache_dir / "demo_60_0/labels.txt").read_text().splitlines()[1:]}
    assert images < labelled


@pytest.mark.slow
def test_frozen_weights_equal_the_pretrained_ones(trained: SimpleNamespace) -> None:
    classifier, info = load_model(trained.folder)
    initial = Classifier(create_backbone("timm", "tf_efficientnet_lite0", "imagenet"), len(info.attributes))
    for key, value in initial.state_dict().items():
        if not key.startswith("head."):
            assert torch.equal(classifier.state_dict()[key], value), key


def test_sweep_job_equals_a_single_run(command, trained, demo, tmp_path: Path) -> None:
    result = command(tmp_path, "-m", *demo, "loss=focal,masked", "freeze=backbone")
    assert result.returncode == 0, result.stdout + result.stderr
    (sweep,) = tmp_path.glob("outputs/*/*_sweep")
    jobs = sorted(path.name for path in sweep.iterdir() if path.is_dir())
    assert jobs == ["0_focal", "1_masked"]
    for job in jobs:
        check_run_folder(sweep / job)
    alone, focal = (trained.folder / "loss.csv").read_bytes(), (sweep / jobs[0] / "loss.csv").read_bytes()
    assert (sweep / jobs[1] / "loss.csv").read_bytes() == alone
    assert focal != alone
    assert {path.name for path in tmp_path.iterdir()} == {"outputs"}
    table = result.stdout[result.stdout.rindex("1. 2 runs") :]
    assert {"loss", "focal", "masked", "verdict:"} < set(table.split())
    assert table.rstrip().endswith("sweep.html")
    assert "0_focal/report.html" in (sweep / "sweep.html").read_text()


# one option of every group at a time, so that each has run at least once
GROUPS = ("loss", "optimizer", "scheduler", "sampler", "augmentation", "freeze")
CHOICES = {group: sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml")) for group in GROUPS}
EXTRAS = (["clip_norm=1"], ["accumulate=2"], ["ema=0.9"], ["monitor=loss"], ["patience=1"])


@pytest.fixture
def train_here(compose_config, cache_dir: Path) -> Iterator[Callable[..., None]]:
    """Trains on the demo within this process, which saves the start of another."""

    def run(out_dir: Path, *overrides: str) -> None:
        small = [f"cache_dir={cache_dir}", "data.image_size=32", "epochs=2", "workers=0"]
        if "data=folder" not in overrides:
            small.append("data.draw.images=60")
        if not any(override.startswith(("optimizer=", "experiment=")) for override in overrides):
            small += ["optimizer=adamw", "refit=false"]
        cfg = compose_config(*small, *overrides)
        out_dir.mkdir(exist_ok=True)
        (out_dir / "run.log").touch()  # Hydra's
        train.run(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]), out_dir, [])

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield run
    torch.set_num_threads(threads)


@pytest.mark.parametrize("i", range(max(len(options) for options in CHOICES.values())))
@pytest.mark.slow
def test_every_option_trains(i: int, train_here, tmp_path: Path) -> None:
    chosen = [f"{group}={options[i % len(options)]}" for group, options in CHOICES.items()]
    if "optimizer=lbfgs" in chosen:  # it applies to few of the others
        chosen = ["loss=pos_weight", "optimizer=lbfgs", "augmentation=flip", "freeze=backbone"]
    chosen += {"freeze=gradual": ["freeze.epochs=[2]"], "freeze=lp_ft": ["freeze.head_epochs=1"]}.get(
        chosen[-1], []
    )
    train_here(tmp_path, *chosen, *EXTRAS[i % len(EXTRAS)])
    check_run_folder(tmp_path)


@pytest.mark.parametrize(
    "policy",
    [
        ["freeze=backbone"],
        ["freeze=stages"],
        ["freeze=gradual", "freeze.epochs=[2]"],
        ["freeze=lp_ft", "freeze.head_epochs=1"],
        ["freeze=lp_ft", "freeze.last=2"],
        ["freeze=backbone", "features.stages=all"],
        ["freeze=stages", "augmentation=mixup"],
        ["freeze=stages", "augmentation=cutmix", "freeze.last=2"],
    ],
    ids=" ".join,
)
@pytest.mark.slow
def test_stored_features_change_nothing(policy: list[str], train_here, tmp_path: Path, caplog) -> None:
    # Adam's first steps have the size of the learning rate however small the gradient, and magnify rounding
    same = [*policy, "features.dtype=float32", "optimizer=sgd"]
    with caplog.at_level(logging.INFO, logger="aimonk"):
        train_here(tmp_path / "auto", *same)
        train_here(tmp_path / "false", *same, "features.enabled=false", "data.store=false")
    messages = [record.getMessage() for record in caplog.records]
    assert sum(line.startswith("features of") for line in messages) >= 1
    stored, computed = read_losses(tmp_path / "auto"), read_losses(tmp_path / "false")
    assert len(stored) == 6
    np.testing.assert_allclose(stored, computed, rtol=1e-4)


@pytest.mark.slow
def test_recipes_accept_any_path(command, small_set: Path, torch_home: Path) -> None:
    cwd = small_set.parent
    before = {path.name for path in cwd.iterdir()}
    result = command(
        cwd,
        "-m",
        "experiment=aimonk_finetune,aimonk_frozen",
        "data=folder",
        f"data.images={ODD}/images",
        f"data.labels={ODD}/labels.txt",
        f"cache_dir={ODD} cache",
        f"hydra.sweep.dir={ODD} sweep",
        "data.image_size=64",
        "epochs=2",
        TORCH_HOME=str(torch_home),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert {path.name for path in cwd.iterdir()} - before == {f"{ODD} cache", f"{ODD} sweep"}
    assert re.search(r"skipping 1 row without an image: gone\.jpg", result.stdout)
    for name, trains_all in (("0_aimonk_finetune", True), ("1_aimonk_frozen", False)):
        folder = cwd / f"{ODD} sweep" / name
        assert {path.name for path in folder.iterdir()} >= FILES - {"predictions.csv"}
        assert len(read_losses(folder)) == 2
        assert "val" not in json.loads((folder / "metrics.json").read_text()), "nothing is held out"
        classifier, info = load_model(folder)
        assert info.attributes == ["Attr1", "Attr2", "Attr3", "Attr4"]
        stand_in = create_backbone("torchvision", "resnet18", str(next(torch_home.rglob("*.pth"))))
        first = next(iter(stand_in.stages["stem"].state_dict().values()))
        trained = next(iter(classifier.stages["stem"].state_dict().values()))
        assert torch.equal(first, trained) != trains_all


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the sample data is not at {REAL}")
def test_all_real_photographs_are_used(command, torch_home: Path, cache_dir: Path, tmp_path: Path) -> None:
    result = command(
        tmp_path,
        "experiment=aimonk_frozen",
        "data=folder",
        f"data.images={REAL / 'images'}",
        f"data.labels={REAL / 'labels.txt'}",
        f"cache_dir={cache_dir}",
        "data.image_size=32",
        "data.duplicate_distance=null",
        "epochs=1",
        TORCH_HOME=str(torch_home),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "skipping 3 rows without an image" in result.stdout
    assert all(f"image_{number}.jpg" in result.stdout for number in (489, 624, 875))
    (folder,) = tmp_path.glob("outputs/*/*")
    assert len(read_losses(folder)) == -(-972 // 16)


def test_data_folder_defaults_to_the_working_folder(command, small_set: Path, cache_dir: Path) -> None:
    arguments = ["data=folder", f"cache_dir={cache_dir}", "data.image_size=64", "epochs=1"]
    result = command(small_set, *arguments, "hydra.run.dir=run")
    assert result.returncode == 0, result.stdout + result.stderr
    check_run_folder(small_set / "run")
    assert re.search(r"skipping 1 row without an image: gone\.jpg", result.stdout)
    check_error(
        command(small_set, *arguments, "data.missing=error", "hydra.run.dir=wrong"),
        r"^no image in .* for 1 of 11 rows of .*: gone\.jpg",
    )
    assert json.loads((small_set / "wrong/status.json").read_text())["state"] == "failed"
    assert "Traceback" in (small_set / "wrong/run.log").read_text()


def test_user_errors_end_in_one_line(command, demo, tmp_path: Path) -> None:
    # jobs of a sweep: each fails by itself and the others go on
    wrong = ["data.image_size=64,2", "epochs=1,0,two", "optimizer.lr=1e30,fast", "scheduler=constant"]
    result = command(tmp_path, "-m", *demo[:2], "optimizer=adamw", *wrong)
    check_error(result, "^data.image_size is 2; expected 8 to 4096 pixels$")
    check_error(result, "^epochs is 0; expected 1 or more$")
    check_error(result, "^epochs is 'two'; expected an integer$")
    check_error(result, "^optimizer.lr is 'fast'; expected a number$")
    # the loss is finite in the first iteration, and then no number any more
    check_error(result, r"iteration \d+ \(epoch 1, learning rate 1e\+30\); try a lower optimizer\.lr")
    (sweep,) = tmp_path.glob("outputs/*/*_sweep")
    states = [json.loads(path.read_text())["state"] for path in sweep.glob("*/status.json")]
    assert set(states) == {"failed"}
    (table,) = re.findall(r"^not ranked:\n(?:  .*\n)+", result.stdout, re.MULTILINE)
    assert len(table.splitlines()) == 1 + 12
    assert re.search(r"epochs=0_.*: failed: epochs is 0; expected 1 or more$", table, re.MULTILINE)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("loss=maskd", r"^loss is 'maskd'; expected asymmetric, .*; did you mean masked\?$"),
        ("epoch=3", r"^epoch is unknown; did you mean epochs\?$"),
        ("epochs", "^'epochs': expected KEY=VALUE, such as epochs=5$"),
    ],
)
def test_misspelt_keys_are_reported(argument: str, message: str, command, tmp_path: Path) -> None:
    check_error(command(tmp_path, argument), message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=folder"], r"^no label file at .*/labels\.txt"),
        (["backbone=timm"], r"backbone\.name"),
        (
            ["backbone=timm", "backbone.name=vit_tiny_patch16_224", "backbone.weights=random"],
            r"^data\.image_size is 32; expected 224, the only size of vit_tiny_patch16_224$",
        ),
        (["loss=focal", "loss.gamma=a"], r"^loss\.gamma is 'a'"),
        (["data.folds=1"], r"^data\.folds is 1; expected null or 2 or more$"),
        (["data.repeats=0", "data.folds=2"], r"^data\.repeats is 0; expected 1 or more"),
        (["data.repeats=3"], r"^data\.repeats is 3; expected 1 or more with data\.folds, and 1 without$"),
        (["data.val_fraction=2"], r"^data\.val_fraction is 2; expected 0 to below 1$"),
        (["data.val_fraction=0.5", "data.test_fraction=0.5"], "leave no images to train on$"),
        (["data.split_seed=-1"], r"^data\.split_seed is -1; expected 0 or more$"),
        (
            ["freeze=lp_ft", "freeze.head_epochs=2"],
            "^epochs is 2; expected 3 or more, since the freeze policy",
        ),
        (
            ["augmentation=cutmix"],
            "^augmentation is cutmix; expected mixup or another one where only the head",
        ),
        (
            ["augmentation=mixup", "optimizer=lbfgs"],
            "the augmentation mixes images; augmentation=flip does not$",
        ),
        (["features.stages=first"], "^features.stages is 'first'; expected last or all$"),
        (["features.stages=all", "freeze=stages", "freeze.last=2"], "expected at most 1, the stages of this"),
        (["label_smoothing=1"], "^label_smoothing is 1; expected 0 to below 1$"),
        (["label_smoothing=true"], "^label_smoothing is True; expected a number$"),
        (["device=tpu"], "^device is tpu; expected an available device"),
    ],
    ids=lambda value: value[0],
)
def test_invalid_settings_are_reported(
    arguments: list[str], message: str, train_here, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError, OmegaConfBaseException), match=message):
        train_here(tmp_path / "run", *arguments)
    status = json.loads((tmp_path / "run/status.json").read_text())
    assert status["state"] == "failed" and re.search(message, status["reason"])


@pytest.mark.parametrize("argument", ["optimizer.lr=-1", "scheduler.warmup=3", "sampler.power=-1"])
def test_settings_are_checked_before_images_are_read(argument: str, train_here, tmp_path: Path) -> None:
    sampler = ["sampler=weighted"] if argument.startswith("sampler") else []
    with pytest.raises(ValueError, match=rf"^{argument.split('=')[0]} is"):
        train_here(tmp_path / "run", *sampler, argument, f"cache_dir={tmp_path / 'cache'}")
    assert not (tmp_path / "cache").exists()


def test_seed_varies_training_and_not_the_split(train_here, tmp_path: Path) -> None:
    for i, setting in enumerate(["seed=0", "seed=1", "data.split_seed=1"]):
        train_here(tmp_path / f"{i}", setting)
    splits = [(tmp_path / f"{i}" / "splits.csv").read_text() for i in range(3)]
    assert splits[0] == splits[1] != splits[2]
    assert not np.array_equal(read_losses(tmp_path / "0"), read_losses(tmp_path / "1"))


def test_interrupted_run_writes_all_files(environment, demo, tmp_path: Path) -> None:
    arguments = [sys.executable, "-u", str(ROOT / "run.py"), *demo, "epochs=100000", "hydra.run.dir=run"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(arguments, cwd=tmp_path, env=environment(), **streams) as process:
        for line in process.stdout:
            if line.startswith("epoch 2/"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
    assert "Traceback" not in rest
    check_run_folder(tmp_path / "run", "interrupted")
    losses, metrics = read_losses(tmp_path / "run"), json.loads((tmp_path / "run/metrics.json").read_text())
    assert len(losses) == metrics["iterations"] >= 6
    assert metrics["val"]["mean_ap"] is not None
    command = rest.strip().splitlines()[-1].removeprefix("continue with: ").split()
    assert command == ["python", "run.py", f"resume={tmp_path / 'run'}"]


def test_run_interrupted_in_its_first_epoch_has_no_verdict(environment, demo, tmp_path: Path) -> None:
    slow = ["data.draw.images=600", "batch_size=1", "optimizer.lr=0", "epochs=2"]
    arguments = [
        sys.executable,
        "-u",
        str(ROOT / "run.py"),
        "-m",
        "seed=0,1",
        *demo,
        *slow,
        "hydra.sweep.dir=sweep",
    ]
    with subprocess.Popen(
        arguments, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if line.startswith("features of"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
    assert "no verdict: the model was trained for less than an epoch" in rest and "\nverdict" not in rest
    assert load_model(tmp_path / "sweep/0_seed=0")[1].beats_chance == [None] * 4
    assert rest.strip().splitlines()[-1] == f"continue with: python run.py -m resume={tmp_path / 'sweep'}"


def test_last_lines_name_the_epoch_the_report_and_the_next_command(trained: SimpleNamespace) -> None:
    kept, finished, report, infer = trained.output.strip().splitlines()[-4:]
    assert kept.startswith("kept: epoch ") and finished.startswith("finished: ")
    assert Path(report.removeprefix("report: ")).is_file()
    assert infer.startswith(f"python run.py mode=infer checkpoint={trained.folder} image=")


def test_checkpoint_has_the_verdicts(trained: SimpleNamespace) -> None:
    attributes = json.loads((trained.folder / "metrics.json").read_text())["val"]["attributes"]
    verdicts = [entry["beats_chance"] for entry in attributes.values()]
    assert load_model(trained.folder)[1].beats_chance == verdicts
    assert load_model(trained.folder / "aimonk_model_last.pth")[1].beats_chance == [None] * len(verdicts)


def test_weights_of_a_run_start_another(train_here, trained: SimpleNamespace, tmp_path: Path, caplog) -> None:
    weights, still = (
        f"backbone.weights={trained.folder}",
        ["optimizer.lr=0", "epochs=1", "data.image_size=64"],
    )
    with caplog.at_level(logging.INFO):
        train_here(tmp_path / "same", weights, *still)
        train_here(tmp_path / "other", weights, *still, "data.split_seed=1")
    for name in ("head.weight", "head.bias", "stages.stem.0.weight"):
        own, source = (load_model(run)[0].state_dict()[name] for run in (tmp_path / "same", trained.folder))
        assert torch.equal(own, source)
    assert "the head of 4 of 4 attributes" in caplog.text
    seen = [text for text in caplog.messages if "the model was trained on" in text]
    assert len(seen) == 1, "the other split holds training images of the first run out"
    with pytest.raises(ValueError, match=r"a run with tf_efficientnet_lite0; expected one with resnet18"):
        train_here(tmp_path / "wrong", "backbone=resnet18", weights)


@pytest.mark.slow
def test_small_sets_are_fine_tuned_from_the_solved_head(train_here, tmp_path: Path, caplog) -> None:
    with caplog.at_level(logging.INFO, logger="aimonk"):
        train_here(tmp_path, "experiment=finetune_small", "data.val_fraction=0.3", "refit=false")
    check_run_folder(tmp_path)
    assert any(r.getMessage().startswith("the head starts from the solution") for r in caplog.records)
    classifier, info = load_model(tmp_path)
    assert info.stages == "all" and classifier.head.in_features == 2096
    pretrained = choose_stages(create_backbone("timm", "tf_efficientnet_lite0", "imagenet"), "all")
    for key, value in pretrained.stages["all"].state_dict().items():
        kept = "running" in key or "num_batches" in key
        assert torch.equal(value, classifier.stages["all"].state_dict()[key]) == kept, key


def test_head_is_copied_by_name(trained: SimpleNamespace) -> None:
    source, info = load_model(trained.folder)
    name = info.attributes[2]
    classifier = Classifier(create_backbone("timm", "tf_efficientnet_lite0", "random"), 2)
    new = classifier.head.weight[0].clone()
    copy_run(classifier, trained.folder, "tf_efficientnet_lite0", ["another", name])
    assert torch.equal(classifier.head.weight[0], new)
    assert torch.equal(classifier.head.weight[1], source.head.weight[2])
    all_stages = choose_stages(create_backbone("timm", "tf_efficientnet_lite0", "random"), "all")
    with pytest.raises(ValueError, match=r"^backbone\.weights is .*; expected features\.stages=last, as of"):
        copy_run(Classifier(all_stages, 1), trained.folder, "tf_efficientnet_lite0", [name])


def test_two_processes_train_like_one(environment, command, demo, trained, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    result = subprocess.run(
        [*torchrun, str(ROOT / "run.py"), *demo, "batch_size=8", "device=cpu"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (folder,) = tmp_path.glob("outputs/*/*")
    check_run_folder(folder)
    assert {path.name for path in tmp_path.iterdir()} == {"outputs"}
    np.testing.assert_allclose(read_losses(folder), read_losses(trained.folder), rtol=1e-5)
    alone, together = (json.loads((f / "metrics.json").read_text()) for f in (trained.folder, folder))
    assert together["val"]["mean_ap"] == pytest.approx(alone["val"]["mean_ap"], rel=1e-4)
    assert result.stdout.count("epoch 1/") == 1
