"""A safe reader of files that `torch.save` writes: tensors and plain values only, in bounded memory.

`torch.load(weights_only=True)` executes no code, but a file of a few hundred bytes can make it allocate all
memory. This reader supports only the pickle instructions that `torch.save` emits, checks every size against
the size of the file, and uses a small multiple of the file's size in memory.
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

from aimonk.files.text import plural

CHUNK = 1 << 20
MAX_READ = 16 << 20  # bytes of the zip directory
MAX_PICKLE = 128 << 20  # bytes of everything except tensors
MAX_INSTRUCTIONS = 5_000_000  # a number: 3 bytes in the file, 36 in memory
MAX_CONTAINERS = 1_000_000  # a container: 1 byte in the file, 90 in memory
MAX_DIMENSIONS = 16

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
    """Read nested lists, tuples, dicts, tensors, strings, numbers, booleans and None.

    Raises:
        ValueError: The file is damaged, or contains anything else; `zipfile` raises other exceptions too.
        OSError: The file cannot be read.
    """
    with _BoundedFile(path) as file, zipfile.ZipFile(file) as archive:
        return _Archive(archive, path.stat().st_size).read()


class _BoundedFile(io.FileIO):
    """A file that refuses large reads: a zip directory may claim any size."""

    def read(self, size: int | None = -1) -> bytes:
        size = CHUNK if size is None or size < 0 else size
        if size > MAX_READ:
            raise ValueError(f"its zip directory has {size} bytes; expected at most {MAX_READ}")
        return super().read(size)


class _Archive:
    """A zip file of one pickle, `NAME/data.pkl`, and the elements of each storage, `NAME/data/KEY`."""

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
            raise ValueError(f"it has {len(found)} files data.pkl; expected 1")
        self.root = found[0].removesuffix("data.pkl")
        order = self.root + "byteorder"
        if order in self.entries and bytes(self._bytes(order, 16)) != sys.byteorder.encode():
            raise ValueError(f"its byte order is not {sys.byteorder}, the byte order of this machine")
        return _Pickle(self._storage).read(bytes(self._bytes(found[0], MAX_PICKLE)))

    def _bytes(self, name: str, limit: int) -> bytearray:
        entry, content = self.entries[name], bytearray()
        if entry.file_size > limit:
            raise ValueError(f"{name[:80]!r} has {entry.file_size} bytes; expected at most {limit}")
        with self.archive.open(entry) as file:
            while chunk := file.read(CHUNK):
                content += chunk
        if len(content) != entry.file_size:
            raise ValueError(f"{name[:80]!r} is truncated")
        return content

    def _storage(self, identifier: Any) -> Tensor:
        """The elements, [count], of the persistent identifier ("storage", type, key, device, count)."""
        kind, dtype, key, _, count = identifier
        name = f"{self.root}data/{key}"
        if kind != "storage" or not isinstance(dtype, torch.dtype) or name not in self.entries:
            raise ValueError(f"its storage {str(key)[:80]!r} is missing")
        size = self.entries[name].file_size
        if type(count) is not int or count * dtype.itemsize != size:
            raise ValueError(f"its storage {str(key)[:80]!r} claims {count} elements in {size} bytes")
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
    """A strided tensor within a storage; it has at most as many elements as the storage."""
    is_valid = all(type(n) is int and n >= 0 for n in (offset, *size, *stride))
    if not is_valid or len(size) != len(stride) or len(size) > MAX_DIMENSIONS:
        raise ValueError("a tensor has an invalid shape, stride or offset")
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if count else 0
    if count > len(storage) or last >= len(storage) > 0:
        raise ValueError(f"a tensor of shape {size} exceeds its storage of {plural(len(storage), 'element')}")
    return storage.as_strided(size, stride, offset)


FUNCTIONS: dict[str, Callable] = {
    "torch._utils _rebuild_tensor_v2": _view,
    "torch._utils _rebuild_parameter": lambda tensor, requires_grad, hooks: tensor,
    "collections OrderedDict": lambda: {},
}


@dataclass
class _Pickle:
    """A pickle machine restricted to the instructions that build plain values.

    Attributes:
        storage: Persistent identifier to storage.
        marks: Stack heights at which items of unknown number begin.
        memo: Values that the pickle refers to again.
        containers: Number of lists, tuples and dicts so far.
    """

    storage: Callable[[Any], Tensor]
    stack: list = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    containers: int = 0

    def read(self, program: bytes) -> Any:
        for i, (instruction, argument, _) in enumerate(pickletools.genops(program)):
            if i == MAX_INSTRUCTIONS:
                raise ValueError(f"its pickle has more than {MAX_INSTRUCTIONS} instructions")
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
                    raise ValueError("its pickle uses an undefined value")
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
                # hashing a deeply nested tuple would crash the process
                keys = [_expect(key, str | int) for key in items[::2]]
                _expect(stack[-1], dict).update(zip(keys, items[1::2], strict=True))
            case "GLOBAL":
                if argument not in STORAGES and argument not in FUNCTIONS:
                    raise ValueError(f"it imports {argument[:80]!r}; expected tensors and plain values")
                stack.append(STORAGES.get(argument) or FUNCTIONS[argument])
            case "BINPERSID":
                stack.append(self.storage(_expect(stack.pop(), tuple)))
            case "REDUCE":
                function, arguments = self.pop(2)
                self.contain(_expect(function, Callable)(*_expect(arguments, tuple)))
            case "BUILD":
                stack.pop()  # the version metadata of a state dict
            case _:
                raise ValueError(f"it contains the unsupported pickle instruction {name}")

    def contain(self, value: Any) -> None:
        self.containers += 1
        if self.containers > MAX_CONTAINERS:
            raise ValueError(f"it has more than {MAX_CONTAINERS} containers")
        self.stack.append(value)

    def pop(self, count: int) -> list:
        if len(self.stack) < count:
            raise ValueError("its pickle uses an undefined value")
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
        raise ValueError(f"its pickle misplaces a value of type {type(value).__name__}")
    return value
