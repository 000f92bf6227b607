"""GPG: a plain policy gradient, scaled by how rare right answers are in the batch."""

import numpy as np
import pytest
from algorithm_builders import loss_and_gradient, make_batch, make_group, tensor

from groupwise.algorithms.gpg import GPG


def _advantage(*groups, **options):
    return GPG(**options).advantages([make_group(scores) for scores in groups])["advantage"]


@pytest.mark.parametrize(
    ("groups", "alpha"),
    [
        ([[1, 0, 0, 0]], 4),
        ([[1, 0, 0, 0], [1, 1, 0, 0]], 8 / 3),
        ([[1, 0, 0, 0], [1, 1, 1, 1]], 8 / 5),  # scores are counted, and groups without signal with them
        ([[1, 0, 0, None]], 3),
        ([[1, 0.25, 0, -0.5]], 4 / 3),
    ],
)
def test_alpha_is_the_batch_over_its_non_zero_scores(groups, alpha):
    filled = [[0.0 if r is None else r - np.mean([x for x in g if x is not None]) for r in g] for g in groups]
    np.testing.assert_allclose(_advantage(*groups), alpha * np.concatenate(filled), atol=1e-15)


def test_without_a_right_answer_nothing_is_divided_by_zero():
    assert _advantage([0, 0], [0, None]).tolist() == [0, 0, 0, 0]


def test_loss_is_the_policy_gradient_over_all_tokens():
    new = tensor([[-1.0, -2.0, 7.0], [-0.5, -1.5, -1.0]])
    batch = make_batch(new, new - 3.0, [2, 3])
    loss, gradient, metrics = loss_and_gradient(GPG(), batch, {"advantage": tensor([2.0, -1.0])})
    assert loss == pytest.approx((2 * 3.0 - 3.0) / 5)
    np.testing.assert_allclose(gradient.numpy(), [[-0.4, -0.4, 0], [0.2] * 3])
    assert metrics == {"clip_fraction": 0.0}
