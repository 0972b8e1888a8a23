"""The order of the folders, and what CONTRIBUTING asks for that can be counted."""

import ast
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TypeVar

import pytest

REPO = Path(__file__).resolve().parents[1]
PACKAGE = REPO / "virtassay"
SCRIPTS = sorted(REPO.glob("*.py"))
MODULES = sorted(PACKAGE.rglob("*.py"))

GROUND = {"schema", "files", "precision"}
DATA = {"data", "data.dataset", "data.molecules", "data.prepare", "data.loading"}
MODEL = GROUND | DATA | {"flow", "networks", "report"}
# part of the package → what of ours it may import besides itself; the longest name that fits is a file's part
ALLOWED: dict[str, set[str]] = {
    "schema": set(),
    "files": set(),
    "precision": set(),
    "flow": set(),
    "report": {"schema", "files"},
    "networks": {"schema", "flow"},
    "data.dataset": GROUND,
    "data.molecules": GROUND,
    "data.prepare": GROUND | {"data.dataset", "data.molecules", "report"},
    "data.loading": GROUND | {"data.dataset", "data.molecules", "flow"},
    "data": DATA,
    "simulator": GROUND | DATA | {"report"},
    "run_folder": MODEL,
    "assay": MODEL | {"run_folder"},
    "generation": MODEL | {"assay", "run_folder"},
    "evaluation": MODEL | {"simulator", "assay", "generation"},
    "training": MODEL | {"run_folder", "assay", "generation", "evaluation"},
    "card": GROUND | DATA | {"report", "evaluation"},
    "screening": MODEL | {"assay", "generation", "evaluation"},
    "browse": GROUND | DATA | {"report", "evaluation", "screening"},
    "cli": set(),
}
THIRD_PARTY_OF_FLOW = {"torch", "jaxtyping", "scipy", "torchdiffeq"}  # solvers of assignment and of equations
LIGHTNING = ("data/loading/", "training/")
Node = TypeVar("Node", bound=ast.AST)
# words that say nothing of what a variable holds
EMPTY_NAMES = frozenset(
    "told asked there found one held mine theirs here made wanted beside given".split()  # noqa: SIM905
)
NO_TEST_OF_ITS_OWN: dict[str, str] = {}  # source → why
KEYWORDS = {"url": "parts of a query, by name", "with_columns": "columns, by name, as polars takes them"}
# what Lightning, torch and loggers call: their documentation says it
HOOKS = {"forward", "step", "configure_optimizers", "training_step", "validation_step", "train_dataloader"}
HOOKS |= {"val_dataloader", "name", "version", "transfer_batch_to_device", "log_metrics", "setup", "teardown"}


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def dotted(path: Path) -> str:
    """The module of a file, `virtassay.flow.path` or, of an __init__, `virtassay.flow`."""
    return ".".join(path.relative_to(REPO).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def part(module: str) -> str:
    """The part of ALLOWED that a module or a name of it is in; "" for the package itself."""
    words = module.split(".")[1:]
    fitting = (".".join(words[:n]) for n in range(len(words), 0, -1))
    return next((text for text in fitting if text in ALLOWED), words[0] if words else "")


def names_in(node: ast.AST) -> Iterator[str]:
    """The modules or names of modules that an import statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports(path: Path) -> set[str]:
    """All that a file imports, anywhere in it."""
    return {module for node in ast.walk(tree(path)) for module in names_in(node)}


def tops(path: Path) -> set[str]:
    return {module.partition(".")[0] for module in imports(path)}


def nodes(path: Path, kind: type[Node]) -> list[Node]:
    """The nodes of one kind in a file."""
    return [node for node in ast.walk(tree(path)) if isinstance(node, kind)]


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [*nodes(path, ast.FunctionDef), *nodes(path, ast.AsyncFunctionDef)]


def public(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node


def offenders(of: Callable[[Path], list[str]], paths: list[Path] = MODULES) -> dict[str, list[str]]:
    """What each file does wrong, where it does. (One test a rule: one for each file would take many seconds.)"""
    return {str(path.relative_to(REPO)): wrong for path in paths if (wrong := of(path))}


def test_imports_of_ours_point_one_way():
    def uphill(path: Path) -> list[str]:
        own = part(dotted(path))
        if own == "":  # the package's own __init__ names what users call
            return []
        ours = {module for module in imports(path) if module.partition(".")[0] == "virtassay"}
        allowed = ALLOWED[own] | {own, "__version__"}
        return sorted(module for module in ours if part(module) not in allowed)

    assert sorted({part(dotted(path)) for path in MODULES} - {""}) == sorted(ALLOWED), "parts that the order must know"
    assert offenders(uphill) == {}


def test_pages_of_the_evaluation_are_its_own():
    def pages(path: Path) -> list[str]:
        return sorted(module for module in imports(path) if module.startswith("virtassay.evaluation.report"))

    assert offenders(pages, [path for path in MODULES if part(dotted(path)) not in ("evaluation", "")]) == {}


def test_no_two_modules_import_each_other():
    modules = {dotted(path): path for path in MODULES}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        wide = {text for node in tree(path).body for text in names_in(node)}  # of the module, not of its functions
        graph[module] = {text if text in modules else text.rpartition(".")[0] for text in wide} & modules.keys()
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" ← ".join(error.args[1]))


def test_imports_are_absolute():
    def relative(path: Path) -> list[str]:
        return [str(node.lineno) for node in nodes(path, ast.ImportFrom) if node.level]

    assert offenders(relative) == {}


def test_flow_is_torch_and_mathematics():
    known = THIRD_PARTY_OF_FLOW | set(sys.stdlib_module_names) | {"virtassay"}
    assert offenders(lambda path: sorted(tops(path) - known), sorted((PACKAGE / "flow").glob("*.py"))) == {}


def test_lightning_and_hydra_stay_in_their_places():
    def misplaced(path: Path) -> list[str]:
        lightning = set() if name(path).startswith(LIGHTNING) else {"lightning", "pytorch_lightning"}
        return sorted(tops(path) & (lightning | {"hydra", "omegaconf"}))

    assert offenders(misplaced) == {}


def test_only_experiments_reach_out_of_their_group():
    files = [path for path in sorted((REPO / "conf").rglob("*.yaml")) if path.parent.name != "experiment"]
    assert offenders(lambda path: re.findall("@package _global_", path.read_text(encoding="utf-8")), files) == {}


def test_the_package_logs_and_never_prints():
    def prints(path: Path) -> list[str]:
        return [str(node.lineno) for node in nodes(path, ast.Call) if ast.unparse(node.func) == "print"]

    assert offenders(prints) == {}


def test_a_module_is_one_concept():
    assert [name(path) for path in MODULES if path.stem in ("utils", "helpers", "common", "misc")] == []
    lines = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {file: count for file, count in lines.items() if count > 350} == {}, "the aim is 300"


def test_a_script_composes_instantiates_and_calls():
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in SCRIPTS}
    assert {file: count for file, count in lines.items() if count > 60} == {}


def test_a_choice_is_a_function_and_never_a_mode():
    def modes(path: Path) -> list[str]:
        names = [node.arg for node in nodes(path, ast.arg)]
        names += [ast.unparse(node.left).rpartition(".")[2] for node in nodes(path, ast.Compare)]
        return [text for text in names if text == "mode"] + sorted(tops(path) & {"enum"})

    assert offenders(modes) == {}


def test_no_arguments_are_passed_through_unnamed():
    def through(path: Path) -> list[str]:
        wrong: list[str] = []
        for function in functions(path):
            kwarg = function.args.kwarg
            if kwarg is None or (kwarg.annotation and ast.unparse(kwarg.annotation).endswith(".kwargs")):
                continue  # a decorator's ParamSpec is exact
            words = [word for node in ast.walk(function) if isinstance(node, ast.Call) for word in node.keywords]
            if any(word.arg is None and ast.unparse(word.value) == kwarg.arg for word in words):
                wrong += [f"{function.name}(**{kwarg.arg})"] * (function.name not in KEYWORDS)
        return wrong

    assert offenders(through) == {}


def test_what_is_public_says_what_it_does():
    """Functions, classes, methods and properties; what a Protocol of ours asks for is described by its docstring."""
    protocols = [c for path in MODULES for c in nodes(path, ast.ClassDef) if "Protocol" in map(ast.unparse, c.bases)]
    members = [member for protocol in protocols for member in protocol.body]
    described = {member.name for member in members if isinstance(member, ast.FunctionDef)}
    described |= {ast.unparse(member.target) for member in members if isinstance(member, ast.AnnAssign)}

    def silent(path: Path) -> list[str]:
        wrong: list[str] = []
        for node in public(tree(path).body):
            wrong += [node.name] * (not ast.get_docstring(node))
            if isinstance(node, ast.ClassDef) and "Protocol" not in map(ast.unparse, node.bases):
                wrong += [
                    f"{node.name}.{member.name}"
                    for member in public(node.body)
                    if not ast.get_docstring(member)
                    and not (member.name in described | HOOKS or member.name.startswith("on_"))
                ]
        return wrong

    assert offenders(silent) == {}


def test_a_variable_is_called_after_what_it_holds():
    """How often a parameter or a variable of a function has a name that says nothing; the number to keep is 0."""
    empty: Counter[str] = Counter()
    for path in MODULES:
        inside = {node for function in functions(path) for node in ast.walk(function)}
        names = [node.arg for node in inside if isinstance(node, ast.arg)]
        names += [node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
        empty[name(path)] = sum(text in EMPTY_NAMES for text in names)
    assert +empty == Counter(), f"{empty.total()} in all"


def test_a_source_has_the_test_of_its_name():
    def untested(path: Path) -> list[str]:
        test = REPO / "tests" / path.relative_to(PACKAGE).parent / f"test_{path.stem}.py"
        return [] if test.exists() or name(path) in NO_TEST_OF_ITS_OWN else [str(test.relative_to(REPO))]

    sources = [path for path in MODULES if path.stem != "__init__" and any(public(tree(path).body))]
    assert offenders(untested, sources) == {}


def test_every_part_has_its_folder():
    assert MODULES and SCRIPTS
    places = [PACKAGE / part.replace(".", "/") for part in ALLOWED]
    assert all(place.exists() or place.with_suffix(".py").exists() for place in places)
    assert all((PACKAGE / source).exists() for source in NO_TEST_OF_ITS_OWN)
