"""Run folders: what training leaves behind, and which classes a stranger's folder may name.

Run folders come from strangers: weights are read from safetensors only, and config.yaml may name public classes of
virtassay only and those of packages that the user trusts, so that nothing in the folder can execute code of its own.
"""

import importlib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import load_file
from torch import nn

from virtassay import flow, networks
from virtassay.data import molecules

FILES = ("config.yaml", "vocabulary.json", "model.safetensors")
GUIDE = "guide.safetensors"  # an early state of the model, for autoguidance; not every run keeps one
FORMAT = 1  # of run folders, in their config.yaml
PUBLIC = {  # by public name, and by that of the file: none of them writes, fetches or runs anything when it is made
    f"{home}.{name}": getattr(package, name)
    for package in (flow, networks, molecules)
    for name in package.__all__
    if inspect.isclass(getattr(package, name))
    for home in (package.__name__, getattr(package, name).__module__)
}


class BrokenRun(ValueError):
    """A run folder that cannot be used; the message names the file and what to do."""


def read_config(folder: Path) -> dict[str, Any]:
    """Return what config.yaml of a whole run folder holds. Raises BrokenRun naming what is missing or too new."""
    if not folder.is_dir():
        raise BrokenRun(f"{folder} is no run folder: it does not exist. Train one, or correct run=….")
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise BrokenRun(
            f"the run folder {folder} lacks {', '.join(missing)} (a run needs {', '.join(FILES)}). "
            "model.safetensors appears at the first checkpoint: was the run killed before it? Try resume=true."
        )
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    number = config.get("format")
    if number != FORMAT:
        said = "names no format" if number is None else f"is of format {number}"
        raise BrokenRun(
            f"the run folder {folder} {said}, and this version of virtassay reads format {FORMAT}: load it with the "
            f"version that wrote it ({config.get('version', 'unknown')}), or train it anew."
        )
    return config


def build_network(node: Any, weights: Path, trust: Sequence[str] = ()) -> nn.Module:
    """Build a network (see `build`) with the weights of a safetensors file, for use rather than training."""
    network = build(node, trust)
    network.load_state_dict(load_file(weights))
    return network.eval()


def build(node: Any, trust: Sequence[str] = ()) -> Any:
    """Build the objects that a stored config describes: `_target_` is a class, the rest its arguments.

    It is a public class of virtassay or one that a package in `trust` defines; a class that a module only imports is
    not meant, or a config could name anything. Modules of other packages are not even imported.
    Raises BrokenRun naming any other class.
    """
    if isinstance(node, list):
        return [build(item, trust) for item in node]
    if not isinstance(node, dict):
        return node
    arguments = {key: build(value, trust) for key, value in node.items() if key != "_target_"}
    return _class(str(node["_target_"]), trust)(**arguments) if "_target_" in node else arguments


def _class(path: str, trust: Sequence[str]) -> type:
    if path in PUBLIC:
        return PUBLIC[path]
    module, _, name = path.rpartition(".")
    package = module.partition(".")[0]
    if package not in trust:
        ours = package in ("", "virtassay", *sys.stdlib_module_names)
        cure = "" if ours else f" If you know its code and trust it, trust=[{package}] loads it."
        raise BrokenRun(f"config.yaml names {path!r}, which is no class of virtassay: it is not loaded.{cure}")
    try:
        named = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise BrokenRun(
            f"config.yaml names {path!r}, and {error}: install {package!r}, or put its folder on PYTHONPATH."
        ) from error
    if not inspect.isclass(named) or named.__module__.partition(".")[0] != package:
        raise BrokenRun(f"config.yaml names {path!r}, which is no class of {package}: it is not loaded.")
    return named
