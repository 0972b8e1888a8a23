"""From a table of profiles to a report, by the real scripts and configs: prepare, train, sample, evaluate."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from tests.toy_profiles import COLUMNS, FEATURES, profiles
from virtassay.data.dataset.store import open_dataset

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))


def run(verb: str, *overrides: str) -> None:
    """Run a script's task, inside hydra.main and user_errors."""
    with initialize_config_dir(version_base="1.3", config_dir=str(REPO / "conf")):
        cfg = compose(verb, overrides=list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    importlib.import_module(verb).main.__wrapped__.__wrapped__(own)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder in which all four verbs have run on the toy profiles."""
    place = tmp_path_factory.mktemp("profiles")
    profiles(wells=10).write_parquet(place / "profiles.parquet")
    columns = ", ".join(f"{name}: {of}" for name, of in COLUMNS.items())
    run(
        "prepare", "data=profiles", f"paths.data={place}", f"paths.datasets={place}", "data.name=wells",
        f"++data.prepare.columns={{{columns}}}", "data.prepare.controls=[DMSO]",
        "data.prepare.features=[Cells_*,Nuclei_*]",
    )  # fmt: skip
    run(
        "train", "experiment=profiles", f"data.folder={place / 'wells'}", f"paths.runs={place}", "name=run",
        "images_total=12800", "minibatch_size=64", "network.width=32", "network.depth=1", "network.heads=2",
        "steps=4", "fit.accelerator=cpu", "fit.precision=32-true", "fit.validate_every_images=12800",
        "training.warmup_steps=10",
    )  # fmt: skip
    run("sample", f"run={place / 'run'}", "like=test", "steps=4", "device=cpu")
    run(
        "evaluate", "evaluation=profiles", f"real={place / 'wells'}", f"generated={place / 'run' / 'generated'}",
        "evaluation.resamples=50", "evaluation.repeats=2",
    )  # fmt: skip
    return place


def test_generated_profiles_are_a_dataset_in_the_units_of_the_real_ones(folder: Path):
    real, made = open_dataset(folder / "wells").split("test"), open_dataset(folder / "run" / "generated")
    assert made.info.channels == FEATURES and made.info.image_shape == (12, 1, 1) and made.info.dtype == "float32"
    assert made.info.scaling == real.info.scaling
    assert len(made) == len(real)
    spread = [part.where(~part.index["is_control"]).images().std(0).mean() for part in (real, made)]
    assert spread[1] == pytest.approx(spread[0], rel=0.5)
    values = made.images()
    assert len(np.unique(values)) > 0.9 * values.size  # not rounded to levels


def test_every_folder_has_its_pictures(folder: Path):
    assert (folder / "wells" / "contact_sheet.png").stat().st_size > 1000
    assert (folder / "run" / "generated" / "contact_sheet.png").stat().st_size > 1000
    assert list((folder / "run" / "samples").glob("*.png"))


def test_the_flow_explains_the_effects_that_baselines_do_not(folder: Path):
    out = folder / "run" / "generated" / "evaluation"
    rows = json.loads((out / "metrics.json").read_text())
    explained = {
        row["generator"]: row["value"]
        for row in rows
        if row["metric"] == "effect_explained" and row["stratum"] == "all"
    }
    assert {row["featurizer"] for row in rows} == {"vectors"}
    assert explained["model"] > 0.5 > abs(explained["control_copy"])
    assert explained["model"] > explained["mean_treated"]
    assert rows[0]["fingerprint"]["quantisation"] == "float32"


def test_the_report_shows_heat_maps(folder: Path):
    page = (folder / "run" / "generated" / "evaluation" / "report.html").read_text()
    assert page.count("data:image/png") >= 3 * 3  # real, generated and control of each treatment
