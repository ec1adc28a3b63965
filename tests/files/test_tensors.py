import pytest
import torch

from aimonk.files.tensors import load_tensors, save_tensors


def test_tensors_and_plain_values_round_trip(tmp_path):
    content = {"a": torch.arange(3), "b": [1, 2.5, None, "x", (True,)], "c": {3: {}}}
    save_tensors(tmp_path / "x.pth", content)
    assert repr(load_tensors(tmp_path / "x.pth")) == repr(content)


def test_errors_name_the_file_in_one_line(tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(b"not\nweights")
    with pytest.raises(ValueError, match=r"x\.pth is not a readable checkpoint \(File is not a zip file\)$"):
        load_tensors(path)
