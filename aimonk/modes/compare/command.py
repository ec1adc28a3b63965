"""Find the runs, compare them, and write the results."""

import glob
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig

from aimonk.evaluation.kernels import OVERALL
from aimonk.files.atomic import write_text
from aimonk.files.run_folder import find_runs, read_status
from aimonk.files.text import printable
from aimonk.modes.compare.rankings import PARTS, find_repeated, rank_runs
from aimonk.modes.compare.record import read_record
from aimonk.modes.compare.summary import Question
from aimonk.report.comparison.content import Comparison
from aimonk.report.comparison.csv_file import format_csv
from aimonk.report.comparison.terminal import format_comparison
from aimonk.report.html.comparison import format_page

log = logging.getLogger(__name__)

OUTPUTS = Path("outputs")
CSV_FILE, PAGE_FILE = "compare.csv", "compare.html"


def run(cfg: DictConfig, out_dir: Path, overrides: list[str]) -> None:
    """Compare runs and write compare.csv and compare.html.

    Raises:
        FileNotFoundError: No run is found.
        ValueError: A setting is invalid, or no run can be compared.
    """
    part, metric = parse_score(cfg.by)
    runs, foreign = find(cfg.runs)
    comparison = compare(runs, part, metric, f"{cfg.runs or OUTPUTS}")
    comparison.left_out.extend(foreign)
    if not comparison.rankings:
        reasons = "\n".join(f"  {folder}: {printable(why)}" for folder, why in comparison.left_out[:10])
        raise ValueError(f"by is {cfg.by}; expected a score that a finished run has:\n{reasons}")
    write_text(out_dir / CSV_FILE, format_csv(comparison))
    write_text(out_dir / PAGE_FILE, format_page(comparison, out_dir))
    log.info("\n%s\n", format_comparison(comparison))
    log.info("written: %s and %s", out_dir / CSV_FILE, PAGE_FILE)


def compare_sweep(folder: Path, page: str, by: str, extra: Sequence[dict]) -> str:
    """Compare the jobs of a sweep, write the page into its folder, and return the table.

    Args:
        page: Name of the page.
        by: As for `parse_score`.
        extra: Further sections of the page, as for `format_page`.
    """
    comparison = compare(find_runs(folder) | find_jobs_without_run(folder), *parse_score(by), f"{folder}")
    write_text(folder / page, format_page(comparison, folder, extra))
    return f"\n{format_comparison(comparison)}\n\nwritten: {folder / page}"


def parse_score(by: str) -> tuple[str, str]:
    """Part and metric of a setting such as `val.mean_ap`.

    Raises:
        ValueError: There is no such score.
    """
    part, _, metric = f"{by}".partition(".")
    if part not in PARTS or metric not in OVERALL:
        raise ValueError(f"by is {by}; expected val. or test. and one of {', '.join(OVERALL)}")
    return part, metric


def is_score(by: str) -> bool:
    """Whether runs can be compared by this score."""
    try:
        parse_score(by)
    except ValueError:
        return False
    return True


def find(patterns: str | Iterable[str] | None) -> tuple[dict[Path, str], list[tuple[Path, str]]]:
    """Run folders and their states, and the matches that contain no run.

    Args:
        patterns: Of folders that are runs or contain runs; None for outputs/.

    Raises:
        FileNotFoundError: A pattern matches nothing, or no match contains a run.
    """
    runs, foreign = {}, []
    given = [f"{OUTPUTS}"] if patterns is None else [patterns] if isinstance(patterns, str) else patterns
    for pattern in given:
        # a folder may itself have the brackets of a pattern in its name
        matches = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))
        if not matches:
            raise FileNotFoundError(f"runs is {pattern}; expected folders of runs, and no such path exists")
        for match in map(Path, matches):
            found = find_runs(match) | find_jobs_without_run(match)
            runs |= found
            if not found:
                foreign.append((match, "no run in it"))
    if not runs:
        raise FileNotFoundError(f"no runs in {', '.join(map(str, given))}; train a model or set runs=PATTERN")
    return runs, foreign


def find_jobs_without_run(sweep: Path) -> dict[Path, str]:
    """Jobs of a sweep that failed before their run began: Hydra's record without a status."""
    return {
        record.parent: "failed"
        for record in sweep.glob("*/.hydra")
        if not read_status(record.parent) and (record.parent / "run.log").is_file()
    }


def compare(runs: dict[Path, str], part: str, metric: str, title: str) -> Comparison:
    """Compare runs by a score.

    Args:
        runs: Folders and their states.
    """
    finished = [folder for folder, state in runs.items() if state == "finished"]
    question = Question(part, metric, len(finished), seed=0)
    records, left_out = [], list(describe_unfinished(runs))
    for folder in finished:
        try:
            records.append(read_record(folder, question))
        except ValueError as error:
            left_out.append((folder, f"{error}"))
    repeated = find_repeated(records)
    left_out += [(folder, f"the same settings and seed as {newer}") for folder, newer in repeated.items()]
    kept = [record for record in records if record.folder not in repeated]
    return Comparison(title, rank_runs(kept, question), left_out)


def describe_unfinished(runs: dict[Path, str]) -> Iterator[tuple[Path, str]]:
    """Folder, and state with reason, of runs that are not finished."""
    for folder, state in runs.items():
        if state != "finished":
            reason = read_status(folder).get("reason") or last_line(folder / "run.log")
            reason = f": {reason.splitlines()[0][:200]}" if reason else ""
            yield folder, f"{state or 'damaged status'}{reason}"


def last_line(path: Path) -> str:
    """The last message of a log; empty where it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    errors = [line.partition("[ERROR] ")[2] for line in lines if "[ERROR] " in line]
    return errors[-1] if errors else ""
