from pathlib import Path

import pytest

from aimonk.inference.blocks import block as blocks
from aimonk.inference.blocks.block import blocks_of_files, blocks_of_shards


def test_files_are_divided_without_loss(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(blocks, "FILES", 4)
    monkeypatch.chdir(tmp_path)
    paths = [Path(f"{i}.jpg") for i in range(9)]
    made = blocks_of_files(paths)
    assert [block.number for block in made] == [0, 1, 2]
    read = [pair for block in made for pair in block.read()]
    assert read == [(f"{i}.jpg", tmp_path / f"{i}.jpg") for i in range(9)]
    other = blocks_of_files([*paths[:7], Path("x.jpg"), paths[8]])
    assert [a.describe() == b.describe() for a, b in zip(made, other, strict=True)] == [True, False, True]


def test_shards_are_identified_by_address_and_size(write_shards, monkeypatch, tmp_path: Path) -> None:
    paths = write_shards(2, 1)
    monkeypatch.chdir(tmp_path)
    first, second = blocks_of_shards(["shards/000.tar", "memory://x.tar"])
    assert (first.shard, second.describe()) == (paths[0], {"shard": "memory://x.tar", "bytes": None})
    before = first.describe()
    with open(paths[0], "ab") as file:
        file.write(b"\0" * 512)
    assert first.describe() != before
    assert [name for name, _ in first.read()] == ["0/0.png", "0/broken.png"]
    with pytest.raises(FileNotFoundError):
        list(blocks_of_shards(["gone.tar"])[0].read())
