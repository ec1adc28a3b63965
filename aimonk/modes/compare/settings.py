"""Settings of runs: which make two runs repetitions of one setting, and which differ between settings."""

from collections.abc import Sequence
from typing import Any

from aimonk.modes.compare.record import RunRecord
from aimonk.modes.train.resume import FREE

SEED = "seed"
# settings that do not change a result, or only repeat it
IGNORED = (*FREE, SEED, "title", "checkpoint_every")
IGNORED_GROUPS = ("experiment", "mode", "tracker")
MISSING = object()


def identify(record: RunRecord) -> frozenset:
    """Equal for runs that differ in their seed alone."""
    return frozenset((name, repr(value)) for name, value in record.settings.items() if not is_ignored(name))


def is_ignored(name: str) -> bool:
    return name in IGNORED or name.split(".")[0] in IGNORED_GROUPS


def choice(record: RunRecord, group: str, recorded: bool) -> str:
    """Option of a group by Hydra's record, otherwise the name of its target; empty for what is no group."""
    if recorded:
        return format_value(record.choices.get(group, ""))
    parts = str(record.settings.get(f"{group}._target_", "")).split(".")
    return parts[-1] if parts[-1] != "of_labels" else parts[-2]


def describe_differences(records: Sequence[RunRecord]) -> list[dict[str, str]]:
    """The settings of each run that not all runs share, all with the same keys: groups first.

    A setting of a group's option counts only if it differs between runs with the same option.
    """
    names = [name for name in dict.fromkeys(n for r in records for n in r.settings) if not is_ignored(name)]
    groups = dict.fromkeys([g for r in records for g in r.choices] + [n.split(".")[0] for n in names])
    recorded = all(record.choices for record in records)
    options = {g: [choice(r, g, recorded) for r in records] for g in groups if g not in IGNORED_GROUPS}
    columns = {group: found for group, found in options.items() if len(set(found)) > 1}
    for name in names:
        if name.endswith(("._target_", "._partial_")) and name.split(".")[0] in columns:
            continue
        values = [record.settings.get(name, MISSING) for record in records]
        owner = options.get(name.split(".")[0], [""] * len(records))
        if any(
            len({repr(v) for v, o in zip(values, owner, strict=True) if o == option}) > 1
            for option in set(owner)
        ):
            columns[name] = ["" if value is MISSING else format_value(value) for value in values]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)] or [
        {} for _ in records
    ]


def format_value(value: Any) -> str:
    """A value as on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"{value}".lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{','.join(map(format_value, value))}]"
    return f"{value}"
