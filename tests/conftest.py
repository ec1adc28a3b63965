import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what starts the command line, which takes seconds."""
    for item in items:
        if "environment" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all tests keep decoded images, features and the demo, so that each is made once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def compose_config() -> Iterator[Callable[..., DictConfig]]:
    """Composes the configuration from overrides, Hydra's own part included; not to be changed."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield cache(lambda *overrides: compose("config", list(overrides), return_hydra_config=True))


@pytest.fixture(scope="session")
def command(environment: Callable[..., dict[str, str]]) -> Callable[..., subprocess.CompletedProcess]:
    """Runs `python run.py ARGUMENTS` in a folder, in a process of its own."""

    def run(cwd: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, str(ROOT / "run.py"), *arguments],
            cwd=cwd,
            env=environment(**variables),
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture(scope="session")
def environment() -> Callable[..., dict[str, str]]:
    """Variables for a process that stands alone and uses one thread, so that several share a machine well."""

    def with_variables(**variables: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
        return kept | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"} | variables

    return with_variables


@pytest.fixture(scope="session")
def demo(cache_dir: Path) -> list[str]:
    """Overrides that make the embedded demo small, and train one model by gradient descent."""
    small = ["data.draw.images=60", "data.image_size=64", "epochs=2", "optimizer=adamw", "refit=false"]
    return [f"cache_dir={cache_dir}", *small]


@pytest.fixture(scope="session")
def trained(command, demo: list[str], tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A finished run on the demo: `folder`, its working folder `cwd`, and what was printed, `output`."""
    cwd = tmp_path_factory.mktemp("trained")
    result = command(cwd, *demo)
    assert result.returncode == 0, result.stdout + result.stderr
    (folder,) = cwd.glob("outputs/*/*")
    return SimpleNamespace(cwd=cwd, folder=folder, output=result.stdout)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of a tiny network, one of whose attributes has the name of a column."""
    import torch

    from aimonk.models.backbones import create_backbone
    from aimonk.models.checkpoint import ModelInfo, save_model
    from aimonk.models.classifier import Classifier

    torch.manual_seed(0)
    classifier = Classifier(create_backbone("timm", "test_efficientnet", "random"), 3)
    torch.nn.init.normal_(classifier.head.weight, std=3)
    info = ModelInfo(
        library="timm",
        backbone="test_efficientnet",
        stages="last",
        attributes=["hat", "image", "scarf"],
        thresholds=[0.5, 0.6, 0.7],
        scale=[1.0] * 3,
        bias=[0.0] * 3,
        image_size=32,
        resize="squash",
        epoch=1,
        chosen_by="test",
        beats_chance=[True, None, None],
    )
    path = tmp_path_factory.mktemp("checkpoint") / "model.pth"
    save_model(path, info, classifier.state_dict())
    return path


@pytest.fixture(scope="session")
def draw_image() -> Callable[[int], bytes]:
    """A PNG file by its number."""

    def draw(number: int) -> bytes:
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).resize((48, 40)).save(file, "PNG")
        return file.getvalue()

    return draw


@pytest.fixture
def write_shards(tmp_path: Path, draw_image) -> Callable[[int, int], list[str]]:
    """Writes so many shards of so many images, in `shards`; each has a broken image too."""

    def write(shards: int, images: int) -> list[str]:
        folder, paths = tmp_path / "shards", []
        folder.mkdir()
        for shard in range(shards):
            members = {f"{shard}/{i}.png": draw_image(100 * shard + i) for i in range(images)}
            paths.append(str(folder / f"{shard:03}.tar"))
            with tarfile.open(paths[-1], "w") as archive:
                for name, content in (members | {f"{shard}/broken.png": b"broken"}).items():
                    header = tarfile.TarInfo(name)
                    header.size = len(content)
                    archive.addfile(header, io.BytesIO(content))
        return paths

    return write
