"""Our optimizers in TRL's ``GRPOTrainer``: its generation, rewards, logging and scale, our advantages and loss.

For TRL 1.16.0, which has to be installed. Three methods of ``GRPOTrainer`` are extended: ``_calculate_rewards`` (its
result is kept), ``_generate_and_score_completions`` (the advantages are replaced) and ``_compute_loss`` (replaced).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor
from trl import GRPOConfig, GRPOTrainer

from groupwise import algorithms
from groupwise.algorithms.base import Algorithm, Array, Batch, Totals
from groupwise.algorithms.ingredients import kl
from groupwise.harness.handover import groups
from groupwise.harness.handover.judge import Judge
from groupwise.harness.handover.needs import DRAWS, TRL, Refused, array_names, check

PREFIX = "groupwise/"  # of our arrays in TRL's batch
# What TRL does to its own loss, and would silently not be done to ours: setting -> its value when it is off.
ONLY_IN_TRLS_LOSS: Mapping[str, Any] = {
    "use_liger_kernel": False, "top_entropy_quantile": 1.0, "off_policy_mask_threshold": None,
    "entropy_coef": 0.0, "use_adaptive_entropy": False,
}  # fmt: skip


class GroupwiseTrainer(GRPOTrainer):  # type: ignore[misc]
    """``GRPOTrainer`` with the advantages and the loss of one of our optimizers.

        GroupwiseTrainer(model, reward_funcs=Judge("numeric"), algorithm="copo", options={"k": 20.0}, args=..., ...)

    ``algorithm`` is a name, whose hyper-parameters are ``options`` (the group size is TRL's ``num_generations``), or
    an ``Algorithm``. A rollout's score is TRL's weighted sum of the reward functions, its components are their values
    by name; a ``Judge`` among them adds the extracted answers, the valid answers and its verifier's components.
    ``draws_elsewhere`` says that an optimizer which draws its rollouts in its own way may be used all the same,
    because the rollouts that TRL gets here were drawn in that way. All other arguments are TRL's.

    Of ``args`` the optimizer replaces ``loss_type``, ``scale_rewards``, ``multi_objective_aggregation``,
    ``importance_sampling_level``, ``epsilon``, ``epsilon_high``, ``delta``, ``beta`` and
    ``mask_truncated_completions``. Raises Refused for an optimizer that TRL cannot run, or settings that only TRL's
    own loss has, ValueError for an option that does not exist.
    """

    def __init__(
        self,
        model: Any,
        reward_funcs: Any,
        algorithm: str | Algorithm,
        args: GRPOConfig,
        *,
        options: Mapping[str, Any] | None = None,
        draws_elsewhere: bool = False,
        **others: Any,
    ) -> None:
        if isinstance(algorithm, str):
            algorithm = algorithms.make(algorithm, **{"group_size": args.num_generations, **(options or {})})
        elif options:
            raise ValueError(f"options belong to the name of an optimizer; {algorithm.name} is one already")
        functions = reward_funcs if isinstance(reward_funcs, list) else [reward_funcs]
        self.judge: Judge | None = next((function for function in functions if isinstance(function, Judge)), None)
        judged = ("answer", "valid answers") if self.judge else ()
        check(algorithm, TRL, (*judged, *((DRAWS,) if draws_elsewhere else ())))
        self.algorithm = algorithm
        self.arrays = array_names(algorithm)
        self.kept: dict[str, Any] = {}
        super().__init__(model, reward_funcs, configured(algorithm, args), **others)
        if self.aux_loss_enabled:
            raise Refused("the router's auxiliary loss (router_aux_loss_coef) is only in TRL's own loss: set it to 0")

    # what each rollout is worth

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: list[list[int]]
    ) -> Tensor:
        rewards: Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self.kept = {"inputs": inputs, "prompts": prompts, "ids": completion_ids_list, "rewards": rewards}
        return rewards

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        drawn = self._drawn_mask(output)
        local = self._rows(output, drawn)
        arrays = groups.advantages(self.algorithm, gather_object(local))
        first = self.accelerator.process_index * len(local)
        for name, array in arrays.items():
            mine = array[first : first + len(local)]
            output[PREFIX + name] = on_tokens(mine, drawn).to(torch.float32)
        output["advantages"] = sum(output[PREFIX + name] for name in arrays)
        self._relog(arrays, gather_object([row.length for row in local]))
        return output

    def _drawn_mask(self, output: Mapping[str, Any]) -> Tensor:
        """True on the tokens that the policy drew, (rollouts, tokens): not on padding, not on what tools returned."""
        ids: Tensor = output["completion_ids"]
        lengths = torch.tensor([len(row) for row in self.kept["ids"]], device=ids.device)
        mask = torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]
        if "tool_mask" not in output:
            return mask
        if self.algorithm.mask_truncated:
            raise Refused("mask_truncated with tools: TRL hides which tokens of a cut-off rollout the policy drew")
        inside: Tensor = mask & output["tool_mask"].bool()
        return inside

    def _rows(self, output: Mapping[str, Any], drawn: Tensor) -> list[groups.Row]:
        """This process's rollouts."""
        ids, count = self.kept["ids"], len(self.kept["ids"])
        first = self.accelerator.process_index * count
        rewards = self.kept["rewards"][first : first + count].double().cpu()
        weights = self.reward_weights.double().cpu()
        size = self.num_generations if self.model.training else self.num_generations_eval
        texts = self.processing_class.batch_decode(ids, skip_special_tokens=True)
        ends = {*self.eos_token_ids, self._tokenizer.pad_token_id}
        now, reference = self._logprobs(output, drawn) if self.algorithm.reference_in_reward else ([], [])
        rows = []
        for i, values in enumerate(rewards):
            known = ~values.isnan()
            named = {
                name: float(value) if there else None
                for name, value, there in zip(self.reward_func_names, values, known, strict=True)
            }
            answer, valid, judged = self._judged(i)
            rows.append(
                groups.Row(
                    group=(first + i) // size,
                    problem=str(self.kept["prompts"][i]),
                    score=float((values * weights)[known].sum()) if known.any() else None,
                    length=int(drawn[i].sum()),
                    text=texts[i],
                    answer=answer,
                    valid_answers=valid,
                    components={**judged, **named},
                    cut_off=not ids[i] or ids[i][-1] not in ends,
                    logprobs=now[i] if now else None,
                    ref_logprobs=reference[i] if reference else None,
                )
            )
        return rows

    def _judged(self, i: int) -> tuple[str | None, tuple[str, ...], Mapping[str, float | None]]:
        """Answer, valid answers and components of a rollout, from the judge's verdict."""
        if self.judge is None:
            return None, (), {}
        verdict = self.judge.verdicts[i]
        return verdict.answer, self.judge.references[i], verdict.components

    @torch.no_grad()
    def _logprobs(
        self, output: Mapping[str, Any], drawn: Tensor
    ) -> tuple[list[tuple[float, ...]], list[tuple[float, ...]]]:
        """Of each drawn token, under the policy and under the reference."""
        now = output.get("old_per_token_logps")
        if now is None:
            now, _, _ = self._scored(self.model, output)
        return tuple(
            [tuple(row[inside].tolist()) for row, inside in zip(table.double(), drawn, strict=True)]
            for table in (now, output["ref_per_token_logps"])
        )  # type: ignore[return-value]

    def _relog(self, arrays: Mapping[str, Array], lengths: Sequence[int]) -> None:
        """TRL's table of completions shows the advantages that are used: their sum, and its mean over the tokens."""
        sizes = np.maximum(lengths, 1)
        shown = np.sum([array if array.ndim == 1 else array.sum(1) / sizes for array in arrays.values()], axis=0)
        log = self._logs["advantages"]
        for _ in range(min(len(shown), len(log))):
            log.pop()
        log.extend(shown.tolist())

    # how the policy moves

    def _compute_loss(self, model: Any, inputs: Mapping[str, Any]) -> Tensor:
        """Our loss of a micro-batch. The parts of an optimizer step, over micro-batches and processes, add up."""
        logprobs, entropies, _ = self._scored(model, inputs, compute_entropy=True)
        mask = inputs["completion_mask"] * inputs.get("tool_mask", 1)
        old = inputs.get("old_per_token_logps")
        batch = Batch(
            logprobs=logprobs,
            old_logprobs=logprobs.detach() if old is None else old,
            ref_logprobs=inputs["ref_per_token_logps"] if self.algorithm.reference_in_loss else None,
            mask=mask.to(logprobs.dtype),
            drawn=torch.ones(len(mask), dtype=torch.bool, device=mask.device),
            totals=self._totals(mask, inputs),
            entropies=entropies if self.algorithm.entropy_coef > 0 else None,
        )
        # A factor of the loss that is not negative may stand before the advantage: TRL's correction for vLLM is one.
        weight = inputs.get("importance_sampling_ratio", 1.0)
        loss, metrics = self.algorithm.loss(batch, {name: inputs[PREFIX + name] * weight for name in self.arrays})
        self._note(batch, entropies, metrics)
        training: bool = self.model.training
        return loss * self.accelerator.num_processes if training else loss

    def _scored(self, model: Any, batch: Mapping[str, Any], **options: Any) -> tuple[Any, Any, Any]:
        """TRL's log-probabilities of the completions."""
        images = {
            key: batch[key]
            for key in (
                "pixel_values", "image_grid_thw", "num_images", "pixel_attention_mask", "spatial_shapes", "num_tiles",
                "image_sizes", "token_type_ids", "mm_token_type_ids", "image_position_ids",
            )
            if key in batch
        }  # fmt: skip
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        result: tuple[Any, Any, Any] = self._get_per_token_logps_and_entropies(
            model, ids, attention, batch["completion_ids"].shape[1], **images, **options
        )
        return result

    def _totals(self, mask: Tensor, inputs: Mapping[str, Any]) -> Totals:
        """Sizes of the optimizer step that the micro-batch is part of.

        TRL counts the tokens of all completions generated together. Where they serve several optimizer steps, each is
        taken to have its share of them, as in TRL's own token mean.
        """
        if not self.model.training:
            return Totals(len(mask), int(mask.sum()), self.max_completion_length)
        parts = self.current_gradient_accumulation_steps
        return Totals(
            rollouts=len(mask) * parts * self.accelerator.num_processes,
            tokens=round(float(inputs["num_items_in_batch"]) * parts / self.args.steps_per_generation),
            max_new_tokens=self.max_completion_length,
        )

    def _note(self, batch: Batch, entropies: Tensor, metrics: Mapping[str, Tensor]) -> None:
        """What TRL logs of a loss: means over the micro-batch's tokens, and our own metrics over the step's."""
        log = self._metrics["train" if self.model.training else "eval"]
        tokens = batch.mask.sum().clamp(min=1.0)

        def mean(values: Tensor) -> float:
            return float(self.accelerator.gather((values.detach() * batch.mask).sum() / tokens).mean())

        log["entropy"].append(mean(entropies))
        if batch.ref_logprobs is not None:
            log["kl"].append(mean(kl.estimate(batch.logprobs.detach(), batch.ref_logprobs, "k3")))
        parts = self.current_gradient_accumulation_steps if self.model.training else 1
        for name, value in metrics.items():
            log[name].append(float(self.accelerator.gather(value.detach()).sum()) * parts)


def configured(algorithm: Algorithm, args: GRPOConfig) -> GRPOConfig:
    """A copy of the configuration with what the optimizer decides. Raises Refused where the two contradict."""
    if algorithm.group_size != args.num_generations:
        raise Refused(
            f"{algorithm.name} has group_size {algorithm.group_size}, num_generations is {args.num_generations}: "
            "the two must be equal"
        )
    for name, off in ONLY_IN_TRLS_LOSS.items():
        if getattr(args, name, off) != off:
            raise Refused(f"{name} acts on TRL's own loss, which {algorithm.name} replaces: leave it at {off!r}")
    args = copy.copy(args)
    args.beta = algorithm.kl_coef if algorithm.reference_in_loss or algorithm.reference_in_reward else 0.0
    args.mask_truncated_completions = algorithm.mask_truncated
    return args


def on_tokens(array: Array, drawn: Tensor) -> Tensor:
    """An array of advantages where the tokens are: (rollouts, 1), or (rollouts, tokens) with 0 off the drawn ones.

    A value for each token is given to the drawn tokens in their order. float64, on the mask's device.
    """
    values = torch.as_tensor(array, dtype=torch.float64, device=drawn.device)
    if values.dim() == 1:
        return values[:, None]
    table = torch.zeros(drawn.shape, dtype=torch.float64, device=drawn.device)
    for row, source, inside in zip(table, values, drawn, strict=True):
        row[inside] = source[: int(inside.sum())]
    return table
