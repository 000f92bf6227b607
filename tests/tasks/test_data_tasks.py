"""Tasks over data sets, finding and checking data, and the overlap count."""

from __future__ import annotations

import json
import shutil
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from groupwise import verifiers
from groupwise.tasks import DataError, Problem, make
from groupwise.tasks.data import Source, load, row_hash
from groupwise.tasks.mawps import EXPECTED, accepted_answers, exact_value, tidy, worked_solution
from groupwise.tasks.overlap import normalised_text, overlap

DATA_TASKS = [("gsm8k", {}), ("mawps", {}), ("mawps", {"test_set": "adapters"})]


# ---- real data --------------------------------------------------------------------------------------------


def test_gsm8k_counts(data_dir: Path) -> None:
    task = make("gsm8k")
    train, test = task.problems("train", data_dir), task.problems("test", data_dir)
    assert (len(train), len(test)) == (7473, 1319)
    first = test[0]
    assert (first.id, first.answers) == ("gsm8k/test/0000", ("18",))
    assert first.prompt[0]["content"].startswith("Janet’s ducks lay 16 eggs per day.")
    assert first.solution == (
        "Janet sells 16 - 3 - 4 = 9 duck eggs a day.\nShe makes 9 * 2 = $18 every day at the farmer’s market.\n#### 18"
    )
    assert not any("<<" in (problem.solution or "") for problem in train + test)


@pytest.mark.parametrize("test_set", ["full", "adapters"])
def test_mawps_counts(data_dir: Path, test_set: str) -> None:
    task, expected = make("mawps", test_set=test_set), EXPECTED[test_set]
    sizes = [len(task.problems(split, data_dir)) for split in ("train", "validation", "test")]
    assert sizes == [expected.train, expected.validation, expected.test]
    distinct = make("mawps", test_set=test_set, distinct=True).problems("test", data_dir)
    assert len(distinct) == expected.test - expected.test_repeats
    texts = {normalised_text(problem.prompt[0]["content"]) for problem in distinct}
    assert len(texts) == len(distinct)


def test_mawps_rows_are_all_accounted_for() -> None:
    for expected, pool in ((EXPECTED["full"], 1898 + 237 + 238), (EXPECTED["adapters"], 1898 + 237)):
        dropped = expected.contradictory + expected.same_text + expected.shared_13gram
        dropped += expected.repeated + expected.equation
        assert expected.train + expected.validation + dropped == pool
    assert EXPECTED["full"].test == 2065 - 2
    assert EXPECTED["adapters"].test == 238


@pytest.mark.parametrize(("name", "options"), DATA_TASKS)
def test_train_and_test_share_nothing(data_dir: Path, name: str, options: dict[str, object]) -> None:
    task = make(name, **options)
    train, test = task.problems("train", data_dir), task.problems("test", data_dir)
    found = overlap(train, test)
    assert found.same_text == 0
    if name == "mawps":  # by construction; GSM8K is left as published
        assert found.clean
        validation = task.problems("validation", data_dir)
        assert overlap(validation, test).clean
        assert overlap(train, validation).same_text == 0


@pytest.mark.parametrize(("name", "options"), DATA_TASKS)
def test_every_row_grades_itself(data_dir: Path, name: str, options: dict[str, object]) -> None:
    task = make(name, **options)
    ids: set[str] = set()
    for split in task.splits:
        problems = task.problems(split, data_dir)
        assert problems == task.problems(split, data_dir)
        for problem in problems:
            assert problem.id not in ids
            ids.add(problem.id)
            for answer in problem.answers:
                gold = verifiers.grade(task.verifier, answer, problem.answers)
                assert (gold.score, gold.answer) == (1.0, answer), problem
            if problem.solution is not None:
                verdict = verifiers.grade(task.verifier, problem.solution, problem.answers)
                assert (verdict.score, verdict.components["format"]) == (1.0, 1.0), problem
            elif split != "test":
                pytest.fail(f"{problem.id} has no solution")
        # A grader that accepts another problem's answer accepts anything.
        strangers = pairwise(problems)
        wrong = sum(
            verifiers.grade(task.verifier, right.answers[0], left.answers).score == 1.0
            for left, right in strangers
            if not set(left.answers) & set(right.answers)
        )
        assert wrong == 0


def test_gsm8k_overlap_is_reported(data_dir: Path) -> None:
    """A problem put into both sets is found; the instruction that all prompts share is not taken for overlap."""
    test = make("gsm8k").problems("test", data_dir)
    found = overlap(test[:100], test[99:200])
    assert (found.same_text, found.train, found.evaluation) == (1, 100, 101)
    assert found.same_text_ids == (("gsm8k/test/0099", "gsm8k/test/0099"),)
    assert not overlap(test[:100], test[100:200]).same_text


@pytest.mark.parametrize(
    ("name", "path", "old", "new"),
    [
        ("gsm8k", "gsm8k/test.jsonl", "16 eggs", "17 eggs"),
        ("mawps", "mawps/test.jsonl", "70 seashells", "71 seashells"),
        ("mawps", "mawps/split_llmadapters_trainset.json", "(22.0-14.0)/4.0", "(22.0-10.0)/6.0"),
    ],
)
def test_a_changed_row_is_refused(data_dir: Path, tmp_path: Path, name: str, path: str, old: str, new: str) -> None:
    folder = name
    shutil.copytree(data_dir / folder, tmp_path / folder, copy_function=shutil.copyfile)
    (tmp_path / folder).chmod(0o755)
    text = (tmp_path / path).read_text(encoding="utf-8")
    make(name).problems("test", tmp_path)
    (tmp_path / path).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataError, match="other rows than expected"):
        make(name).problems("test", tmp_path)


# ---- finding data -----------------------------------------------------------------------------------------

ROWS = [{"text": "one", "value": 1.0, "more": 0}, {"text": "two\u2028", "value": 2.5, "more": 0}]
FIELDS = ("text", "value")
SOURCE = Source("set/rows.jsonl", FIELDS, 2, row_hash(ROWS, FIELDS), hub_id="someone/rows", revision="abc")
PICKED = [{"text": row["text"], "value": row["value"]} for row in ROWS]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with the rows of SOURCE."""
    (tmp_path / "data" / "set").mkdir(parents=True)
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
    (tmp_path / "data" / "set" / "rows.jsonl").write_text(lines + "\n\n", encoding="utf-8")
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def _own_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if "data_dir" not in request.fixturenames:
        monkeypatch.delenv("GROUPWISE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def _no_hub(*args: object, **kwargs: object) -> object:
    raise ConnectionError("no network")


def _with_hub(monkeypatch: pytest.MonkeyPatch, load_dataset: Callable[..., object] | None) -> None:
    module: types.ModuleType | None = None
    if load_dataset is not None:
        module = types.ModuleType("datasets")
        module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)


def test_order_of_places(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def hub(*args: object, **kwargs: object) -> object:
        asked.append((args, kwargs))
        return ROWS

    _with_hub(monkeypatch, hub)
    assert load(SOURCE, folder) == PICKED
    monkeypatch.setenv("GROUPWISE_DATA", str(folder))
    assert load(SOURCE) == PICKED
    assert asked == []
    monkeypatch.setenv("GROUPWISE_DATA", "")
    assert load(SOURCE) == PICKED
    assert asked == [(("someone/rows", None), {"revision": "abc", "split": "train"})]


def test_a_named_folder_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "nowhere"
    with pytest.raises(DataError, match=r"nowhere \(--data-dir\) does not exist"):
        load(SOURCE, missing)
    monkeypatch.setenv("GROUPWISE_DATA", str(missing))
    with pytest.raises(DataError, match=r"nowhere \(GROUPWISE_DATA\) does not exist"):
        load(SOURCE)


@pytest.mark.parametrize("name", ["gsm8k", "mawps"])
def test_an_empty_folder_lacks_the_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{name}.*is missing from the data folder"):
        make(name).problems("test", tmp_path)


def test_without_datasets_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_hub(monkeypatch, None)
    with pytest.raises(
        DataError, match=r"--data-dir or GROUPWISE_DATA, or fetch it .* extra `hub` .*'\.\[hub\]'"
    ) as error:
        make("gsm8k").problems("test")
    assert "\n" not in str(error.value)


def test_unreachable_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_hub(monkeypatch, _no_hub)
    with pytest.raises(DataError, match=r"could not be fetched from the hub \(ConnectionError\): name a data folder"):
        load(SOURCE)


def test_wrong_rows_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_hub(monkeypatch, lambda *args, **kwargs: ROWS[::-1])
    with pytest.raises(DataError, match="someone/rows at abc: other rows than expected"):
        load(SOURCE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "one", "value": 1.0}\n', "1 rows, expected 2"),
        ('{"text": "one", "value": 1.0}\n{"text": "two"}\n', "lacks one of the fields text, value"),
        ('{"text": "one", "value": 1.0}\n[1]\n', "lacks one of the fields"),
        ('{"text": "one", "value": 1.0}\n{"text": "x", "value": 2.5}\n', "other rows than expected"),
        ('{"text": "one"\n', "line 1: not valid JSON"),
        ("\n", "0 rows, expected 2"),
    ],
)
def test_bad_files(folder: Path, content: str, message: str) -> None:
    (folder / SOURCE.path).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load(SOURCE, folder)


def test_unreadable_files(folder: Path) -> None:
    (folder / SOURCE.path).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        load(SOURCE, folder)
    (folder / "set" / "rows.json").write_text('"no array"', encoding="utf-8")
    with pytest.raises(DataError, match="not a JSON array"):
        load(replace(SOURCE, path="set/rows.json"), folder)
    (folder / "set" / "rows.json").write_text(json.dumps(ROWS), encoding="utf-8")
    assert load(replace(SOURCE, path="set/rows.json"), folder) == PICKED


def test_a_file_by_url_is_checked_and_kept(folder: Path, tmp_path: Path) -> None:
    origin = folder / SOURCE.path
    source = replace(SOURCE, hub_id=None, url=origin.as_uri())
    with pytest.raises(DataError, match="other rows than expected"):
        load(replace(source, sha256="0" * 64))
    assert not (tmp_path / "cache").exists()  # what was refused is not kept
    assert load(source) == PICKED
    origin.unlink()
    assert load(source) == PICKED  # from the cache
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(DataError, match=r"could not be fetched \(URLError\): name a data folder"):
        load(source)
    with pytest.raises(DataError, match=r"no data for set/rows\.jsonl"):
        load(replace(source, url=None))


# ---- MAWPS' own parts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("equation", "value", "solution"),
    [
        ("X=((22.0-14.0)/4.0)", "2", "22 - 14 = 8. 8 / 4 = 2. The answer is 2."),
        ("x=3*6", "18", "3 * 6 = 18. The answer is 18."),
        ("x=2+3*4", "14", "3 * 4 = 12. 2 + 12 = 14. The answer is 14."),
        ("x=10-2-3", "5", "10 - 2 = 8. 8 - 3 = 5. The answer is 5."),
        ("x=12/3/2", "2", "12 / 3 = 4. 4 / 2 = 2. The answer is 2."),
        ("x=(-4-2)", "-6", "(-4) - 2 = -6. The answer is -6."),
        ("hours = .5 * 3.", "1.5", "0.5 * 3 = 1.5. The answer is 1.5."),
        ("x=4/(1/3)", "12", "1 / 3 = 1/3. 4 / (1/3) = 12. The answer is 12."),
        ("x=7", "7", "The answer is 7."),
    ],
)
def test_worked_solution(equation: str, value: str, solution: str) -> None:
    assert worked_solution(equation) == (Fraction(value), solution)
    assert verifiers.grade("numeric", solution, [value]).score == 1.0


@pytest.mark.parametrize(
    "equation",
    [
        "x-6=52",
        "7=3+x",
        "x=0.32=0.21",
        "x=",
        "x=1+",
        "x=(1",
        "x=1)",
        "x=*2",
        "x=1 2",
        "x=1/0",
        "x=y",
        "x=2**3",
        "x=__import__('os')",
        "",
        "3+4",
        "x=" + "(" * 500 + "1" + ")" * 500,
        "x=" + "-" * 5000 + "1",
        "x=1..2",
    ],
)
def test_other_equations_are_refused(equation: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        worked_solution(equation)


@pytest.mark.parametrize(
    ("stated", "value"),
    [
        ("43.0", "43"),
        ("0.53", "53/100"),
        ("0.6666666667", "2/3"),
        ("3.33333", "10/3"),
        ("0.3333", "3333/10000"),
        ("1.8333333333333335", "11/6"),
        ("158.35", "158.35"),
        ("0.123456", "0.123456"),
        ("-0.3333333333", "-1/3"),
    ],
)
def test_exact_value(stated: str, value: str) -> None:
    assert exact_value(stated) == Fraction(value)


def test_accepted_answers() -> None:
    assert accepted_answers(Fraction(5, 2), "2.5") == ("2.5",)
    assert accepted_answers(Fraction(2, 3), "0.6666666667") == ("2/3", "0.67", "0.667", "0.6667", "0.6666666667")
    assert tidy("How  many are left ? None .") == "How many are left? None."


# ---- overlap ----------------------------------------------------------------------------------------------


def _problem(name: str, text: str) -> Problem:
    return Problem(name, "t", ({"role": "user", "content": text},), ("1",))


def test_overlap_counts() -> None:
    words = [f"w{chr(97 + i)}" for i in range(20)]
    train = [_problem("a", "Two  Birds, sit!"), _problem("b", " ".join(words))]
    evaluation = [
        _problem("same", "two birds sit"),
        _problem("gram", "before " + " ".join(words[3:16]) + " after"),
        _problem("twelve", "before " + " ".join(words[3:15]) + " after"),
        _problem("number", "two birds sit 3"),
    ]
    found = overlap(train, evaluation)
    assert (found.train, found.evaluation, found.same_text, found.shared_13gram) == (2, 4, 1, 1)
    assert found.same_text_ids == (("a", "same"),)
    assert found.shared_13gram_ids == (("b", "gram"),)
    assert not found.clean
    assert overlap([], evaluation).clean
    assert overlap(train, []).clean


def test_overlap_tells_signs_apart() -> None:
    train = [_problem("a", "roots of $z^4 - z^2 + 1 = 0$ on the x-axis")]
    for text, same in (
        ("Roots of $z^{4}-z^{2}+1=0$, on the x axis", 1),
        ("roots of $z^4 + z^2 + 1 = 0$ on the x-axis", 0),
        ("roots of $z^4 - z^2 + 1 > 0$ on the x-axis", 0),
        ("roots of $z^4 − z^2 + 1 = 0$ on the x-axis", 1),
    ):
        assert overlap(train, [_problem("b", text)]).same_text == same, text


def test_overlap_leaves_the_instruction_out() -> None:
    instruction = "think about it for as long as you want and then write down only the number"
    train = [_problem(f"a{i}", f"what is {i} plus one ? {instruction}") for i in range(30)]
    evaluation = [_problem(f"b{i}", f"what is {i} plus two ? {instruction}") for i in range(30)]
    assert overlap(train, evaluation).clean
    assert overlap(train, train).same_text == 30
    identical = [_problem(f"c{i}", instruction) for i in range(30)]
    assert overlap(identical, identical).same_text == 30
