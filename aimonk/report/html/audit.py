"""The page of an audit: plain answers first, pictures beside what is doubtful."""

from collections.abc import Callable, Iterable

import numpy as np

from aimonk.audit.examine import Audit
from aimonk.files.text import listed, printable
from aimonk.report.html.gallery import embed, shrink
from aimonk.report.html.page import document, isolated, section, text
from aimonk.report.html.scoreboard import balance_table

GROUPS = 60  # photographs that stand there twice, at most
LISTED = 200  # names in a list, at most
PROBE = (
    "<p>A linear model of a frozen network's features predicts each image from the others; labels are "
    "shuffled to see how often chance does as well. A claim of evidence is corrected for the number of "
    "attributes.</p>"
)


def format_page(found: Audit, whole: dict, pixels: np.ndarray, top: int) -> str:
    """The page.

    Args:
        whole: What is said of the files: rows, images, missing, unreadable, unlisted, odd, sizes.
        pixels: Of the usable images, uint8 [N, H, W, 3].
        top: Doubtful and unknown entries shown per attribute.
    """
    row_of = {name: i for i, name in enumerate(found.table.names)}

    def picture(name: str, caption: str) -> str:
        source = embed(shrink(pixels[row_of[name]]))
        told = f"{isolated(name)}<br>{text(caption)}"
        return f'<figure><img src="{source}" alt="{text(name)}"><figcaption>{told}</figcaption></figure>'

    learnable = [name for name, entry in found.attributes.items() if entry["evidence"]]
    verdict = (
        f"{len(learnable)} of {len(found.attributes)} attributes can be learned from these images"
        if learnable
        else "There is no evidence that any of these labels can be learned from these images"
    )
    count = len(found.attributes)
    sizes = f"{whole['rows']:,} rows, {whole['images']:,} images that can be used, {count} attributes."
    kind = "good" if len(learnable) == count else "" if learnable else "bad"
    counts = [(name, e["present"], e["absent"], e["na"]) for name, e in found.attributes.items()]
    shift = "" if found.shift is None else f"<p>Order of the rows: {text(found.shift['sentence'])}.</p>"
    doubtful = "labelled {label}, probability {probability:.2f}"
    body = [
        f'<header class="verdict {kind}"><h1>{verdict}.</h1><p class="soft">{sizes}</p></header>',
        section("1. Is it whole?", *describe_files(whole)),
        section("2. Is it balanced?", balance_table(counts), *describe_dependence(found)),
        section("3. Is anything there twice?", *show_copies(found, picture)),
        section("4. Can it be learned?", PROBE, *map(say, found.attributes.values()), shift),
        section("5. Which labels look wrong?", *show_entries(found.suspects, found, picture, top, doubtful)),
        section(
            "Which unknown entries to label next",
            *show_entries(found.to_label, found, picture, top, "probability {probability:.2f}"),
        ),
    ]
    return document("Audit", "\n".join(body))


def say(entry: dict) -> str:
    """The answer for one attribute."""
    answer = '<b class="yes">yes</b>' if entry["evidence"] else '<b class="no">no</b>'
    return f"<p>{answer} · {text(entry['sentence'])}</p>"


def names_of(names: Iterable[str]) -> str:
    """Names for a paragraph, the first of many."""
    return text(listed([printable(name) for name in names], LISTED))


def describe_files(whole: dict) -> list[str]:
    """Missing, unreadable, unlisted and odd files, and their sizes."""
    told = []
    for key, what in (
        ("missing", "rows have no image"),
        ("unreadable", "images cannot be read"),
        ("unlisted", "images have no row"),
    ):
        if whole[key]:
            told.append(f"<p><b>{len(whole[key])}</b> {what}: {names_of(whole[key])}</p>")
    odd = [f"{name} ({why})" for name, why in whole["odd"].items()]
    if odd:
        told.append(f"<p><b>{len(odd)}</b> odd files: {names_of(odd)}</p>")
    if not told:
        told.append("<p>Yes: every row has an image, every image a row, and all can be read.</p>")
    formats = ", ".join(f"{count} {text(name)}" for name, count in whole["formats"].items())
    sides = f"{whole['shortest_side']} to {whole['longest_side']}, half of them up to {whole['median_side']}"
    return [*told, f"<p>{formats}; the shorter side has {sides} pixels.</p>"]


def describe_dependence(found: Audit) -> list[str]:
    """Attributes that go together, and NA that depends on others, where this is more than chance."""
    together = [p for p in found.together if p["p_adjusted"] is not None and p["p_adjusted"] <= 0.05]
    depends = [p for p in found.unknown_depends if p["p_adjusted"] is not None and p["p_adjusted"] <= 0.05]
    pairs = [f"{' and '.join(p['attributes'])} (phi {p['phi']:+.2f})" for p in together]
    missing = [f"{p['attribute']} on {p['given']} ({p['on']}, phi {p['phi']:+.2f})" for p in depends]
    return [
        f"<p>Attributes that go together: {names_of(pairs) or 'none beyond chance'}.</p>",
        f"<p>Whether a label is NA depends on other labels: {names_of(missing) or 'not beyond chance'}.</p>",
    ]


def show_copies(found: Audit, picture: Callable[[str, str], str]) -> list[str]:
    """Copies side by side, those with contradicting labels first."""
    differing = [*found.contradictions, *found.near_contradictions]
    bad = {tuple(sorted(pair["images"])): pair["attributes"] for pair in differing}
    groups = [(tuple(sorted(group)), "equal pixels") for group in found.duplicates]
    groups += [(tuple(sorted(group)), "near copies") for group in found.near_duplicates]
    groups.sort(key=lambda group: group[0] not in bad)
    if not groups:
        return ["<p>No photograph stands there twice.</p>"]
    sheets = []
    for names, kind in groups[:GROUPS]:
        caption = f"contradict on {', '.join(bad[names])}" if names in bad else kind
        shown = "".join(picture(name, caption) for name in names[:6])
        sheets.append(f'<div class="pair{" bad" if names in bad else ""}">{shown}</div>')
    told = (
        f"<p>{len(found.duplicates)} photographs stand there twice with equal pixels, "
        f"{len(found.near_duplicates)} more as near copies; the labels of <b>{len(bad)}</b> contradict one "
        "another. Copies are kept on one side of every split.</p>"
    )
    more = f"<p>and {len(groups) - GROUPS} more in audit.json</p>" if len(groups) > GROUPS else ""
    return [told, f'<div class="sheet">{"".join(sheets)}</div>', more]


def show_entries(
    entries: list[dict], found: Audit, picture: Callable[[str, str], str], top: int, caption: str
) -> list[str]:
    """A contact sheet for each attribute that has such entries."""
    sheets = []
    for name in found.attributes:
        own = [entry for entry in entries if entry["attribute"] == name]
        if own:
            pictures = "".join(picture(entry["image"], caption.format(**entry)) for entry in own[:top])
            count = f"{len(own)}" if len(own) <= top else f"the first {top} of {len(own)}"
            sheets.append(f'<h3>{text(name)}: {count}</h3><div class="sheet">{pictures}</div>')
    if sheets:
        return sheets
    if not any(entry["evidence"] for entry in found.attributes.values()):
        return ["<p>None can be told: there is no evidence that the images explain these labels.</p>"]
    return ["<p>None.</p>"]
