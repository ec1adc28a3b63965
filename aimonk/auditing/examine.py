"""Examination of a data set before training: balance, duplicates, learnability, suspicious labels."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np

from aimonk.auditing.missingness import explain_missing
from aimonk.auditing.probe import Probe, probe
from aimonk.auditing.shift import Shift, find_shift
from aimonk.auditing.suspects import Entry, suspects, unknowns
from aimonk.data.duplicates import describe_refused, group_images
from aimonk.data.groups import contradictions, duplicate_groups
from aimonk.data.images.hashes import Hashes
from aimonk.data.labels import LabelTable
from aimonk.evaluation.agreement import describe_agreement
from aimonk.evaluation.association import associate, associate_unknown
from aimonk.runtime.progress import unwatched

MOST_PAIRS = 10_000  # associations in a list; a thousand attributes have a million


@dataclass
class Audit:
    """Results of an audit; all but the table are ready for JSON.

    Attributes:
        table: Labels of the usable images, N rows.
        attributes: Counts over all rows of the label file, and results of the probe, by name.
        duplicates: Names of images with equal pixels, by photograph.
        near_duplicates: Names of recompressed, resized or mirrored copies, by photograph.
        series: A sentence on images that are similar to too many others to be copies, or None.
        contradictions: Duplicates with different labels: images, attributes, and whether `identical`.
        suspects: Known entries that are probably wrong, the most probable first.
        to_label: Unknown entries, by descending probability of 1.
        together: From `associate`, the strongest 10,000.
        unknown_depends: From `associate_unknown`, the strongest 10,000.
        missingness: From `explain_missing`.
        shift: Result of `find_shift`; None where there is evidence for an attribute.
        agreement: From `describe_agreement`; None where no image is annotated several times.
    """

    table: LabelTable = field(repr=False)
    attributes: dict[str, dict]
    duplicates: list[list[str]]
    near_duplicates: list[list[str]]
    series: str | None
    contradictions: list[dict]
    suspects: list[dict]
    to_label: list[dict]
    together: list[dict]
    unknown_depends: list[dict]
    missingness: dict | None
    shift: dict | None
    agreement: dict | None = None


def examine(
    file: LabelTable,
    table: LabelTable,
    hashes: Hashes,
    features: np.ndarray,
    distance: float | None,
    seed: int,
    watch: Callable = unwatched,
) -> Audit:
    """Examine labels, images and features.

    Args:
        file: All rows of the label file.
        table: Its rows with a readable image, N.
        hashes: Of the images, N.
        features: Of a frozen network, [N, D].
        distance: Of near duplicates, as for `group_images`.
        watch: Wraps an iterator to show progress; called with (iterator, total, title).
    """
    labels, mask, names = table.labels, table.mask, table.attributes
    groups, refused = group_images(hashes, distance, watch)
    equal = group_images(hashes, None).groups
    exact = duplicate_groups(equal, table.names)
    near = [group for group in duplicate_groups(groups, table.names) if group not in exact]
    found = probe(features, labels, mask, groups, seed=seed, watch=watch)
    first = np.unique(groups, return_index=True)[1]  # one row per photograph

    def differing(groups: np.ndarray, identical: bool) -> list[dict]:
        return [
            {
                "images": [table.names[i] for i in rows],
                "attributes": [names[a] for a in columns],
                "identical": identical,
            }
            for rows, columns in contradictions(groups, labels, mask)
        ]

    contradicting = differing(equal, True)
    listed = [pair["images"] for pair in contradicting]
    contradicting += [pair for pair in differing(groups, False) if pair["images"] not in listed]
    shift = None
    if not any(found.evidence):
        shift = describe_shift(find_shift(features, labels, mask, groups, seed=seed))
    missingness = explain_missing(
        features[first],
        labels[first],
        mask[first],
        names,
        found.probabilities[first],
        found.evidence,
        seed,
        watch,
    )
    return Audit(
        table=table,
        attributes=describe_attributes(file, found),
        duplicates=exact,
        near_duplicates=near,
        series=describe_refused(refused) if refused.any() else None,
        contradictions=contradicting,
        suspects=[describe(table, e) for e in suspects(found.probabilities, labels, mask, found.evidence)],
        to_label=[describe(table, e) for e in unknowns(found.probabilities, mask, found.evidence)],
        together=associate(labels[first], mask[first], names)[:MOST_PAIRS],
        unknown_depends=associate_unknown(labels[first], mask[first], names)[:MOST_PAIRS],
        missingness=missingness,
        shift=shift,
        agreement=None if file.annotations is None else describe_agreement(file.annotations, seed),
    )


def describe_attributes(file: LabelTable, found: Probe) -> dict[str, dict]:
    """Counts, results of the probe and a sentence for each attribute."""
    described = {}
    for a, (name, present, absent, unknown) in enumerate(zip(file.attributes, *file.counts(), strict=True)):
        entry = {
            "present": int(present),
            "absent": int(absent),
            "na": int(unknown),
            "auroc": found.auroc[a],
            "p_value": found.p_value[a],
            "p_adjusted": found.p_adjusted[a],
            "evidence": bool(found.evidence[a]),
        }
        described[name] = entry | {"sentence": summarise_evidence(name, entry)}
    return described


def summarise_evidence(name: str, entry: dict) -> str:
    """One sentence on whether the features predict the attribute."""
    if entry["auroc"] is None:
        return f"{name}: cannot be tested without known labels of both values"
    test = f"(AUROC {entry['auroc']:.2f}, corrected p {entry['p_adjusted']:.2g})"
    if entry["evidence"]:
        return f"{name}: the features predict this label {test}"
    return f"{name}: no evidence that the features predict this label {test}"


def describe(table: LabelTable, entry: Entry) -> dict:
    """The entry with names in place of indices."""
    return {
        "image": table.names[entry.row],
        "attribute": table.attributes[entry.attribute],
        "label": entry.label,
        "probability": entry.probability,
    }


def describe_shift(shift: Shift) -> dict:
    """Result of the search for shifted rows, with a sentence."""
    described = {key: value for key, value in asdict(shift).items() if key != "statistics"}
    if not shift.found:
        sentence = f"no evidence that the label rows are shifted or reversed (p {shift.p_value:.2g})"
    elif shift.reversed:
        sentence = f"the features predict the label rows in reversed order (p {shift.p_value:.2g})"
    else:
        sentence = (
            f"the features of each image predict the label row {abs(shift.shift)} "
            f"{'later' if shift.shift > 0 else 'earlier'} (p {shift.p_value:.2g}): the rows may be shifted"
        )
    return described | {"sentence": sentence}
