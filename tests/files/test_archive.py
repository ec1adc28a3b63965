"""The reader against `torch.load` on what `torch.save` writes, and against files made to do harm."""

import io
import math
import os
import pickle
import subprocess
import sys
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._utils import _rebuild_tensor_v2

from aimonk.files import archive
from aimonk.files.archive import read_archive

ROOT = Path(__file__).resolve().parents[2]
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


class Storage:
    """Stands for the numbers in entry `data/KEY`, of which there may be more or fewer than it claims."""

    def __init__(
        self, count: int = 4, key: object = "0", kind: type = torch.FloatStorage, tag: str = "storage"
    ):
        self.identity = (tag, kind, key, "cpu", count)


class View:
    """Pickles as a tensor does."""

    def __init__(self, size=(4,), stride=(1,), offset=0, storage=None, function=_rebuild_tensor_v2):
        self.reduced = function, (storage or Storage(), offset, size, stride, False, OrderedDict())

    def __reduce__(self):
        return self.reduced


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.identity if isinstance(value, Storage) else None


def dump(content: object, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    Pickler(buffer, protocol).dump(content)
    return buffer.getvalue()


def pack(path: Path, content: object, **entries: bytes) -> Path:
    """Write an archive of any content, or of a ready pickle, with 16 bytes as storage 0."""
    program = content if isinstance(content, bytes) else dump(content)
    with zipfile.ZipFile(path, "w") as file:
        for name, data in ({"x/data.pkl": program, "x/data/0": bytes(16)} | entries).items():
            file.writestr(name, data)
    return path


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(Exception) as caught:
        read_archive(path)
    assert isinstance(
        caught.value, (ValueError, zipfile.BadZipFile, EOFError, TypeError, IndexError, KeyError)
    )
    return str(caught.value)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(values)
def test_plain_values_equal_torch_load(tmp_path_factory, content):
    path = save(tmp_path_factory.getbasetemp() / "values.pth", content)
    found = read_archive(path)
    # as text, since 1 == True == 1.0
    assert repr(found) == repr(content) == repr(torch.load(path, weights_only=True))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_of_every_type_and_layout(tmp_path, dtype):
    numbers = torch.arange(-60, 60).view(2, 3, 4, 5).to(dtype)
    content = {
        "whole": numbers,
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
    # they share their numbers, as they did
    found["whole"][1, 2, 3, 4] = 1
    assert found["scalar"] == 1
    assert not found["whole"].requires_grad


def test_states_of_modules_and_optimizers(tmp_path):
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


def test_crafted_archives_are_read_like_saved_ones(tmp_path):
    """Else the refusals below would prove nothing."""
    data = torch.arange(4.0)
    content = {"a": View(), "b": View((2, 2), (1, 2)), "c": View((), (), 3)}
    found = read_archive(pack(tmp_path / "x.pth", content, **{"x/data/0": data.numpy().tobytes()}))
    assert found["a"].tolist() == [0, 1, 2, 3] and found["b"].tolist() == [[0, 2], [1, 3]] and found["c"] == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (View((5,)), "exceeds its storage of 4 elements"),
        (View((1,), (1,), 4), "exceeds its storage of 4 elements"),
        (View((2,), (4,)), "exceeds its storage of 4 elements"),
        (View((10**6, 10**6), (0, 0)), "exceeds its storage of 4 elements"),
        (View((2**62, 4), (0, 1)), "exceeds its storage of 4 elements"),
        (View((5,), (0,)), "exceeds its storage of 4 elements"),
        (View((-1,), (1,)), "invalid shape"),
        (View((2,), (-1,), 1), "invalid shape"),
        (View((4,), (1,), -1), "invalid shape"),
        (View((4.0,), (1,)), "invalid shape"),
        (View((True,), (1,)), "invalid shape"),
        (View((4,), (1, 1)), "invalid shape"),
        (View((1,) * 17, (1,) * 17), "invalid shape"),
        (View(storage=Storage(5)), "claims 5 elements in 16 bytes"),
        (View(storage=Storage(2**60)), "claims 1152921504606846976 elements"),
        (View(storage=Storage(-4)), "claims -4 elements"),
        (View(storage=Storage(4.0)), "claims 4.0 elements"),
        (View(storage=Storage(2)), "claims 2 elements"),
        (View(storage=Storage(key="1")), "storage '1' is missing"),
        (View(storage=Storage(key="../data.pkl")), "is missing"),
        (View(storage=Storage(kind=OrderedDict)), "storage '0' is missing"),
        (View(storage=Storage(tag="module")), "storage '0' is missing"),
        ([View(), View((2,), (1,), storage=Storage(2, kind=torch.DoubleStorage))], "as torch.float64 and as"),
        (Call(os.system, "true"), " system'"),
        (Call(eval, "1"), "imports '__builtin__ eval'"),
        (Call(bytearray, 2**34), "imports '__builtin__ bytearray'"),
        (Call(getattr, "a", "b"), "imports"),
        (os.system, " system'"),
        (torch.float32, "imports"),
        (torch.Size([1]), "imports"),
        (b"\x80\x02ctorch._utils\n_rebuild_qtensor\n)R.", "imports 'torch._utils _rebuild_qtensor'"),
        (b"\x80\x02cos\nsystem\nq\x00.", "imports 'os system'"),
        (b"\x80\x02(X\x01\x00\x00\x00aios\nsystem\n.", "instruction INST"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "instruction SHORT_BINUNICODE"),
        (b"\x80\x02\x82\x01.", "instruction EXT1"),
        (b"\x80\x022.", "instruction DUP"),
        ({1.5: 1}, "misplaces a value of type float"),
        ({(1,): 1}, "misplaces a value of type tuple"),
        (b"\x80\x02}]K\x01s.", "misplaces a value of type list"),
        (b"\x80\x02]K\x01K\x02s.", "misplaces a value of type list"),
        (b"\x80\x02}K\x01a.", "misplaces a value of type dict"),
        (b"\x80\x02K\x01)R.", "misplaces a value of type int"),
        (b"\x80\x02K\x01Q.", "misplaces a value of type int"),
        (b"\x80\x02ccollections\nOrderedDict\nK\x01R.", "misplaces a value of type int"),
        (b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.", "positional argument"),
        (b"\x80\x02a.", "uses an undefined value"),
        (b"\x80\x02h\x05.", "uses an undefined value"),
        (b"\x80\x02", "pickle exhausted"),
        (b"", "pickle exhausted"),
        (b"\x80\x02]\xff.", "opcode"),
    ],
)
def test_what_is_no_plain_value_or_does_not_fit_is_refused(tmp_path, content, message):
    assert message in refusal(pack(tmp_path / "x.pth", content))


def test_other_kinds_of_tensors_are_refused(tmp_path):
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


def test_a_parameter_is_read_as_its_tensor(tmp_path):
    read = read_archive(save(tmp_path / "x.pth", {"a": nn.Parameter(torch.arange(3.0))}))
    assert type(read["a"]) is torch.Tensor and read["a"].tolist() == [0, 1, 2]


def test_depth_does_no_harm(tmp_path):
    deep = b"\x80\x02)" + b"\x85" * 150_000 + b"."
    assert isinstance(read_archive(pack(tmp_path / "x.pth", deep)), tuple)
    # its hash would be computed recursively, in C
    assert "misplaces a value" in refusal(pack(tmp_path / "y.pth", b"\x80\x02}" + deep[2:-1] + b"K\x01s."))


def test_archives_that_are_not_as_torch_writes_them(tmp_path):
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x/data.pkl", dump([1] * 1000))
    assert refusal(path) == "'x/data.pkl' is compressed"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("other", b"")
    assert refusal(path) == "it has 0 files data.pkl; expected 1"
    assert refusal(pack(path, [1], **{"y/data.pkl": dump([1])})) == "it has 2 files data.pkl; expected 1"
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as file:
        file.writestr("x/data.pkl", dump([1]))
        file.writestr("x/data.pkl", dump([2]))
    assert refusal(path) == "its entries overlap"
    assert "byte order" in refusal(pack(path, [1], **{"x/byteorder": b"middle"}))
    assert read_archive(pack(path, [1], **{"x/byteorder": sys.byteorder.encode()})) == [1]


def test_limits_on_what_is_no_tensor(tmp_path, monkeypatch):
    path = pack(tmp_path / "x.pth", [[], {}, (), (1,), [2.0] * 100])
    assert read_archive(path)
    monkeypatch.setattr(archive, "MAX_CONTAINERS", 5)
    assert "more than 5 containers" in refusal(path)
    monkeypatch.setattr(archive, "MAX_INSTRUCTIONS", 50)
    monkeypatch.setattr(archive, "MAX_CONTAINERS", 6)
    assert "more than 50 instructions" in refusal(path)
    monkeypatch.setattr(archive, "MAX_PICKLE", 100)
    assert "'x/data.pkl' has" in refusal(path)


def test_damage_is_noticed(tmp_path):
    path = save(tmp_path / "x.pth", {"a": torch.arange(1000.0)})
    whole = path.read_bytes()
    start = whole.index(torch.arange(1000.0).numpy().tobytes())
    path.write_bytes(whole[: start + 100] + bytes([whole[start + 100] ^ 1]) + whole[start + 101 :])
    assert "Bad CRC-32" in refusal(path)
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "not a zip file" in refusal(path)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_mutated_pickles_take_little_memory(tmp_path_factory, data):
    program = bytearray(
        dump({"format": "x", "info": {"a": [0.5, 1, None], "b": "text"}, "state": {"w": View()}})
    )
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(program) - 1))
        program[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=5))
    path = pack(tmp_path_factory.getbasetemp() / "mutated.pth", bytes(program))
    tracemalloc.start()
    try:
        read_archive(path)
    except Exception as error:
        assert not isinstance(error, (MemoryError, RecursionError))
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4e6


def write_sparse(path: Path, size: int, directory: int) -> Path:
    """A file of zeros that ends as a zip file does whose directory has so many bytes."""
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size)
        end = b"PK\x05\x06" + bytes(4) + b"\x01\x00\x01\x00"
        file.write(
            end + directory.to_bytes(4, "little") + (size - directory).to_bytes(4, "little") + bytes(2)
        )
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="the peak of the memory is not known there")
def test_bombs_do_not_go_off(tmp_path):
    size = 200 << 20
    with zipfile.ZipFile(tmp_path / "zip.pth", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("x/data.pkl", dump(View((size // 4,), storage=Storage(size // 4))))
        with file.open("x/data/0", "w") as entry:
            for _ in range(size >> 20):
                entry.write(bytes(1 << 20))
    pack(tmp_path / "bytearray.pth", Call(bytearray, size))
    pack(tmp_path / "containers.pth", b"\x80\x02]" + b"]" * (8 << 20) + b".")
    pack(tmp_path / "long.pth", b"\x80\x02\x8b\xff\xff\xff\x7f.")
    pack(tmp_path / "memo.pth", b"\x80\x02Nr\xff\xff\xff\x7f.")
    pack(tmp_path / "text.pth", b"\x80\x02X\xff\xff\xff\x7fabc.")
    write_sparse(tmp_path / "directory.pth", size + (4 << 20), size)
    names = sorted(path.name for path in tmp_path.iterdir())
    script = """if True:
        import resource, sys
        from pathlib import Path
        from aimonk.files.archive import read_archive
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for name in sys.argv[1:]:
            try:
                read_archive(Path(name))
            except ValueError as error:
                print(name, error)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    command = [sys.executable, "-c", script, *(str(tmp_path / name) for name in names)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    *refused, growth = result.stdout.splitlines()
    told = {Path(line.split(" ", 1)[0]).name: line.split(" ", 1)[1] for line in refused}
    # a memo is a dict here, so that a high number takes no room
    assert [*told, "memo.pth"] == [name for name in names if name != "memo.pth"] + ["memo.pth"], result.stderr
    assert "is compressed" in told["zip.pth"] and "directory has" in told["directory.pth"]
    kilobytes = int(growth) / (1024 if sys.platform == "darwin" else 1)
    assert kilobytes < 150_000
