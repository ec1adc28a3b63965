import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_help_does_not_load_torch() -> None:
    # it takes most of the start-up, which `python run.py --help` does not need
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import run; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout == "False\n", result.stderr


def test_command_and_module_run_from_any_folder(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("aimonk")
    for command in ([sys.executable, "-m", "aimonk"], [str(script)]):
        result = subprocess.run(
            [*command, "loss=x"], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert result.stderr.startswith("loss is 'x'; expected asymmetric, "), result.stderr


def test_launchers_that_are_not_installed(tmp_path: Path) -> None:
    # None in sys.modules makes an import fail
    code = f"""import sys
sys.modules["hydra_plugins.hydra_joblib_launcher"] = None
sys.modules["hydra_plugins.hydra_joblib_launcher.joblib_launcher"] = None
sys.path.insert(0, {str(ROOT)!r})
from aimonk.cli.main import start
start(["-m", "hydra/launcher=joblib", "seed=0,1"])"""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("hydra_joblib_launcher is not installed; ")


def test_search_without_optuna(tmp_path: Path) -> None:
    code = f"""import sys
sys.modules["optuna"] = None
sys.path.insert(0, {str(ROOT)!r})
from aimonk.cli.main import start
start(["-m", "hydra/sweeper=optuna", "seed=0,1"])"""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "pip install -e '.[search]'" in result.stderr


def test_search_is_found_from_any_folder(tmp_path: Path) -> None:
    arguments = ["-m", "hydra/sweeper=optuna", "seed=0,1", "hydra.sweeper.n_trials=0"]
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.stderr.startswith("hydra.sweeper.n_trials is 0; expected "), result.stderr
