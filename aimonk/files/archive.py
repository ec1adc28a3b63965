"""Files of tensors and plain values as `torch.save` writes them, read without trusting them.

`torch.load(weights_only=True)` runs no code from a file, but takes whatever memory the file asks for: a few
hundred bytes are enough to ask for all there is. This reader knows only what such a file is made of, checks
every size against the bytes that are there, and takes a few times as much memory as the file is long.
"""

import io
import math
import pickletools
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CHUNK = 1 << 20
LARGEST_READ = 16 << 20  # of the zip file's directory
LARGEST_PICKLE = 128 << 20  # of everything that is not a tensor
MOST_INSTRUCTIONS = 5_000_000  # of 3 bytes in the file, for numbers that take 36 in memory
MOST_CONTAINERS = 1_000_000  # of 1 byte in the file and 90 in memory
MOST_DIMENSIONS = 16

STORAGES = {
    "torch FloatStorage": torch.float32,
    "torch DoubleStorage": torch.float64,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
}


def read_archive(path: Path) -> Any:
    """Read lists, tuples, dicts, tensors, text, numbers, True, False and None, nested as they were saved.

    Raises:
        ValueError: Something else is in the file, or it is damaged; so do other exceptions of `zipfile`.
        OSError: It cannot be read.
    """
    with _FrugalFile(path) as file, zipfile.ZipFile(file) as archive:
        return _Archive(archive, path.stat().st_size).read()


class _FrugalFile(io.FileIO):
    """A file that gives no more than a few megabytes at once, however large its directory claims to be."""

    def read(self, size: int | None = -1) -> bytes:
        size = CHUNK if size is None or size < 0 else size
        if size > LARGEST_READ:
            raise ValueError(f"its directory has {size} bytes")
        return super().read(size)


class _Archive:
    """A zip file with one pickle, `NAME/data.pkl`, and the numbers of each storage, `NAME/data/KEY`."""

    def __init__(self, archive: zipfile.ZipFile, file_size: int):
        self.archive = archive
        self.entries = {entry.filename: entry for entry in archive.infolist()}
        self.storages: dict[str, Tensor] = {}
        sizes = [entry.file_size for entry in self.entries.values()]
        packed = [e.filename for e in self.entries.values() if e.compress_type != zipfile.ZIP_STORED]
        if packed:
            raise ValueError(f"{packed[0][:80]!r} is compressed")
        if len(sizes) < len(archive.infolist()) or sum(sizes) > file_size:
            raise ValueError("its entries overlap")

    def read(self) -> Any:
        found = [name for name in self.entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(found) != 1:
            raise ValueError("it has no data.pkl" if not found else "it has several data.pkl")
        self.root = found[0].removesuffix("data.pkl")
        order = self.root + "byteorder"
        if order in self.entries and bytes(self._bytes(order, 16)) != sys.byteorder.encode():
            raise ValueError("it was written by a machine with another byte order")
        return _Pickle(self._storage).read(bytes(self._bytes(found[0], LARGEST_PICKLE)))

    def _bytes(self, name: str, most: int) -> bytearray:
        entry, content = self.entries[name], bytearray()
        if entry.file_size > most:
            raise ValueError(f"{name[:80]!r} has {entry.file_size} bytes")
        with self.archive.open(entry) as file:
            while chunk := file.read(CHUNK):
                content += chunk
        if len(content) != entry.file_size:
            raise ValueError(f"{name[:80]!r} is cut off")
        return content

    def _storage(self, identity: Any) -> Tensor:
        """The numbers, [count], that the pickle calls ("storage", type, key, device, count)."""
        kind, dtype, key, _, count = identity
        name = f"{self.root}data/{key}"
        if kind != "storage" or not isinstance(dtype, torch.dtype) or name not in self.entries:
            raise ValueError(f"it refers to {str(key)[:80]!r}, which is not there")
        size = self.entries[name].file_size
        if type(count) is not int or count * dtype.itemsize != size:
            raise ValueError(f"it claims {count} numbers in {size} bytes")
        if name not in self.storages:
            content = self._bytes(name, size)
            empty = torch.empty(0, dtype=dtype)
            self.storages[name] = torch.frombuffer(content, dtype=dtype) if count else empty
        if self.storages[name].dtype != dtype:
            raise ValueError(f"it reads {name[:80]!r} as {dtype} and as {self.storages[name].dtype}")
        return self.storages[name]


def _view(
    storage: Tensor, offset: int, size: tuple, stride: tuple, requires_grad: bool, hooks: dict, *metadata: Any
) -> Tensor:
    """A tensor whose elements are all in the storage, and not more of them than that has."""
    proper = all(type(n) is int and n >= 0 for n in (offset, *size, *stride))
    if not proper or len(size) != len(stride) or len(size) > MOST_DIMENSIONS:
        raise ValueError("a tensor has no proper shape")
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if count else 0
    if count > len(storage) or last >= len(storage) > 0:
        raise ValueError(f"a tensor of shape {size} is larger than its {len(storage)} numbers")
    return storage.as_strided(size, stride, offset)


FUNCTIONS: dict[str, Callable] = {
    "torch._utils _rebuild_tensor_v2": _view,
    "torch._utils _rebuild_parameter": lambda tensor, requires_grad, hooks: tensor,
    "collections OrderedDict": lambda: {},
}


@dataclass
class _Pickle:
    """The machine that a pickle is a program for, with no instructions beyond those that build plain values.

    Attributes:
        storage: Gives what a persistent identity stands for.
        marks: Heights of the stack at which a list of unknown length begins.
        memo: Values that the pickle refers to again.
        containers: How many lists, tuples and dicts there are so far.
    """

    storage: Callable[[Any], Tensor]
    stack: list = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    containers: int = 0

    def read(self, program: bytes) -> Any:
        for i, (instruction, argument, _) in enumerate(pickletools.genops(program)):
            if i == MOST_INSTRUCTIONS:
                raise ValueError(f"its pickle has more than {MOST_INSTRUCTIONS} instructions")
            self.run(instruction.name, argument)
        return self.stack.pop()

    def run(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "PROTO" | "STOP":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE":
                stack.append(argument)
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                if argument not in self.memo:
                    raise ValueError("its pickle uses what it has not made")
                stack.append(self.memo[argument])
            case "MARK":
                self.marks.append(len(stack))
            case "EMPTY_LIST" | "EMPTY_DICT" | "EMPTY_TUPLE":
                self.contain({"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}[name]())
            case "TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.contain(tuple(self.since_mark() if name == "TUPLE" else self.pop(int(name[-1]))))
            case "APPEND" | "APPENDS":
                items = self.pop(1) if name == "APPEND" else self.since_mark()
                _expect(stack[-1], list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = self.pop(2) if name == "SETITEM" else self.since_mark()
                # hashing a deeply nested tuple would end the process
                keys = [_expect(key, str | int) for key in items[::2]]
                _expect(stack[-1], dict).update(zip(keys, items[1::2], strict=True))
            case "GLOBAL":
                if argument not in STORAGES and argument not in FUNCTIONS:
                    raise ValueError(f"it asks for {argument[:80]!r}")
                stack.append(STORAGES.get(argument) or FUNCTIONS[argument])
            case "BINPERSID":
                stack.append(self.storage(_expect(stack.pop(), tuple)))
            case "REDUCE":
                function, arguments = self.pop(2)
                self.contain(_expect(function, Callable)(*_expect(arguments, tuple)))
            case "BUILD":
                stack.pop()  # what a state dict says of its modules' versions
            case _:
                raise ValueError(f"it contains a pickle instruction {name}")

    def contain(self, value: Any) -> None:
        self.containers += 1
        if self.containers > MOST_CONTAINERS:
            raise ValueError(f"it consists of more than {MOST_CONTAINERS} parts")
        self.stack.append(value)

    def pop(self, count: int) -> list:
        if len(self.stack) < count:
            raise ValueError("its pickle uses what it has not made")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def since_mark(self) -> list:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items


def _expect(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"its pickle uses a {type(value).__name__} in the wrong place")
    return value
