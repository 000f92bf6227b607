"""The experiment file: shipped ones load, and each kind of mistake is one line with file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from groupwise import algorithms
from groupwise.harness import requirements
from groupwise.harness.errors import InputError
from groupwise.harness.experiment import check_data, load, load_problems, shipped_experiments

GOOD = """\
name = "tiny"
seeds = [0]

[budget]
total = 64

[train]
problems_per_batch = 4
group_size = 4

[[train.tasks]]
name = "pick_one"
split = "train"

[[train.tasks]]
name = "word_arithmetic"
split = "train"

[evaluation]
samples = 4
k = [1, 4]

[[evaluation.tasks]]
name = "pick_one"
split = "test"

[algorithms.grpo]
kl_coef = 0.1
"""


def write(folder: Path, text: str) -> str:
    path = folder / "tiny.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["smoke", "quickstart", "smollm2-arithmetic", "smollm2-mawps"])
def test_shipped_experiments_are_valid(name: str) -> None:
    experiment, text = load(name, [])
    assert experiment.name == name
    assert text == shipped_experiments()[name]
    assert "grpo" in experiment.algorithms


@pytest.mark.parametrize("name", ["smoke", "quickstart"])
def test_shipped_offline_experiments_find_their_problems_and_hold_out_the_test(name: str) -> None:
    experiment, _ = load(name, [])
    check_data(experiment, name, None)
    trained = {p.prompt[0]["content"] for table in experiment.train.tasks for p in load_problems(table, None)}
    tested = {p.prompt[0]["content"] for table in experiment.evaluation.tasks for p in load_problems(table, None)}
    assert trained
    assert tested
    assert not trained & tested


def test_budgets_of_shipped_experiments_are_whole_batches() -> None:
    for name in shipped_experiments():
        experiment, _ = load(name, [])
        batch = experiment.train.problems_per_batch * experiment.train.group_size
        assert experiment.budget.total % batch == 0, name


MISTAKES = {
    "unknown key": (("samples = 4", "sample = 4"), "tiny.toml:20: evaluation.sample: unknown key"),
    "unknown table": (("[budget]", "[budgets]"), "tiny.toml:4: budgets: unknown key"),
    "missing key": (("seeds = [0]", ""), "seeds: missing; this key is required"),
    "unknown algorithm": (("algorithms.grpo", "algorithms.gpro"), "tiny.toml:27: algorithms.gpro: unknown algorithm"),
    "unknown option": (("kl_coef", "kl"), "tiny.toml:27: algorithms.grpo: grpo has no option 'kl': expected one of"),
    "option out of range": (("kl_coef = 0.1", "kl_coef = -1"), "algorithms.grpo: grpo: kl_coef must be"),
    "unknown task": (('"word_arithmetic"', '"arithmetic"'), "tiny.toml:16: train.tasks.1.name: unknown task"),
    "unknown split": (('split = "test"', 'split = "tset"'), "tiny.toml:25: evaluation.tasks.0.split: 'tset' is not"),
    "budget below a batch": (("total = 64", "total = 15"), "tiny.toml:5: budget.total: 15 rollouts is less than"),
    "k above n": (("k = [1, 4]", "k = [1, 8]"), "tiny.toml:21: evaluation.k: 8 is greater than samples = 4"),
    "wrong type": (("samples = 4", 'samples = "four"'), "tiny.toml:20: evaluation.samples: "),
    "group of one": (("group_size = 4", "group_size = 1"), "tiny.toml:9: train.group_size: "),
    "repeated task": (('"word_arithmetic"', '"pick_one"'), "train.tasks: each task once"),
    "repeated seed": (("seeds = [0]", "seeds = [0, 0]"), "tiny.toml:2: seeds: each seed once"),
    "too cold": (("k = [1, 4]", "sampling = { temperature = 1e-7 }"), "evaluation.sampling.temperature: "),
    "label with a slash": (("algorithms.grpo", 'algorithms."a/b"'), "expected a label of letters"),
    "label base": (("algorithms.grpo", "algorithms.base"), "tiny.toml:27: algorithms.base: expected a label"),
    "not TOML": (("[budget]", "[budget"), "tiny.toml: not valid TOML"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_file_line_and_key(mistake: str, tmp_path: Path) -> None:
    (old, new), expected = MISTAKES[mistake]
    assert old in GOOD
    with pytest.raises(InputError) as caught:
        load(write(tmp_path, GOOD.replace(old, new)), [])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_good_file_is_good(tmp_path: Path) -> None:
    experiment, _ = load(write(tmp_path, GOOD), ["budget.total=32", "algorithms.dapo.max_draws=2"])
    assert experiment.budget.total == 32
    assert experiment.algorithm("grpo").kl_coef == 0.1
    assert experiment.algorithm("dapo").group_size == 4


@pytest.mark.parametrize(
    ("override", "expected"),
    [("budget", "expected key=value"), ("name.x=1", "name is not a table"), ("train.lr=1", "train.lr: unknown key")],
)
def test_bad_overrides(override: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=expected):
        load(write(tmp_path, GOOD), [override])


def test_an_override_may_be_json_or_toml_or_a_text(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD)
    for table in ('{"rloo": {}}', "{rloo = {}}", "{'rloo' = {}}"):
        assert list(load(file, [f"algorithms={table}"])[0].algorithms) == ["rloo"]
    assert load(file, ["seeds=[3, 4,]", "model.name=my model"])[0].model.name == "my model"
    for wrong in ("seeds=[0, 1", "algorithms={rloo}", "seeds=[1]\nname = 2", f"seeds={'[' * 5000}"):
        with pytest.raises(InputError, match="expected a list or table as in JSON or TOML"):
            load(file, [wrong])


@pytest.mark.parametrize(
    ("override", "expected"),
    [("train.learning_rat=1", "did you mean learning_rate"), ("evaluation.sampling.temprature=1", "mean temperature"),
     ("model.lora={rnk = 4}", "did you mean rank"), ("budget.x=1", "expected one of unit, total"),
     ("trian.x=1", "did you mean train"), ("compute.levers.onedn=true", "did you mean onednn"),
     ("train.tasks=[{name = 'write_sum', splits = 'train'}]", "train.tasks.0.splits: unknown key; did you mean split")],
)  # fmt: skip
def test_a_misspelt_key_is_told_the_right_one(override: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=expected):
        load(write(tmp_path, GOOD), [override])


def test_no_such_experiment() -> None:
    with pytest.raises(InputError, match=r"'quickstat': expected a \.toml file or one of .*quickstart"):
        load("quickstat", [])
    with pytest.raises(InputError, match=r"nowhere/x\.toml: no such experiment file"):
        load("nowhere/x.toml", [])


def test_missing_data_names_the_folder(tmp_path: Path) -> None:
    experiment, _ = load("smollm2-mawps", [])
    with pytest.raises(InputError, match=r"smollm2-mawps: --data-dir .*nowhere: expected an existing folder"):
        check_data(experiment, "smollm2-mawps", tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"smollm2-mawps: train\.tasks\.0 \(mawps\): .*mawps"):
        check_data(experiment, "smollm2-mawps", tmp_path)


def test_a_verifier_that_lacks_its_library_is_refused_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment, _ = load("smoke", ['evaluation.tasks=[{"name": "aime", "split": "test"}]'])
    monkeypatch.setattr(requirements, "find_spec", lambda name: None if name == "math_verify" else object())
    with pytest.raises(InputError, match=r"evaluation\.tasks\.0: needs math_verify: the extra `math` .*'\.\[math\]'"):
        requirements.check_installed(experiment, "smoke")


def test_an_isolation_that_cannot_be_had_is_refused_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment, _ = load("smoke", ['evaluation.tasks=[{"name": "humaneval", "split": "test"}]'])
    monkeypatch.setenv("GROUPWISE_ISOLATION", "perfect")
    with pytest.raises(InputError, match=r"evaluation\.tasks\.0: GROUPWISE_ISOLATION='perfect' is no level"):
        requirements.check_installed(experiment, "smoke")


def test_an_unknown_reward_is_refused_before_the_run(tmp_path: Path) -> None:
    changes = ['algorithms={"gdpo": {"reward_names": ["score", "format", "lenght"]}}']
    experiment, _ = load("smoke", changes)
    with pytest.raises(InputError, match=r"^smoke: algorithms\.gdpo: no training task gives the reward 'lenght'; "):
        requirements.check_rewards(experiment, "smoke", None)
    experiment, _ = load("smoke", ['algorithms={"gdpo": {}, "grpo": {}}'])
    requirements.check_rewards(experiment, "smoke", None)


@pytest.mark.parametrize("name", ["smoke", "optimizers"])
def test_the_experiments_of_all_optimizers_have_them_all(name: str) -> None:
    experiment, _ = load(name, [])
    assert {experiment.algorithm(label).name for label in experiment.algorithms} == set(algorithms.REGISTRY)
    sizes = {experiment.algorithm(label).group_size for label in experiment.algorithms}
    assert sizes == {experiment.train.group_size}
