"""What the index alone says: how many of what, how they lie on plates and in batches, and which molecules they are."""

from typing import Any

import polars as pl
from rdkit import Chem, rdBase

from virtassay.report.plates import placed_wells, plate_format

FEW = 4  # control wells of a plate: the mean of fewer is as uncertain as half of what they differ by
Lines = list[dict[str, Any]]
WELL = pl.struct("plate", "well")
COUNTS = {
    "images": pl.len(),
    "wells": WELL.n_unique(),
    "plates": pl.col("plate").n_unique(),
    "batches": pl.col("batch").n_unique(),
    "treatments": pl.col("treatment").filter(~pl.col("is_control")).n_unique(),
    "control_wells": WELL.filter("is_control").n_unique(),
}


def totals(index: pl.DataFrame) -> dict[str, int]:
    """How many there are of everything."""
    treated = index.filter(~pl.col("is_control"))["perturbation"].explode(empty_as_null=False)
    counts = index.select(**COUNTS).row(0, named=True)
    counts |= {"perturbations": treated.n_unique(), "control_images": int(index["is_control"].sum())}
    order = ("images", "wells", "plates", "batches", "perturbations", "treatments", "control_images", "control_wells")
    return {name: counts[name] for name in order}


def by(index: pl.DataFrame, *names: str) -> pl.DataFrame:
    """Count images, wells, plates, batches, treatments and control wells for each value of some columns."""
    return index.group_by(*names, maintain_order=True).agg(**COUNTS).sort(*names, nulls_last=True)


def doses(index: pl.DataFrame) -> Lines:
    """One line for each perturbation of treated wells (a combination is one), with its doses in µM and their images."""
    treated = index.filter(~pl.col("is_control")).with_columns(name=pl.col("perturbation").list.sort().list.join(" + "))
    dose = "dose_um" if "dose_um" in index.columns else pl.lit(None, pl.List(pl.Float64)).alias("dose_um")
    per_dose = treated.group_by("name", dose).agg(images=pl.len(), wells=WELL.n_unique())
    return (
        per_dose.sort("name", pl.col("dose_um").list.sum())
        .group_by("name", maintain_order=True)
        .agg(pl.col("images", "wells").sum(), doses=pl.struct("dose_um", "images", "wells"))
        .rename({"name": "perturbation"})
        .to_dicts()
    )


def splits(index: pl.DataFrame) -> Lines:
    """One line a split: its counts, and how many of its treated perturbations training does not have."""
    if "split" not in index.columns:
        return []
    treated = index.filter(~pl.col("is_control")).select("split", pl.col("perturbation").list.join(" + "))
    learned = treated.filter(pl.col("split") == "train")["perturbation"].unique()
    new = treated.filter(~pl.col("perturbation").is_in(learned.implode())).group_by("split")
    unseen = dict(new.agg(pl.col("perturbation").n_unique()).iter_rows())
    lines = by(index, "split").to_dicts()
    return [line | {"unseen_perturbations": unseen.get(line["split"], 0)} for line in lines]


def control_types(index: pl.DataFrame) -> Lines:
    """Control wells by type and by what they hold."""
    control = index.filter("is_control").with_columns(name=pl.col("perturbation").list.join(" + "))
    if "control_type" not in control.columns:
        control = control.with_columns(control_type=pl.lit(None, pl.String))
    return by(control, "control_type", "name").select("control_type", "name", "wells", "images").to_dicts()


def flagged(index: pl.DataFrame) -> dict[str, int] | None:
    """How many images the check of the fields flagged, by its reason; None where there is no column flagged."""
    if "flagged" not in index.columns:
        return None
    reasons = index["flagged"].cast(pl.String).drop_nulls().replace("false", None).drop_nulls()  # a person's own column
    return dict(reasons.value_counts(sort=True).sort("count", "flagged", descending=[True, False]).iter_rows())


def layout(index: pl.DataFrame) -> dict[str, Any] | None:
    """Where controls stand: the share of control and of treated wells on the outermost rows and columns.

    None where no well is named like B03. The plate is the smallest usual one that has all wells.
    """
    wells = placed_wells(index)
    if wells.is_empty():
        return None
    rows, columns = plate_format(wells)
    edge = pl.col("row").is_in([0, rows - 1]) | pl.col("column").is_in([1, columns])
    share = dict(wells.group_by("is_control").agg(edge.mean().alias("edge")).iter_rows())
    return {
        "format": rows * columns,
        "control_wells_on_edge": share.get(True),
        "treated_wells_on_edge": share.get(False),
        "wells_not_placed": index.select(WELL.n_unique()).item() - wells.height,
    }


def confounding(index: pl.DataFrame) -> dict[str, Any]:
    """Batches whose effect cannot be separated from that of a treatment, and plates with too few controls."""
    batches, plates = by(index, "batch"), by(index, "plate")
    treated = index.filter(~pl.col("is_control")).group_by("treatment").agg(pl.col("batch").n_unique())
    alone = (pl.col("treatments") == 1) & (batches.height > 1)
    return {
        "batches_without_controls": batches.filter(pl.col("control_wells") == 0)["batch"].to_list(),
        "batches_of_one_treatment": batches.filter(alone)["batch"].to_list(),
        "plates_without_controls": plates.filter(pl.col("control_wells") == 0)["plate"].to_list(),
        "plates_of_few_controls": plates.filter(pl.col("control_wells").is_between(1, FEW - 1))["plate"].to_list(),
        "treatments_in_one_batch": treated.filter(pl.col("batch") == 1).height if batches.height > 1 else None,
    }


def molecules(index: pl.DataFrame) -> dict[str, Any] | None:
    """What the column smiles holds; None where there is none. Salts: SMILES of more than one part.

    `same_structure`: names that share an InChIKey, or, where RDKit makes none, a SMILES.
    """
    if "smiles" not in index.columns:
        return None
    treated = index.filter(~pl.col("is_control"))
    pairs = treated.select("perturbation", "smiles").explode("perturbation", "smiles", empty_as_null=False).unique()
    known = pairs.drop_nulls("smiles").sort("perturbation", "smiles")
    named: dict[str, set[str]] = {}
    unreadable: list[str] = []
    for name, smiles in known.iter_rows():
        with rdBase.BlockLogs():
            molecule = Chem.MolFromSmiles(smiles)
            if molecule is None:
                unreadable.append(smiles)
            else:
                named.setdefault(Chem.MolToInchiKey(molecule) or smiles, set()).add(name)
    return {
        "perturbations": pairs["perturbation"].n_unique(),
        "with_smiles": known["perturbation"].n_unique(),
        "smiles": known["smiles"].n_unique(),
        "unreadable": unreadable,
        "salts": known.filter(pl.col("smiles").str.contains(".", literal=True))["smiles"].n_unique(),
        "structures": len(named),
        "same_structure": sorted(sorted(names) for names in named.values() if len(names) > 1),
    }
