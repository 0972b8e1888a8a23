"""Every yaml names things that exist, with parameters that they have; every choice and experiment composes, and every
choice is built and called once."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from tests.networks.toy import conditions
from virtassay.cli import VERBS
from virtassay.data.loading.order import images_per_group
from virtassay.data.molecules.descriptors import Component
from virtassay.flow.path import interpolate
from virtassay.flow.sampler import Sampler
from virtassay.flow.traits import trait
from virtassay.schema import Condition, validate

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


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CONF).as_posix())
def test_only_experiments_reach_out_of_their_group(path: Path):
    assert path.parent.name == "experiment" or "@package" not in path.read_text(encoding="utf-8")


IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
MARKS = {  # what training fills in
    "image_shape": [3, 16, 16], "channels": 3, "n_perturbations": 4, "n_batches": 3, "n_cell_types": 2,
    "structure_size": 9 * 128 + 5 * 144, "average": False,
}  # fmt: skip
TINY = {"depth": 2, "heads": 2, "width": 32, "blocks": 1, "multipliers": [1, 1]}
EXTRAS = "pip install|No module named"


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def built(node: Any) -> Any:
    """Instantiate a node with its marks filled in; skip the test where an optional extra is missing."""

    def filled(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: MARKS.get(key) if value == "???" else filled(value) for key, value in node.items()}
        return [filled(value) for value in node] if isinstance(node, list) else node

    try:
        return instantiate(filled(OmegaConf.to_container(node, resolve=True)))
    except (InstantiationException, ImportError) as error:
        if re.search(EXTRAS, str(error)):
            pytest.skip(f"needs an extra: {error}")
        raise


def own(root: str, *overrides: str) -> DictConfig:
    """The composed config without Hydra's own part."""
    cfg = composed(root, *overrides)
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


def described(images: int = 0, structure: int = MARKS["structure_size"]) -> Condition:
    """Four conditions with descriptors, and control images where an encoder reads them."""
    controls = torch.randn(4, images, 3, 16, 16) if images else None
    return replace(conditions(), structure=torch.ones(4, 2, structure), control_set=controls)


@pytest.mark.parametrize("network", options("network"))
def test_every_network_reads_the_condition_that_follows_it(network: str):
    cfg = own("train", f"network={network}", "condition=onehot")
    data = IMAGES[..., :1] if network.startswith("set_") else IMAGES  # a set of vectors is one pixel wide
    cfg.network.image_shape = list(data.shape[1:])
    with torch.device("meta"):
        whole = built(cfg.network)
    assert whole.condition.width == cfg.condition.width
    tiny = {key: value for key, value in TINY.items() if key in cfg.network}
    if "multipliers" in cfg.network:
        tiny["channels"] = 32
    cfg.network.update(tiny)
    small = built(cfg.network)
    assert small(data, torch.full((4,), 0.5), described()).shape == data.shape


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # of torch_geometric
@pytest.mark.parametrize("condition", options("condition"))
def test_every_condition_becomes_a_vector(condition: str):
    cfg = own("train", f"condition={condition}", "network=dit_s", "network.width=32")
    encoder = built(cfg.condition)
    fields = described(cfg.loader.control_set)
    if condition == "graph":  # no molecules: ones are no graph
        fields = replace(fields, structure=torch.zeros_like(fields.structure))
    encoded = encoder(fields)
    assert encoded.shape == (4, 32) and encoder.dose_in_label is cfg.loader.dose_in_label
    assert (cfg.loader.control_set > 0) == (encoder.control_set is not None)


@pytest.mark.parametrize("molecules", options("molecules"))
def test_every_descriptor_describes_ethanol(molecules: str, tmp_path: Path):
    cfg = own("train", "condition=morgan", f"molecules={molecules}").molecules
    if OmegaConf.is_missing(cfg, "path"):
        table = pl.DataFrame({cfg.key: ["CCO", "CCN"], "vector": [[1.0, 2.0], [3.0, 4.0]]})
        table.write_parquet(tmp_path / "table.parquet")
        cfg.path = str(tmp_path / "table.parquet")
    descriptor = built(cfg)
    read = descriptor.reads(Component("ethanol", "CCO", "CCO"))
    assert descriptor([read]).shape == (1, descriptor.size)


@pytest.mark.parametrize("source", options("source"))
def test_every_source_begins_somewhere(source: str):
    cfg = own("train", f"source={source}")
    begin = built(cfg.source)
    control = IMAGES if begin.needs_control else None
    assert begin(torch.randn_like(IMAGES), control, torch.rand(4)).shape == IMAGES.shape


@pytest.mark.parametrize("coupling", options("coupling"))
def test_every_coupling_permutes(coupling: str):
    chosen = built(own("train", f"coupling={coupling}").coupling)
    group = torch.tensor([0, 0, 1, 1])
    index = chosen(torch.randn_like(IMAGES), IMAGES, group, described())
    assert sorted(index.tolist()) == [0, 1, 2, 3]
    assert images_per_group(chosen, None, group.numpy(), "x") == (1 if coupling == "independent" else 8)


@pytest.mark.parametrize("path", options("path"))
@pytest.mark.parametrize("objective", options("objective"))
def test_every_objective_has_a_loss_on_every_path(objective: str, path: str):
    cfg = own("train", f"objective={objective}", f"path={path}")
    chosen = built(cfg.objective)
    assert interpolate(built(cfg.path), IMAGES, IMAGES, torch.full((4,), 0.5)).x_t.shape == IMAGES.shape
    loss = chosen(lambda x, t, condition, *step: -x, IMAGES, -IMAGES, torch.full((4,), 0.5), described())
    assert loss.shape == (4,) and loss.isfinite().all()
    assert trait(chosen, "mean_velocity") == (objective == "self_distilled")


@pytest.mark.parametrize("time_law", options("time_law"))
@pytest.mark.parametrize("weighting", options("weighting"))
def test_every_law_draws_times_and_every_weighting_weighs_them(time_law: str, weighting: str):
    cfg = own("train", f"time_law={time_law}", f"weighting={weighting}")
    times = built(cfg.time_law)(100, torch.device("cpu"))
    assert times.shape == (100,) and ((times >= 0) & (times <= 1)).all()
    assert (built(cfg.weighting)(times) > 0).all()


@pytest.mark.parametrize("optimizer", options("optimizer"))
@pytest.mark.parametrize("ema", options("ema"))
def test_every_optimizer_steps_and_every_average_has_a_weight(optimizer: str, ema: str):
    cfg = own("train", f"optimizer={optimizer}", f"ema={ema}")
    weight = torch.nn.Parameter(torch.eye(3))
    chosen = built(cfg.optimizer)([("weight", weight)])
    weight.square().sum().backward()
    chosen.step()
    assert not torch.equal(weight, torch.eye(3)) and 0 <= built(cfg.ema).beta(100) < 1


@pytest.mark.parametrize("group", ["solver", "grid", "guidance"])
def test_every_way_to_sample_takes_steps(group: str):
    for option in options(group):
        sampler = built(own("sample", f"{group}={option}", "steps=4").sampler)
        assert isinstance(sampler, Sampler)
        velocity = sampler.guidance(lambda x, t, condition, *step: -x, lambda x, t, condition, *step: -0.9 * x)
        draw = {"draw": torch.randn_like} if trait(sampler.solver, "draws_noise") else {}
        images = sampler.solver(velocity, IMAGES, described(), sampler.times(), **draw)
        assert images.shape == IMAGES.shape and images.isfinite().all(), option


def test_every_goal_engine_and_writer_of_images_is_built():
    needed = ("goal.perturbations=[taxol]", "goal.state=TNF")
    for group in ("goal", "engine", "images"):
        for option in options(group):
            text = (CONF / group / f"{option}.yaml").read_text(encoding="utf-8")
            values = [value for value in needed if group == "goal" and f"\n{re.split('[.=]', value)[1]}: " in text]
            node = own("screen", f"{group}={option}", *values)[group]
            assert type(built(node)).__module__.startswith("virtassay"), option


@pytest.mark.parametrize("split", [name for name in options("split") if name != "published"])
def test_every_split_assigns_every_row(split: str):
    cfg = own("prepare", f"+split@data.prepare.split={split}").data.prepare.split
    names = [
        "DMSO",
        *(cfg.test if split.startswith("bbbc021") else ()),
        "taxol",
        "aspirin",
        "ethanol",
        "toluene",
        "pyridine",
    ]
    smiles = dict(zip(names[-5:], ("CC(=O)N", "CC(=O)Oc1ccccc1C(=O)O", "CCO", "Cc1ccccc1", "c1ccncc1"), strict=True))
    rows = [
        {"image_id": f"{name}{well}{dose}", "plate": "p", "well": f"{name}{well}{dose}", "batch": "b",
         "perturbation": name, "is_control": name == "DMSO", "smiles": smiles.get(name), "dose_um": dose}
        for name in dict.fromkeys(names) for well in range(4) for dose in (1.0, 10.0)
    ]  # fmt: skip
    index = validate(pl.DataFrame(rows, infer_schema_length=None))
    assert set(built(cfg)(index)["split"]) <= {"train", "val", "test"}


@pytest.mark.parametrize("data", options("data"))
def test_the_parts_of_every_data_set_are_built(data: str):
    prepare = own("prepare", f"data={data}", "paths.data=/nowhere").data.prepare
    assert callable(get_object(prepare._target_))
    for part in ("scaling", "split"):
        if isinstance(prepare.get(part), DictConfig):
            assert callable(built(prepare[part])) or part == "scaling"


def test_every_evaluation_has_parts_that_are_built():
    nodes: dict[str, Any] = {}
    for option in options("evaluation"):
        cfg = own("evaluate", f"evaluation={option}").evaluation
        for group in ("featurizers", "baselines", "metrics"):
            nodes |= {repr(node): node for node in (cfg.get(group) or {}).values()}
    for node in nodes.values():
        if "pretrained" not in node._target_:  # extras, whose weights are large
            assert built(node) is not None


def test_a_user_brings_a_coupling_as_one_plain_file(tmp_path: Path):
    (tmp_path / "coupling").mkdir()
    (tmp_path / "coupling" / "mine.yaml").write_text("_target_: virtassay.flow.coupling.exact\n_partial_: true\n")
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        cfg = compose("train", overrides=[f"hydra.searchpath=[file://{tmp_path}]", "coupling=mine"])
    assert images_per_group(instantiate(cfg.coupling), cfg.loader.per_group, np.zeros(4), "x") == 8
