import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="limits and forks are those of POSIX systems")

ROOT = Path(__file__).resolve().parents[1]


# every 9th, from the first on: Hydra's own record, the beginning, checkpoints, the models, the end
@pytest.mark.parametrize(("fault", "every"), [("write", 9), ("once", 9), ("limit", 3)])
def test_a_full_disk_costs_nothing_but_the_room(
    environment: Callable[..., dict[str, str]], fault: str, every: int
) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "full_disk.py"), "--fault", fault, "--every", f"{every}"]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    assert int(result.stdout.split()[0]) >= 4, "stages were tried"
