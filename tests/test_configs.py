"""Every yaml names things that exist, with parameters that they have, and every choice and experiment composes."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from virtassay.cli import VERBS

CONF = Path(__file__).resolve().parents[1] / "conf"
FILES = sorted(CONF.rglob("*.yaml"))
ROOTS = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "base")
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
HYDRAS_OWN = {"_target_", "_partial_", "_args_", "_recursive_", "_convert_", "defaults"}


def choices(root: str) -> Iterator[tuple[str, str]]:
    """Every group=option that can be chosen for a root yaml."""
    for entry in OmegaConf.select(OmegaConf.load(CONF / f"{root}.yaml"), "defaults", default=[]):
        if isinstance(entry, DictConfig):
            group = str(next(iter(entry))).removeprefix("optional ")
            if group != "experiment":
                yield from ((root, f"{group}={option.stem}") for option in sorted((CONF / group).glob("*.yaml")))


def composed(root: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        cfg = compose(root, overrides=list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)  # ${hydra:…} reads it
    return cfg


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """Follow every interpolation; what the user has yet to give (???) counts as null."""

    def filled(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: filled(value) for key, value in node.items()}
        if isinstance(node, list):
            return [filled(value) for value in node]
        return None if node == "???" else node

    own = OmegaConf.create({key: value for key, value in filled(OmegaConf.to_container(cfg)).items() if key != "hydra"})
    return OmegaConf.to_container(own, resolve=True)  # pyright: ignore[reportReturnType]


def unknown_keys(node: Any, path: str = "") -> dict[str, set[str]]:
    """For each mapping with a _target_: the keys that are no parameters of it (none if it takes any keyword)."""
    found: dict[str, set[str]] = {}
    if isinstance(node, dict):
        if "_target_" in node:
            parameters = inspect.signature(get_object(node["_target_"])).parameters.values()
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
                found[path] = set(node) - {parameter.name for parameter in parameters} - HYDRAS_OWN
        for key, value in node.items():
            found |= unknown_keys(value, f"{path}.{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            found |= unknown_keys(value, f"{path}[{number}]")
    return {where: keys for where, keys in found.items() if keys}


def test_there_is_a_root_for_each_verb():
    assert set(ROOTS) == set(VERBS)
    assert EXPERIMENTS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CONF).as_posix())
def test_keys_beside_a_target_are_its_parameters(path: Path):
    assert unknown_keys(OmegaConf.to_container(OmegaConf.load(path))) == {}


@pytest.mark.parametrize("root", ROOTS)
def test_every_root_composes_and_shares_the_base(root: str):
    cfg = composed(root)
    assert unknown_keys(resolved(cfg)) == {}
    assert set(cfg.paths) == {"data", "datasets", "runs"}
    assert cfg.hydra.output_subdir is None
    assert cfg.hydra.run.dir == "."


@pytest.mark.parametrize(("root", "choice"), [pair for root in ROOTS for pair in choices(root)])
def test_every_choice_of_a_group_composes(root: str, choice: str):
    assert unknown_keys(resolved(composed(root, choice))) == {}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_for_training(experiment: str):
    cfg = composed("train", f"experiment={experiment}")
    assert unknown_keys(resolved(cfg)) == {}
    assert cfg.name == experiment
    assert set(cfg) == set(composed("train")), "an experiment sets only keys that train.yaml has"


def test_a_key_that_is_no_parameter_is_found():
    node = {"a": [{"_target_": "virtassay.cli.main", "arguments": [], "argumnets": []}]}
    assert unknown_keys(node) == {".a[0]": {"argumnets"}}
