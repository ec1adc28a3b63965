"""From records of runs to rankings: runs with a common basis, the seeds of a setting as one row."""

import math
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from aimonk.evaluation.comparison import (
    ROUNDING,
    Difference,
    Scores,
    average_seeds,
    confidence_set,
    contrast,
    optimism,
)
from aimonk.evaluation.evaluate import parse_rule
from aimonk.files.text import listed, plural
from aimonk.modes.compare.record import Basis, RunRecord
from aimonk.modes.compare.settings import SEED, describe_differences, identify
from aimonk.modes.compare.summary import Question
from aimonk.report.comparison.content import TITLES, Effect, Ranking, Row

PARTS = {"val": "validation", "test": "test"}
DRAWN = 40  # rows with a loss curve


def find_repeated(records: Sequence[RunRecord]) -> dict[Path, Path]:
    """Runs that a newer run with the same settings and seed repeats, and that run."""
    newest: dict[tuple, RunRecord] = {}
    repeated = {}
    for record in sorted(records, key=lambda r: r.date):
        key = (record.basis, identify(record), record.settings.get(SEED))
        if key in newest:
            repeated[newest[key].folder] = record.folder
        newest[key] = record
    return repeated


def rank_runs(records: Sequence[RunRecord], question: Question) -> list[Ranking]:
    """A ranking of each set of runs with a common basis, the largest first."""
    by_basis: dict[Basis, list[RunRecord]] = {}
    for record in records:
        by_basis.setdefault(record.basis, []).append(record)
    ordered = sorted(by_basis.values(), key=lambda own: (-len(own), -max(r.date for r in own)))
    first = ordered[0][0].basis if ordered else None
    return [rank_settings(own, question, describe_change(first, own[0].basis)) for own in ordered]


def describe_change(first: Basis, other: Basis) -> str:
    """Why a basis is not that of the first ranking; empty if it is."""
    if first.attributes != other.attributes:
        return f"not ranked with 1: other attributes, {listed(list(other.attributes), 4)}"
    if set(first.images) != set(other.images):
        return "not ranked with 1: other held-out images"
    if first.images != other.images or first.labels != other.labels:
        return "not ranked with 1: other labels of the same images"
    if first.threshold != other.threshold:
        return f"not ranked with 1: threshold={other.threshold} instead of {first.threshold}"
    return ""


def rank_settings(records: Sequence[RunRecord], question: Question, apart: str) -> Ranking:
    """Rank the settings of runs with a common basis."""
    by_setting: dict[frozenset, list[RunRecord]] = {}
    for record in sorted(records, key=seed_and_date):
        by_setting.setdefault(identify(record), []).append(record)
    settings = list(by_setting.values())
    values = [question.sign * np.array([r.summary.value for r in own]) for own in settings]
    deviations = [question.sign * np.stack([r.deviations for r in own], axis=1) for own in settings]
    varies = [seed_matters(own) for own in settings]
    scores = average_seeds(values, deviations, varies, records[0].freedom, question.seed)
    defined = np.isfinite(scores.deviations).all(axis=1)
    scores = replace(scores, deviations=scores.deviations[defined])
    several = len(settings) > 1 and defined.sum() > 1
    p_values = confidence_set(scores) if several else np.ones(len(settings))
    best = int(np.argmax(scores.values))
    one = np.eye(len(settings))
    changes = [bounded(contrast(scores, question.sign * (own - one[best]))) for own in one]
    varied = describe_differences([own[0] for own in settings])
    rows = [
        make_row(own, differing, change, float(p))
        for own, differing, change, p in zip(settings, varied, changes, p_values, strict=True)
    ]
    order = np.argsort(-scores.values, kind="stable")
    ranked = [rows[i] for i in order]
    winner = settings[best][0]
    return Ranking(
        basis=describe_basis(winner, question, records),
        apart=apart,
        part=question.part,
        metric=question.metric,
        images=len(winner.basis.images),
        rows=ranked,
        optimism=question.sign * optimism(scores) if several else None,
        simplest=find_simplest(ranked),
        advice=advise(winner, question),
        effects=measure_effects(varied, scores, question.sign),
        notes=list(describe_caveats(settings, several)),
    )


def bounded(change: Difference) -> Difference:
    """A difference between scores from 0 to 1: few positives may give it an interval beyond -1 and 1."""
    if change.interval is None:
        return change
    low, high = change.interval
    return Difference(change.value, (max(low, -1.0), min(high, 1.0)))


def seed_and_date(record: RunRecord) -> tuple[float, float]:
    """Sorts the runs of a setting."""
    seed = record.settings.get(SEED)
    return (seed if isinstance(seed, int) else math.inf, record.date)


def find_simplest(ranked: Sequence[Row]) -> Row | None:
    """The candidate with the fewest trained parameters, then the fewest of all, unless it is the best row."""
    best = ranked[0]
    known = [row for row in ranked if row.is_candidate and row.parameters is not None]
    if best.parameters is None or not known:
        return None
    simplest = min(known, key=lambda row: row.parameters)
    return simplest if simplest.parameters < best.parameters else None


def seed_matters(records: Sequence[RunRecord]) -> bool:
    """Whether the seed changes the score of a setting: not that of a solved head, unless runs show it."""
    values = [record.summary.value for record in records]
    if len(values) > 1:
        return max(values) - min(values) > ROUNDING
    return records[0].summary.epoch is not None


def make_row(records: Sequence[RunRecord], differing: dict[str, str], change: Difference, p: float) -> Row:
    """The row of a setting from its runs."""
    runs, first = [record.summary for record in records], records[0].summary
    values, intervals = [run.value for run in runs], [run.interval for run in runs]
    return Row(
        settings=differing,
        score=float(np.mean(values)),
        interval=None if None in intervals else tuple(np.mean(intervals, axis=0).tolist()),
        chance=first.chance,
        spread=float(np.std(values, ddof=1)) if len(values) > 1 else first.spread,
        difference=change,
        p=p,
        parameters=first.parameters,
        epochs=[run.epoch for run in runs],
        seconds=mean_of(record.seconds for record in records),
        folders=[record.folder for record in records],
        attributes={name: mean_of(run.attributes.get(name) for run in runs) for name in first.attributes},
        losses=records[0].losses(),
    )


def mean_of(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def describe_basis(best: RunRecord, question: Question, records: Sequence[RunRecord]) -> str:
    """What the runs of a ranking have in common."""
    images = plural(len(best.basis.images), f"{PARTS[question.part]} image")
    rule = best.basis.threshold
    threshold = "" if parse_rule(rule).kind == "fixed" else f", threshold={rule}"
    attributes = plural(len(best.basis.attributes), "attribute")
    return f"{plural(len(records), 'run')}, {images}, {attributes}{threshold}"


def advise(best: RunRecord, question: Question) -> str:
    """The score of the best run on test images, or the command that measures it."""
    if question.part == "test":
        return "Test images chose it: only other images can confirm its score."
    if best.summary.test:
        name = TITLES[question.metric]
        return f"On its test images, on which nothing was chosen: {name} {best.summary.test}."
    folder = shlex.quote(f"{best.folder}")
    return (
        "Its score on other images (data.test_fraction=0.2 holds some out): "
        f"python run.py mode=evaluate checkpoint={folder} data=folder data.images=DIR data.labels=FILE"
    )


def describe_caveats(settings: Sequence[Sequence[RunRecord]], several: bool) -> Iterable[str]:
    """What the p-values do not include."""
    if not several:
        return
    random = [own for own in settings if seed_matters(own)]
    if random and all(len(own) == 1 for own in random):
        yield "The spread over seeds is not included: seed=0,1,2 measures it."
    if any(record.summary.spread is not None for own in settings for record in own):
        yield "The spread of a single run is that over its folds."


def measure_effects(varied: Sequence[dict[str, str]], scores: Scores, sign: int) -> list[Effect]:
    """Mean change by each option, if the settings are a complete grid of two or more columns."""
    options = {name: sorted({row[name] for row in varied}) for name in varied[0]}
    complete = math.prod(map(len, options.values())) == len(varied)
    if len(options) < 2 or not complete or len({tuple(row.values()) for row in varied}) < len(varied):
        return []
    effects = []
    for name, found in options.items():
        for option in found:
            own = np.array([row[name] == option for row in varied])
            weights = sign * np.where(own, 1 / own.sum(), -1 / (~own).sum())
            effects.append(Effect(name, option, bounded(contrast(scores, weights))))
    return effects
