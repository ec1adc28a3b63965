import os
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from aimonk.cli.overrides import is_restored, multirun_first, name_jobs, quote_values, restore_overrides

KEYS = (
    "image",
    "checkpoint",
    "output",
    "cache_dir",
    "backbone.weights",
    "data.images",
    "data.labels",
    "hydra.run.dir",
    "hydra.sweep.dir",
)
# each means something to Hydra, to OmegaConf, or to a shell
NAMES = [
    "a b.jpg",
    "a,b.jpg",
    "a[1].jpg",
    "a(1).jpg",
    "a{1}.jpg",
    "a'b.jpg",
    'a"b.jpg',
    "'quoted'",
    '"quoted"',
    "a\\b.jpg",
    "ends in\\",
    "a\\'b.jpg",
    "a=b.jpg",
    "a#b.jpg",
    "~a.jpg",
    "!a.jpg",
    "a;b.jpg",
    "a&b.jpg",
    "a:b.jpg",
    "${x}",
    "\\${x}",
    "${x",
    "$x",
    "é.jpg",
    "日本.jpg",
    "-a.jpg",
    "--multirun",
    "-m",
    "null",
    "true",
    "1e3",
    "007",
    "nan",
    "[a,b]",
    "{a:b}",
    "range(1,3)",
    "a\nb.jpg",
    "a\\\n",
    " a.jpg ",
    "%s@?|+.jpg",
]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read_back(argument: str) -> object:
    """The value that the configuration gets from an argument; a list where Hydra sees a sweep."""
    override = OverridesParser.create().parse_override(argument)
    if override.is_sweep_override():
        values = [str(choice) for choice in override.sweep_string_iterator()]
        return [read_back(f"{override.key_or_group}={value}") for value in values]
    cfg = OmegaConf.create({"value": override.value()})
    return OmegaConf.to_container(cfg, resolve=True)["value"]


@pytest.mark.parametrize("sweep", [[], ["-m"], ["--multirun"]], ids=["alone", "-m", "--multirun"])
@pytest.mark.parametrize("name", NAMES)
def test_existing_paths_are_literal(name: str, sweep: list[str]) -> None:
    Path(name).touch()
    for key in KEYS:
        argument = quote_values([*sweep, f"{key}={name}"])[-1]
        assert argument.startswith(f"{key}=")
        assert read_back(argument) == name


@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_prefixed_keys_are_quoted_too(prefix: str) -> None:
    Path("a,b").touch()
    assert quote_values([f"{prefix}image=a,b"]) == [f"{prefix}image='a,b'"]


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("null", "'quoted'", '"quoted"')])
def test_missing_paths_are_literal_outside_sweeps(name: str) -> None:
    assert read_back(quote_values([f"image={name}"])[0]) == name


def test_null_and_quoted_values_are_unchanged() -> None:
    arguments = ["checkpoint=null", "image='a, b.jpg'", 'image="a, b.jpg"']
    assert quote_values(arguments) == arguments


def test_other_arguments_are_unchanged() -> None:
    Path("1e-3").touch()
    arguments = [
        "loss=masked,focal",
        "optimizer.lr=1e-3",
        "-m",
        "data.attributes=[a,b]",
        "images=a b",
        "--cfg",
        "job",
    ]
    assert quote_values(arguments) == arguments


@pytest.mark.parametrize("value", ["precision=0.9", "'precision=0.9'", "f1,precision=0.9,0.3", "0.3"])
def test_rules_of_thresholds_need_no_quotes(value: str) -> None:
    (argument,) = quote_values([f"threshold={value}"])
    override = OverridesParser.create().parse_override(argument)
    choices = list(override.sweep_iterator()) if override.is_sweep_override() else [override.value()]
    assert [str(getattr(choice, "text", choice)) for choice in choices] == value.strip("'").split(",")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["loss=masked,focal", "optimizer.lr=0.1,0.2"], "_${hydra:runtime.choices.loss}_lr=${optimizer.lr}"),
        (["epochs=1", "seed=0,1"], "_seed=${seed}"),
        (
            ["optimizer.lr=0.1,0.2", "other.lr=range(1,3)"],
            "_optimizer.lr=${optimizer.lr}_other.lr=${other.lr}",
        ),
        (["data.labels=a/b.txt,c.txt", "seed=0,1"], "_seed=${seed}"),
    ],
)
def test_folders_of_jobs_are_named_after_what_differs(arguments: list[str], name: str) -> None:
    subdir = f"hydra.sweep.subdir='${{hydra.job.num}}{name}'"
    assert name_jobs(["-m", *arguments]) == ["-m", *arguments, subdir]


@pytest.mark.parametrize(
    "more",
    [
        ["seed=0,1"],
        ["-m", "seed=0"],
        ["-m", "seed=0,1", "hydra.sweep.subdir=x"],
        ["-m", "hydra/sweeper=optuna", "seed=0,1"],
    ],
)
def test_folders_keep_their_name_without_differences(more: list[str]) -> None:
    assert name_jobs(more) == more


def test_sweep_over_existing_paths() -> None:
    for name in ("a 1", "b é"):
        Path(name).mkdir()
    assert read_back(quote_values(["-m", "data.images=a 1,b é"])[1]) == ["a 1", "b é"]
    # without -m a comma is part of the name
    assert read_back(quote_values(["data.images=a 1,b é"])[0]) == "a 1,b é"


def test_hydra_parses_missing_paths_in_sweeps() -> None:
    assert read_back(quote_values(["-m", "checkpoint=a,b"])[1]) == ["a", "b"]
    assert read_back(quote_values(["-m", "cache_dir=new é"])[1]) == "new é"
    assert read_back(quote_values(["-m", "hydra.sweep.dir=a,b"])[1]) == "a,b"


def test_interpolations_in_hydra_keys_are_kept() -> None:
    argument = quote_values(["hydra.run.dir=out é/${now:%H-%M}"])[0]
    assert OverridesParser.create().parse_override(argument).value() == "out é/${now:%H-%M}"


SPECIAL = st.sampled_from([*"\\'\"${}[](),;&~!#=: \n\té-%@", "${", "${x}", "null", "1e3"])
ANY = st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"])


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.lists(SPECIAL | ANY, min_size=1, max_size=12).map("".join).filter(lambda n: n not in (".", "..")))
def test_any_existing_name_is_kept(name: str) -> None:
    Path(name).touch()
    try:
        value = read_back(quote_values([f"image={name}"])[0])
        swept = read_back(quote_values(["-m", f"image={name}"])[1])
    finally:
        os.unlink(name)
    assert value == swept == name


def test_sweep_flag_may_be_anywhere() -> None:
    assert multirun_first(["a=1", "-m", "b=2,3"]) == ["-m", "a=1", "b=2,3"]
    assert multirun_first(["--cfg", "job", "b=2", "--multirun"]) == ["--multirun", "--cfg", "job", "b=2"]
    assert multirun_first(["hydra.mode=MULTIRUN", "a=1"]) == ["hydra.mode=MULTIRUN", "a=1"]


@pytest.mark.parametrize(
    ("argument", "restored"),
    [
        ("loss=focal", True),
        ("+experiment=aimonk_frozen", True),
        ("hydra/launcher=joblib", True),
        ("hydra.launcher.n_jobs=4", True),
        ("hydra/sweeper=optuna", True),
        ("hydra.sweeper.n_trials=100", True),
        ("hydra.sweeper.by=val.f1_macro", True),
        ("hydra.sweeper.sampler_options={multivariate:true,n_startup_trials:5}", True),
        ("hydra.sweeper.pruner_options={_target_:os.mkdir}", False),
        ("hydra.sweeper.pruner_options={a:1,_target_:os.mkdir}", False),
        ("hydra.sweeper.pruner_options={a:{_target_:os.mkdir}}", False),
        ("hydra.sweeper.params={a:1}", False),
        ("hydra.sweeper._target_=os.mkdir", False),
        ("hydra/sweeper=other", False),
        ("hydra.mode=MULTIRUN", False),
        ("hydra.run.dir=elsewhere", False),
        ("hydra.searchpath=[file:///tmp]", False),
        ("+hydra.callbacks.x._target_=os.mkdir", False),
        ("~hydra.job_logging", False),
        ("hydra/job_logging=default", False),
        ("hydra.launcher._target_=os.mkdir", False),
        ("hydra.launcher.setup=[reboot]", False),
        ("hydra.launcher.partition=a;reboot", False),
        ("--config-dir=/tmp", False),
    ],
)
def test_resume_restores_settings_and_the_launcher_only(argument: str, restored: bool) -> None:
    assert is_restored(argument) == restored
    folder = Path("run/.hydra")
    folder.mkdir(parents=True)
    task = ["seed=1", argument]
    OmegaConf.save({"hydra": {"overrides": {"hydra": [], "task": task}}}, folder / "hydra.yaml")
    OmegaConf.save(OmegaConf.create(task), folder / "overrides.yaml")
    assert (argument in restore_overrides(["resume=run"])) == restored
