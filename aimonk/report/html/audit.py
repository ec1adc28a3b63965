"""The page of an audit: answers first, then pictures of doubtful entries."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from aimonk.audit.examine import Audit
from aimonk.files.text import listed, plural, printable
from aimonk.report.audit_summary import (
    QUESTIONS,
    associated,
    describe_duplicates,
    file_problems,
    unknown_depends,
)
from aimonk.report.html.page import embed, render
from aimonk.report.thumbnails import load_thumbnails

MOST_GROUPS = 60  # groups of duplicates at most
MOST_COPIES = 6  # images of a group at most
MOST_NAMES = 200  # names in a list at most


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
        questions=QUESTIONS,
        verdict=describe_verdict(found, files),
        files=describe_files(files),
        counts=[(name, e["present"], e["absent"], e["na"]) for name, e in found.attributes.items()],
        associated=join_names(associated(found)),
        unknown_depends=join_names(unknown_depends(found)),
        duplicates=describe_groups(found, picture),
        attributes=list(found.attributes.values()),
        shift=found.shift,
        suspects=describe_entries(found, found.suspects, picture, top, doubtful),
        to_label=describe_entries(found, found.to_label, picture, top, "probability {probability:.2f}"),
    )


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
            {"kind": kind, "total": len(names), "names": join_names(names)}
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


def join_names(names: Iterable[str]) -> str:
    """The first of many names, for a paragraph."""
    return listed([printable(name) for name in names], MOST_NAMES)
