"""The embedded model as shipped: it loads like any other, answers sometimes right, and its card says so."""

from __future__ import annotations

import random
import re
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import groupwise.harness.models as models_package
from groupwise.harness.models import corpus
from groupwise.harness.models.make_embedded import encode, make_model, make_tokenizer, train
from groupwise.harness.models.model_measure import sample, tasks
from groupwise.tasks import make
from groupwise.tasks.base import Task
from groupwise.tasks.pick_one import PickOne
from groupwise.verifiers import grade

FOLDER = Path(models_package.__file__).parent / "embedded"
MEGABYTE = 1_000_000

# Broad on purpose: 40 problems x 8 samples, drawn with whatever random numbers this torch makes.
ACCURACY = {"word_arithmetic": (0.12, 0.65), "write_sum": (0.12, 0.65), "pick_one": (0.35, 0.85)}


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    """Model and tokenizer, loaded through the Auto classes with the network closed."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the embedded model reached for the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "create_connection", refuse)
        patch.setattr(socket.socket, "connect", refuse)
        model = transformers.AutoModelForCausalLM.from_pretrained(FOLDER)
        tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
    model.eval()
    return model, tokenizer


def test_the_folder_is_small_and_complete() -> None:
    files = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert sum(files.values()) < 8 * MEGABYTE
    wanted = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert wanted | {"MODEL_CARD.md"} <= set(files)


def test_it_is_a_llama_that_samples_plainly(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    assert model.config.model_type == "llama"
    assert model.config.vocab_size == len(tokenizer)
    assert model.num_parameters() < 2_000_000
    settings = model.generation_config
    # A policy that samples from a truncated distribution would have the wrong log-probabilities.
    assert (settings.temperature, settings.top_p) == (1.0, 1.0)
    assert settings.top_k in (0, None)
    ids = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert len({None, *ids}) == 4
    assert (settings.bos_token_id, settings.eos_token_id, settings.pad_token_id) == ids


def test_chat_template(loaded: tuple[Any, Any]) -> None:
    _, tokenizer = loaded
    messages = [{"role": "user", "content": "Name one gas."}, {"role": "assistant", "content": "neon"}]
    asked = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert asked == "<|bos|><|user|>Name one gas.<|assistant|>"
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    assert whole == asked + "neon<|eos|>"
    ids = tokenizer(asked, add_special_tokens=False)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True, return_dict=False) == ids


def test_what_is_pretrained_on_is_what_the_template_makes(loaded: tuple[Any, Any]) -> None:
    _, tokenizer = loaded
    example = corpus.Example("Name one gas.", "neon")
    ids, learnt = encode(tokenizer, [example])
    messages = [{"role": "user", "content": example.prompt}, {"role": "assistant", "content": example.completion}]
    assert tokenizer.decode(ids[0]) == tokenizer.apply_chat_template(messages, tokenize=False)
    assert tokenizer.decode(ids[0][learnt[0]]) == "neon<|eos|>"
    drill = corpus.Example("Write some sums.", "1 + 2 = 3. 7 * 8 = 56.", results_only=True)
    ids, learnt = encode(tokenizer, [drill])
    assert tokenizer.decode(ids[0][learnt[0]]) == " 3. 56."


@pytest.mark.parametrize(
    "text",
    [
        "17 + 5 = 22. 22 - 4 = 18. The answer is 18.",
        "12 + 25 = 37",
        "Name any planet of the solar system, please.",
        "  two  spaces\tand\nlines \r\n",
        "naïve façade — ½ × π ≈ 1,57; 日本語 العربية 🦙👩‍🔬",
        "x" * 500,
        "",
    ],
)
def test_any_text_survives_the_tokenizer(loaded: tuple[Any, Any], text: str) -> None:
    _, tokenizer = loaded
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_each_digit_is_a_token(loaded: tuple[Any, Any]) -> None:
    _, tokenizer = loaded
    pieces = [tokenizer.decode([i]) for i in tokenizer("2026 + 11 = 2037", add_special_tokens=False)["input_ids"]]
    assert pieces == ["2", "0", "2", "6", " +", " 1", "1", " =", " 2", "0", "3", "7"]
    assert not [token for token in tokenizer.get_vocab() if len(re.findall(r"\d", token)) > 1]


def test_greedy_generation_repeats_itself(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    for task in tasks():
        problems = task.problems("test")[:6]
        first, second = (sample(model, tokenizer, problems, 1, task.max_new_tokens, greedy=True) for _ in range(2))
        assert first == second
        assert all(texts[0].strip() for texts in first)


@pytest.mark.parametrize("task", tasks(), ids=lambda task: task.name)
def test_it_is_right_sometimes(loaded: tuple[Any, Any], task: Task) -> None:
    model, tokenizer = loaded
    problems = task.problems("test")[:40]
    torch.manual_seed(7)
    completions = sample(model, tokenizer, problems, 8, task.max_new_tokens)
    shares = []
    for problem, texts in zip(problems, completions, strict=True):
        scores = [grade(task.verifier, text, problem.answers).score for text in texts]
        assert None not in scores
        shares.append(sum(score == 1.0 for score in scores) / 8)
    low, high = ACCURACY[task.name]
    assert low < sum(shares) / len(shares) < high
    # Groups that are all right or all wrong teach a group-based optimizer nothing.
    assert sum(0 < share < 1 for share in shares) >= len(shares) / 4


def test_the_card_names_every_task_and_what_was_measured() -> None:
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    for task in tasks():
        row = re.search(rf"^\| `{task.name}` \| (\d+) \|(.*)\|$", card, re.MULTILINE)
        assert row, task.name
        assert int(row[1]) == len(task.problems("test"))
        estimates = re.findall(r"([\d.]+) \[([\d.]+), ([\d.]+)\]", row[2])
        assert len(estimates) == 5
        for value, low, high in estimates:
            assert float(low) <= float(value) <= float(high)
        low_bound, high_bound = ACCURACY[task.name]
        assert low_bound < float(estimates[0][0]) < high_bound
    for words in ("Licence", "make_embedded", "threads", "Seed", "Limits"):
        assert words in card


def test_pretraining_never_meets_a_test_prompt() -> None:
    """20,000 texts of each kind, many times more than chance would need to hit one of the test prompts."""
    held_out = {problem.prompt[-1]["content"] for task in tasks() for problem in task.problems("test")}
    held_out |= {p.prompt[-1]["content"] for p in PickOne(test_phrasings=None).problems("test")}
    for source in corpus.SOURCES.values():
        rng = random.Random(3)
        assert not held_out & {source(rng, True).prompt for _ in range(20_000)}


def _holds(left: str, sign: str, right: str, result: str) -> bool:
    a, b = int(left), int(right)
    return int(result) == {"+": a + b, "-": a - b, "*": a * b}[sign]


def test_pretraining_arithmetic_is_right_while_clean_and_slips_after() -> None:
    shares = []
    for noisy in (False, True):
        rng = random.Random(5)
        texts = [corpus.word_arithmetic(rng, noisy).completion for _ in range(2_000)]
        assert all(re.search(r"The answer is \d+\.$", text) for text in texts)
        sums = [re.findall(r"(\d+) ([+*-]) (\d+) = (\d+)", text) for text in texts]
        shares.append(sum(bool(each) and all(_holds(*one) for one in each) for each in sums) / len(sums))
    assert shares[0] == 1.0
    assert 0.4 < shares[1] < 0.8
    drills = [corpus.drill(random.Random(seed), True).completion for seed in range(50)]
    assert all(_holds(*one) for text in drills for one in re.findall(r"(\d+) ([+*-]) (\d+) = (\d+)", text))


@pytest.mark.parametrize("task", [make("write_sum", train_size=2000), make("pick_one")], ids=lambda task: task.name)
def test_pretraining_choices_are_right_while_clean_and_often_after(task: Task) -> None:
    answers = {p.prompt[-1]["content"]: p.answers for p in task.problems("train")}
    shares = []
    for noisy in (False, True):
        rng = random.Random(5)
        examples = [corpus.SOURCES[task.name](rng, noisy) for _ in range(4_000)]
        met = [example for example in examples if example.prompt in answers]
        assert len(met) > 100
        right = [grade(task.verifier, example.completion, answers[example.prompt]).score == 1.0 for example in met]
        shares.append(sum(right) / len(right))
    assert shares[0] == 1.0
    assert 0.5 < shares[1] < 0.9


def test_the_training_loop_learns_and_repeats_itself() -> None:
    tokenizer = make_tokenizer()
    runs = []
    for _ in range(2):
        model = make_model(tokenizer)
        losses = train(model, tokenizer, steps=6)
        runs.append((losses, model.lm_head.weight.detach().clone()))
    assert runs[0][0] == runs[1][0]
    assert torch.equal(runs[0][1], runs[1][1])
    assert all(0 < loss < 8 for loss in runs[0][0].values())
