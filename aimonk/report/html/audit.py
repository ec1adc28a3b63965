"""The page of an audit: answers first, then pictures of doubtful entries."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from aimonk.auditing.examine import Audit
from aimonk.evaluation.agreement import spell
from aimonk.evaluation.association import is_significant
from aimonk.files.text import plural
from aimonk.report.audit_summary import (
    AGREEMENT,
    QUESTIONS,
    associated,
    describe_duplicates,
    describe_pairs,
    file_problems,
    unknown_depends,
)
from aimonk.report.html.page import embed, render
from aimonk.report.tables import shorten
from aimonk.report.thumbnails import load_thumbnails

MOST_GROUPS = 60  # groups of duplicates at most
MOST_COPIES = 6  # images of a group at most
MOST_NAMES = 1000  # names in a folded list at most
MOST_MAPPED = 40  # attributes of the map of associations at most


def format_page(found: Audit, files: dict, pixels: Sequence[np.ndarray] | Sequence[Path], top: int) -> str:
    """The page.

    Args:
        files: As `describe_files` in modes/audit.
        pixels: Usable images, N, as for `load_thumbnails`.
        top: Number of doubtful and unknown entries shown per attribute.
    """
    row_of = {name: i for i, name in enumerate(found.table.names)}

    def picture(name: str, caption: str) -> dict:
        row = row_of[name]
        image = load_thumbnails(pixels, [row]).get(row)
        return {"name": name, "caption": caption, "source": None if image is None else embed(image)}

    doubtful = "labelled {label}, probability {probability:.2f}"
    return render(
        "audit.html.j2",
        title="Audit",
        questions=[*QUESTIONS, AGREEMENT],
        agreement=describe_agreement(found),
        verdict=describe_verdict(found, files),
        files=describe_files(files),
        counts=[(name, e["present"], e["absent"], e["na"]) for name, e in found.attributes.items()],
        associated=associated(found)[:MOST_NAMES],
        unknown_depends=unknown_depends(found)[:MOST_NAMES],
        map=describe_map(found),
        duplicates=describe_groups(found, picture),
        attributes=sorted(found.attributes.values(), key=lambda entry: not entry["evidence"]),
        shift=found.shift,
        missingness=describe_missingness(found),
        suspects=describe_entries(found, found.suspects, picture, top, doubtful),
        to_label=describe_entries(found, found.to_label, picture, top, "probability {probability:.2f}"),
    )


def describe_agreement(found: Audit) -> dict | None:
    """Rows of the table of attributes, and sentences on pairs of annotators."""
    if found.agreement is None:
        return None
    entries = found.agreement["attributes"]
    rows = [
        (name, e["images"], e["different"], spell(e, "alpha"), spell(e, "annotator_f1"))
        for name, e in entries.items()
    ]
    return {"rows": rows, "pairs": describe_pairs(found.agreement)[:MOST_NAMES]}


def describe_missingness(found: Audit) -> dict | None:
    """The recommended policy, and a sentence on each attribute with NA, those that need another first."""
    if found.missingness is None:
        return None
    entries = list(found.missingness["attributes"].values())
    entries.sort(key=lambda entry: entry["policy"] == "ignore")
    return {"sentence": found.missingness["sentence"], "attributes": [entry["sentence"] for entry in entries]}


def describe_verdict(found: Audit, files: dict) -> dict:
    """How many attributes can be learned."""
    learnable, count = sum(entry["evidence"] for entry in found.attributes.values()), len(found.attributes)
    attributes = plural(count, "attribute")
    sentence = "There is no evidence that any of these labels can be learned from these images"
    if learnable:
        sentence = f"{learnable} of {attributes} can be learned from these images"
    return {
        "sentence": sentence,
        "kind": "good" if learnable == count else "" if learnable else "bad",
        "sizes": f"{plural(files['rows'], 'row')}, {plural(files['images'], 'usable image')}, {attributes}",
    }


def describe_files(files: dict) -> dict:
    """Problems with files, formats and sizes."""
    sides = f"{files['shortest_side']} to {files['longest_side']} (median {files['median_side']})"
    return {
        "problems": [
            {"kind": kind, "total": len(names), "names": names[:MOST_NAMES]}
            for kind, names in file_problems(files)
        ],
        "formats": ", ".join(f"{count} {name}" for name, count in files["formats"].items()),
        "sides": sides,
    }


def describe_groups(found: Audit, picture: Callable[[str, str], dict]) -> dict:
    """Groups of duplicates, those with contradicting labels first."""
    contradicting = {tuple(sorted(pair["images"])): pair["attributes"] for pair in found.contradictions}
    groups = [(tuple(sorted(group)), "identical pixels") for group in found.duplicates]
    groups += [(tuple(sorted(group)), "near duplicates") for group in found.near_duplicates]
    groups.sort(key=lambda group: group[0] not in contradicting)
    shown = []
    for names, kind in groups[:MOST_GROUPS]:
        bad = names in contradicting
        caption = f"contradicting labels for {', '.join(contradicting[names])}" if bad else kind
        pictures = [picture(name, caption) for name in names[:MOST_COPIES]]
        shown.append({"contradicting": bad, "pictures": pictures})
    return {
        "groups": shown,
        "more": max(0, len(groups) - MOST_GROUPS),
        "sizes": describe_duplicates(found),
        "contradicting": len(contradicting),
        "series": found.series,
    }


def describe_entries(
    found: Audit, entries: list[dict], picture: Callable[[str, str], dict], top: int, caption: str
) -> dict:
    """A contact sheet for each attribute with such entries."""
    sheets = []
    for name in found.attributes:
        own = [entry for entry in entries if entry["attribute"] == name]
        if own:
            pictures = [picture(entry["image"], caption.format(**entry)) for entry in own[:top]]
            shown = f"{len(own)}" if len(own) <= top else f"the first {top} of {len(own)}"
            sheets.append({"attribute": name, "shown": shown, "pictures": pictures})
    evidence = any(entry["evidence"] for entry in found.attributes.values())
    return {"sheets": sheets, "evidence": evidence}


def describe_map(found: Audit) -> dict | None:
    """Cells of the map of the strongest associations beyond chance; None where there are none."""
    pairs = list(filter(is_significant, found.together))
    strongest = list(dict.fromkeys(name for pair in pairs for name in pair["attributes"]))
    mapped = set(strongest[:MOST_MAPPED])
    names = [name for name in found.attributes if name in mapped]
    place = {name: i for i, name in enumerate(names)}
    cells = []
    for pair in pairs:
        a, b = pair["attributes"]
        if a in place and b in place:
            kind = {"kind": "positive" if pair["phi"] > 0 else "negative"}
            kind |= {"title": f"{a} and {b}: phi {pair['phi']:+.2f}", "strength": f"{abs(pair['phi']):.2f}"}
            cells += [{"row": place[x], "column": place[y], **kind} for x, y in ((a, b), (b, a))]
    if not cells:
        return None
    shown = [shorten(name, 18) for name in names]
    return {"names": shown, "cells": cells, "more": len(strongest) > len(names)}
