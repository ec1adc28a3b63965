"""What a search found as sections of the page of its sweep."""

import numpy as np

from aimonk.search.results import SearchResults


def describe_search(found: SearchResults) -> list[dict]:
    """Sections: the importance of each setting, and the path of the best score."""
    sections = []
    if found.importances:
        rows = [[name, f"{share:.2f}"] for name, share in found.importances.items()]
        caption = "Share of each setting in how good the scores are (PED-ANOVA)."
        heads = ["setting", "share"]
        sections.append({"heading": "Importance", "caption": caption, "heads": heads, "rows": rows})
    if found.path:
        rows = [[f"{n}", f"{score:.4f}", f"{best:.4f}"] for n, score, best in found.path]
        scores, best = (np.array(values) for values in list(zip(*found.path, strict=True))[1:])
        section = {"heading": "Trials", "caption": count_states(found), "rows": rows}
        section |= {"heads": ["trial", found.by, "best so far"], "axis": "finished trials"}
        sections.append(section | {"lines": [("best so far", best), (found.by, scores)]})
    return sections


def count_states(found: SearchResults) -> str:
    """Such as `12 complete, 3 pruned.`"""
    states = [trial.state for trial in found.trials]
    return ", ".join(f"{states.count(name)} {name}" for name in dict.fromkeys(sorted(states))) + "."
