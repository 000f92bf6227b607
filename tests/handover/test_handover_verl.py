"""Our optimizers behind verl's own functions: the same advantages, the same loss. `tox -e handover-verl`."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("verl", reason="needs verl: tox -e handover-verl")

import numpy as np
import torch
from handover_cases import COMPONENTS, DRAWS_ITS_OWN, RUN, Case, make_case, our_advantages, tokenizer
from hydra import compose, initialize_config_module
from tensordict import TensorDict
from verl import DataProto
from verl.trainer.config import AlgoConfig
from verl.trainer.ppo.core_algos import get_adv_estimator_fn, get_policy_loss_fn
from verl.trainer.ppo.ray_trainer import compute_advantage
from verl.utils import tensordict_utils
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.config import ActorConfig, PolicyLossConfig
from verl.workers.utils.losses import ppo_loss

from groupwise import algorithms
from groupwise.algorithms.base import Batch, Totals
from groupwise.harness.handover import example_verl, to_verl
from groupwise.harness.handover.judge import compute_score
from groupwise.harness.handover.needs import Refused

NEEDS_ROWS = ("copo", "gdpo", "gcpo_cooperative", "gapo_group_aware", "grpo")


def registered(label: str, group_size: int) -> str:
    """The name under which verl knows the optimizer of that label now."""
    name, options = RUN[label]
    return to_verl.register(
        name, f"test_{label}_{group_size}", rows=name in NEEDS_ROWS, draws_elsewhere=name in DRAWS_ITS_OWN,
        group_size=group_size, **options,
    )  # fmt: skip


def verl_batch(case: Case, order: list[int], padding: int = 0) -> tuple[DataProto, dict[str, list[Any]]]:
    """The case as verl's trainer has it when it comes to the advantages, rows in that order, and the columns beside.

    Rows of padding follow, as verl makes them: a group of their own, one token, nothing in the mask.
    """
    rollouts = [case.rollouts[i] for i in order]
    width, n = max(len(r.tokens) for r in rollouts), len(rollouts)
    mask, scores = torch.zeros(n + padding, width), torch.zeros(n + padding, width)
    for row, rollout in enumerate(rollouts):
        length = len(rollout.tokens)
        mask[row, :length] = 1.0
        scores[row, length - 1] = np.nan if rollout.reward is None else rollout.reward
    uids = np.array([rollout.problem_id for rollout in rollouts] + ["padding"] * padding, dtype=object)
    data = DataProto.from_single_dict({"response_mask": mask, "token_level_rewards": scores, "uid": uids})
    answers = {group.problem.id: group.problem.answers for group in case.groups}
    padded = [*rollouts, *[rollouts[0]] * padding]
    columns: dict[str, list[Any]] = {
        "text": [rollout.text for rollout in padded],
        "answer": [json.dumps(rollout.verdict.answer) for rollout in padded],
        "valid_answers": [json.dumps(answers[rollout.problem_id]) for rollout in padded],
    }
    for name in COMPONENTS:
        columns[name] = [rollout.verdict.components[name] for rollout in padded]
    return data, columns


def ours_as_verl_has_them(label: str, case: Case, order: list[int], width: int) -> np.ndarray[Any, Any]:
    """Our loop's advantages at every token, several arrays summed, (rollouts, width)."""
    name, options = RUN[label]
    arrays = our_advantages(algorithms.make(name, group_size=case.size, **options), case)
    table = np.zeros((len(order), width))
    for row, i in enumerate(order):
        length = len(case.rollouts[i].tokens)
        for array in arrays.values():
            table[row, :length] += array[i, :length] if array.ndim == 2 else array[i]
    return table


@pytest.mark.parametrize("label", RUN)
def test_verls_compute_advantage_gives_the_advantages_of_our_loop(label: str) -> None:
    case = make_case(1, groups=5, size=6)
    # verl balances its batch, which mixes the groups' rows; groups keep the order of their first row.
    order = [row * case.size + column for column in range(case.size) for row in range(len(case.groups))]
    data, columns = verl_batch(case, order, padding=3)
    with to_verl.handed_over(columns):
        done = compute_advantage(data, adv_estimator=registered(label, case.size), config=AlgoConfig())
    theirs = done.batch["advantages"].numpy()
    expected = ours_as_verl_has_them(label, case, order, theirs.shape[1])
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(theirs[: len(order)], expected, rtol=1e-6, atol=1e-6)
    assert (theirs[len(order) :] == 0.0).all()


def test_tokens_that_tools_returned_have_no_advantage_and_are_not_counted() -> None:
    case = make_case(2, unscored=0.0)
    order = list(range(len(case.rollouts)))
    data, _ = verl_batch(case, order)
    plain = compute_advantage(data, registered("reinforce_pp", case.size), config=AlgoConfig()).batch["advantages"]
    spread, _ = verl_batch(case, order)
    for name in ("response_mask", "token_level_rewards"):  # a tool's token before each of the policy's
        table = spread.batch.pop(name)
        spread.batch[name] = torch.stack([torch.zeros_like(table), table], dim=2).flatten(1)
    with_tools = compute_advantage(spread, registered("reinforce_pp", case.size), config=AlgoConfig())
    torch.testing.assert_close(with_tools.batch["advantages"][:, 1::2], plain)
    assert (with_tools.batch["advantages"][:, 0::2] == 0.0).all()


# the loss


LOSSES = ["grpo", "dr_grpo", "gspo", "cispo", "rloo", "reinforce", "gpg", "sapo", "gapo_adaptive", "copo"]


@pytest.mark.parametrize("label", LOSSES)
def test_verls_actor_loss_is_ours(label: str) -> None:
    """Through ``ppo_loss``, in two micro-batches of a mini-batch, with ratios on both sides of the clip range."""
    name, options = RUN[label]
    registered_as = registered(label, 4)
    algorithm = algorithms.make(name, group_size=4, **options)
    random = torch.Generator().manual_seed(0)
    n, width = 8, 6
    lengths = torch.randint(1, width + 1, (n,), generator=random)
    mask = (torch.arange(width) < lengths[:, None]).float()
    old = -torch.rand(n, width, generator=random)
    now = (old + 0.4 * torch.randn(n, width, generator=random)).requires_grad_()
    advantages = torch.randn(n, 1, generator=random) * mask
    config = ActorConfig(
        strategy="fsdp", rollout_n=4, use_dynamic_bsz=True, policy_loss=PolicyLossConfig(loss_mode=registered_as),
        loss_scale_factor=16 if name == "dr_grpo" else None,
    )  # fmt: skip
    total = torch.zeros(())
    for rows in (slice(0, 3), slice(3, n)):
        prompts = torch.ones(len(mask[rows]), 1, dtype=torch.long)
        part = TensorDict(
            {
                "prompts": prompts, "responses": torch.ones_like(mask[rows]).long(),
                "attention_mask": torch.cat([prompts, mask[rows].long()], dim=1), "response_mask": mask[rows].long(),
                "old_log_probs": old[rows], "advantages": advantages[rows],
            },
            batch_size=[len(mask[rows])],
        )  # fmt: skip
        tensordict_utils.assign_non_tensor(part, dp_size=1, batch_num_tokens=int(mask.sum()), global_batch_size=n)
        # verl's workers have rows end to end, each with the value of the prompt's last token behind
        packed = torch.cat(
            [torch.cat([row[:length], torch.zeros(1)]) for row, length in zip(now[rows], lengths[rows], strict=True)]
        )
        total = total + ppo_loss(config, {"log_probs": packed}, part)[0]
    (theirs,) = torch.autograd.grad(total, now)
    totals = Totals(n, int(mask.sum()), 16)
    named = (
        {"global": advantages, "local": torch.zeros_like(advantages)} if name == "copo" else {"advantage": advantages}
    )
    batch = Batch(now, old, None, mask, torch.ones(n, dtype=torch.bool), totals)
    loss, _ = algorithm.loss(batch, named)
    (ours,) = torch.autograd.grad(loss, now)
    assert ours.abs().max() > 1e-3
    torch.testing.assert_close(theirs * mask, ours * mask, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(total.detach(), loss.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", algorithms.get("copo").__dataclass_fields__["mode"].metadata["choices"])
def test_the_sum_of_two_advantages_has_their_gradient_while_the_policy_is_that_which_drew(mode: str) -> None:
    """What verl's single array costs COPO: nothing at the first update of a batch."""
    case = make_case(3, groups=5, size=6)
    algorithm = algorithms.make("copo", group_size=6, mode=mode)
    arrays = {name: torch.tensor(a)[:, None] for name, a in our_advantages(algorithm, case).items()}
    logprobs = -torch.rand(30, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradients = []
    for parts in (arrays, {"global": arrays["global"] + arrays["local"], "local": torch.zeros_like(arrays["local"])}):
        leaf = logprobs.clone().requires_grad_()
        drawn = torch.ones(30, dtype=torch.bool)
        batch = Batch(leaf, logprobs, None, torch.ones_like(leaf), drawn, Totals(30, 120, 4))
        gradients += torch.autograd.grad(algorithm.loss(batch, parts)[0], leaf)
    assert gradients[0].abs().max() > 1e-4
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-9, atol=1e-12)


def test_processes_and_importance_weights_are_factors() -> None:
    loss_of = get_policy_loss_fn(registered("grpo", 4))
    config = ActorConfig(strategy="fsdp", rollout_n=4, use_dynamic_bsz=True)
    logprobs, advantages, mask = -torch.rand(4, 3), torch.randn(4, 1).expand(4, 3), torch.ones(4, 3)
    config.global_batch_info.update(dp_size=1, batch_num_tokens=12, global_batch_size=4, loss_scale_factor=None)
    one, metrics = loss_of(logprobs, logprobs, advantages, mask, "token-mean", config)
    config.global_batch_info["dp_size"] = 2
    two, _ = loss_of(logprobs, logprobs, advantages, mask, "token-mean", config, torch.full((4, 3), 0.25))
    torch.testing.assert_close(two, 0.5 * one)
    assert metrics == {"actor/clip_fraction": 0.0}


# verl's own trainer


@pytest.fixture(scope="module")
def queue() -> Any:
    """verl's store of the batch, on a Ray of its own."""
    import ray
    import transfer_queue
    from omegaconf import OmegaConf

    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer")
    config.transfer_queue.enable = True
    config.transfer_queue.backend.SimpleStorage.num_data_storage_units = 1
    OmegaConf.resolve(config)
    transfer_queue.init(config.transfer_queue)
    yield transfer_queue
    transfer_queue.close()
    ray.shutdown()


@pytest.mark.parametrize("label", ["copo", "gdpo", "gcpo_cooperative", "gapo_group_aware"])
def test_verls_trainer_hands_over_answers_components_and_texts(label: str, queue: Any) -> None:
    """``PPOTrainer._compute_advantage`` itself, with its batch in verl's own store, as its workers put it there."""
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    case = make_case(1, groups=5, size=6)
    order = [row * case.size + column for column in range(case.size) for row in range(len(case.groups))]
    _, columns = verl_batch(case, order, padding=1)
    answered = [case.rollouts[i] for i in order]
    rows = []
    for place, rollout in enumerate([*answered, answered[0]]):
        padding = place == len(answered)
        tokens = torch.tensor([0] if padding else rollout.tokens)
        scores = torch.zeros(len(tokens))
        scores[-1] = 0.0 if padding else (np.nan if rollout.reward is None else rollout.reward)
        said = {name: column[place] for name, column in columns.items() if name != "text"}
        rows.append(
            {
                "uid": "padding" if padding else rollout.problem_id, "responses": tokens, "rm_scores": scores,
                "response_mask": torch.zeros(1).long() if padding else torch.ones(len(tokens)).long(),
                "extra_fields": {"reward_extra_info": {"score": float(scores[-1]), **said}},
            }
        )  # fmt: skip
    batch = queue.kv_batch_put(
        keys=[f"{row['uid']}_{place}_0" for place, row in enumerate(rows)],
        partition_id=f"train-{label}",
        fields=tensordict_utils.list_of_dict_to_tensordict(rows),
        tags=[{} for _ in rows],
    )
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", [f"algorithm.adv_estimator={registered(label, case.size)}"])
    trainer: Any = SimpleNamespace(config=config, tokenizer=tokenizer())
    done = PPOTrainer._compute_advantage(trainer, batch, {})
    stored = queue.kv_batch_get(keys=done.keys, partition_id=done.partition_id, select_fields=["advantages"])
    theirs = stored["advantages"].to_padded_tensor(0.0).numpy()
    expected = ours_as_verl_has_them(label, case, order, theirs.shape[1])
    np.testing.assert_allclose(theirs[:-1], expected, rtol=1e-6, atol=1e-6)
    assert (theirs[-1] == 0.0).all()


# refusals


@pytest.mark.parametrize("name", ["dpo", "sft", "gcpo_contrastive"])
def test_what_verl_has_no_place_for_is_refused(name: str) -> None:
    with pytest.raises(Refused, match=f"{name} cannot be handed to verl: it .* verl has no place for that"):
        to_verl.register(name, rows=True, draws_elsewhere=True)


def test_what_the_user_has_to_supply_is_asked_for() -> None:
    with pytest.raises(Refused, match=r"copo: it reads the answer .* `register\(..., rows=True\)`"):
        to_verl.register("copo")
    with pytest.raises(Refused, match=r"dapo: it decides which rollouts are drawn, .* `draws_elsewhere=True`"):
        to_verl.register("dapo")
    with pytest.raises(Refused, match="needs log-probabilities of policy and reference"):
        to_verl.register("rloo", kl_coef=0.1)
    with pytest.raises(Refused, match="has to know which rollouts were cut off"):
        to_verl.register("grpo", mask_truncated=True)


def test_a_batch_without_what_is_read_is_refused() -> None:
    case = make_case(0)
    data, columns = verl_batch(case, list(range(len(case.rollouts))))
    name = registered("copo", 4)
    with pytest.raises(Refused, match="register it with rows=True"):
        compute_advantage(data, name, config=AlgoConfig())
    columns.pop("answer")
    with to_verl.handed_over(columns), pytest.raises(Refused, match=r"reads 'answer' of each rollout.*compute_score"):
        compute_advantage(data, name, config=AlgoConfig())
    with to_verl.handed_over({}), pytest.raises(Refused, match="reads a reward named 'format', and the batch has none"):
        compute_advantage(data, registered("gdpo", 4), config=AlgoConfig())
    with pytest.raises(Refused, match="use_kl_in_reward"):
        compute_advantage(data, registered("grpo_trl", 4), config=AlgoConfig(use_kl_in_reward=True))
    data.non_tensor_batch.pop("uid")
    with pytest.raises(Refused, match="no `uid`"):
        compute_advantage(data, registered("grpo_trl", 4), config=AlgoConfig())


def test_registering_again_is_fine_and_another_optimizer_under_the_name_is_not() -> None:
    first = to_verl.register("gspo", "again", group_size=4)
    assert to_verl.register("gspo", "again", group_size=4) == first == "again"
    with pytest.raises(ValueError, match="already been registered"):
        to_verl.register("gspo", "again", group_size=8)


# configuration


@pytest.mark.parametrize(
    "name", [name for name in algorithms.names() if name not in ("dpo", "sft", "gcpo_contrastive")]
)
def test_verl_accepts_the_lines_that_go_with_an_optimizer(name: str) -> None:
    line = to_verl.settings(name)
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", shlex.split(line, comments=True))
    algorithm = omega_conf_to_dataclass(config.algorithm)
    assert algorithm.adv_estimator == config.actor_rollout_ref.actor.policy_loss.loss_mode == f"groupwise_{name}"
    assert config.actor_rollout_ref.rollout.n == algorithms.make(name).group_size
    assert algorithm.filter_groups.enable == (name == "dapo")
    assert config.actor_rollout_ref.actor.use_kl_loss == algorithms.make(name).kl_in_loss


def test_kl_and_entropy_are_verls_own_terms() -> None:
    line = to_verl.settings("grpo_trl", kl_coef=0.02, entropy_coef=0.01)
    for part in (
        "use_kl_loss=True",
        "kl_loss_coef=0.02",
        "kl_loss_type=k3",
        "entropy_coeff=0.01",
        "without: kl_weighted",
    ):
        assert part in line
    loss_of = to_verl.PolicyLoss(algorithms.make("grpo_trl", group_size=4, kl_coef=0.02, entropy_coef=0.01))
    logprobs, mask = -torch.rand(4, 3), torch.ones(4, 3)
    loss, _ = loss_of(logprobs, logprobs, torch.ones(4, 3), mask)
    assert float(loss) == pytest.approx(-1.0)


def test_every_process_of_verl_knows_an_optimizer_that_a_users_module_registers(tmp_path: Path) -> None:
    (tmp_path / "my_optimizers.py").write_text(
        "from groupwise.harness.handover.to_verl import register\nregister('copo', rows=True, k=20.0, b=1.5)\n"
    )
    code = (
        "import verl\n"
        "from verl.trainer.ppo.core_algos import get_adv_estimator_fn, get_policy_loss_fn\n"
        "from verl.trainer.ppo.v1.trainer_base import PPOTrainer\n"
        "found = get_adv_estimator_fn('groupwise_copo').algorithm\n"
        "assert get_policy_loss_fn('groupwise_copo').algorithm == found\n"
        "assert PPOTrainer._compute_advantage.hands_over_rows\n"
        "print('found', found.k, found.b)\n"
    )
    paths = os.pathsep.join([str(tmp_path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "VERL_USE_EXTERNAL_MODULES": "my_optimizers", "PYTHONPATH": paths},
    )  # fmt: skip
    assert "found 20.0 1.5" in done.stdout, done.stderr


def test_the_reward_function_says_what_the_verifier_found() -> None:
    score = compute_score("numeric")
    found = score("any", "so the answer is 12", ground_truth="12")
    assert (found["score"], found["answer"], found["valid_answers"]) == (1.0, '"12"', '["12"]')
    assert score("any", "no number at all", ground_truth=["12", "13"])["answer"] == "null"
    names = set(found) - {"score", "answer", "valid_answers"}
    assert all(isinstance(found[name], float) for name in names)


def test_the_example_learns_through_verls_functions(capsys: pytest.CaptureFixture[str]) -> None:
    example_verl.main(["copo", "--steps", "2"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("copo, step")]
    assert len(lines) == 2
    for line in lines:
        assert float(line.split("grad_norm ")[1].split(",")[0]) > 0.0


def test_verl_finds_the_function_by_its_name() -> None:
    name = to_verl.register("gapo_adaptive")
    assert name == "groupwise_gapo_adaptive"
    assert get_adv_estimator_fn(name).algorithm == algorithms.make("gapo_adaptive")
