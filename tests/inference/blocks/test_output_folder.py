import json
from pathlib import Path

import pytest

from aimonk.inference.blocks.output_folder import MANIFEST, OutputFolder


@pytest.fixture(params=["local", "memory"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> OutputFolder:
    if request.param == "local":
        return OutputFolder(str(tmp_path / "new" / "folder"))
    pytest.importorskip("fsspec")
    return OutputFolder(f"memory://{tmp_path.name}/folder/")


def test_files_appear_when_they_are_complete(output: OutputFolder) -> None:
    assert output.names() == []
    with output.locked():
        with output.writing("a") as file:
            file.write(b"first")
            assert "a" not in output.names()
        assert output.open("a").read() == b"first"
        with pytest.raises(RuntimeError), output.writing("a") as file:
            file.write(b"half of the sec")
            raise RuntimeError
        assert output.open("a").read() == b"first"
        assert [name for name in output.names() if name != ".lock"] == ["a"]


def test_temporary_files_of_a_killed_command_are_removed(output: OutputFolder) -> None:
    with output.locked():
        for name in (".0123.tmp", "kept.tmp"):
            with output.writing(name):
                pass
        output.remove_temporary(output.names())
        assert [name for name in output.names() if name != ".lock"] == ["kept.tmp"]


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"[" * 100_000])
def test_damaged_manifest_is_one_line(content: bytes, output: OutputFolder) -> None:
    with output.locked():
        with pytest.raises(FileNotFoundError):
            output.open(MANIFEST)
        assert output.read_manifest() is None
        output.write_manifest({"a": 1})
        assert output.read_manifest() == {"a": 1}
        with output.writing(MANIFEST) as file:
            file.write(content)
        with pytest.raises(ValueError, match=r"_manifest\.json is damaged; expected a JSON object$"):
            output.read_manifest()
        assert json.dumps(output.address)


def test_folder_has_one_command_at_a_time(tmp_path: Path) -> None:
    first, second = OutputFolder(str(tmp_path)), OutputFolder(str(tmp_path))
    message = r"expected a folder that no other command writes to$"
    with first.locked(), pytest.raises(ValueError, match=message), second.locked():
        pass
    with second.locked():
        pass
