"""Imports point one way, and files stay small enough to read."""

import ast
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
PACKAGE = REPO / "virtassay"
SCRIPTS = sorted(REPO.glob("*.py"))
MODULES = sorted(PACKAGE.rglob("*.py"))

# part of the package → what of ours it may import; "" is the whole package
ALLOWED = {
    "schema": (),
    "report": ("report", "files", "schema"),
    "flow": ("flow",),
    "networks": ("networks", "schema", "flow"),
    "data": ("data", "schema", "report", "files", "flow"),
    "card": ("card", "data", "evaluation", "report", "__version__"),
}
THIRD_PARTY_OF_FLOW = {"torch", "jaxtyping", "scipy", "torchdiffeq"}  # solvers of assignment and of equations
LIGHTNING = ("data/loading/datamodule.py", "training/")


def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it; `from a import b` gives both a and a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} line {node.lineno}: imports are absolute"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def tops(path: Path) -> set[str]:
    return {module.partition(".")[0] for module in imports(path)}


@pytest.mark.parametrize("path", [p for p in MODULES if part(p) in ALLOWED], ids=name)
def test_imports_of_ours_point_one_way(path: Path):
    ours = {module.split(".")[1] for module in imports(path) if module.startswith("virtassay.")}
    assert ours <= set(ALLOWED[part(path)])


@pytest.mark.parametrize("path", sorted((PACKAGE / "flow").glob("*.py")), ids=name)
def test_flow_is_torch_and_mathematics(path: Path):
    import sys

    assert tops(path) - set(sys.stdlib_module_names) - {"virtassay"} <= THIRD_PARTY_OF_FLOW


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_lightning_and_hydra_stay_in_their_places(path: Path):
    if not name(path).startswith(LIGHTNING):
        assert not tops(path) & {"lightning", "pytorch_lightning"}
    assert "hydra" not in tops(path)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_the_package_logs_and_never_prints(path: Path):
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"] == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_is_one_concept(path: Path):
    assert path.name not in ("utils.py", "helpers.py", "common.py", "misc.py")
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_composes_instantiates_and_calls(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60


def test_every_part_has_its_folder():
    assert MODULES and SCRIPTS
    assert all((PACKAGE / part).exists() or (PACKAGE / f"{part}.py").exists() for part in ALLOWED)
