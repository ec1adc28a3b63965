"""Queues: planted mistakes come first, and chosen images are uncertain and differ from one another."""

import numpy as np
import torch

from aimonk.review import queues
from aimonk.review.scoring import judge
from aimonk.review.solving import Features, solve_heads

N = 200


def clusters(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features in four clusters, and labels of two attributes that follow from the cluster."""
    rng = np.random.default_rng(seed)
    kind = np.arange(N) % 4
    features = rng.normal(size=(N, 12)).astype(np.float32)
    features[np.arange(N), kind] += 6
    return features, np.stack([kind < 2, kind % 2 == 0], axis=1).astype(np.float32)


def test_planted_mistakes_come_first() -> None:
    features, labels = clusters()
    rng, mask = np.random.default_rng(1), np.ones((N, 2), bool)
    planted = rng.permutation(N)[: N // 10]
    labels[planted, 0] = 1 - labels[planted, 0]
    groups = np.arange(N)
    solved = solve_heads(Features(features).components, labels, mask, groups, None)
    score, evidence = judge(solved, labels, mask, groups, ["a", "b"])
    assert evidence.all() and score.images == N and score.interval[0] < score.value < score.interval[1]
    found = queues.suspects(solved.probs, labels, mask, evidence, np.zeros(N, bool))
    first = found[: len(planted)]
    assert len({row for row, _ in first} & set(planted)) >= 0.9 * len(planted)
    assert set(planted) <= {row for row, _ in found[: 2 * len(planted)]}
    assert all(attributes == [0] for _, attributes in first)
    reviewed = np.isin(np.arange(N), planted[:5])
    remaining = queues.suspects(solved.probs, labels, mask, evidence, reviewed)
    assert not {row for row, _ in remaining} & set(planted[:5])


def test_start_without_labels_takes_one_image_of_each_cluster() -> None:
    features, _ = clusters()
    components, mask = Features(features).components, np.zeros((N, 2), bool)
    found = queues.uncertain(np.full((N, 2), 0.5), mask, components, np.zeros(N, bool))
    assert sorted(row for row, _ in found) == list(range(N))
    assert {row % 4 for row, _ in found[:8]} == {0, 1, 2, 3}
    assert found[0][1] == [0, 1]


def test_uncertain_images_come_first_and_complete_or_reviewed_ones_never() -> None:
    features, _ = clusters()
    mask = np.zeros((N, 2), bool)
    mask[:40] = True
    mask[40:60, 0] = True
    probs = np.where(np.arange(N)[:, None] < 150, 0.99, 0.5) * np.ones((N, 2))
    reviewed = np.arange(N) == 199
    found = queues.uncertain(probs, mask, Features(features).components, reviewed)
    rows = [row for row, _ in found]
    assert sorted(rows) == list(range(40, 199))
    assert min(rows[:10]) >= 150
    assert dict(found)[45] == [1]


def test_unlike_images_are_far_from_all_labelled_ones() -> None:
    features, _ = clusters()
    mask = np.zeros((N, 2), bool)
    mask[np.arange(N) % 4 != 2] = True
    mask[:8] = False
    found = queues.unlike(Features(features).components, mask, np.zeros(N, bool))
    rows = [row for row, _ in found]
    assert {row % 4 for row in rows[:40]} == {2} and set(rows[-4:]) <= set(range(8))
    assert queues.unlike(Features(features).components, mask | True, np.zeros(N, bool)) == []


def test_copies_stand_together_with_the_attributes_that_differ() -> None:
    groups, labels = np.array([0, 1, 0, 2, 1]), np.array([[0, 1], [1, 1], [1, 1], [0, 0], [1, 1]], float)
    assert queues.copies(groups, labels, np.ones((5, 2), bool)) == [(0, [0]), (2, [0])]


def test_neighbours_are_labelled_and_of_the_same_cluster() -> None:
    features, _ = clusters()
    mask = np.zeros((N, 2), bool)
    mask[50:] = True
    found = queues.neighbours(Features(features).components, 3, mask, 5)
    assert len(found) == 5 and all(row >= 50 and row % 4 == 3 for row in found)


def test_solution_without_labels_or_with_one_value_is_constant() -> None:
    features, labels = clusters()
    components, mask = Features(features).components, np.zeros((N, 2), bool)
    assert (solve_heads(components, labels, mask, np.arange(N), None).probs == 0.5).all()
    mask[[0, 4, 8]] = True  # both attributes are present
    solved = solve_heads(components, labels, mask, np.arange(N), None)
    assert not solved.usable.any() and np.allclose(solved.probs, 0.8)
    score, evidence = judge(solved, labels, mask, np.arange(N), ["a", "b"])
    assert score.value is None and not evidence.any()


def test_new_images_are_projected_like_the_others() -> None:
    features, _ = clusters()
    own = Features(features)
    assert torch.allclose(own.project(torch.from_numpy(features)), own.components, atol=1e-4)
