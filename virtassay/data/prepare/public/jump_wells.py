"""What was in each well of JUMP's plates: plate maps joined with what is known of each compound or guide."""

from pathlib import Path

import polars as pl

from virtassay.data.prepare.annotation import read_table
from virtassay.data.prepare.public.public_set import require_columns

MAP_COLUMNS = ("Batch", "Plate_Map_Name", "Assay_Plate_Barcode", "Perturbation", "Cell_type", "Time")


def plates(table: pl.DataFrame) -> pl.DataFrame:
    """Name the plates and batches of JUMP's table of plates.

    The same plate was imaged in several of JUMP's batches; a batch here is what can be compared: plates of one of
    these, with one kind of perturbation, one cell type and one time.
    """
    table = table.with_columns(pl.col("Batch", "Assay_Plate_Barcode").cast(pl.String))
    return table.with_columns(
        plate=pl.format("{}/{}", "Batch", "Assay_Plate_Barcode"),
        batch=pl.format("{} {} {} {} h", "Batch", "Perturbation", "Cell_type", "Time"),
    )


def wells(folder: Path, chosen: pl.DataFrame, dose_um: float | None) -> pl.DataFrame:
    """Return a row for each well of each plate, in the index's columns."""
    maps = {name: plate_map(folder / f"{name}.tsv", dose_um) for name in chosen["Plate_Map_Name"].unique()}
    return pl.concat(
        [
            maps[row["Plate_Map_Name"]].with_columns(
                plate=pl.lit(row["plate"]), batch=pl.lit(row["batch"]), cell_type=pl.lit(row["Cell_type"])
            )
            for row in chosen.iter_rows(named=True)
        ],
        how="diagonal_relaxed",
    )


def plate_map(path: Path, dose_um: float | None = None) -> pl.DataFrame:
    """Map one plate map, joined with the metadata beside it, onto the index: a row a well.

    A well without a compound holds the solvent, DMSO, the negative control; without a guide it is untreated. Guides
    against no gene are called non-targeting, the controls of their plates; others GENE_GUIDE. A dose is the map's
    mmoles_per_liter × 1000, or `dose_um`.
    """
    table = read_table(path)
    require_columns(table, ["well_position", "broad_sample"], path, "a plate map of JUMP")
    metadata = path.with_name(path.name.replace("platemap", "metadata"))
    known = read_table(metadata)
    require_columns(known, ["broad_sample", "control_type"], metadata, "JUMP's metadata of compounds or guides")
    known = known.filter(pl.col("broad_sample").is_not_null()).unique("broad_sample", maintain_order=True)
    table = table.join(known, on="broad_sample", how="left", maintain_order="left")
    sample, kind = pl.col("broad_sample"), pl.col("control_type")
    said = {"well": "well_position", "jump_control": kind, "broad_sample": sample}
    if "pert_iname" in known.columns:
        solvent = sample.is_null() | (kind == "negcon").fill_null(False)
        dose = pl.col("mmoles_per_liter") * 1e3 if "mmoles_per_liter" in table.columns else pl.lit(dose_um, pl.Float64)
        return table.select(
            **said,
            perturbation=pl.when(solvent).then(pl.lit("DMSO")).otherwise(pl.coalesce("pert_iname", sample)),
            perturbation_type=pl.when(solvent).then(pl.lit("none")).otherwise(pl.lit("compound")),
            is_control=solvent,
            control_type=pl.when(solvent).then(pl.lit("negative")).when(_positive(kind)).then(pl.lit("positive")),
            smiles=pl.when(~solvent).then("smiles"),
            inchikey=pl.when(~solvent).then("InChIKey"),
            dose_um=pl.when(~solvent).then(dose),
            targets="target_list",
        )
    idle = (kind == "negcon").fill_null(False)
    named = pl.concat_str(pl.col("gene").fill_null("unknown"), sample, separator="_")
    return table.select(
        **said,
        perturbation=pl.when(idle).then(pl.lit("non-targeting")).when(sample.is_null()).then(pl.lit("untreated"))
        .otherwise(named),
        perturbation_type=pl.when(sample.is_null()).then(pl.lit("none")).otherwise(pl.lit(_kind(path))),
        is_control=idle,
        control_type=pl.when(idle).then(pl.lit("non-targeting")).when(sample.is_null()).then(pl.lit("untreated"))
        .when(_positive(kind)).then(pl.lit("positive")),
        gene=pl.when(~idle).then("gene"),
    )  # fmt: skip


def _positive(kind: pl.Expr) -> pl.Expr:
    return kind.str.starts_with("poscon").fill_null(False)


def _kind(path: Path) -> str:
    return "orf" if "orf" in path.name.lower() else "crispr"
