"""Search spaces in Hydra's syntax."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from aimonk.search.space import parse_space, to_overrides

distributions = pytest.importorskip("optuna.distributions")
Float, Int, Categorical = (
    distributions.FloatDistribution,
    distributions.IntDistribution,
    distributions.CategoricalDistribution,
)


def parse(*overrides: str) -> tuple[dict, list[str]]:
    return parse_space(OverridesParser.create().parse_overrides(list(overrides)))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a=interval(1e-5,1e-2)", Float(1e-5, 1e-2)),
        ("a=tag(log, interval(1e-5,1e-2))", Float(1e-5, 1e-2, log=True)),
        ("a=interval(1,10)", Float(1, 10)),
        ("a=int(interval(1,10))", Int(1, 10)),
        ("a=int(tag(log, interval(1,100)))", Int(1, 100, log=True)),
        ("a=range(1,10,2)", Int(1, 9, step=2)),
        ("a=range(0,1,0.25)", Float(0, 0.75, step=0.25)),
        ("a=x,y", Categorical(["x", "y"])),
        ("a=choice(x,1.5,'a b',[1,2])", Categorical(["x", "1.5", "a\\ b", "[1,2]"])),
    ],
)
def test_sweeps_become_distributions(override: str, expected: object) -> None:
    assert parse(override, "epochs=3", "+b='c,d'", "~e") == ({"a": expected}, ["epochs=3", "+b='c,d'", "~e"])


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a=glob(*)", r"^a=glob\(\*\): expected interval, range, choice or a list"),
        ("a=shuffle(range(1,4))", "expected interval, range, choice or a list"),
        ("a=tag(exp, interval(1,2))", "the tag is exp; expected log"),
        ("a=tag(log, choice(1,2))", "the tag is log; expected none for a list"),
        ("a=tag(log, interval(0,1))", r"^a=tag\(log, interval\(0,1\)\): .*> 0"),
        ("a=interval(2,1)", r"^a=interval\(2,1\): .*low <= high"),
        ("a=1", "^nothing to search; expected a setting such as"),
    ],
)
def test_unsearchable_sweeps_are_refused(override: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parse(override)


def test_settings_keep_all_digits() -> None:
    params = {"lr": 0.1 + 0.2, "n": 3, "loss": "focal", "names": "[a,b]"}
    assert to_overrides(params) == ["lr=0.30000000000000004", "n=3", "loss=focal", "names=[a,b]"]
