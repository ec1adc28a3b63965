"""A web page that needs nothing but itself: no script, no request, light or dark, fit to be printed."""

import base64
from html import escape

from aimonk.files.text import printable

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

# blue and orange are told apart with every kind of colour vision; no meaning rests on colour alone
STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --soft: #5b6470; --line: #e2e5ea;
  --wash: #f5f6f8;
  --good: #0067a3; --bad: #c2410c; --bad-wash: #fdf3ec; --good-wash: #eef6fb }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --ink: #e6e8eb; --soft: #9aa4b0;
  --line: #2c3138;
  --wash: #1c2026; --good: #5ab4e5; --bad: #f59561; --bad-wash: #2a1d15; --good-wash: #14242f } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 68rem; background: var(--paper);
  color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif }
h1 { margin: 0; font-size: 1.55rem; line-height: 1.3; font-weight: 650; text-wrap: pretty;
  overflow-wrap: anywhere }
h2 { margin: 3rem 0 .6rem; font-size: 1.15rem; font-weight: 650 }
h3 { margin: 1.4rem 0 .3rem; font-size: .95rem; font-weight: 650; overflow-wrap: anywhere }
p { margin: .5rem 0; max-width: 46rem; overflow-wrap: anywhere }
.soft, figcaption, caption { color: var(--soft) }
.verdict { padding: 1.1rem 1.4rem 1rem; border-left: 6px solid var(--soft); border-radius: 4px;
  background: var(--wash) }
.verdict.good { border-color: var(--good); background: var(--good-wash) }
.verdict.bad { border-color: var(--bad); background: var(--bad-wash) }
.scroll { overflow-x: auto; margin: .8rem 0 }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .7rem .3rem 0; text-align: right; vertical-align: middle; white-space: nowrap }
th { font-weight: 600; color: var(--soft); vertical-align: bottom }
tbody tr { border-top: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere;
  min-width: 9rem }
td.score { text-align: left; min-width: 9.6rem }
td.score small { display: block; color: var(--soft); font-size: .75rem }
td.score b { color: var(--ink); font-weight: 600; font-size: .85rem }
tr.mean small { font-weight: 400 } tr.mean td { font-weight: 600; border-bottom: 2px solid var(--line) }
tr.bad { background: var(--bad-wash) }
.tag { display: inline-block; margin-right: .4rem; padding: 0 .4rem; border: 1px solid var(--bad);
  border-radius: 1rem;
  color: var(--bad); font-size: .7rem; white-space: nowrap }
.bar { display: flex; width: 14rem; height: .7rem; border-radius: 2px; overflow: hidden }
.bar i { display: block } .present { background: #0072b2 } .absent { background: #d55e00 }
  .unknown { background: #9ca3af66 }
svg { display: block; overflow: visible } svg .axis { stroke: var(--soft); stroke-opacity: .35 }
  svg .chance { stroke: var(--soft) }
svg .good { stroke: var(--good); fill: var(--good) } svg .bad { stroke: var(--bad); fill: var(--paper) }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; font-size: .8rem; color: var(--soft) }
.legend span { display: flex; align-items: center; gap: .4rem }
img { max-width: 100% } .picture { margin: .6rem 0 } .picture img { display: block; border-radius: 4px }
@media (prefers-color-scheme: dark) {
  .picture img { filter: invert(1) hue-rotate(180deg); mix-blend-mode: lighten } }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(27rem, 1fr)); gap: .3rem 2rem }
  .sheet { display: flex; flex-wrap: wrap; gap: .6rem }
.sheet figure { margin: 0; width: 112px; font-size: .7rem; line-height: 1.3; overflow-wrap: anywhere }
.sheet img, .gone { display: block; width: 112px; height: 112px; border-radius: 4px;
  background: var(--wash) }
.pair { display: flex; gap: .3rem; padding: .4rem; border: 1px solid var(--line); border-radius: 6px }
.pair.bad { border-color: var(--bad) } .no { color: var(--bad) } .yes { color: var(--good) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.5rem; margin: .6rem 0 }
dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
details { margin: .8rem 0 } summary { cursor: pointer; color: var(--soft) }
pre { padding: 1rem; border-radius: 4px; background: var(--wash); font-size: .8rem; line-height: 1.45;
  overflow-x: auto }
footer { margin-top: 3.5rem; padding-top: .8rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: .8rem }
@media (max-width: 40rem) { .sides { grid-template-columns: 1fr } dl { grid-template-columns: 1fr }
  dd { margin-bottom: .5rem } }
@media print { :root { --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --wash: #f4f4f4;
  --good: #0067a3;
  --bad: #b03a08; --bad-wash: #fdf3ec; --good-wash: #eef6fb } body { max-width: none; padding: 0;
  font-size: 11pt }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact }
  .picture img { filter: none; mix-blend-mode: normal }
  .picture, .sides, tr, .verdict { break-inside: avoid } h2, h3 { break-after: avoid } }
"""


def text(value: str) -> str:
    """A text from outside, such that it does nothing but be read."""
    return escape(printable(value))


def isolated(value: str) -> str:
    """The same, kept from changing the direction of what stands around it."""
    return f"<bdi>{text(value)}</bdi>"


def document(title: str, body: str) -> str:
    """A whole page around the body, which is HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head>\n<body>\n{body}\n"
        "<footer>This page holds no scripts and loads nothing: its content security policy forbids both."
        "</footer>\n"
        "</body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A heading and what stands below it, both HTML; nothing where there is nothing below."""
    content = "\n".join(part for part in parts if part)
    return f"<section><h2>{title}</h2>\n{content}</section>" if content else ""


def picture(png: bytes, width: int, description: str) -> str:
    """An embedded chart; it is darkened where the reader prefers dark pages.

    Args:
        width: Pixels on the page at most.
        description: For those who do not see it.
    """
    return (
        f'<figure class="picture"><img src="{data_uri(png, "png")}" alt="{text(description)}" '
        f'style="width:{width}px"></figure>'
    )


def data_uri(content: bytes, kind: str) -> str:
    """An image as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def details(summary: str, content: str) -> str:
    """What is folded away until it is asked for; both are HTML."""
    return f"<details><summary>{summary}</summary>\n{content}</details>"
