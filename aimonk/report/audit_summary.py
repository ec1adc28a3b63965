"""The result of an audit as text for a terminal."""

from aimonk.auditing.examine import Audit
from aimonk.evaluation.agreement import summarise_agreement
from aimonk.evaluation.association import is_significant
from aimonk.files.text import listed, plural
from aimonk.report.data_notes import FILE_PROBLEMS, with_reasons

MOST_LINES = 20  # attributes in a list of the terminal

QUESTIONS = (
    "Are the files complete?",
    "Are the labels balanced?",
    "Are there duplicates?",
    "Can the labels be learned?",
    "Which labels are probably wrong?",
    "Why are labels missing?",
)
AGREEMENT = "Do the annotators agree?"
MOST_ANNOTATORS = 5  # pairs on the terminal


def summarise(found: Audit, files: dict) -> list[str]:
    """The lines of the summary.

    Args:
        files: As `describe_files` in modes/audit.
    """
    counts = found.attributes.items()
    doubtful = plural(len(found.suspects), "entry")
    if not any(entry["evidence"] for entry in found.attributes.values()):
        doubtful += ": without evidence that the labels can be learned, no entry can be judged"
    sizes = f"{plural(files['rows'], 'row')}, {plural(files['images'], 'usable image')}"
    answers = [sizes, "", describe_duplicates(found), "", doubtful]
    details = [
        [f"{kind} ({len(names)}): {listed(names)}" for kind, names in file_problems(files)],
        [
            *cut([f"{n}: {e['present']} present, {e['absent']} absent, {e['na']} NA" for n, e in counts]),
            *(f"associated: {pair}" for pair in associated(found)[:3]),
        ],
        [*describe_contradictions(found), *([found.series] if found.series else [])],
        describe_evidence(found),
        [
            f"{e['image']} {e['attribute']}: labelled {e['label']}, probability {e['probability']:.2f}"
            for e in found.suspects[:5]
        ],
    ]
    if found.missingness is not None:
        answers.append(found.missingness["sentence"])
        details.append(describe_missingness(found))
    questions = list(QUESTIONS[: len(answers)])
    if found.agreement is not None:
        questions.append(AGREEMENT)
        answers.append("")
        details.append(describe_agreement(found.agreement))
    lines = []
    for i, question in enumerate(questions):
        lines += ["", f"{i + 1}. {question} {answers[i]}".rstrip(), *(f"   {line}" for line in details[i])]
    return [*lines, ""]


def describe_evidence(found: Audit) -> list[str]:
    """A sentence on each attribute, those that can be learned first, and one on the order of the rows."""
    entries = sorted(found.attributes.values(), key=lambda entry: not entry["evidence"])
    return cut([entry["sentence"] for entry in entries]) + ([found.shift["sentence"]] if found.shift else [])


def describe_missingness(found: Audit) -> list[str]:
    """A sentence on each attribute with NA, those that need another policy than `ignore` first."""
    entries = sorted(found.missingness["attributes"].values(), key=lambda entry: entry["policy"] == "ignore")
    depends = [f"NA is associated with another label: {pair}" for pair in unknown_depends(found)[:3]]
    return cut([entry["sentence"] for entry in entries]) + depends


def describe_agreement(agreement: dict) -> list[str]:
    """A sentence on each attribute, the least agreement first, and on the pairs that differ most."""
    entries = agreement["attributes"]
    order = sorted(entries, key=lambda name: 2 if entries[name]["alpha"] is None else entries[name]["alpha"])
    lines = cut([summarise_agreement(name, entries[name]) for name in order])
    return lines + describe_pairs(agreement)[:MOST_ANNOTATORS]


def describe_pairs(agreement: dict) -> list[str]:
    """A sentence on each pair of named annotators, those who differ most often first."""
    lines = []
    for pair in agreement["pairs"]:
        first, second = pair["annotators"]
        counts = (
            f"{pair['different']:,} of {pair['compared']:,} labels differ, {pair['by_chance']:,.0f} by chance"
        )
        most = sorted(pair["attributes"].items(), key=lambda item: -item[1])
        where = f": {listed([f'{name} {count:,}' for name, count in most], 3)}" if most else ""
        lines.append(f"{first} and {second}: {counts}{where}")
    return lines


def cut(lines: list[str]) -> list[str]:
    """The first lines, and the number of the others."""
    more = len(lines) - MOST_LINES
    return lines if more <= 0 else [*lines[:MOST_LINES], f"and {more:,} more in audit.json"]


def file_problems(files: dict) -> list[tuple[str, list[str]]]:
    """Kinds of problems with files, each with the names of the files; none where there are no problems."""
    problems = [(kind, list(files[key])) for key, kind in FILE_PROBLEMS.items()]
    problems.append(("unusual files", with_reasons(files["odd"])))
    return [(kind, names) for kind, names in problems if names]


def describe_duplicates(found: Audit) -> str:
    """The number of groups of duplicates."""
    exact = plural(len(found.duplicates), "group")
    near = plural(len(found.near_duplicates), "group")
    return f"{exact} with identical pixels, {near} of near duplicates"


def describe_contradictions(found: Audit) -> list[str]:
    """The groups of duplicates whose labels contradict one another, cut after ten."""
    lines = [
        f"{' = '.join(pair['images'])}{'' if pair['identical'] else ' (near)'}: "
        f"contradicting labels for {', '.join(pair['attributes'])}"
        for pair in found.contradictions
    ]
    return lines[:10] + ([f"and {len(lines) - 10} more in audit.json"] if len(lines) > 10 else [])


def associated(found: Audit) -> list[str]:
    """Pairs of attributes that are associated beyond chance."""
    pairs = filter(is_significant, found.together)
    return [f"{' and '.join(pair['attributes'])} (phi {pair['phi']:+.2f})" for pair in pairs]


def unknown_depends(found: Audit) -> list[str]:
    """Attributes whose NA depends on another attribute's value or NA beyond chance."""
    pairs = filter(is_significant, found.unknown_depends)
    return [f"{p['attribute']} on {p['given']} ({p['on']}, phi {p['phi']:+.2f})" for p in pairs]
