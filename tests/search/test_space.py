import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from aimonk.search.space import name_folder, split_overrides

optuna = pytest.importorskip("optuna")
FLOAT, INT, CHOICE = (
    getattr(optuna.distributions, f"{k}Distribution") for k in ("Float", "Int", "Categorical")
)


def split(*overrides: str):
    return split_overrides(OverridesParser.create().parse_overrides(list(overrides)))


@pytest.mark.parametrize(
    ("override", "distribution"),
    [
        ("a=interval(1,5)", FLOAT(1, 5)),
        ("a=int(interval(1,5))", INT(1, 5)),
        ("a=tag(log,interval(1e-5,1))", FLOAT(1e-5, 1, log=True)),
        ("a=int(tag(log,interval(1,64)))", INT(1, 64, log=True)),
        ("a=range(1,10,2)", INT(1, 9, step=2)),
        ("a=range(10,1,-3)", INT(4, 10, step=3)),
        ("a=range(1,2.5,0.5)", FLOAT(1, 2, step=0.5)),
        ("a=choice(x,1e-3)", CHOICE(["x", "0.001"])),
        ("a=[1,2],[3]", CHOICE(["[1,2]", "[3]"])),
        ("a=x,y,x", CHOICE(["x", "y"])),
    ],
)
def test_syntax_of_hydra_becomes_a_distribution(override: str, distribution: object) -> None:
    space, fixed = split(override, "b=1", "~c")
    assert [(dimension.key, dimension.distribution) for dimension in space] == [("a", distribution)]
    assert fixed == ["b=1", "~c"]


@pytest.mark.parametrize(
    "override",
    [
        "a=glob(*)",
        "a=shuffle(1,2)",
        "a=shuffle(range(1,3))",
        "a=tag(log,choice(1,2))",
        "a=tag(normal,interval(0,1))",
        "a=tag(log,interval(0,1))",
        "a=interval(2,1)",
        "a=range(1,1)",
        "a=tag(log,range(1,9,2))",
    ],
)
def test_what_cannot_be_searched_is_named(override: str) -> None:
    with pytest.raises(ValueError) as caught:
        split(override)
    assert f"{caught.value}".startswith(override) and "\n" not in f"{caught.value}"


def test_a_search_needs_something_to_search() -> None:
    with pytest.raises(ValueError, match="no settings"):
        split("a=1")


def test_last_override_of_a_setting_counts() -> None:
    space, fixed = split("a=1,2", "a=3", "b=1", "b=interval(0,1)")
    assert [dimension.key for dimension in space] == ["b"] and fixed == ["a=3"]


def test_folders_have_short_names_without_separators() -> None:
    values = {"optimizer.lr": 0.00123456, "loss": "focal", "data.images": "'a/b c'", "epochs": 12}
    assert name_folder(3, values, ["loss"]) == "3_lr=0.00123_focal_images=-a-b-c-_epochs=12"
    assert len(name_folder(3, {f"k{i}": "x" * 500 for i in range(50)}, [])) < 255
