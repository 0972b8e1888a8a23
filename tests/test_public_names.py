"""What a user calls: every public name is there, says what it does, and has its types."""

import ast
import inspect
from pathlib import Path

import pytest

import virtassay as va
from virtassay import flow, generation, networks


@pytest.mark.parametrize("name", va.__all__)
def test_a_public_name_has_a_docstring_and_annotations(name: str):
    public = getattr(va, name)
    assert (public.__doc__ or "").strip()
    parameters = [p for p in inspect.signature(public).parameters.values() if p.name != "self"]
    assert [p.name for p in parameters if p.annotation is inspect.Parameter.empty] == []
    assert inspect.isclass(public) or inspect.signature(public).return_annotation is not inspect.Signature.empty


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(va.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {alias.name: f"{line.module}" for line in block.body for alias in line.names}  # pyright: ignore
    assert imported == {name: f"virtassay.{home}" for home, names in va._HOMES.items() for name in names}  # pyright: ignore
    assert set(imported) == set(va.__all__)


def test_a_name_that_is_not_there_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'jugde'"):
        va.jugde  # noqa: B018  # pyright: ignore


@pytest.mark.parametrize("package", [flow, networks, generation], ids=lambda package: package.__name__)
def test_what_a_package_makes_public_is_documented(package):
    assert len(set(package.__all__)) == len(package.__all__)
    undocumented = [name for name in package.__all__ if not (inspect.getdoc(getattr(package, name)) or "").strip()]
    assert undocumented == []
