import pytest
import torch

from aimonk.runtime.device import pick_device


@pytest.fixture
def available(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Kinds of devices that this machine pretends to have beside the CPU; nothing is allocated on them."""
    kinds: set[str] = set()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in kinds)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in kinds)

    def set_device(device: torch.device) -> None:
        assert device.index is not None, "as torch requires"
        kinds.add(f"current {device}")

    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch, "empty", lambda size, device: None)
    return kinds


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [(set(), "cpu"), ({"mps"}, "mps"), ({"cuda"}, "cuda:0"), ({"cuda", "mps"}, "cuda:0")],
)
def test_auto_prefers_cuda_then_mps(kinds: set[str], expected: str, available: set[str]) -> None:
    available |= kinds
    assert pick_device("auto") == torch.device(expected)
    assert ("current cuda:0" in available) == (expected == "cuda:0")


def test_each_process_uses_its_own_gpu(available: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    available.add("cuda")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda:1")
    assert pick_device("cuda:0") == torch.device("cuda:0")
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["nonsense", "cuda:99"])
def test_unavailable_devices_raise(name: str) -> None:
    with pytest.raises(ValueError, match=f"^device is {name}; expected an available device"):
        pick_device(name)
