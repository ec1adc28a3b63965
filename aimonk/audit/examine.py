"""Looking at a data set before anyone trains on it: balance, duplicates, learnability, suspicious labels."""

from dataclasses import asdict, dataclass, field

import numpy as np

from aimonk.audit.association import associate, associate_unknown
from aimonk.audit.probe import Probe, probe
from aimonk.audit.shift import Shift, find_shift
from aimonk.audit.suspects import Entry, suspects, unknowns
from aimonk.data.duplicates import group_images
from aimonk.data.groups import contradictions, duplicate_groups
from aimonk.data.labels import LabelTable


@dataclass
class Audit:
    """What an audit found; names and plain values, ready for JSON, but for the table.

    Attributes:
        table: The labels of the images that can be used, N rows.
        attributes: Of each its counts over all rows of the label file, and what the probe says.
        duplicates: Names of images with equal pixels, by photograph.
        near_duplicates: Names of images that are copies otherwise: recompressed, resized, mirrored.
        contradictions: Photographs whose equal copies are labelled differently: images and attributes.
        near_contradictions: The same of near copies.
        suspects: Known entries that the images contradict, the strongest first.
        to_label: Unknown entries, the most probably present first.
        together: How far pairs of attributes go together.
        unknown_depends: Whether being NA depends on other attributes.
        shift: Where nothing can be learned: whether the rows are shifted against the images.
    """

    table: LabelTable = field(repr=False)
    attributes: dict[str, dict]
    duplicates: list[list[str]]
    near_duplicates: list[list[str]]
    contradictions: list[dict]
    near_contradictions: list[dict]
    suspects: list[dict]
    to_label: list[dict]
    together: list[dict]
    unknown_depends: list[dict]
    shift: dict | None


def examine(
    file: LabelTable, table: LabelTable, pixels: np.ndarray, features: np.ndarray, seed: int
) -> Audit:
    """Examine labels, pixels and features.

    Args:
        file: The whole label file.
        table: Its rows whose image can be read, N.
        pixels: uint8 [N, H, W, 3].
        features: Of a frozen network, [N, D].
    """
    labels, mask, names = table.labels, table.mask, table.attributes
    groups = group_images(pixels)
    equal = group_images(pixels, 0)
    exact = duplicate_groups(equal, table.names)
    near = [group for group in duplicate_groups(groups, table.names) if group not in exact]
    found = probe(features, labels, mask, groups, seed=seed)
    first = np.unique(groups, return_index=True)[1]  # one row per photograph

    def differing(groups: np.ndarray) -> list[dict]:
        return [
            {"images": [table.names[i] for i in rows], "attributes": [names[a] for a in columns]}
            for rows, columns in contradictions(groups, labels, mask)
        ]

    strict = differing(equal)
    shift = None
    if not any(found.evidence):
        shift = describe_shift(find_shift(features, labels, mask, groups, seed=seed))
    return Audit(
        table=table,
        attributes=describe_attributes(file, found),
        duplicates=exact,
        near_duplicates=near,
        contradictions=strict,
        near_contradictions=[pair for pair in differing(groups) if pair not in strict],
        suspects=[describe(table, e) for e in suspects(found.probabilities, labels, mask, found.evidence)],
        to_label=[describe(table, e) for e in unknowns(found.probabilities, mask, found.evidence)],
        together=associate(labels[first], mask[first], names),
        unknown_depends=associate_unknown(labels[first], mask[first], names),
        shift=shift,
    )


def describe_attributes(file: LabelTable, found: Probe) -> dict[str, dict]:
    """Counts, the probe's figures and a plain sentence for each attribute."""
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
        described[name] = entry | {"sentence": say(name, entry)}
    return described


def say(name: str, entry: dict) -> str:
    """In one sentence: can the attribute be learned from these images?"""
    if entry["auroc"] is None:
        return f"{name}: cannot be tested, since not both values are known"
    figures = f"(AUROC {entry['auroc']:.2f}, p {entry['p_value']:.2g})"
    if entry["evidence"]:
        return f"{name}: the images explain this label {figures}"
    return f"{name}: no evidence that the images explain this label {figures}"


def describe(table: LabelTable, entry: Entry) -> dict:
    """An entry of the label table by name."""
    return {
        "image": table.names[entry.row],
        "attribute": table.attributes[entry.attribute],
        "label": entry.label,
        "probability": entry.probability,
    }


def describe_shift(shift: Shift) -> dict:
    """What the search for shifted rows found, with a sentence."""
    described = {key: value for key, value in asdict(shift).items() if key != "statistics"}
    if not shift.found:
        sentence = f"the rows do not fit the images better when shifted or reversed (p {shift.p_value:.2g})"
    elif shift.reversed:
        sentence = f"the labels fit the images in reversed order (p {shift.p_value:.2g})"
    else:
        sentence = (
            f"the labels fit the images when image i takes the label row {abs(shift.shift)} "
            f"{'later' if shift.shift > 0 else 'earlier'} (p {shift.p_value:.2g}): are the rows shifted?"
        )
    return described | {"sentence": sentence}
