import logging
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[3] / "benchmarks"))
from mutated_labels import FORMATS, SAMPLES, check


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_refused_or_read_right(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    folder = shutil.copytree(SAMPLES / name, tmp_path / name)
    outcomes = Counter(check(name, seed, folder) for seed in range(200))
    assert set(outcomes) == {"accepted", "refused"}, "python benchmarks/mutated_labels.py repeats it"
