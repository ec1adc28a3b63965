"""Archives compared with `torch.load` on files of `torch.save`."""

import math
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from aimonk.files.archive import read_archive

DTYPES = (
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers(-5, 2**40), inner, max_size=4)
    ),
    max_leaves=12,
)


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(Exception) as caught:
        read_archive(path)
    assert isinstance(caught.value, (ValueError, zipfile.BadZipFile, EOFError, TypeError, LookupError))
    return str(caught.value)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(values)
def test_plain_values_equal_torch_load(tmp_path_factory, content):
    path = save(tmp_path_factory.getbasetemp() / "values.pth", content)
    found = read_archive(path)
    # compared as strings, since 1 == True == 1.0
    assert repr(found) == repr(content) == repr(torch.load(path, weights_only=True))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_of_all_types_and_layouts(tmp_path, dtype):
    numbers = torch.arange(-60, 60).view(2, 3, 4, 5).to(dtype)
    content = {
        "contiguous": numbers,
        "scalar": numbers[1, 2, 3, 4],
        "empty": numbers[:0],
        "channels_last": numbers.contiguous(memory_format=torch.channels_last),
        "transposed": numbers.transpose(0, 3),
        "slice": numbers[1, 1:, ::2, 3],
    }
    path = save(tmp_path / "tensors.pth", content)
    found, expected = read_archive(path), torch.load(path, weights_only=True)
    for key, value in content.items():
        assert torch.equal(found[key], value) and found[key].dtype == dtype, key
        assert found[key].stride() == expected[key].stride(), key
    # views share their storage
    found["contiguous"][1, 2, 3, 4] = 1
    assert found["scalar"] == 1
    assert not found["contiguous"].requires_grad


def test_state_dicts(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(module.parameters(), betas=(0.8, 0.9))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    module(torch.randn(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    content = {
        "model": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "infinite": [math.inf, -math.inf],
    }
    path = save(tmp_path / "state.pth", content)
    found, expected = read_archive(path), torch.load(path, weights_only=True)
    assert repr(found).replace("OrderedDict", "") == repr({**expected, "model": dict(expected["model"])})
    module.load_state_dict(found["model"])
    optimizer.load_state_dict(found["optimizer"])


def test_unsupported_tensors_are_refused(tmp_path):
    kinds = {
        "sparse": torch.eye(3).to_sparse(),
        "complex": torch.zeros(2, dtype=torch.complex64),
        "meta": torch.zeros(2, device="meta"),
        "module": nn.Linear(2, 2),
        "expanded": torch.zeros(1).expand(1000, 1000),
    }
    for name, value in kinds.items():
        message = refusal(save(tmp_path / f"{name}.pth", {"a": value}))
        assert "imports" in message or "exceeds its storage of 1 element" in message, name


def test_parameters_are_read_as_tensors(tmp_path):
    read = read_archive(save(tmp_path / "x.pth", {"a": nn.Parameter(torch.arange(3.0))}))
    assert type(read["a"]) is torch.Tensor and read["a"].tolist() == [0, 1, 2]


def test_damage_is_detected(tmp_path):
    path = save(tmp_path / "x.pth", {"a": torch.arange(1000.0)})
    content = path.read_bytes()
    start = content.index(torch.arange(1000.0).numpy().tobytes())
    path.write_bytes(content[: start + 100] + bytes([content[start + 100] ^ 1]) + content[start + 101 :])
    assert "Bad CRC-32" in refusal(path)
    for length in (0, 1, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert "not a zip file" in refusal(path)
