"""Why labels are missing: at random, because of their values, or because of other attributes or the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from aimonk.auditing.expected_share import Shares, expected_share, mask_correlation
from aimonk.auditing.mask_probe import MaskProbe, probe_mask
from aimonk.evaluation.association import Dependence, strongest_dependence
from aimonk.evaluation.significance import ALPHA, holm, rank_test
from aimonk.files.text import plural
from aimonk.runtime.progress import unwatched

TESTS = 3  # of the values, of other attributes and of the image, which share the 5 %
# NA counts as absent where at most this share of the known positive rate is expected: on photographs,
# missing=weak is better or equal at a ratio of .16, neither is clearly better at .25, and missing=ignore is
# better from .35 (benchmarks/missingness.py)
MOSTLY_ABSENT = 0.25


def explain_missing(
    features: np.ndarray,
    labels: np.ndarray,
    mask: np.ndarray,
    names: Sequence[str],
    probabilities: np.ndarray,
    evidence: Sequence[bool],
    seed: int = 0,
    watch: Callable = unwatched,
) -> dict | None:
    """Finds for each attribute with NA why labels are missing, and an option of the group `missing`.

    NA depends on the value of the label if features that predict NA differ between known positives and
    negatives as they must (`expected_share`), or, where features do not predict NA, if the probe's
    probabilities differ between NA and known entries. Another attribute or the image is the cause if its
    correlation with NA is the larger one.

    Rows are assumed independent: pass one row per photograph.

    Args:
        features: [N, D].
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        probabilities: Out of fold, [N, A], as of `probe`.
        evidence: Whether the features predict the attribute, A.
        watch: Wraps an iterator to show progress; called with (iterator, total, title).

    Returns:
        Ready for JSON: `policy` and `sentence` for the data set, and under `attributes` the same with `cause`
        and figures for each one with NA, by name. None where nothing is NA.
    """
    mask = np.asarray(mask, dtype=bool)
    unknown, others = ~mask, strongest_dependence(labels, mask)
    if not unknown.any():
        return None
    # known against unknown entries, by the probabilities of the probe
    tested = np.asarray(evidence, dtype=bool) & unknown.any(axis=0) & mask.any(axis=0)
    differ = adjust(rank_test(unknown, np.broadcast_to(tested, unknown.shape), probabilities, None))
    # known positives against known negatives, by scores that predict NA
    probes = probe_mask(features, unknown, TESTS, seed, watch)
    mirrored = adjust([compare_values(probes[a], labels[:, a], mask[:, a]) for a in range(len(names))])
    attributes = {}
    for a in np.flatnonzero(unknown.any(axis=0)):
        known, by_probe, by_mask = labels[mask[:, a], a], None, None
        if tested[a]:
            by_probe = expected_share(probabilities[:, a], labels[:, a], mask[:, a])
        if mirrored[a] is not None and mirrored[a] <= ALPHA:
            rows = probes[a].rows
            by_mask = expected_share(probes[a].scores, labels[rows, a], mask[rows, a])
        entry = describe_figures(known, unknown[:, a], by_probe, by_mask, probes[a])
        entry |= describe_dependence(others[a], names)
        entry |= {"p_adjusted": differ[a], "evidence": bool(tested[a])}
        is_value = by_mask is not None and by_mask.plausible
        if probes[a].scores is None:
            is_value = by_probe is not None and by_probe.plausible and differ[a] <= ALPHA
        entry["cause"] = find_cause(entry, is_value)
        entry["policy"] = choose_policy(entry)
        attributes[names[a]] = entry | {"sentence": describe_cause(names[a], entry)}
    return recommend(attributes) | {"attributes": attributes}


def compare_values(probe: MaskProbe, labels: np.ndarray, mask: np.ndarray) -> float | None:
    """P-value of known positives against known negatives by scores that predict NA; labels, mask are [N]."""
    if probe.scores is None:
        return None
    columns = (values[:, None] for values in (labels[probe.rows], mask[probe.rows], probe.scores))
    return rank_test(*columns, None)[0]


def adjust(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values adjusted for the number of attributes (Holm) and of tests."""
    return holm([None if p is None else min(1.0, TESTS * p) for p in p_values])


def describe_figures(
    known: np.ndarray,
    unknown: np.ndarray,
    by_probe: Shares | None,
    by_mask: Shares | None,
    probe: MaskProbe,
) -> dict:
    """The figures on one attribute.

    Args:
        known: Its known labels, 0 or 1.
        unknown: [N].
    """
    plausible = [shares for shares in (by_probe, by_mask) if shares is not None and shares.plausible]
    shares = min(plausible, key=lambda s: s.interval[1] - s.interval[0], default=None)
    return {
        "unknown": int(unknown.sum()),
        "values": sorted({int(value) for value in np.unique(known)}),
        "known_share": float(known.mean()) if len(known) else None,
        "expected_share": None if shares is None else shares.expected,
        "interval": None if shares is None else shares.interval,
        "correlation": None if shares is None else mask_correlation(shares, float(unknown.mean())),
        "image_p_adjusted": probe.p_value,
        "image_auroc": probe.auroc,
        "image_correlation": probe.correlation,
    }


def describe_dependence(found: Dependence | None, names: Sequence[str]) -> dict:
    """Name and phi of the other attribute whose value NA depends on; None without evidence."""
    if found is None or TESTS * found.p_adjusted > ALPHA:
        return {"given": None, "phi": None}
    return {"given": names[found.given], "phi": found.phi}


def find_cause(entry: dict, is_value: bool) -> str:
    """What NA depends on: "values", "attributes" or "image", or "random" if on nothing.

    "never known" and "one value" where that is all that is known; "undetermined" if there is no dependence
    and the features do not predict the label. If the value is the cause, all that is associated with the
    value correlates less with NA; what correlates more is the cause itself.

    Args:
        is_value: Whether NA depends on the value, or on something that is associated with it.
    """
    if len(entry["values"]) < 2:
        return "one value" if entry["values"] else "never known"
    found = {}
    if is_value:
        found["values"] = entry["correlation"]
    if entry["given"] is not None:
        found["attributes"] = abs(entry["phi"])
    if entry["image_correlation"] is not None:
        found["image"] = entry["image_correlation"]
    if found:
        return max(found, key=found.__getitem__)
    return "random" if entry["evidence"] else "undetermined"


def choose_policy(entry: dict) -> str:
    """The option of the group `missing`."""
    if entry["cause"] == "one value":
        differs = entry["image_p_adjusted"] is None or entry["image_p_adjusted"] <= ALPHA
        return "weak" if entry["values"] == [1] and differs else "ignore"
    if entry["cause"] == "values" and entry["expected_share"] <= MOSTLY_ABSENT * entry["known_share"]:
        return "weak"
    return "ignore"


def describe_cause(name: str, entry: dict) -> str:
    """One sentence on an attribute, with the figure behind the recommendation."""
    cause, policy, also = entry["cause"], entry["policy"], ""
    if cause == "never known":
        return f"{name}: no entry is known"
    if cause == "one value":
        (value,) = entry["values"]
        why = f"only {value} is known, and a model of the known entries learns to predict always {value}"
        if policy == "weak":
            also = " or missing=selective"
            if entry["image_auroc"] is not None:
                why += f"; the features distinguish it from NA (AUROC {entry['image_auroc']:.2f})"
        elif value == 1:
            why += "; no evidence that unknown entries differ from known ones"
    elif cause == "undetermined":
        why = "no evidence that the label can be learned, so that its unknown values cannot be estimated"
    elif cause == "attributes":
        why = f"NA depends on {entry['given']} (phi {entry['phi']:+.2f}); {describe_shares(entry)}"
    elif cause == "image":
        p = entry["image_p_adjusted"]
        why = f"NA depends on the image (AUROC {entry['image_auroc']:.2f}, {format_p(p)})"
        why += f"; {describe_shares(entry)}"
    else:
        p = min(p for p in (entry["p_adjusted"], entry["image_p_adjusted"]) if p is not None)
        why = f"{describe_shares(entry)} ({format_p(p)})"
    return f"{name}: {why}: missing={policy}{also}"


def format_p(value: float) -> str:
    """A p-value, which is an approximation where it is very small."""
    return "corrected p < 0.001" if value < 0.001 else f"corrected p {value:.2g}"


def describe_shares(entry: dict) -> str:
    """Known and expected share of positives."""
    known = f"{entry['known_share']:.0%} of the known entries are positive"
    if entry["expected_share"] is None:
        return known
    low, high = entry["interval"]
    share = f"{entry['expected_share']:.0%} [{low:.0%}, {high:.0%}]"
    return f"{known}, and {share} of the {entry['unknown']:,} unknown ones are expected to be"


def recommend(attributes: dict[str, dict]) -> dict:
    """The policy that fits most unknown entries, and a sentence."""
    counted = [entry for entry in attributes.values() if entry["values"]]
    total = sum(entry["unknown"] for entry in counted)
    weak = sum(entry["unknown"] for entry in counted if entry["policy"] == "weak")
    policy, fitted = ("weak", weak) if 2 * weak > total else ("ignore", total - weak)
    fitting = [entry for entry in counted if entry["policy"] == policy]
    sentence = (
        f"missing={policy} fits {len(fitting)} of {plural(len(counted), 'attribute')} with NA, and "
        f"{fitted / max(total, 1):.0%} of the unknown entries"
    )
    if all(entry["cause"] == "undetermined" for entry in fitting):
        sentence = "no evidence that the labels can be learned, so that unknown values cannot be estimated"
        sentence += f": missing={policy}"
    return {"policy": policy, "sentence": sentence}
