"""``groupwise algorithms``: one line each, one in full, with options that change the recipe."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from groupwise import algorithms
from groupwise.harness import listing
from groupwise.harness.cli import main


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["algorithms", *arguments]) == 0
    return capsys.readouterr().out


def test_one_line_each_in_columns(capsys: pytest.CaptureFixture[str]) -> None:
    head, *rows = printed(capsys).splitlines()
    assert [row.split()[0] for row in rows] == algorithms.names()
    starts = [head.index(title) for title in ("SUPERVISION", "LEARNS FROM", "WHAT IT IS")]
    for name, row in zip(algorithms.names(), rows, strict=True):
        recipe = algorithms.make(name).recipe
        cells = [row[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
        assert all(row[start - 2 : start] == "  " for start in starts)
        assert cells[:2] == [recipe.supervision, listing.kinds(asdict(recipe))]
        assert cells[2].startswith(f"{recipe.title}, {recipe.citation}")


def test_summaries_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    shown = json.loads(printed(capsys, "--json"))
    assert list(shown) == algorithms.names()
    assert shown["gcpo_contrastive"]["learns_from"] == ["all_wrong"]
    assert shown["gcpo_contrastive"]["supervision"] == "reference solutions"
    assert (shown["grpo"]["learns_from"], shown["grpo"]["reconstruction"]) == ([], False)
    assert shown["gcpo_cooperative"]["reconstruction"] is True


def test_signal_free_kinds_in_words() -> None:
    assert listing.kinds({"learns_from": (), "learns_from_contrast": True}) == "mixed"
    both = {"learns_from": ("all_wrong", "all_right"), "learns_from_contrast": True}
    assert listing.kinds(both) == "mixed, all wrong, all right"
    assert listing.kinds({"learns_from": ("all_wrong",), "learns_from_contrast": False}) == "all wrong"


@pytest.mark.parametrize("name", algorithms.REGISTRY)
def test_one_in_full(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing that JSON has is cut from the text, but for line breaks."""
    data = json.loads(printed(capsys, "show", name, "--json"))
    lines = printed(capsys, "show", name).splitlines()
    words = " ".join(" ".join(lines).split())
    recipe = algorithms.make(name).recipe
    for said in (recipe.title, recipe.citation, recipe.formula(), recipe.sampling, recipe.cost, recipe.signal_free,
                 recipe.supervision, recipe.trl, recipe.verl, *recipe.deviations, data["description"]):  # fmt: skip
        assert " ".join(said.split()) in words
    options = {option["name"]: option for option in data["hyper_parameters"]}
    assert list(options) == [option.name for option in algorithms.hyper_parameters(algorithms.get(name))]
    for option in options.values():
        assert option["value"] == option["default"]
        assert f" {option['name']} = {json.dumps(option['value'])}: {option['accepted']} {option['doc']} [" in words
    assert data["formula"] == recipe.formula()
    assert not set(options) & set(data["unused"])
    assert set(data["unused"]) == algorithms.get(name).unused


def test_options_change_the_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--option", "kl_coef=0.04", "--option", "kl_estimator=k2", "--option", "group_size=16")
    shown = json.loads(printed(capsys, "show", "grpo", *options, "--json"))
    assert shown["kl"] == "0.04 x k2 estimate in the loss"
    assert "16 rollouts" in shown["sampling"]
    values = {option["name"]: (option["default"], option["value"]) for option in shown["hyper_parameters"]}
    assert (values["kl_coef"], values["group_size"], values["epsilon"]) == ((0.0, 0.04), (8, 16), (0.2, 0.2))
    text = printed(capsys, "show", "grpo", *options)
    assert "KL: 0.04 x k2 estimate in the loss" in " ".join(text.split())
    assert "    kl_coef = 0.04 (default 0.0): a number of at least 0\n" in text
    assert '    kl_estimator = "k2" (default "k3"): one of ' in text


def test_own_options_stand_before_the_shared_ones(capsys: pytest.CaptureFixture[str]) -> None:
    shared = {
        option["name"]: option["shared"]
        for option in json.loads(printed(capsys, "show", "dapo", "--json"))["hyper_parameters"]
    }
    assert (shared["max_draws"], shared["epsilon_high"], shared["kl_coef"]) == (False, False, True)
    text = printed(capsys, "show", "dapo")
    places = [text.index(f"\n{words}") for words in ("hyper-parameters\n", "    max_draws = ", "ingredients shared",
                                                     "    kl_coef = ")]  # fmt: skip
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "gpro"], "unknown algorithm 'gpro': expected one of grpo,"),
        (["show"], "expected a name"),
        (["show", "grpo", "--option", "max_draws=3"], "grpo has no option 'max_draws'"),
        (["show", "grpo", "--option", "kl_coef"], "expected key=value"),
        (["show", "grpo", "--option", "kl_coef=-1"], "kl_coef must be a number of at least 0, not -1"),
        (["show", "grpo", "--option", "kl_estimator=k4"], "one of 'k1', 'k2', 'k3', not 'k4'"),
        (["show", "gcpo_cooperative", "--option", "redundancy_coef=1"], "has no option 'redundancy_coef'"),
        (["--option", "kl_coef=0.04"], "expected `show NAME` with it"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["algorithms", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("groupwise: algorithms ") or "--option kl_coef:" in captured.err
    assert captured.err.count("\n") == 1
    assert said in captured.err
