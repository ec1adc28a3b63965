"""Malicious archives are refused in bounded memory."""

import io
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
from torch._utils import _rebuild_tensor_v2

from aimonk.files import archive
from aimonk.files.archive import read_archive

ROOT = Path(__file__).resolve().parents[2]


class Storage:
    """Pickles as the storage in entry `data/KEY`, with an arbitrary element count."""

    def __init__(self, count=4, key="0", kind=torch.FloatStorage, tag="storage"):
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
    """Write an archive of any content, or of a pickle, with 16 bytes as storage 0."""
    program = content if isinstance(content, bytes) else dump(content)
    with zipfile.ZipFile(path, "w") as file:
        for name, data in ({"x/data.pkl": program, "x/data/0": bytes(16)} | entries).items():
            file.writestr(name, data)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(Exception) as caught:
        read_archive(path)
    assert isinstance(caught.value, (ValueError, zipfile.BadZipFile, EOFError, TypeError, LookupError))
    return str(caught.value)


def write_sparse(path: Path, size: int, directory: int) -> Path:
    """A file of zeros with the end record of a zip file whose directory has the given size."""
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size)
        end = b"PK\x05\x06" + bytes(4) + b"\x01\x00\x01\x00"
        sizes = directory.to_bytes(4, "little") + (size - directory).to_bytes(4, "little")
        file.write(end + sizes + bytes(2))
    return path


def test_crafted_archives_are_valid(tmp_path):
    """Otherwise the refusals below would be meaningless."""
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
def test_malicious_pickles_are_refused(tmp_path, content, message):
    assert message in refusal(pack(tmp_path / "x.pth", content))


@pytest.mark.slow
def test_deep_nesting(tmp_path):
    deep = b"\x80\x02)" + b"\x85" * 150_000 + b"."
    assert isinstance(read_archive(pack(tmp_path / "x.pth", deep)), tuple)
    # its hash is computed recursively, in C
    assert "misplaces a value" in refusal(pack(tmp_path / "y.pth", b"\x80\x02}" + deep[2:-1] + b"K\x01s."))


def test_unusual_archives_are_refused(tmp_path):
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


def test_limits_on_instructions_and_containers(tmp_path, monkeypatch):
    path = pack(tmp_path / "x.pth", [[], {}, (), (1,), [2.0] * 100])
    assert read_archive(path)
    monkeypatch.setattr(archive, "MAX_CONTAINERS", 5)
    assert "more than 5 containers" in refusal(path)
    monkeypatch.setattr(archive, "MAX_INSTRUCTIONS", 50)
    monkeypatch.setattr(archive, "MAX_CONTAINERS", 6)
    assert "more than 50 instructions" in refusal(path)
    monkeypatch.setattr(archive, "MAX_PICKLE", 100)
    assert "'x/data.pkl' has" in refusal(path)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_mutated_pickles_use_little_memory(tmp_path_factory, data):
    content = {"format": "x", "info": {"a": [0.5, 1, None], "b": "text"}, "state": {"w": View()}}
    program = bytearray(dump(content))
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


@pytest.mark.skipif(sys.platform == "win32", reason="requires resource.getrusage")
@pytest.mark.slow
def test_bombs_use_little_memory(tmp_path):
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
    messages = {Path(line.split(" ", 1)[0]).name: line.split(" ", 1)[1] for line in refused}
    # the memo is a dict, so that a high index needs no memory
    assert [*messages, "memo.pth"] == [name for name in names if name != "memo.pth"] + ["memo.pth"], (
        result.stderr
    )
    assert "is compressed" in messages["zip.pth"] and "directory has" in messages["directory.pth"]
    assert int(growth) / (1024 if sys.platform == "darwin" else 1) < 150_000  # KB
