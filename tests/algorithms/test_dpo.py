"""Online DPO: how pairs are made, and the loss over them."""

import math

import numpy as np
import pytest
import torch
from algorithm_builders import loss_and_gradient, make_batch, make_group, rows_of, tensor

from groupwise.algorithms.base import Totals
from groupwise.algorithms.dpo import DPO


def _pairs(*scores):
    return DPO().advantages([make_group(one) for one in scores])["pair"].tolist()


@pytest.mark.parametrize(
    ("scores", "pairs"),
    [
        ([1, 0], [1, -1]),
        ([0, 1, 0, 1], [-1, 1, -2, 2]),
        ([1, 0, 0, 0], [1, -1, 0, 0]),
        ([1, 1, 0, 1], [1, 0, -1, 0]),
        ([1, 1, 1], [0, 0, 0]),
        ([0, 0], [0, 0]),
        ([None, 1, None, 0], [0, 1, 0, -1]),
        ([1, None], [0, 0]),
        ([None, None], [0, 0]),
        ([0.5, 1, 0, 0.5], [0, 1, -1, 0]),
        ([0.2, 0.4, 0.3, 0.2], [-1, 1, 0, 0]),
    ],
)
def test_best_and_worst_are_paired_in_the_order_drawn(scores, pairs):
    assert _pairs(scores) == pairs


def test_pairs_are_numbered_over_the_batch():
    assert _pairs([1, 0, 1, 0], [1, 1], [0, 1, 1], [0, 0, 1, 1]) == [1, -1, 2, -2, 0, 0, -3, 3, 0, -4, -5, 4, 5]


def _loss(new, reference, pairs, lengths, *, beta=0.1, totals=None):
    pairs = tensor(pairs)
    signal = int((pairs != 0).sum())
    totals = totals or Totals(len(pairs), sum(lengths), 9, signals=signal, signal_tokens=0)
    batch = make_batch(tensor(new), tensor(new), lengths, ref_logprobs=tensor(reference), totals=totals)
    return loss_and_gradient(DPO(beta=beta), batch, {"pair": pairs})


def test_worked_loss():
    # log-ratios 1.5 and -0.5: a gap of 2
    loss, gradient, metrics = _loss([[-1.0], [-2.0]], [[-2.5], [-1.5]], [1, -1], [1, 1])
    assert loss == pytest.approx(0.5981, abs=5e-5)
    slope = 0.1 / (1 + math.exp(0.2))
    np.testing.assert_allclose(gradient.numpy(), [[-slope], [slope]])
    assert metrics == {"clip_fraction": 0.0}


def test_log_ratios_are_sums_over_the_completion():
    new, reference = [[0.5, 0.5, 9.0], [-0.5, -0.5, -0.0]], [[0.0, 0.0, -9.0], [0.0, 0.0, 0.0]]
    loss, gradient, _ = _loss(new, reference, [1, -1], [2, 3])
    assert loss == pytest.approx(math.log1p(math.exp(-0.1 * (1.0 + 1.0))))
    assert gradient[0, 2] == 0.0
    assert gradient[0, 0] == gradient[0, 1] == -gradient[1, 2]


def test_the_mean_is_over_pairs_and_the_unpaired_have_no_part():
    new = [[-1.0], [-2.0], [-0.3], [-0.7], [-1.1]]
    reference = [[-1.5], [-1.0], [-0.9], [-0.2], [-0.4]]
    loss, gradient, _ = _loss(new, reference, [2, -2, 0, -1, 1], [1] * 5, beta=0.5)
    gaps = [(-1.1 + 0.4) - (-0.7 + 0.2), (-1.0 + 1.5) - (-2.0 + 1.0)]
    assert loss == pytest.approx(np.mean([math.log1p(math.exp(-0.5 * gap)) for gap in gaps]))
    assert gradient[2] == 0.0


def test_micro_batches_of_whole_groups_add_up():
    generator = np.random.default_rng(0)
    groups = [make_group([1, 0, 1, 0]), make_group([0, 1, 1]), make_group([1, 0])]
    new, reference = tensor(generator.normal(size=(9, 4))), tensor(generator.normal(size=(9, 4)))
    pairs = tensor(DPO().advantages(groups)["pair"])
    totals = Totals(9, 30, 4, signals=8, signal_tokens=25)
    batch = make_batch(new, new, [4, 3, 2, 4, 4, 3, 4, 2, 4], ref_logprobs=reference, totals=totals)
    whole = loss_and_gradient(DPO(), batch, {"pair": pairs})[0]
    parts = [[7, 8, 6, 5, 4], [3, 1, 0, 2]]
    pieces = [loss_and_gradient(DPO(), rows_of(batch, rows), {"pair": pairs[rows]})[0] for rows in parts]
    assert sum(pieces) == pytest.approx(whole)
    assert DPO.whole_groups


@pytest.mark.parametrize("pairs", [[1, 0], [1, -2], [0, -1], [1, 2], [-3, 0]])
def test_half_a_pair_is_an_error(pairs):
    with pytest.raises(ValueError, match="dpo: a micro-batch has half a pair"):
        _loss([[-1.0], [-1.0]], [[-1.0], [-1.0]], pairs, [1, 1])


def test_without_pairs_nothing_moves():
    loss, gradient, _ = _loss([[-1.0], [-2.0]], [[-2.0], [-2.0]], [0, 0], [1, 1])
    assert loss == 0.0
    assert not gradient.any()


@pytest.mark.parametrize("gap", [-1e5, 1e5])
def test_far_apart_is_still_finite_in_single_precision(gap):
    new = torch.tensor([[gap], [0.0]])
    batch = make_batch(new, new, [1, 1], ref_logprobs=torch.zeros(2, 1))
    loss, gradient, _ = loss_and_gradient(DPO(), batch, {"pair": torch.tensor([1.0, -1.0])})
    assert loss == pytest.approx(max(-0.1 * gap, 0.0))
    assert gradient[:, 0].tolist() == pytest.approx([-0.1, 0.1] if gap < 0 else [0.0, 0.0])


def test_a_reference_model_is_always_needed():
    assert DPO().reference_in_loss
    assert not DPO().every_rollout_counts
    assert "a reference model" in DPO().recipe.cost
    with pytest.raises(ValueError, match="dpo needs the log-probabilities of a reference model"):
        loss_and_gradient(
            DPO(), make_batch(tensor([[-1.0], [-1.0]]), tensor([[-1.0]]), [1, 1]), {"pair": tensor([1, -1])}
        )


def test_it_says_that_it_is_online():
    recipe = DPO(beta=0.3).recipe
    assert recipe.title.startswith("Online DPO")
    assert "0.3" in recipe.formula()
    assert recipe.clip == "none"
