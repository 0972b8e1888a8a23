"""The simulator: truth that is consistent, pictures that follow from it, and the same bytes for the same seed."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from omegaconf import OmegaConf
from rdkit import Chem
from scipy.ndimage import gaussian_filter

from virtassay.data.dataset.store import Dataset, open_dataset
from virtassay.data.prepare.splits import split_by_well
from virtassay.simulator import pharmacology
from virtassay.simulator.grow import grow
from virtassay.simulator.pharmacology import (
    AXES,
    CLASSES,
    compounds,
    fingerprints,
    knock_outs,
    read_drugs,
    specific_part,
)
from virtassay.simulator.plan import Treatment, Well, plan_treatments, plan_wells, well_table
from virtassay.simulator.render import CHANNELS
from virtassay.simulator.simulate import simulate

small = partial(
    simulate, n_batches=2, plates_per_batch=1, wells_per_treatment=3, control_wells=3, cells_per_well=12, size=24,
    n_compounds=2, n_doses=2, knock_outs=1, combinations=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(small(root=tmp_path_factory.mktemp("simulated") / "screen", seed=3))


def well(treatment: Treatment, number: int = 0, channels: int = 3) -> Well:
    (one,) = plan_wells([treatment], number, 1, 1, channels)
    return one


def top(name: str) -> Treatment:
    drug = next(drug for drug in compounds() if drug.name == name)
    return Treatment(((drug, drug.top_um),))


def crops(treatment: Treatment, wells: int = 5) -> np.ndarray:
    """Crops of cells that do not divide."""
    grown = [grow(well(treatment, i), 40, 48, 3) for i in range(wells)]
    return np.concatenate([images[truth["truth_cycle"] != "M"] for images, truth in grown])


def checksums(root: Path) -> list[str]:
    stored = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
    return [entry["sha256"] for entry in (stored["index"], *stored["shards"])]


# --- the world


def test_every_smiles_is_a_molecule_of_its_own():
    smiles = [Chem.MolToSmiles(Chem.MolFromSmiles(drug.smiles)) for drug in compounds()]
    assert len(set(smiles)) == len(smiles) >= 36


def test_eight_to_twelve_classes_and_a_few_inactive():
    classes = {drug.moa for drug in compounds()} - {"inactive"}
    assert 8 <= len(classes) <= 12
    assert len({drug.moa for drug in compounds()[:12]}) == 12
    assert sum(drug.moa == "inactive" for drug in compounds()) >= 3


def test_the_response_is_none_without_drug_half_at_the_ec50_and_rises():
    for drug in compounds():
        assert drug.ec50_um is not None and drug.ec50_um < drug.top_um
        assert drug.response(0) == 0 and not drug.effect(0).any() and drug.survival(0) == 1
        assert drug.response(drug.ec50_um) == pytest.approx(0.5)
        ladder = [drug.response(drug.top_um * 3.0**k) for k in range(-6, 3)]
        assert np.all(np.diff(ladder) > 0) and ladder[-1] < 1


def test_inactive_compounds_do_nothing():
    for drug in compounds():
        harmless = drug.moa == "inactive"
        assert (not drug.effect(100 * drug.top_um).any()) == harmless
        assert (drug.survival(100 * drug.top_um) == 1) == harmless


def test_a_well_of_an_inactive_compound_is_a_control_well():
    np.testing.assert_array_equal(grow(well(top("aspirin")), 12, 24, 3)[0], grow(well(Treatment()), 12, 24, 3)[0])


def test_like_structures_have_like_effects():
    smiles = [drug.smiles for drug in compounds() if drug.smiles]
    similarity = fingerprints(smiles) @ fingerprints(smiles).T
    shift, _ = specific_part(smiles)
    apart = np.linalg.norm(shift[:, None] - shift, axis=-1)
    pair = np.triu_indices(len(smiles), 1)
    alike = similarity[pair] > 0.6
    assert alike.sum() >= 4
    assert apart[pair][alike].mean() < 0.75 * apart[pair][~alike].mean()
    assert np.corrcoef(similarity[pair], apart[pair])[0, 1] < -0.3


def test_the_smooth_function_has_the_stated_size(monkeypatch: pytest.MonkeyPatch):
    smiles = [drug.smiles for drug in compounds() if drug.smiles]
    spread = []
    for world in range(20):
        monkeypatch.setattr(pharmacology, "WORLD", world)
        spread.append(specific_part(smiles)[0])
    assert np.std(spread) == pytest.approx(pharmacology.SPECIFIC, rel=0.1)


def test_a_knock_out_resembles_the_drugs_of_its_target():
    directions = {moa: pharmacology.class_direction(moa) for moa in CLASSES if moa != "inactive"}
    for gene in knock_outs():
        if gene.moa == "inactive":
            assert not gene.effect(None).any()
        else:
            cosine = {moa: gene.direction @ d / np.linalg.norm(d) for moa, d in directions.items()}
            assert max(cosine, key=lambda moa: cosine[moa]) == gene.moa


# --- the pictures


@pytest.mark.parametrize(("channels", "size"), [(1, 17), (2, 32), (3, 48), (8, 33), (3, 96)])
def test_any_number_of_channels_and_any_size(channels: int, size: int):
    images, truth = grow(well(Treatment(), channels=channels), 10, size, channels)
    assert images.shape == (len(truth["truth_dna"]), channels, size, size) and images.dtype == np.uint8
    assert len(images) >= 3
    centre = images[:, 0, size // 2 - 2 : size // 2 + 3, size // 2 - 2 : size // 2 + 3]
    assert centre.mean() > 1.5 * images[:, 0].mean(), "each crop is centred on a nucleus"
    assert all(images[:, c].std() > 3 for c in range(channels))
    assert (images == 255).mean() < 0.01, "the camera is not saturated"


def test_neighbours_reach_into_the_crops():
    images, truth = grow(well(Treatment()), 40, 48, 3)
    rim = np.ones((48, 48), bool)
    rim[1:-1, 1:-1] = False
    cut = (images[:, 0][:, rim] > 60).any(axis=1)  # a nucleus lies across the edge
    assert cut.mean() > 0.3 and truth["truth_neighbours"].mean() > 1


def test_poison_thins_the_cells_out():
    def counts(treatment: Treatment) -> tuple[float, float]:
        found = [grow(well(treatment, i), 40, 24, 1)[1] for i in range(8)]
        neighbours = np.concatenate([truth["truth_neighbours"] for truth in found])
        return float(np.mean([len(truth["truth_dna"]) for truth in found])), float(neighbours.mean())

    alive, crowded = counts(Treatment())
    left, lonely = counts(top("MG-132"))
    assert alive == pytest.approx(40, rel=0.25)
    assert left < 0.7 * alive and lonely < 0.8 * crowded


def test_drugs_change_structure_and_not_brightness_alone():
    def fine(images: np.ndarray) -> float:  # tubulin's contrast at the scale of fibres, relative to its amount
        tubulin = images[:, 2].astype(float) - np.percentile(images[:, 2], 1)
        band = gaussian_filter(tubulin, (0, 0.8, 0.8)) - gaussian_filter(tubulin, (0, 2, 2))
        return float(band[:, 12:-12, 12:-12].std() / tubulin[:, 12:-12, 12:-12].mean())

    def nuclear_area(images: np.ndarray) -> float:
        dna = images[:, 0, 13:-13, 13:-13]
        return float((dna > (dna.max(axis=(1, 2), keepdims=True) + dna.min(axis=(1, 2), keepdims=True)) / 2).mean())

    control = crops(Treatment())
    assert fine(crops(top("colchicine"))) < 0.9 * fine(control)
    assert fine(crops(top("docetaxel"))) > 1.1 * fine(control)
    assert nuclear_area(crops(top("etoposide"))) > 1.25 * nuclear_area(control)


def test_dividing_cells_follow_the_effect():
    def dividing(treatment: Treatment) -> float:
        return float(np.mean([(grow(well(treatment, i), 40, 16, 1)[1]["truth_cycle"] == "M").mean() for i in range(6)]))

    assert 0.0 < dividing(Treatment()) < 0.1 < dividing(top("monastrol"))


# --- the dataset folder


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_workers(tmp_path: Path, screen: Dataset):
    assert checksums(small(root=tmp_path / "again", seed=3, workers=1)) == checksums(screen.root)
    assert checksums(small(root=tmp_path / "other", seed=4)) != checksums(screen.root)


def test_controls_and_every_treatment_on_every_plate(screen: Dataset):
    treatments = set(screen.index["treatment"])
    assert len(treatments) == 1 + 2 * 2 + 1 + 1
    for _, plate in screen.index.group_by("plate"):
        assert plate["is_control"].any() and set(plate["treatment"]) == treatments
    assert screen.info.channels == CHANNELS[:3] and screen.info.image_shape == (3, 24, 24)


def test_each_stratum_has_wells_on_every_side(screen: Dataset):
    sides = screen.index.group_by("batch", "treatment").agg(pl.col("split").unique())
    assert all(set(split) == {"train", "val", "test"} for split in sides["split"])
    assert (screen.index.group_by("plate", "well").agg(pl.col("split").n_unique())["split"] == 1).all()


def test_kinds_of_perturbation_are_told_apart(screen: Dataset):
    kinds = {kind: part for (kind,), part in screen.index.group_by("perturbation_type")}
    assert set(kinds) == {"none", "compound", "crispr"}
    gene = kinds["crispr"].row(0, named=True)
    assert gene["gene"] == gene["perturbation"] and gene["smiles"] == [None] and gene["dose_um"] == [None]
    double = kinds["compound"].filter(pl.col("perturbation").list.len() == 2).row(0, named=True)
    assert len(double["smiles"]) == len(double["dose_um"]) == 2 and " + " in double["treatment"]
    control = kinds["none"].row(0, named=True)
    assert control["perturbation"] == ["DMSO"] and control["dose_um"] == [None] and control["treatment"] == "DMSO"


def test_the_truth_of_each_cell_is_in_the_index(screen: Dataset):
    index = screen.index
    names = {f"truth_effect_{axis}" for axis in AXES}
    assert names | {"truth_cycle", "truth_rare", "truth_response", "truth_ec50_um"} <= set(index.columns)
    control = index.filter("is_control")
    assert control.select(pl.sum_horizontal(pl.col(sorted(names)).abs()).max()).item() == 0
    single = index.filter((pl.col("perturbation_type") == "compound") & (pl.col("perturbation").list.len() == 1))
    assert single["truth_ec50_um"].null_count() == 0 and single["truth_response"].is_between(0, 1, closed="none").all()


def test_batches_differ_more_than_plates_of_one():
    optics = {w.plate: w.optics for w in plan_wells([Treatment()], 0, 8, 2, 3)}
    gain = np.log([o.gain for o in optics.values()]).reshape(8, 2, 3)
    assert np.abs(gain[:, 0] - gain[:, 1]).mean() < 0.5 * gain.mean(axis=1).std(axis=0).mean()


def test_pictures_are_written(screen: Dataset):
    assert all((screen.root / name).stat().st_size > 1000 for name in ("contact_sheet.png", "plate_layout.png"))


@pytest.mark.parametrize("name", ["simulated", "quickstart"])
def test_shipped_screens_have_wells_on_every_side(repo: Path, name: str):
    prepare = OmegaConf.load(repo / "conf" / "data" / f"{name}.yaml").prepare
    treatments = plan_treatments(
        prepare.n_compounds, prepare.n_doses, prepare.dilution, prepare.knock_outs, prepare.combinations
    )
    layout = [Treatment()] * prepare.control_wells + treatments * prepare.wells_per_treatment
    table = well_table(list(plan_wells(layout, 0, prepare.n_batches, prepare.plates_per_batch, prepare.channels)))
    table = split_by_well(table, val=prepare.split.val, test=prepare.split.test, seed=prepare.split.seed)
    sides = table.group_by("batch", "perturbation", "dose_um").agg(pl.col("split").n_unique())
    assert (sides["split"] == 3).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"channels": 9}, "channels=9.*DNA"),
        ({"size": 4}, "size=4"),
        ({"n_compounds": 0}, "n_compounds=0"),
        ({"knock_outs": 99}, "knock_outs=99"),
        ({"combinations": 99}, "combinations=99"),
        ({"dilution": 1.0}, "dilution=1.0"),
        ({"control_wells": 0}, "control_wells=0"),
        ({"toxicity": -0.1}, "toxicity=-0.1"),
        ({"toxicity": 1.5}, "toxicity=1.5"),
        ({"batch_effect": -1.0}, "batch_effect=-1.0"),
        ({"wells_per_treatment": 500}, "do not fit a plate"),
    ],
)
def test_what_cannot_be_simulated_is_said_and_nothing_is_left(tmp_path: Path, wrong: dict[str, Any], message: str):
    arguments: dict[str, Any] = {"root": tmp_path / "screen", "n_compounds": 4, "combinations": 1} | wrong
    with pytest.raises(ValueError, match=message):
        simulate(**arguments)
    assert list(tmp_path.iterdir()) == []


def test_toxicity_scales_the_cells_that_are_killed_and_leaves_the_phenotype():
    whole, third, none = (plan_treatments(3, 2, 4.0, 2, 1, toxicity=factor) for factor in (1.0, 1 / 3, 0.0))
    for a, b, c in zip(whole, third, none, strict=True):
        assert (a.effect == b.effect).all() and (a.effect == c.effect).all()
        assert c.survival == 1
        if len(a.parts) == 1:
            assert 1 - b.survival == pytest.approx((1 - a.survival) / 3)
    assert min(t.survival for t in whole) < 0.7


def test_an_existing_folder_is_kept(screen: Dataset):
    with pytest.raises(FileExistsError, match="overwrite"):
        small(root=screen.root)


def test_batches_differ_as_strongly_as_asked():
    def gains(strength: float) -> np.ndarray:
        wells = plan_wells([Treatment()], 0, 30, 1, 3, strength)
        return np.log(np.stack([w.optics.gain for w in wells]))

    none, usual, strong = (gains(strength).std(0) for strength in (0.0, 1.0, 3.0))
    assert (none < 0.08).all(), "plates of a batch still differ a little"
    assert strong / usual == pytest.approx([3, 3, 3], rel=0.15)


def test_drugs_of_ones_own_do_what_their_class_and_structure_say(tmp_path: Path):
    path = tmp_path / "drugs.csv"
    path.write_text(
        "smiles,name,moa,top_um,vendor\nCOC(=O)Nc1nc2cc(ccc2[nH]1)C(=O)c1cccs1,nocodazole,tubulin destabiliser,3,x\n"
        "CCO,ethanol,inactive,50,y\n"
    )
    mine = read_drugs(path)
    built_in = next(drug for drug in compounds() if drug.name == "nocodazole")
    assert (mine[0].direction == built_in.direction).all() and mine[0].ec50_um == built_in.ec50_um
    assert [drug.name for drug in mine] == ["nocodazole", "ethanol"] and not mine[1].direction.any()
    made = open_dataset(small(root=tmp_path / "screen", drugs=path, n_compounds=None, combinations=0, knock_outs=0))
    assert set(made.index["perturbation"].list.first()) == {"DMSO", "nocodazole", "ethanol"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,moa,top_um\na,inactive,1\n", "no column smiles; give .*'top_um'"),
        ("name,moa,top_um,smiles\n", "no rows"),
        ("name,moa,top_um,smiles\na,inactive,1,CCO\na,inactive,1,CCN\n", "2 rows, .*name: each once"),
        ("name,moa,top_um,smiles\nDMSO,inactive,1,CS(C)=O\n", "1 rows, .*name: each once, and not DMSO"),
        ("name,moa,top_um,smiles\na,magic,1,CCO\n", "moa: one of .*'Eg5 inhibitor'"),
        ("name,moa,top_um,smiles\na,inactive,none,CCO\n", "top_um: a dose in µM, above 0"),
        ("name,moa,top_um,smiles\na,inactive,1,C(C\n", "smiles: a molecule"),
        ("name,moa,top_um,smiles\na,inactive,1,\n", "smiles: a molecule"),
    ],
)
def test_wrong_drugs_are_named(tmp_path: Path, text: str, message: str):
    path = tmp_path / "drugs.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_drugs(path)
    with pytest.raises(FileNotFoundError, match="give a csv with the columns"):
        small(root=tmp_path / "screen", drugs=tmp_path / "none.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["drugs.csv"]
