"""An audit as one self-contained page: plain answers first, pictures beside what is doubtful."""

import base64
import io
from collections.abc import Callable, Iterable
from html import escape

import numpy as np
from PIL import Image

from aimonk.audit.examine import Audit

THUMBNAIL = 112  # pixels per side
GROUPS = 60  # photographs that stand there twice, at most
LISTED = 200  # names in a list, at most

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --bad: #c2410c; --good: #0f766e }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.4rem; border-bottom: 1px solid var(--line) }
table { border-collapse: collapse } th, td { padding: .25rem .8rem .25rem 0; text-align: right }
th:first-child, td:first-child { text-align: left } tr { border-bottom: 1px solid var(--soft) }
.bar { display: flex; width: 12rem; height: .8rem } .bar i { display: block }
.bar .p { background: #0072b2 } .bar .a { background: #d55e00 } .bar .n { background: #8886 }
.sheet { display: flex; flex-wrap: wrap; gap: .6rem; margin: .6rem 0 }
figure { margin: 0; width: 112px; font-size: .75rem; line-height: 1.25; overflow-wrap: anywhere }
figure img { display: block; width: 112px; height: 112px; border-radius: 4px }
.pair { display: flex; gap: .3rem; padding: .4rem; border: 1px solid var(--line); border-radius: 6px }
.pair.bad { border-color: var(--bad) } .no { color: var(--bad) } .yes { color: var(--good) }
@media print { body { max-width: none } .sheet { break-inside: avoid } }
"""


def format_page(found: Audit, whole: dict, pixels: np.ndarray, top: int) -> str:
    """The page.

    Args:
        whole: What is said of the files: rows, images, missing, unreadable, unlisted, odd, sizes.
        pixels: Of the usable images, uint8 [N, H, W, 3].
        top: Doubtful and unknown entries shown per attribute.
    """
    row_of = {name: i for i, name in enumerate(found.table.names)}

    def picture(name: str, caption: str) -> str:
        source = f"data:image/jpeg;base64,{thumbnail(pixels[row_of[name]])}"
        return (
            f'<figure><img src="{source}" alt="{escape(name)}">'
            f"<figcaption>{escape(name)}<br>{escape(caption)}</figcaption></figure>"
        )

    learnable = [name for name, entry in found.attributes.items() if entry["evidence"]]
    verdict = (
        f"{len(learnable)} of {len(found.attributes)} attributes can be learned from these images"
        if learnable
        else "There is no evidence that any of these labels can be learned from these images"
    )
    sections = [
        f"<h1>{escape(verdict)}</h1>",
        f"<p>{whole['rows']} rows, {whole['images']} images that can be used, "
        f"{len(found.attributes)} attributes.</p>",
        "<h2>1. Is it whole?</h2>",
        *describe_files(whole),
        "<h2>2. Is it balanced?</h2>",
        describe_balance(found),
        *describe_dependence(found),
        "<h2>3. Is anything there twice?</h2>",
        *show_copies(found, picture),
        "<h2>4. Can it be learned?</h2>",
        "<p>A linear model of a frozen network's features predicts each image from the others; labels are"
        " shuffled to see how often chance does as well. A claim of evidence is corrected for the number of"
        " attributes.</p>",
        *(f"<p>{mark(entry)}{escape(entry['sentence'])}</p>" for entry in found.attributes.values()),
        "" if found.shift is None else f"<p>Order of the rows: {escape(found.shift['sentence'])}.</p>",
        "<h2>5. Which labels look wrong?</h2>",
        *show_entries(found.suspects, found, picture, top, "labelled {label}, probability {probability:.2f}"),
        "<h2>Which unknown entries to label next</h2>",
        *show_entries(found.to_label, found, picture, top, "probability {probability:.2f}"),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Audit</title>'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )


def thumbnail(pixels: np.ndarray) -> str:
    """A small JPEG in base64 of uint8 [H, W, 3]."""
    image = Image.fromarray(np.ascontiguousarray(pixels)).resize((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return base64.b64encode(file.getvalue()).decode()


def mark(entry: dict) -> str:
    return '<b class="yes">yes</b> · ' if entry["evidence"] else '<b class="no">no</b> · '


def names_of(names: Iterable[str]) -> str:
    """Names for a paragraph, the first of many."""
    names = list(names)
    told = ", ".join(escape(name) for name in names[:LISTED])
    return told if len(names) <= LISTED else f"{told} and {len(names) - LISTED} more"


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
    formats = ", ".join(f"{count} {escape(name)}" for name, count in whole["formats"].items())
    sides = f"{whole['shortest_side']} to {whole['longest_side']}, half of them up to {whole['median_side']}"
    return [*told, f"<p>{formats}; the shorter side has {sides} pixels.</p>"]


def describe_balance(found: Audit) -> str:
    """A row with a bar for each attribute."""
    rows = ["<tr><th>attribute</th><th>present</th><th>absent</th><th>NA</th><th></th></tr>"]
    for name, entry in found.attributes.items():
        counts = [entry["present"], entry["absent"], entry["na"]]
        shares = [100 * count / max(1, sum(counts)) for count in counts]
        bars = "".join(
            f'<i class="{c}" style="width:{s:.2f}%"></i>' for c, s in zip("pan", shares, strict=True)
        )
        cells = "".join(f"<td>{count}</td>" for count in counts)
        rows.append(f'<tr><td>{escape(name)}</td>{cells}<td><div class="bar">{bars}</div></td></tr>')
    return f"<table>{''.join(rows)}</table>"


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
            sheets.append(f'<h3>{escape(name)}: {count}</h3><div class="sheet">{pictures}</div>')
    if sheets:
        return sheets
    if not any(entry["evidence"] for entry in found.attributes.values()):
        return ["<p>None can be told: there is no evidence that the images explain these labels.</p>"]
    return ["<p>None.</p>"]
