"""Scores as data for the tables of a page."""

from aimonk.evaluation.bootstrap import above
from aimonk.files.text import plural
from aimonk.report.tables import (
    CHOSEN_HERE,
    NOT_RANDOM,
    SHOWN,
    SHOWN_OVERALL,
    UNREACHED,
    dependent_attributes,
    format_figure,
    format_share,
    precise,
    short,
    undefined_reason,
)

METRICS = {
    "precision": "precision",
    "recall": "recall",
    "specificity": "specificity",
    "balanced_accuracy": "balanced accuracy",
    "brier": "Brier score",
    "ece": "calibration error",
}
COUNTS = {"tp": "true +", "fp": "false +", "fn": "false −", "tn": "true −"}
OPTIMISTIC = {
    "f1_macro": "macro F1",
    "f1_micro": "micro F1",
    "mean_brier": "Brier score, lower is better",
    "mean_ece": "calibration error, lower is better",
}
FOLDS = {"mean_ap": "mean AP", "mean_auroc": "mean AUROC", "f1_macro": "macro F1"}


def describe_scores(title: str, scores: dict) -> dict:
    """The tables of one part of the data, and their caveats."""
    return {
        "title": title,
        "heads": list(SHOWN.values()),
        "means": describe_means(scores),
        "rows": [describe_attribute(name, entry) for name, entry in scores["attributes"].items()],
        "full": describe_all(scores),
        "unreached": scores.get("unreached", []),
        "unreached_remark": UNREACHED,
        "dependent": dependent_attributes(scores),
        "dependent_remark": NOT_RANDOM,
        "optimistic": optimistic_rows(scores),
        "chosen_remark": CHOSEN_HERE,
    }


def describe_means(scores: dict) -> list[dict]:
    """A cell for each mean over attributes."""
    total, cells = len(scores["attributes"]), []
    for key, overall in SHOWN_OVERALL.items():
        count = scores[f"{overall}_count"]
        note = "" if count == total else f"over {count} of {total} attributes"
        cells.append(describe_cell(scores, overall, SHOWN[key], note))
    return cells


def describe_attribute(name: str, entry: dict) -> dict:
    """A row of the table; one that does not beat chance has a tag with the reason."""
    tag = ""
    if not entry["beats_chance"]:
        tag = undefined_reason(entry) if entry["auroc"] is None else "not above chance"
    return {
        "name": name,
        "tag": tag,
        "known": entry["known"],
        "present": format_share(entry["prevalence"]),
        "cells": [describe_cell(entry, key, label) for key, label in SHOWN.items()],
        "threshold": entry["threshold"],
    }


def describe_cell(scores: dict, key: str, label: str, note: str = "") -> dict:
    """A score, and whether its entire interval is above chance."""
    interval, chance = scores["interval"][key], scores["chance"][key]
    ends = scores.get("range", {}).get(key)
    notes = [note] if note else []
    if ends is not None:
        notes.append(f"range {short(ends[0])} to {short(ends[1])}")
    return {
        "value": scores[key],
        "interval": interval,
        "chance": chance,
        "above_chance": chance is not None and above(interval, chance),
        "label": f"{label} {format_figure(scores, key)}",
        "note": "; ".join(notes),
    }


def describe_all(scores: dict) -> dict:
    """All other metrics."""
    rows = []
    for name, entry in scores["attributes"].items():
        figures = [format_figure(entry, key) for key in METRICS] + [f"{entry[key]:,}" for key in COUNTS]
        rows.append((name, figures))
    return {
        "heads": [*METRICS.values(), *COUNTS.values()],
        "rows": rows,
        "f1_micro": format_figure(scores, "f1_micro"),
        "subset_accuracy": format_figure(scores, "subset_accuracy"),
        "complete_rows": plural(scores["subset_accuracy_count"], "fully known row"),
    }


def optimistic_rows(scores: dict) -> list[tuple[str, str, str]] | None:
    """Metric, cross-validated and optimistic score where these differ; None where nothing was chosen."""
    optimistic = scores.get("optimistic", {})
    if all(value is None for value in optimistic.values()):
        return None
    rows = [(OPTIMISTIC[key], precise(scores[key]), precise(value)) for key, value in optimistic.items()]
    return [row for row in rows if row[1] != row[2]]


def describe_folds(report: dict) -> dict:
    """Scores of the folds' models, and their standard deviation."""
    return {
        "heads": list(FOLDS.values()),
        "rows": [[precise(fold[key]) for key in FOLDS] for fold in report["folds"]],
        "spread": [precise(report[f"{key}_spread"]) for key in FOLDS],
    }
