import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.stress
def test_simultaneous_runs_equal_a_single_run(
    environment: Callable[..., dict[str, str]],
) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "ten_starts.py"), "--runs", "3"]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "folders: 3" in result.stdout.splitlines()
