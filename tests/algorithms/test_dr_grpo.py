"""Dr. GRPO: no deviation, and a divisor that no length changes."""

import numpy as np
import pytest
from algorithm_builders import loss_and_gradient, make_batch, make_group, tensor

from groupwise.algorithms.base import Totals
from groupwise.algorithms.dr_grpo import DrGRPO
from groupwise.algorithms.grpo_trl import GRPOTRL


def test_worked_numbers():
    advantage = DrGRPO().advantages([make_group([1, 0, 0, 0])])["advantage"]
    np.testing.assert_array_equal(advantage, [0.75, -0.25, -0.25, -0.25])


def test_a_constant_group_has_no_advantage():
    assert not DrGRPO().advantages([make_group([0.7] * 8), make_group([1] * 3)])["advantage"].any()


def test_advantages_are_those_of_trl_without_scaling():
    groups = [make_group([1, 0, None, 0.25]), make_group([1, 1, 0])]
    trl = GRPOTRL(scale_rewards="none").advantages(groups)["advantage"]
    np.testing.assert_array_equal(DrGRPO().advantages(groups)["advantage"], trl)


def _batch(max_new_tokens):
    zeros = tensor([[0.0] * 4, [0.0] * 4])
    return make_batch(zeros, zeros.clone(), [2, 4], totals=Totals(2, 6, max_new_tokens))


def test_sum_worked_number():
    loss, gradient, _ = loss_and_gradient(DrGRPO(), _batch(8), {"advantage": tensor([-1.0, -2.0])})
    assert loss == pytest.approx(0.625)  # (2 x 1 + 4 x 2) / (2 x 8)
    np.testing.assert_allclose(gradient.numpy(), [[1 / 16, 1 / 16, 0, 0], [2 / 16] * 4])


def test_the_weight_of_a_token_does_not_depend_on_the_length():
    _, gradient, _ = loss_and_gradient(DrGRPO(), _batch(8), {"advantage": tensor([-1.0, -1.0])})
    assert set(gradient.numpy().ravel()) == {0.0, 1 / 16}


def test_there_is_no_eps():
    with pytest.raises(ValueError, match="dr_grpo: std_eps has no place in its formula"):
        DrGRPO(std_eps=1e-6)
