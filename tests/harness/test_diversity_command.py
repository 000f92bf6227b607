"""`groupwise diversity` from records to numbers, its cache, its classes, and what it says when something is wrong."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_fixture import make_run

from groupwise import algorithms
from groupwise.harness import embedders
from groupwise.harness.diversity import equivalence, whole
from groupwise.harness.diversity.command import add_command
from groupwise.harness.errors import InputError
from groupwise.harness.report.cells import KEY
from groupwise.harness.report.read import FINAL
from groupwise.harness.report.texts import (
    WORDING,
    embedding_cells,
    embedding_measures,
    some_problems,
    trained_with,
    wording_cells,
)
from groupwise.harness.statistics.volume import volume
from groupwise.harness.statistics.wording import count_grams, distinct_n, self_bleu

LABELS = ("grpo", "gcpo")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", labels=LABELS, tasks=("pick_one",), seeds=(0, 1), problems=6, samples=8)


def call(*words: object) -> int:
    """The sub-command as the command line calls it."""
    parser = argparse.ArgumentParser()
    add_command(parser.add_subparsers())
    options = parser.parse_args(["diversity", *map(str, words)])
    code: int = options.handler(options)
    return code


def read(folder: Path) -> pd.DataFrame:
    """All final rollouts of a run."""
    parts = []
    for path in sorted(folder.glob("evaluations/*/final/*.jsonl")):
        label, _, seed = path.parts[-3].rpartition("-seed")
        rows = pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()])
        parts.append(rows.assign(label=label, seed=int(seed), at=FINAL, task=path.stem))
    return pd.concat(parts, ignore_index=True).astype({"score": "float64"})


def test_json_holds_what_the_records_say(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(run, "--embedder", "hash", "--k", 3, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    rollouts = read(run)
    rollouts = rollouts[rollouts["score"].notna() & (rollouts["label"] == "gcpo")]
    vendi, classes = [], []
    for (_, _), cell in rollouts.groupby(["problem", "seed"]):
        rows = embedders.hash_embeddings(list(cell["text"]))
        vendi.append(volume(rows, [0] * len(cell), 1).vendi[0])
        if len(cell) >= 3:
            answers = cell["answer"].tolist()
            triples = [{answers[i], answers[j], answers[k]} - {None, np.nan}
                       for i in range(len(cell)) for j in range(i) for k in range(j)]  # fmt: skip
            classes.append(np.mean([len({a for a in some if isinstance(a, str)}) for some in triples]))
    estimates = found["tasks"]["pick_one"]["labels"]["gcpo"]
    assert estimates["vendi_hash"]["value"] == pytest.approx(np.mean(vendi))
    assert estimates["distinct_k_hash"]["value"] == pytest.approx(np.mean(classes))
    assert estimates["vendi_hash"]["seeds"] == 2
    assert estimates["vendi_hash"]["low"] >= 1
    rows = found["tasks"]["pick_one"]["differences"]["vendi_hash"]
    assert set(rows) == {"base", "gcpo"}
    base, comparator = (found["tasks"]["pick_one"]["labels"][x]["vendi_hash"]["value"] for x in ("gcpo", "grpo"))
    assert rows["gcpo"]["value"] == pytest.approx(base - comparator)
    assert all(row["p_holm"] >= row["p"] for row in rows.values())


def test_the_trained_embedder_is_told_and_a_measure_without_one_stands_beside(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["recipes"]["gcpo"]["cost"] = "8 rollouts; a hash embedding of each text"
    path.write_text(json.dumps(manifest))
    assert call(run, "--embedder", "hash", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trained_with"] == {"grpo": None, "gcpo": "hash"}
    assert found["not_independent"] == ["gcpo"]
    assert "no independent judge" in found["notes"][1]
    assert {"self_bleu", "distinct_2"} <= set(found["tasks"]["pick_one"]["labels"]["gcpo"])


def test_tables(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert call(run, "--embedder", "hash") == 0
    printed = capsys.readouterr().out
    for words in (
        "Vendi",
        "by hash embeddings",
        "Self-BLEU",
        "difference to grpo",
        "right rollouts",
        "distinct_8",
        "gcpo",
    ):
        assert words in printed


def test_what_is_stored_is_not_measured_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def measuring(name: str) -> embedders.Callable[[Sequence[str]], np.ndarray]:
        def embed(texts: Sequence[str]) -> np.ndarray:
            asked.extend(texts)
            return embedders.hash_rows(texts)

        return embed

    monkeypatch.setattr(whole, "measuring", measuring)
    assert call(run, "--embedder", "some/model") == 0
    assert len(asked) == len(set(asked)) > 0  # every text once, whoever says it
    before = embedding_cells(run)["some/model"]
    first = (run / "diversity" / "some--model.parquet").read_bytes()
    asked.clear()
    assert call(run, "--embedder", "some/model") == 0
    assert asked == []
    # One evaluation changes: it alone is measured again.
    path = run / "evaluations" / "grpo-seed1" / "final" / "pick_one.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**row, "text": "all the same"}) + "\n" for row in rows))
    assert call(run, "--embedder", "some/model") == 0
    assert asked == ["all the same"]
    after = embedding_cells(run)["some/model"]
    changed = (after["label"] == "grpo") & (after["seed"] == 1)
    assert (after.loc[changed, "vendi_some/model"] == 1).all()
    pd.testing.assert_frame_equal(before[~changed], after[~changed])
    # Other settings: nothing of it can be used.
    asked.clear()
    assert call(run, "--embedder", "some/model", "--k", 2) == 0
    assert len(asked) > 1
    assert first != (run / "diversity" / "some--model.parquet").read_bytes()


def test_an_interrupted_call_goes_on(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def failing(name: str) -> embedders.Callable[[Sequence[str]], np.ndarray]:
        def embed(texts: Sequence[str]) -> np.ndarray:
            nonlocal calls
            calls += 1
            if calls == 2:  # the first evaluation had other texts
                raise KeyboardInterrupt
            return embedders.hash_rows(texts)

        return embed

    monkeypatch.setattr(whole, "measuring", failing)
    with pytest.raises(KeyboardInterrupt):
        call(run, "--embedder", "some/model")
    done = len(embedding_cells(run)["some/model"])
    call(run, "--embedder", "some/model")
    whole_run = embedding_cells(run)["some/model"]
    assert 0 < done < len(whole_run) == 6 * 6
    (run / "diversity" / "some--model.parquet").unlink()
    call(run, "--embedder", "some/model")
    pd.testing.assert_frame_equal(embedding_cells(run)["some/model"], whole_run)
    assert not list(run.glob("diversity/*.tmp"))


def test_some_problems_are_the_same_for_all(run: Path) -> None:
    assert call(run, "--embedder", "hash", "--problems", 2) == 0
    table = embedding_cells(run)["hash"]
    expected = some_problems([f"pick_one/test/{i:04d}" for i in range(6)], 2)
    assert all(set(rows) == expected for _, rows in table.groupby(["label", "seed"])["problem"])
    assert table.attrs["problems"] == 2


@pytest.mark.parametrize(
    ("break_it", "words", "message"),
    [
        (lambda run: (run / "manifest.json").unlink(), [], "manifest.json: not found"),
        (lambda run: [p.unlink() for p in run.glob("evaluations/*/final/*")], [], "with final evaluations"),
        (lambda run: None, ["--k", "9"], "--k 9: expected at most 8"),
        (
            lambda run: (run / "evaluations/grpo-seed0/final/pick_one.jsonl").write_text('{"problem": "a"}\n'),
            [],
            "pick_one.jsonl, line 1: missing key 'sample'",
        ),
        (lambda run: None, ["--embedder", "no/such/model"], "embedder no/such/model: expected hash, minilm, or"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(run: Path, break_it: object, words: list[str], message: str) -> None:
    break_it(run)  # type: ignore[operator]
    with pytest.raises(InputError, match=message) as error:
        call(run, *(words if "--embedder" in words else ["--embedder", "hash", *words]))
    assert "\n" not in str(error.value)
    assert not (run / "diversity").exists()


def test_without_the_library(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match=r"minilm: needs sentence-transformers: the extra `embed` .*'\.\[embed\]'"):
        call(run)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match="classifier: needs torch and transformers: the extra `train` "):
        call(run, "--embedder", "hash", "--equivalence", "classifier")


def test_bad_options(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--k", "0"], ["--problems", "0"], ["--threshold", "1.5"], ["--equivalence", "taste"]):
        with pytest.raises(SystemExit, match="2"):
            call("run", *words)
        assert words[0] in capsys.readouterr().err


def test_hash_rows_are_hash_embeddings() -> None:
    texts = ["", "  ", "a", "Two words", "Üñí čødé 𝔘𝔫𝔦", "a\x00b\tc\n", "x" * 500, "a"]
    np.testing.assert_array_equal(embedders.hash_rows(texts), embedders.hash_embeddings(texts))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=6))
def test_hash_rows_of_any_text(texts: list[str]) -> None:
    np.testing.assert_array_equal(embedders.hash_rows(texts), embedders.hash_embeddings(texts))


def test_measuring_with_the_small_model_sees_what_training_sees() -> None:
    texts = ["Tom has 3 apples.", "Tom has three apples, " * 30, "7", ""]
    rows = embedders.measuring("minilm")(texts)
    np.testing.assert_allclose(rows, embedders.embed(texts, "minilm"), atol=1e-5)


def test_the_small_model_has_one_name() -> None:
    assert embedders.canonical(embedders.MINILM) == embedders.canonical("all-MiniLM-L6-v2") == "minilm"
    assert embedders.canonical("hash") == "hash"


def test_classes_join_the_first_member_alike() -> None:
    # 2 is like 0 and like 1, which are not alike; 3 is like 2 only, and 2 is no first member.
    near = {(0, 2), (1, 2), (2, 3)}
    found = equivalence.partition(4, lambda first, rest: [(first, i) in near for i in rest])
    assert found.tolist() == [0, 1, 0, 2]


def test_classes_by_cosine_stay_within_their_cell() -> None:
    rows = np.array([[1, 0], [1, 0], [0, 1], [1, 0], [0.8, 0.6]])
    cells = np.array([0, 0, 0, 1, 1])
    assert equivalence.by_cosine(rows, cells, 0.9).tolist() == [0, 0, 1, 0, 1]
    assert equivalence.by_cosine(rows, cells, 0.7).tolist() == [0, 0, 1, 0, 0]
    assert equivalence.by_cosine(rows, np.array([-1, 0, 0, 0, -1]), 0.7).tolist() == [-1, 0, 1, 0, -1]


def test_the_classifier_is_asked_about_different_texts_only() -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    def same(text: str, others: Sequence[str]) -> list[bool]:
        asked.append((text, tuple(others)))
        return [text[0] == other[0] for other in others]

    texts = ["ab", "ab", "ac", "b", "ab"]
    assert equivalence.by_classifier(texts, np.zeros(5, dtype=np.int64), same).tolist() == [0, 0, 0, 1, 0]
    assert asked == [("ab", ("ac", "b"))]


@pytest.mark.parametrize(
    ("one", "two", "verdict"),
    [("Paris", "paris ", True), ("in Paris now", "Paris now", True), ("a b c d", "a x y z", False),
     ("one two three four five six", "one", None), ("", "", True)],
)  # fmt: skip
def test_short_texts_are_judged_by_their_words(one: str, two: str, verdict: bool | None) -> None:
    assert equivalence.short_alike(one, two) is verdict


@pytest.fixture
def tiny_classifier(tmp_path: Path) -> Path:
    """A random two-class model with a vocabulary of letters, loaded as the real one is."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    torch.manual_seed(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=300, num_labels=2, initializer_range=0.7,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    return tmp_path


def test_the_classifier_reads_pairs_as_the_paper_does(tiny_classifier: Path) -> None:
    import torch

    classifier = equivalence.Classifier(str(tiny_classifier), str(tiny_classifier))
    long = " ".join("abcdefgh" * 40)
    others = [" ".join("hgfedcbaxyz"), long, " ".join("aaaaaaaa")]
    expected = []
    for other in others:
        pair = [classifier.tokenizer.encode(t, add_special_tokens=False)[: equivalence.PIECES] for t in (long, other)]
        ids = [2, *pair[0], 3, *pair[1], 3]
        kinds = [0] * (len(pair[0]) + 2) + [1] * (len(pair[1]) + 1)
        with torch.inference_mode():
            one = classifier.model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([kinds])).logits
        expected.append(float(one.softmax(-1)[0, 1]))
    scores = classifier._scores(long, others)
    assert scores == pytest.approx(expected, abs=1e-5)
    assert len({round(score, 4) for score in scores}) == 3
    assert classifier(long, others) == [score > equivalence.ALIKE for score in expected]


def test_a_classifier_that_cannot_be_loaded(tmp_path: Path, tiny_classifier: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere cannot be loaded \(is the hub reachable") as error:
        equivalence.Classifier(str(tmp_path / "nowhere"), str(tiny_classifier))
    assert "\n" not in str(error.value)


def test_distinct_k_by_the_classifier(
    run: Path, tiny_classifier: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = str(tiny_classifier)
    monkeypatch.setattr(whole, "Classifier", lambda: equivalence.Classifier(small, small))
    assert call(run, "--embedder", "hash", "--equivalence", "classifier", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["equivalence"] == "classifier"
    # The made-up answers have three words and differ in one: they share half, so all are the same.
    assert found["tasks"]["pick_one"]["labels"]["grpo"]["distinct_k_hash"]["value"] == 1


def test_distinct_k_by_embedding(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {}
    for threshold in ("0.5", "0.99"):
        words = ["--embedder", "hash", "--equivalence", "embedding", "--threshold", threshold, "--json"]
        assert call(run, *words) == 0
        values[threshold] = json.loads(capsys.readouterr().out)["tasks"]["pick_one"]["labels"]["base"]
    assert values["0.5"]["distinct_k_hash"]["value"] < values["0.99"]["distinct_k_hash"]["value"]


def test_wording_cells_are_the_measures_of_each_cell(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rollouts = read(run)
    monkeypatch.setattr("groupwise.harness.report.texts.LETTERS", 500)  # several chunks
    table = wording_cells(rollouts.sample(frac=1, random_state=0))
    assert list(table.columns) == [*KEY, *(m.column for m in WORDING)]
    assert table[KEY].equals(table[KEY].sort_values(KEY, ignore_index=True))
    assert len(table) == 3 * 2 * 6
    for row in table.sample(8, random_state=1).to_dict("records"):
        cell = rollouts[(rollouts[KEY] == pd.Series({k: row[k] for k in KEY})).all(axis=1) & rollouts["score"].notna()]
        for suffix, texts in (("", list(cell["text"])), ("_right", list(cell[cell["score"] == 1]["text"]))):
            grams, group = count_grams(texts), [0] * len(texts)
            room = volume(embedders.hash_embeddings(texts), group, 1)
            expected = [distinct_n(grams[1], group, 1)[0], self_bleu(grams, group, 1)[0], room.vendi[0]]
            got = [row[f"{name}{suffix}"] for name in ("distinct_2", "self_bleu", "vendi_ngram")]
            np.testing.assert_allclose(got, expected, atol=1e-8)


def test_wording_cells_of_some_problems_and_of_nothing(run: Path) -> None:
    rollouts = read(run)
    all_of_them, some = wording_cells(rollouts), wording_cells(rollouts, problems=2)
    kept = all_of_them[all_of_them["problem"].isin(set(some["problem"]))].reset_index(drop=True)
    assert len(set(some["problem"])) == 2
    pd.testing.assert_frame_equal(some, kept)
    empty = wording_cells(rollouts.iloc[:0])
    assert len(empty) == 0
    assert {m.column for m in WORDING} <= set(empty.columns)


def test_wording_cells_take_categories(run: Path) -> None:
    rollouts = read(run)
    as_categories = rollouts.astype({"label": "category", "task": "category", "problem": "category"})
    shuffled = as_categories.sample(frac=1, random_state=2)
    pd.testing.assert_frame_equal(wording_cells(shuffled), wording_cells(rollouts))


def test_bounds_hold_what_can_be() -> None:
    settings = {"equivalence": "answer", "threshold": 0.9, "k": 4}
    ends = {m.column: m.bounds(8) for m in (*WORDING, *embedding_measures("hash", settings))}
    assert ends["vendi_ngram"] == (1, 8)
    assert ends["log_det_hash"] == pytest.approx((np.log(2), 8 * np.log(2)))
    assert ends["cosine_ngram_right"] == (0, 2)
    assert ends["self_bleu"] == (0, 1)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [("grpo", {}, None), ("grpo", {"redundancy_coef": 1.0}, "hash"), ("gcpo_cooperative", {}, "hash"),
     ("gcpo_cooperative", {"embedder": "minilm"}, "minilm"), ("dr_grpo", {"embedder": "minilm"}, None)],
)  # fmt: skip
def test_the_embedder_of_the_training_is_read_off_the_recipe(
    name: str, options: dict[str, object], expected: str | None
) -> None:
    recipe = algorithms.make(name, **options).recipe
    experiment = {"algorithms": {"mine": {"name": name, **options}}}
    told = {"experiment": experiment, "recipes": {"mine": {"cost": recipe.cost}}}
    older = {"experiment": experiment, "recipes": {"mine": {}}}
    assert trained_with(told).get("mine") == trained_with(older).get("mine") == expected


def test_names_of_embedders_do_not_meet_those_of_wording() -> None:
    settings = {"equivalence": "embedding", "threshold": 0.9, "k": 4}
    names = [m.column for m in (*WORDING, *embedding_measures("hash", settings), *embedding_measures("a/b", settings))]
    assert len(set(names)) == len(names)
    assert all(second == f"{first}_right" for first, second in list(pairwise(names))[::2])
