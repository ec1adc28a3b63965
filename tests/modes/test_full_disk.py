import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="limits and forks are those of POSIX systems")

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.stress
def test_full_disk_loses_no_state(environment: Callable[..., dict[str, str]]) -> None:
    # some writes of Hydra's own record, of checkpoints and of the models
    command = [sys.executable, str(ROOT / "benchmarks" / "full_disk.py"), "--every", "20"]
    command += ["--fault", "write", "once", "limit"]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    assert int(result.stdout.split()[0]) >= 6, "stages were tried"
