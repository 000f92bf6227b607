"""Our optimizers inside TRL's own trainer: the same advantages, the same step as in our loop. `tox -e handover-trl`."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="needs TRL: tox -e handover-trl")

import numpy as np
import torch
from datasets import Dataset
from handover_cases import (
    COMPONENTS,
    DRAWS_ITS_OWN,
    MAX_NEW_TOKENS,
    RUN,
    Case,
    Replay,
    make_case,
    our_advantages,
    tokenizer,
    with_logprobs,
)
from transformers import AutoModelForCausalLM
from trl import GRPOConfig

from groupwise import algorithms
from groupwise.algorithms.base import Algorithm
from groupwise.harness import loading
from groupwise.harness.experiment import TrainConfig
from groupwise.harness.handover import example_trl
from groupwise.harness.handover.judge import Judge
from groupwise.harness.handover.needs import Refused
from groupwise.harness.handover.to_trl import PREFIX, GroupwiseTrainer
from groupwise.harness.policy import Policy
from groupwise.harness.update import reference_scores, update

LEARNING_RATE = 1e-3
ADAM_EPS = 1e-4  # with AdamW's 1e-8 a gradient that is a rounding error moves a parameter as far as any other


class GivenVerdicts(Judge):
    """A judge that has made up its mind."""

    def __init__(self, case: Case) -> None:
        super().__init__("numeric")
        self.case = case

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        first = int(os.environ.get("RANK", "0")) * len(prompts)
        mine = slice(first, first + len(prompts))
        self.references = [group.problem.answers for group in self.case.groups for _ in group.rollouts][mine]
        self.verdicts = [rollout.verdict for rollout in self.case.rollouts][mine]
        return [verdict.score for verdict in self.verdicts]


class GivenTexts(GroupwiseTrainer):
    """The trainer, with the case's completions as what the model generates; keeps what it is trained on."""

    case: Case
    seen: list[Mapping[str, Any]]

    def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> tuple[Any, None]:
        first = self.accelerator.process_index * len(prompt_ids)
        mine = self.case.rollouts[first : first + len(prompt_ids)]
        assert [tuple(ids) for ids in prompt_ids] == [rollout.prompt_tokens for rollout in mine]
        return [list(rollout.tokens) for rollout in mine], None

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        self.seen = [*getattr(self, "seen", []), output]
        return output


def embedded() -> Any:
    return AutoModelForCausalLM.from_pretrained(loading.resolve("embedded")[0], dtype=torch.float32)


def trainer_for(
    case: Case, algorithm: str | Algorithm, folder: Path, rewards: Any = None, *, parts: int = 1, **more: Any
) -> GivenTexts:
    settings = {"gradient_accumulation_steps": parts, **more.pop("settings", {})}
    trainer = GivenTexts(
        embedded(),
        reward_funcs=rewards or GivenVerdicts(case),
        algorithm=algorithm,
        draws_elsewhere=(algorithm if isinstance(algorithm, str) else algorithm.name) in DRAWS_ITS_OWN,
        args=GRPOConfig(
            output_dir=str(folder), num_generations=case.size, per_device_train_batch_size=len(case.rollouts) // parts,
            max_completion_length=MAX_NEW_TOKENS, max_steps=1, learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant", adam_epsilon=ADAM_EPS, logging_steps=1,
            save_strategy="no", report_to=[], use_cpu=True, bf16=False, disable_tqdm=True,
            gradient_checkpointing=False, shuffle_dataset=False, **settings,
        ),
        train_dataset=Dataset.from_list(
            [{"prompt": list(g.problem.prompt), "answers": list(g.problem.answers)} for g in case.groups]
        ),
        processing_class=tokenizer(),
        **more,
    )  # fmt: skip
    trainer.case = case
    return trainer


def scored_in_trl(trainer: GivenTexts) -> dict[str, torch.Tensor]:
    """What TRL's trainer makes of the case, without a training step."""
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    inputs = [
        {"prompt": list(g.problem.prompt), "answers": list(g.problem.answers)}
        for g in trainer.case.groups
        for _ in g.rollouts
    ]
    return trainer._generate_and_score_completions(inputs)


def assert_equal_advantages(output: Mapping[str, torch.Tensor], expected: Mapping[str, Any], case: Case) -> None:
    """To 1e-6, at every token that was drawn."""
    assert {name.removeprefix(PREFIX) for name in output if name.startswith(PREFIX)} == set(expected)
    for name, array in expected.items():
        theirs = output[PREFIX + name].double().numpy()
        for i, rollout in enumerate(case.rollouts):
            width = len(rollout.tokens)
            ours = array[i, :width] if array.ndim == 2 else np.full(width, array[i])
            inside = np.broadcast_to(theirs[i], max(width, theirs.shape[1]))[:width]
            np.testing.assert_allclose(inside, ours, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("label", RUN)
def test_advantages_inside_trl_are_those_of_our_loop(label: str, tmp_path: Path) -> None:
    name, options = RUN[label]
    case = make_case(1, groups=5, size=6)
    expected = our_advantages(algorithms.make(name, group_size=case.size, **options), case)
    assert any(np.abs(array).max() > 0.1 for array in expected.values())
    output = scored_in_trl(trainer_for(case, name, tmp_path, options=options))
    assert_equal_advantages(output, expected, case)


@pytest.mark.parametrize("name", ["rloo", "reinforce_pp"])
def test_a_kl_in_the_reward_is_that_of_our_loop(name: str, tmp_path: Path) -> None:
    case = make_case(2)
    algorithm = algorithms.make(name, group_size=case.size, kl_coef=0.3, kl_place="reward")
    trainer = trainer_for(case, algorithm, tmp_path)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.mul_(1.05)  # away from the reference
    policy = Policy(trainer.model, pad=tokenizer().pad_token_id, dtype=torch.float32, weight_decay=0.0)
    policy.reference = embedded()
    case = with_logprobs(
        case,
        [
            tuple(row[: len(rollout.tokens)].tolist())
            for rollout, row in zip(case.rollouts, policy.scored(case.rollouts, 1.0).double(), strict=True)
        ],
    )
    expected = our_advantages(
        algorithm, case, Replay(case, lambda rollouts: reference_scores(policy, rollouts, 1.0, 100_000))
    )
    without = our_advantages(algorithms.make(name, group_size=case.size), case)
    assert np.abs(expected["advantage"] - without["advantage"]).max() > 0.01
    output = scored_in_trl(trainer)
    theirs = output[PREFIX + "advantage"].double().numpy()
    ours = expected["advantage"] if expected["advantage"].ndim == 2 else expected["advantage"][:, None]
    # The log-probabilities come from two forward passes in float32, ours with a shared prefix.
    np.testing.assert_allclose(theirs, ours, atol=2e-4)


def our_step(algorithm: Algorithm, case: Case) -> tuple[dict[str, torch.Tensor], float, float]:
    """The parameters, the loss and the gradient's norm after one step of our loop."""
    model = embedded().train()
    policy = Policy(model, pad=tokenizer().pad_token_id, dtype=torch.float32, weight_decay=0.0)
    if algorithm.reference_in_loss:
        policy.keep_reference()
    policy.optimizer.param_groups[0]["eps"] = ADAM_EPS
    config = TrainConfig(tasks=[{"name": "short_arithmetic", "split": "train"}], group_size=case.size)
    sampler = Replay(case)
    groups = case.groups if algorithm.name in DRAWS_ITS_OWN else algorithm.draw([], sampler)  # type: ignore[arg-type]
    done = update(policy, algorithm, groups, config, LEARNING_RATE, MAX_NEW_TOKENS)
    assert done.optimizer_steps == 1
    assert done.loss is not None
    assert done.grad_norm is not None
    return dict(model.named_parameters()), done.loss, done.grad_norm


STEPS = {
    "grpo_trl": ("grpo_trl", {}),
    "kl": ("grpo_trl", {"kl_coef": 0.1}),
    "entropy": ("grpo_trl", {"entropy_coef": 0.01}),
    "masked": ("grpo_trl", {"mask_truncated": True}),
    "copo": ("copo", {}),
    "gdpo": ("gdpo", {"reward_names": ("score", *COMPONENTS)}),
    "gspo": ("gspo", {}),
    "reinforce_pp": ("reinforce_pp", {}),
    "dr_grpo": ("dr_grpo", {}),
}


@pytest.mark.parametrize(
    ("label", "parts"), [*((label, 1) for label in STEPS), ("grpo_trl", 2), ("copo", 2), ("reinforce_pp", 2)]
)
def test_a_step_of_trls_trainer_is_a_step_of_our_loop(label: str, parts: int, tmp_path: Path) -> None:
    """Same rollouts, same verdicts, one optimizer step of ``train()``: loss, gradient and parameters."""
    name, options = STEPS[label]
    case = make_case(3)
    algorithm = algorithms.make(name, group_size=case.size, **options)
    trainer = trainer_for(case, algorithm, tmp_path, parts=parts)
    before = {key: value.detach().clone() for key, value in trainer.model.named_parameters()}
    trainer.train()
    parameters, loss, norm = our_step(algorithm, case)
    logged = trainer.state.log_history[0]
    assert logged["loss"] == pytest.approx(loss, rel=1e-3, abs=1e-5)  # TRL rounds what it logs
    assert logged["grad_norm"] == pytest.approx(norm, rel=1e-3)
    moved = max(float((value - before[key]).detach().abs().max()) for key, value in trainer.model.named_parameters())
    assert moved > 0.5 * LEARNING_RATE
    for key, value in trainer.model.named_parameters():
        torch.testing.assert_close(value, parameters[key], rtol=0.0, atol=1e-5)


def two_processes(folder: Path) -> None:
    """What each of two processes runs: one step of half the batch each, the parameters saved by the first."""
    case = make_case(3)
    trainer = trainer_for(case, "copo", folder, parts=2, settings={"gradient_accumulation_steps": 1})
    trainer.train()
    if trainer.accelerator.is_main_process:
        torch.save(trainer.accelerator.unwrap_model(trainer.model).state_dict(), folder / "parameters.pt")


def test_two_processes_take_the_step_of_one(tmp_path: Path) -> None:
    """The batch that COPO compares prompts over is that of all processes, and the parts of the loss add up."""
    code = f"import pathlib, test_handover_trl as t; t.two_processes(pathlib.Path({str(tmp_path)!r}))"
    (tmp_path / "run.py").write_text(code)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH", "")])])
    done = subprocess.run(
        [*launch, str(tmp_path / "run.py")], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    parameters, _, _ = our_step(algorithms.make("copo", group_size=4), make_case(3))
    for key, value in torch.load(tmp_path / "parameters.pt").items():
        if key in parameters:
            torch.testing.assert_close(value, parameters[key].detach(), rtol=0.0, atol=1e-5)


def test_two_steps_of_generation_and_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The example as it is documented: TRL generates, our verifier judges, our optimizer learns."""
    example_trl.main(["copo", "--steps", "2"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("copo, step")]
    assert [line.split(":")[0] for line in lines] == ["copo, step 1", "copo, step 2"]
    for line in lines:
        assert math.isfinite(float(line.split("loss ")[1].split(",")[0]))
        assert float(line.split("grad_norm ")[1].split(",")[0]) > 0.0


def test_a_truncated_importance_weight_is_a_factor_of_each_tokens_loss(tmp_path: Path) -> None:
    """TRL's correction for vLLM: where the weight is w, the gradient is that of w times the advantage."""
    case = make_case(4, unscored=0.0)
    gradients = []
    for weight in (1.0, 0.5):
        trainer = trainer_for(case, "gspo", tmp_path)
        batch = scored_in_trl(trainer)
        batch["importance_sampling_ratio"] = torch.full(batch["completion_ids"].shape, weight)
        trainer._compute_loss(trainer.model, batch).backward()
        gradients.append(trainer.model.model.norm.weight.grad.clone())
    assert gradients[0].abs().max() > 1e-3
    torch.testing.assert_close(gradients[1], 0.5 * gradients[0])


@pytest.mark.parametrize(
    ("name", "words"),
    [("dpo", "pairs"), ("sft", "reference solutions"), ("gcpo_contrastive", "reference solutions")],
)
def test_what_trl_has_no_place_for_is_refused(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=words):
        trainer_for(make_case(0), name, tmp_path)


def test_what_the_user_has_to_supply_is_asked_for(tmp_path: Path) -> None:
    case = make_case(0)

    def plain(completions: Sequence[Any], **_: Any) -> list[float]:
        return [1.0 for _ in completions]

    with pytest.raises(Refused, match=r"copo: it reads the answer.*Judge"):
        trainer_for(case, "copo", tmp_path, plain)
    with pytest.raises(Refused, match=r"srpo: it decides which rollouts are drawn.*draws_elsewhere=True"):
        GroupwiseTrainer(
            embedded(), plain, "srpo", GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to=[])
        )
    with pytest.raises(Refused, match="group_size 8, num_generations is 4"):
        trainer_for(case, algorithms.make("grpo", group_size=8), tmp_path)
    with pytest.raises(Refused, match=r"top_entropy_quantile acts on TRL's own loss"):
        trainer_for(case, "grpo", tmp_path, settings={"top_entropy_quantile": 0.2})
    with pytest.raises(Refused, match=r"reads a reward named 'brevity'.*it has format, length, numeric"):
        scored_in_trl(trainer_for(case, "gdpo", tmp_path, options={"reward_names": ("score", "brevity")}))


def test_reward_functions_are_components_and_their_weighted_sum_the_score(tmp_path: Path) -> None:
    case = make_case(5, unscored=0.0)
    scores = [rollout.verdict.score for rollout in case.rollouts]

    def right(completions: Sequence[Any], **_: Any) -> list[float | None]:
        return list(scores)

    def brevity(completions: Sequence[Any], **_: Any) -> list[float | None]:
        return [None if i % 5 == 0 else i / 10 for i in range(len(completions))]

    options = {"reward_names": ("right", "brevity"), "weights": (1.0, 0.5)}
    trainer = trainer_for(case, "gdpo", tmp_path, [right, brevity], options=options)
    output = scored_in_trl(trainer)
    groups = [
        replace(
            group,
            rollouts=tuple(
                replace(
                    rollout,
                    verdict=replace(
                        rollout.verdict,
                        components={"right": rollout.reward, "brevity": brevity(case.rollouts)[g * case.size + i]},
                    ),
                )
                for i, rollout in enumerate(group.rollouts)
            ),
        )
        for g, group in enumerate(case.groups)
    ]
    expected = algorithms.make("gdpo", group_size=case.size, **options).advantages(groups)
    assert_equal_advantages(output, expected, case)
