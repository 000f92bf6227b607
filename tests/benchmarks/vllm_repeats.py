"""How many rollouts of vLLM come again, by what they are decoded beside: `python tests/benchmarks/vllm_repeats.py`.

Needs GROUPWISE_VLLM_PYTHON. Groups of rollouts of short sums are drawn in one call; again in the same way; in another
order; half of them at a time; and by an engine that has been started anew. The same request has the same seeds each
time. A markdown table for each precision: the share of rollouts whose tokens are others, with a 95 % interval over the
problems, and, among those with the same tokens, the share of tokens whose log-probability is another number.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from groupwise.harness.engines.contract import Completion, Request, Sampling, sample
from groupwise.harness.engines.on_vllm import VllmEngine, VllmSettings
from groupwise.harness.loading import SMOLLM2, encode_prompt, load_tokenizer, resolve
from groupwise.harness.seeds import seed_of
from groupwise.harness.statistics.estimates import proportion
from groupwise.tasks import make

GROUP = 8
Drawn = list[list[Completion]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=SMOLLM2)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    folder = resolve(options.model)[0]
    tokenizer = load_tokenizer(folder)
    requests = [
        Request(encode_prompt(tokenizer, problem), tuple(seed_of("repeats", problem.id, i) for i in range(GROUP)))
        for problem in make("short_arithmetic").problems("train")[: options.problems]
    ]
    stop = frozenset([int(tokenizer.eos_token_id or 0)])
    for dtype in options.dtypes:
        print(f"\n{options.model}, {dtype}, {len(requests)} x {GROUP} rollouts of at most {options.tokens} tokens\n")
        print("| drawn again | other tokens | of the others: other log-probabilities |")
        print("| --- | ---: | ---: |")
        settings = VllmSettings(folder, stop, rows=64, dtype=dtype, threads=options.threads, eager=True)
        engine = VllmEngine(settings)
        first = draw(engine, requests, options.tokens)
        half = len(requests) // 2
        show("in the same way", first, draw(engine, requests, options.tokens))
        show("in another order", first, draw(engine, requests[::-1], options.tokens)[::-1])
        parts = [draw(engine, part, options.tokens) for part in (requests[:half], requests[half:])]
        show("half of them at a time", first, parts[0] + parts[1])
        engine.close()
        engine = VllmEngine(settings)
        show("by another process", first, draw(engine, requests, options.tokens))
        engine.close()


def draw(engine: VllmEngine, requests: Sequence[Request], tokens: int) -> Drawn:
    return [list(group) for group in sample(engine, requests, Sampling(tokens))]


def show(words: str, first: Drawn, again: Drawn) -> None:
    groups = [list(zip(one, two, strict=True)) for one, two in zip(first, again, strict=True)]
    others = [[sum(one.tokens != two.tokens for one, two in group) / len(group)] for group in groups]
    share = proportion(others, GROUP * len(groups))
    both = [
        (a, b)
        for group in groups
        for one, two in group
        if one.tokens == two.tokens
        for a, b in zip(one.logprobs or (), two.logprobs or (), strict=True)
    ]
    moved = sum(a != b for a, b in both) / max(1, len(both))
    print(f"| {words} | {share.value:.3f} [{share.low:.3f}, {share.high:.3f}] | {moved:.3f} |", flush=True)


if __name__ == "__main__":
    main()
