"""Checkpoints: written and read back, damaged, and malicious."""

import math
import os
import pickle
import sys
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aimonk.files.run_folder import MODEL_FILE
from aimonk.files.tensors import load_tensors, save_tensors
from aimonk.models.all_stages import choose_stages
from aimonk.models.backbones import create_backbone
from aimonk.models.checkpoint import FORMAT, ModelInfo, load_model, save_model
from aimonk.models.classifier import Classifier

SMALL = "lcnet_035"  # 1.5 MB
INFO = ModelInfo(
    library="timm",
    backbone=SMALL,
    stages="last",
    attributes=["hat", "robe d'été"],
    thresholds=[0.5, 0.25],
    scale=[1.0, 2.5],
    bias=[0.0, -0.5],
    image_size=64,
    resize="squash",
    epoch=3,
    chosen_by="the best validation mean AP, 0.9",
    beats_chance=[True, None],
)
posix = pytest.mark.skipif(sys.platform == "win32", reason="requires POSIX resource limits")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier(create_backbone("timm", SMALL, "random"), 2).eval()


@pytest.fixture(scope="module")
def valid(classifier, tmp_path_factory) -> Path:
    """A checkpoint that loads."""
    path = tmp_path_factory.mktemp("valid") / MODEL_FILE
    save_model(path, INFO, classifier.state_dict())
    return path


@pytest.fixture
def content(valid) -> dict:
    return torch.load(valid, weights_only=True)


def refusal(path: Path, content: object = None) -> str:
    """Why a checkpoint, or a file with this content, is refused: one line that begins with its path."""
    if content is not None:
        torch.save(content, path)
    with pytest.raises(ValueError) as caught:
        load_model(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and len(message) < len(str(path)) + 1000
    return message.removeprefix(str(path)).strip(": ")


@posix
def test_full_disk_keeps_the_old_checkpoint(classifier, tmp_path):
    import resource
    import signal

    path = tmp_path / MODEL_FILE
    save_model(path, INFO, classifier.state_dict())
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError) as caught:
            save_model(path, replace(INFO, epoch=4), classifier.state_dict())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before and os.listdir(tmp_path) == [MODEL_FILE]


def test_round_trip(valid, classifier):
    loaded, info = load_model(valid)
    assert info == INFO and not loaded.training
    assert list(loaded.state_dict()) == list(classifier.state_dict())
    assert all(
        torch.equal(a, b)
        for a, b in zip(loaded.state_dict().values(), classifier.state_dict().values(), strict=True)
    )
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(loaded(images), classifier(images))
    assert load_model(valid.parent)[1] == INFO


def test_torch_reads_checkpoints(valid):
    content = torch.load(valid, weights_only=True)
    assert content["format"] == FORMAT and content["info"] == asdict(INFO)


def test_channels_last_weights_are_restored(tmp_path, classifier):
    state = {
        k: v.contiguous(memory_format=torch.channels_last) if v.ndim == 4 else v
        for k, v in classifier.state_dict().items()
    }
    save_model(tmp_path / "x.pth", INFO, state)
    loaded = load_model(tmp_path / "x.pth")[0].state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in state.items())


@pytest.mark.parametrize("name", ["nothing", "folder"])
def test_missing_checkpoint_raises(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError, match=f"no checkpoint at {tmp_path}"):
        load_model(tmp_path / name)


class Attack:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path):
        self.command = f"echo ran > '{path}'"

    def __reduce__(self):
        return os.system, (self.command,)


def test_code_in_a_file_is_not_executed(tmp_path, content):
    mark = tmp_path / "ran"
    attack = Attack(mark)
    for changed in (
        attack,
        [attack],
        content | {"more": attack},
        content | {"info": attack},
        content | {"state": attack},
    ):
        assert "is not a readable checkpoint (it imports" in refusal(tmp_path / "x.pth", changed)
    (tmp_path / "x.pth").write_bytes(pickle.dumps(attack))
    assert "File is not a zip file" in refusal(tmp_path / "x.pth")
    assert not mark.exists()


def test_other_files_raise(tmp_path, valid):
    path, complete = tmp_path / "x.pth", valid.read_bytes()
    for data in (
        b"",
        b"these are not weights\n" * 100,
        complete[:-1],
        complete[: len(complete) // 2],
        complete[:100],
        complete[100:],
    ):
        path.write_bytes(data)
        assert refusal(path).startswith("is not a readable checkpoint (")
    torch.save({"a": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    assert "File is not a zip file" in refusal(path)


def test_zip_bomb_raises(tmp_path, valid):
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(valid) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in source.infolist():
            packed.writestr(entry.filename, source.read(entry))
    assert "is compressed" in refusal(path)


def test_foreign_checkpoints_raise(tmp_path, content, classifier):
    path, not_ours = tmp_path / "x.pth", f"is not a checkpoint of aimonk; expected format {FORMAT!r}"
    assert refusal(path, dict(classifier.state_dict())) == not_ours
    assert refusal(path, {"state_dict": dict(classifier.state_dict()), "epoch": 3}) == not_ours
    assert refusal(path, [1, 2]) == refusal(path, torch.zeros(3)) == refusal(path, {}) == not_ours
    assert (
        refusal(path, content | {"format": "aimonk 2"})
        == refusal(path, content | {"format": [FORMAT]})
        == not_ours
    )


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("library", v) for v in (3, None, "x" * 10**6, "timm\n", "\x1b[2J")),
        *(("backbone", v) for v in (3, None, ["resnet18"], "x" * 10**6, "resnet18\n", "\ud800")),
        *(
            ("attributes", v)
            for v in ([], ["a"], ["a", 3], ["a", ""], ["a", "a"], ["a", "\udcff"], "ab", None)
        ),
        ("attributes", {"a": 1, "b": 2}),
        ("attributes", [f"a{i}" for i in range(100_001)]),
        *(("thresholds", [0.5, v]) for v in (NAN, INF, -INF, -0.1, 1.1, 1, True, "0.5", None, [0.5])),
        *(("thresholds", v) for v in ([], [0.5], [0.5] * 3, (0.5, 0.5), "ab", None, 0.5, torch.zeros(2))),
        *(("scale", [1.0, v]) for v in (NAN, INF, 1e300, 1, None)),
        *(("bias", [1.0, v]) for v in (NAN, -INF, -1e300, "0", {})),
        *(("image_size", v) for v in (0, 7, 4097, -64, 10**30, 64.0, True, "64", None, [64])),
        *(("resize", v) for v in ("stretch", "", None, 3, ["squash"])),
        *(("epoch", v) for v in (-1, 2**31, 10**400, 1.0, None, "3", True)),
        *(("chosen_by", v) for v in (3, None, "x" * 1001, "two\nlines", "\x1b]0;title\x07")),
    ],
)
@pytest.mark.slow
def test_invalid_fields_raise(tmp_path, content, key, value):
    message = refusal(tmp_path / "x.pth", content | {"info": content["info"] | {key: value}})
    # a list of attributes with another length puts the rest in the wrong
    assert message in (
        f"{key!r} has an invalid value",
        "'thresholds' has an invalid value",
    )


def test_other_fields_raise(tmp_path, content):
    path, info = tmp_path / "x.pth", content["info"]
    expected = "its fields are not those of a checkpoint"
    for changed in (
        {key: value for key, value in info.items() if key != "bias"},
        info | {"more": 1},
        info | {3: 1},
        info | {"x" * 10**6: 1},
        list(info.items()),
        None,
        3,
    ):
        assert refusal(path, content | {"info": changed}) == expected
    assert refusal(path, {"format": FORMAT}) == expected


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("timm", "hf-hub:timm/resnet10t.c3_in1k"),
        ("timm", "hf_hub:evil/model"),
        ("timm", "local-dir:/etc"),
        ("timm", "https://example.org/model.pth"),
        ("timm", "/etc/passwd"),
        ("timm", "../../model"),
        ("timm", "resnet10t.hf-hub:evil/model"),
        ("timm", "os.system"),
        ("timm", "lcnet_035.nonsense"),
        ("timm", ""),
        ("torchvision", "vit_h_14"),
        ("torchvision", "os.system"),
        ("os", "system"),
        ("hf-hub", SMALL),
    ],
)
def test_backbone_names_are_not_downloaded(tmp_path, content, monkeypatch, library, name):
    def refuse(*arguments, **keywords):
        raise AssertionError("a checkpoint led out of the machine")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    info = content["info"] | {"library": library, "backbone": name}
    message = refusal(tmp_path / "x.pth", content | {"info": info})
    assert f"{name!r}" in message or f"{library!r}" in message


def test_huge_networks_are_not_allocated(tmp_path, content, monkeypatch):
    built = []

    def create_model(*arguments, **keywords):
        model = original(*arguments, **keywords)
        built.append(next(model.parameters()).device.type)
        return model

    original = timm.create_model
    monkeypatch.setattr(timm, "create_model", create_model)
    info = content["info"] | {"backbone": "vit_giant_patch14_224"}  # 4 GB
    assert refusal(tmp_path / "x.pth", content | {"info": info}) == "its weights do not fit its network"
    # names and shapes are right, but all of them share the same numbers
    numbers = torch.zeros(max(value.numel() for value in content["state"].values()))
    views = {
        key: numbers[: value.numel()].view(value.shape) if value.is_floating_point() else value
        for key, value in content["state"].items()
    }
    assert "smaller than its weights" in refusal(tmp_path / "x.pth", content | {"state": views})
    assert built == ["meta", "meta"]


def test_networks_that_compute_on_creation_load(valid, monkeypatch):
    """As with older releases of timm."""
    original = timm.create_model

    def create_model(*arguments, **keywords):
        torch.linspace(0, 1, 3).tolist()
        return original(*arguments, **keywords)

    monkeypatch.setattr(timm, "create_model", create_model)
    assert load_model(valid)[1] == INFO


@pytest.mark.slow
def test_weights_of_another_network_raise(tmp_path, content):
    path, state = tmp_path / "x.pth", content["state"]
    other = "its weights do not fit its network"
    assert refusal(path, content | {"state": {k: v for k, v in state.items() if k != "head.bias"}}) == other
    assert refusal(path, content | {"state": state | {"more": torch.zeros(1)}}) == other
    assert refusal(path, content | {"state": list(state.values())}) == other
    assert refusal(path, content | {"state": None}) == other
    for attributes in (1, 3, 100_000):
        info = replace(INFO, attributes=[f"a{i}" for i in range(attributes)])
        numbers = {"thresholds": [0.5], "scale": [1.0], "bias": [0.0], "beats_chance": [None]}
        info = replace(info, **{key: value * attributes for key, value in numbers.items()})
        message = refusal(path, content | {"info": asdict(info)})
        assert "head.weight is torch.float32 (2, 1280)" in message or "smaller than its weights" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w[:1], "head.weight is torch.float32 (1, 1280); expected torch.float32 (2, 1280)"),
        (lambda w: w.flatten(), "head.weight is torch.float32 (2560,); expected"),
        (lambda w: w.double(), "head.weight is torch.float64 (2, 1280); expected torch.float32"),
        (lambda w: w.half(), "head.weight is torch.float16 (2, 1280); expected"),
        (lambda w: w.long(), "head.weight is torch.int64 (2, 1280); expected"),
        (lambda w: w.tolist(), "head.weight is list; expected"),
        (lambda w: None, "head.weight is NoneType; expected"),
        (
            lambda w: w.index_fill(1, torch.tensor([7]), NAN),
            "head.weight is NaN or infinite",
        ),
        (
            lambda w: w.index_fill(1, torch.tensor([7]), -INF),
            "head.weight is NaN or infinite",
        ),
        (lambda w: torch.zeros(1).expand(2, 1280), "exceeds its storage of 1 element"),
        (lambda w: torch.zeros(1).expand(200_000, 1_000_000), "exceeds its storage of 1 element"),
        (lambda w: w.to_sparse(), "imports 'torch._utils _rebuild_sparse_tensor'"),
    ],
)
def test_weights_of_another_shape_or_type_raise(tmp_path, content, change, message):
    state = content["state"] | {"head.weight": change(content["state"]["head.weight"])}
    assert message in refusal(tmp_path / "x.pth", content | {"state": state})


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
@pytest.mark.slow
def test_mutated_files_load_or_raise(valid, data):
    complete = bytearray(valid.read_bytes())
    pickled = complete.index(b"format")
    # most of a file is weights, whose checksum detects every change; the description is at both ends
    regions = [(0, pickled + 2000), (len(complete) - 20_000, len(complete)), (0, len(complete))]
    for _ in range(data.draw(st.integers(1, 3))):
        low, high = data.draw(st.sampled_from(regions))
        at = data.draw(st.integers(low, high - 1))
        complete[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
    path = valid.with_name("mutated.pth")
    path.write_bytes(complete)
    try:
        loaded, info = load_model(path)
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert isinstance(loaded, Classifier) and len(info.attributes) == 2


def test_checkpoints_without_verdicts_are_read(tmp_path: Path, classifier: Classifier) -> None:
    save_model(tmp_path / "model.pth", INFO, classifier.state_dict())
    content = load_tensors(tmp_path / "model.pth")
    del content["info"]["beats_chance"]
    save_tensors(tmp_path / "old.pth", content)
    assert load_model(tmp_path / "old.pth")[1] == replace(INFO, beats_chance=[None, None])


def test_checkpoints_without_stages_are_read(tmp_path: Path, classifier: Classifier) -> None:
    save_model(tmp_path / "model.pth", INFO, classifier.state_dict())
    content = load_tensors(tmp_path / "model.pth")
    del content["info"]["stages"]
    save_tensors(tmp_path / "old.pth", content)
    assert load_model(tmp_path / "old.pth")[1] == INFO


def test_checkpoints_with_another_choice_of_stages(tmp_path: Path) -> None:
    backbone = choose_stages(create_backbone("timm", SMALL, "random"), "all")
    classifier, info = Classifier(backbone, 2), replace(INFO, stages="all")
    save_model(tmp_path / "all.pth", info, classifier.state_dict())
    loaded, found = load_model(tmp_path / "all.pth")
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert found == info and torch.equal(loaded(images), classifier.eval()(images))
    save_model(tmp_path / "wrong.pth", replace(INFO, stages="first"), classifier.state_dict())
    with pytest.raises(ValueError, match="'stages' has an invalid value"):
        load_model(tmp_path / "wrong.pth")


def test_verdicts_have_three_values(tmp_path: Path, classifier: Classifier) -> None:
    save_model(tmp_path / "model.pth", INFO, classifier.state_dict())
    content = load_tensors(tmp_path / "model.pth")
    content["info"]["beats_chance"] = [True, "yes"]
    save_tensors(tmp_path / "wrong.pth", content)
    with pytest.raises(ValueError, match="'beats_chance' has an invalid value"):
        load_model(tmp_path / "wrong.pth")
