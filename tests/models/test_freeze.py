"""How many stages each policy freezes in each epoch."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimonk.models import freeze

STAGES = 5


@pytest.mark.parametrize(
    ("policy", "cuts"),
    [
        (freeze.backbone(), [5, 5, 5, 5]),
        (freeze.none(), [0, 0, 0, 0]),
        (freeze.stages(0), [5, 5, 5, 5]),
        (freeze.stages(2), [3, 3, 3, 3]),
        (freeze.stages(5), [0, 0, 0, 0]),
        (freeze.gradual([2, 3, 4]), [5, 4, 3, 2]),
        (freeze.gradual([3]), [5, 5, 4, 4]),
        (freeze.gradual([]), [5, 5, 5, 5]),
        (freeze.gradual([2, 100]), [5, 4, 4, 4]),
        (freeze.lp_ft(1, None, False), [5, 0, 0, 0]),
        (freeze.lp_ft(3, None, False), [5, 5, 5, 0]),
        (freeze.lp_ft(4, None, False), [5, 5, 5, 5]),
        (freeze.lp_ft(100, None, False), [5, 5, 5, 5]),
        (freeze.lp_ft(2, 3, False), [5, 5, 2, 2]),
        (freeze.lp_ft(None, None, False), [0, 0, 0, 0]),
        (freeze.lp_ft(None, 2, False), [3, 3, 3, 3]),
    ],
)
def test_cuts_of_every_policy(policy, cuts):
    assert policy.cuts(4, STAGES) == cuts
    assert [policy.cut(epoch, STAGES) for epoch in (1, 2, 3, 4)] == cuts


def test_only_lp_ft_without_epochs_solves_the_head():
    assert freeze.lp_ft(None, None, False).solves_head and freeze.lp_ft(None, 2, False).solves_head
    others = (freeze.lp_ft(3, None, False), freeze.none(), freeze.stages(2), freeze.gradual([2]))
    assert not any(policy.solves_head for policy in others)


@pytest.mark.parametrize("head_epochs", [None, 2])
def test_only_lp_ft_keeps_statistics(head_epochs):
    assert freeze.lp_ft(head_epochs, None, True).keeps_statistics
    assert not freeze.lp_ft(head_epochs, None, False).keeps_statistics
    assert not freeze.none().keeps_statistics and not freeze.stages(1).keeps_statistics


def test_order_of_the_schedule_does_not_matter():
    policy = freeze.FreezePolicy({6: None, 1: 0, 3: 2})
    assert policy.cuts(7, STAGES) == [5, 5, 3, 3, 3, 0, 0]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.sets(st.integers(2, 30), max_size=8), st.integers(8, 12), st.integers(1, 40))
def test_gradual_unfreezes_one_stage_per_epoch(epochs, stages, length):
    cuts = freeze.gradual(sorted(epochs)).cuts(length, stages)
    assert cuts == [stages - sum(e <= epoch for e in epochs) for epoch in range(1, length + 1)]


def test_too_many_stages_raise():
    with pytest.raises(ValueError, match="freeze trains 6 stages; expected at most 5"):
        freeze.stages(6).cuts(1, STAGES)
    with pytest.raises(ValueError, match="freeze trains 2 stages; expected at most 1"):
        freeze.gradual([2, 3]).cuts(3, 1)
    # not reached within the run
    assert freeze.gradual([2, 3]).cuts(2, 1) == [1, 0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: freeze.stages(-1), "freeze.last is -1; expected 0 or more"),
        (
            lambda: freeze.gradual([3, 2]),
            r"freeze.epochs is \[3, 2\]; expected increasing epoch numbers from 2 on",
        ),
        (lambda: freeze.gradual([2, 2]), r"freeze.epochs is \[2, 2\]"),
        (lambda: freeze.gradual([1, 2]), r"freeze.epochs is \[1, 2\]"),
        (lambda: freeze.gradual([-3]), r"freeze.epochs is \[-3\]"),
        (lambda: freeze.lp_ft(0, None, False), "freeze.head_epochs is 0; expected null or 1 or more"),
        (lambda: freeze.lp_ft(None, 0, False), "freeze.last is 0; expected null or 1 or more"),
    ],
)
def test_invalid_policies_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_phases_that_never_begin_are_refused():
    freeze.lp_ft(3, None, False).check_epochs(4)
    freeze.gradual([2, 4]).check_epochs(4)
    with pytest.raises(ValueError, match=r"epochs is 3; expected 4 or more.*the entire network from epoch 4"):
        freeze.lp_ft(3, None, False).check_epochs(3)
    with pytest.raises(ValueError, match=r"epochs is 3; expected 4 or more.*2 stages from epoch 4"):
        freeze.gradual([2, 4]).check_epochs(3)
