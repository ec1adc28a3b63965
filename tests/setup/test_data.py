from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from aimonk.data.annotations import ABSENT, PRESENT, UNKNOWN
from aimonk.data.formats.text.tokens import INVALID
from aimonk.setup.data import read_tokens, reads_features_only, store_quality

Compose = Callable[..., DictConfig]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], True),
        (["augmentation=mixup", "optimizer=adamw"], True),
        (["augmentation=trivial"], False),
        (["augmentation=trivial", "features.views=4"], True),
        (["features.enabled=false"], False),
        (["freeze=stages"], False),
        (["freeze=lp_ft"], False),
        (["mode=audit", "freeze=none"], True),
        (["mode=evaluate"], False),
    ],
)
def test_runs_that_read_features_only(overrides: list[str], expected: bool, compose_config: Compose) -> None:
    assert reads_features_only(compose_config(*overrides)) == expected


def test_quality_needs_a_store(compose_config: Compose) -> None:
    assert store_quality(compose_config("data.store_quality=90")) == 90
    assert store_quality(compose_config("data.store_quality=90", "data.store=false")) is None


def test_tokens_of_the_config(compose_config: Compose) -> None:
    assert read_tokens(compose_config())["-1"] == INVALID
    cfg = compose_config(
        "data.tokens.absent=[-1,true]", "data.tokens.present=['0.5']", "data.tokens.unknown=[u]"
    )
    tokens = read_tokens(cfg)
    meanings = [tokens[field] for field in ("-1.0", "TRUE", "0.5", "U", "1")]
    assert meanings == [ABSENT, ABSENT, PRESENT, UNKNOWN, PRESENT]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.tokens=null", "data.tokens is None; expected a list for each of present, absent, unknown"),
        ("+data.tokens.maybe=[u]", "data.tokens is {'present': [], 'absent': [], 'unknown': [], 'maybe'"),
        (
            "data.tokens.absent=-1",
            "data.tokens.absent is -1; expected a list (each a string or a number or true",
        ),
        ("data.tokens.absent=[null]", "data.tokens.absent is [None]; expected a list (each a string or"),
        ("data.tokens.absent=[-1,-1.0]", "data.tokens.absent has '-1.0', already in data.tokens.absent"),
    ],
)
def test_invalid_tokens(override: str, message: str, compose_config: Compose) -> None:
    with pytest.raises(ValueError) as caught:
        read_tokens(compose_config(override))
    assert str(caught.value).startswith(message)
