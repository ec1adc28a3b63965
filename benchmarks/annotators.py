"""Estimated ceilings of the scores on labels of several annotators, against the scores of the true labels.

    python benchmarks/annotators.py LABELS [--errors 0.02 0.05 0.2] [--unknown 0.1] [--draws 5]

LABELS is a complete label file. Annotators label each image with the given error rates, or leave entries out.
Printed per policy of `data.repeated`: mean AP and macro F1 of the true labels, scored on the combined labels,
and the two estimates that aimonk makes without knowing them.
"""

import argparse
import logging
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, f1_score

from aimonk.data.annotations import ABSENT, PRESENT, UNKNOWN, Annotations, Value
from aimonk.data.formats.text.label_file import read_labels
from aimonk.data.labels import LabelTable
from aimonk.data.repeated import combine
from aimonk.evaluation.label_noise import limit_of_scores

LEGEND = [Value("0", ABSENT), Value("1", PRESENT), Value("NA", UNKNOWN)]


def annotate(table: LabelTable, errors: list[float], unknown: float, rng: np.random.Generator) -> Annotations:
    """Labels of annotators with these error rates."""
    codes = []
    for error in errors:
        own = np.where(rng.random(table.labels.shape) < error, 1 - table.labels, table.labels)
        codes.append(np.where(rng.random(own.shape) < unknown, UNKNOWN, own).astype(np.uint8))
    count = len(table)
    return Annotations(
        table.names,
        table.attributes,
        LEGEND,
        np.concatenate(codes),
        np.tile(np.arange(count), len(errors)),
        np.arange(count * len(errors)),
        annotators=[f"annotator {i}" for i in range(len(errors)) for _ in range(count)],
    )


def score_truth(table: LabelTable, combined: LabelTable) -> tuple[float, float]:
    """Mean AP and macro F1 of the true labels on the combined ones."""
    pairs = [
        (combined.labels[known, a], table.labels[known, a])
        for a, known in ((a, combined.mask[:, a]) for a in range(len(table.attributes)))
    ]
    return (
        float(np.mean([average_precision_score(labels, truth) for labels, truth in pairs])),
        float(np.mean([f1_score(labels, truth) for labels, truth in pairs])),
    )


def main() -> None:
    """Print a line per policy and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", type=Path)
    parser.add_argument("--errors", type=float, nargs="+", default=[0.02, 0.05, 0.2])
    parser.add_argument("--unknown", type=float, default=0.1)
    parser.add_argument("--draws", type=int, default=5)
    options = parser.parse_args()
    logging.disable()
    table = read_labels(options.labels)
    for repeated in ("majority", "merge"):
        for draw in range(options.draws):
            annotations = annotate(table, options.errors, options.unknown, np.random.default_rng(draw))
            combined = combine(annotations, repeated, options.labels)
            found = limit_of_scores(annotations, table.attributes, repeated, 0)[0]
            ap, f1 = (
                np.mean([found[name][key] for name in table.attributes], axis=0)
                for key in ("ceiling_ap", "ceiling_f1")
            )
            true_ap, true_f1 = score_truth(table, combined)
            print(
                f"{repeated:9} draw {draw}: mean AP {true_ap:.3f} of the true labels, estimated {ap[0]:.3f} "
                f"to {ap[1]:.3f}; macro F1 {true_f1:.3f}, estimated {f1[0]:.3f} to {f1[1]:.3f}"
            )


if __name__ == "__main__":
    main()
