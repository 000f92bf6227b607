"""Experiment, data and result files are data: no line of the package can make code of them.

(Between processes of one run, multiprocessing and Ray use pickle; these are our own children, over pipes and ports that
nobody else is given.)
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import groupwise.harness

PACKAGES = ("algorithms", "harness", "tasks", "verifiers")
BANNED_MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "yaml",
                  "jsonpickle", "code", "runpy", "imp"}  # fmt: skip
BANNED_CALLS = {"eval", "exec", "compile", "__import__", "execfile"}
BANNED_METHODS = {"read_pickle", "to_pickle", "os.system", "os.popen"}
UNSAFE = {"allow_pickle": True, "weights_only": False, "shell": True, "trust_remote_code": True}
# What runs a model's program, in a sandbox that is made for it, has to run it.
RUNS_PROGRAMS = {"verifiers/sandbox/checker.py", "verifiers/sandbox/candidate.py"}
# A module by its name: from a literal table, an entry point of an installed distribution, or a worker's own start.
IMPORTS_BY_NAME = {"algorithms/__init__.py", "tasks/__init__.py", "verifiers/__init__.py", "tasks/reasoning.py",
                   "verifiers/worker.py", "verifiers/sandbox/zygote.py"}  # fmt: skip


def sources() -> Iterator[tuple[str, str]]:
    top = Path(groupwise.harness.__file__).resolve().parent.parent
    for package in PACKAGES:
        for path in sorted((top / package).rglob("*.py")):
            yield path.relative_to(top).as_posix(), path.read_text(encoding="utf-8")


def faults(place: str, text: str) -> Iterator[str]:
    """Whatever in a source could turn data into code."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"imports {name}" for name in names if name.partition(".")[0] in BANNED_MODULES)
        if isinstance(node, ast.Call):
            yield from _call(place, node)


def _call(place: str, node: ast.Call) -> Iterator[str]:
    keywords = {one.arg: one.value for one in node.keywords if one.arg}
    for name, bad in UNSAFE.items():
        value = keywords.get(name)
        if value is not None and not (isinstance(value, ast.Constant) and value.value is (not bad)):
            yield f"{name} is not {not bad}"
    if isinstance(node.func, ast.Name) and node.func.id in BANNED_CALLS and place not in RUNS_PROGRAMS:
        yield f"calls {node.func.id}"
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
    if {called, f"{owner}.{called}"} & BANNED_METHODS or (called == "load" and owner in ("torch", "np", "numpy")):
        yield f"calls {owner}.{called}"
    if called == "import_module" and place not in IMPORTS_BY_NAME:
        yield "imports a module by its name"
    library = owner.startswith("Auto") or called == "SentenceTransformer"
    if (called == "from_pretrained" and library) or called == "SentenceTransformer":
        if "trust_remote_code" not in keywords:
            yield f"{owner}.{called} does not say that it runs no code of the model's"
        weights = "Model" in owner
        if weights and not {"use_safetensors", "gguf_file"} & keywords.keys():
            yield f"{owner}.{called} would read weights from a pickle"
    if called == "Environment" and not (
        isinstance(keywords.get("autoescape"), ast.Constant) and keywords["autoescape"].value is True  # type: ignore[attr-defined]
    ):
        yield "a template without autoescape"


def test_no_source_makes_code_of_data() -> None:
    found = [f"{place}: {fault}" for place, text in sources() for fault in faults(place, text)]
    assert found == []


def test_all_of_the_package_is_looked_at() -> None:
    places = [place for place, _ in sources()]
    assert len(places) > 250
    assert {place.partition("/")[0] for place in places} == set(PACKAGES)
    assert set(places) >= RUNS_PROGRAMS | IMPORTS_BY_NAME


@pytest.mark.parametrize(
    "text",
    [
        "import pickle", "from pickle import loads", "import yaml", "import torch\ntorch.load('x')",
        "import torch\ntorch.load('x', weights_only=False)", "import numpy as np\nnp.load('x')",
        "np.save('x', y, allow_pickle=True)", "pd.read_pickle('x')", "eval('1')", "exec(compile('1', '', 'exec'))",
        "AutoModelForCausalLM.from_pretrained('x', trust_remote_code=True, use_safetensors=True)",
        "AutoModelForCausalLM.from_pretrained('x', trust_remote_code=asked, use_safetensors=True)",
        "AutoTokenizer.from_pretrained('x')", "AutoModel.from_pretrained('x', trust_remote_code=False)",
        "SentenceTransformer('x')", "subprocess.run('x', shell=True)", "os.system('x')", "__import__('x')",
        "importlib.import_module(row['verifier'])", "Environment(autoescape=False)", "Environment()", "import dill",
    ],
)  # fmt: skip
def test_each_of_these_would_be_found(text: str) -> None:
    assert list(faults("harness/somewhere.py", text))


def test_what_is_needed_is_no_fault() -> None:
    fine = "AutoModelForCausalLM.from_pretrained('x', use_safetensors=True, trust_remote_code=False)\nre.compile('x')\n"
    assert list(faults("harness/somewhere.py", fine)) == []
    assert list(faults("verifiers/sandbox/candidate.py", "exec(code, names)")) == []
