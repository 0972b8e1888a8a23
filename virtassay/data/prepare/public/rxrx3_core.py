"""RxRx3-core: 222,601 wells of HUVEC under 735 knock-outs and 1,674 compounds at eight doses, six stains."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from virtassay.data.prepare.annotation import kept, read_table
from virtassay.data.prepare.fields.cells import Cells
from virtassay.data.prepare.parquet_images import ParquetImages
from virtassay.data.prepare.public.files import Part, missing, obtain, report, require_columns, require_tables
from virtassay.data.prepare.scaling import Scaling
from virtassay.data.prepare.sources import UnreadableImage
from virtassay.data.prepare.table import prepare_table

ADDRESS = "https://huggingface.co/datasets/recursionpharma/rxrx3-core/resolve/main"  # the set's page there
METADATA, METADATA_BYTES = "metadata_rxrx3_core.csv", 20_600_000
SHARDS, SHARD_BYTES = 35, 17_390_577_507 // 35  # of data/, about
ANNOTATED = ("gene", "treatment", "SMILES", "concentration", "perturbation_type")
COLUMNS = ("well_id", "experiment_name", "plate", "address", "cell_type", *ANNOTATED)
CHANNELS = ("DNA", "ER", "actin", "RNA", "mitochondria", "golgi")  # 1 … 6 in the keys
LICENCE = "non-commercial, Recursion's own: LICENSE at https://huggingface.co/datasets/recursionpharma/rxrx3-core"
CITATION = (
    "Kraus et al. 2025, RxRx3-core: benchmarking drug-target interactions in high-content microscopy (arXiv 2503.20158)"
)
UNTREATED, NON_TARGETING = "EMPTY_control", "CRISPR_control"


def prepare_rxrx3_core(
    *,
    root: str | Path,
    folder: str | Path,
    scaling: Scaling | None,
    split: Callable[[pl.DataFrame], pl.DataFrame],
    keep: Mapping[str, Sequence[Any]] | None = None,
    crop: int | None = None,
    size: int | None = None,
    pixel_size_um: float | None = None,
    address: str = ADDRESS,
    download: bool = False,
    dry_run: bool = False,
    cells: Cells | None = None,
    accept: Sequence[str] = (),
    on_error: str = "raise",
    overwrite: bool = False,
) -> Path | None:
    """Prepare RxRx3-core, an image a well (512×512, 8 bit, six JPEG 2000 images); None after a dry run.

    folder: metadata_rxrx3_core.csv, and data/train-*.parquet with a row a channel, as Hugging Face gives them out.
    keep: {column of the table: values}, as {experiment_name: [gene-001]} or {perturbation_type: [compound]}. download:
    fetch from `address` what is missing; dry_run: log what that is and how large, and write nothing. Untreated wells
    (EMPTY_control) are the controls; wells with a guide against nothing (CRISPR_control) are treatments, marked so.
    cells, accept: as in `virtassay.data.prepare.table.prepare_table`.
    Raises FileNotFoundError, InvalidIndex and UnreadableImage naming tables, columns and plates.
    """
    folder, keep = Path(folder), keep or {}
    metadata = Part(METADATA, f"{address}/{METADATA}", METADATA_BYTES)
    names = [f"data/train-{number:05d}-of-{SHARDS:05d}.parquet" for number in range(SHARDS)]
    shards = [Part(name, f"{address}/{name}", SHARD_BYTES) for name in names]
    if dry_run:
        report(missing([metadata, *shards], folder), folder)
        return None
    if download:
        obtain(missing([metadata, *shards], folder), folder)
    require_tables([metadata], folder, "RxRx3-core")
    path = folder / METADATA
    raw = read_table(path, {}, {})
    require_columns(raw, COLUMNS, path, "RxRx3-core's metadata")
    table = kept(annotate(raw), keep, str(path)).with_columns(
        plate_name=pl.format("{}/Plate{}", "experiment_name", "plate")
    )
    files = sorted(str(found) for found in (folder / "data").glob("*.parquet"))
    images = ParquetImages(files, "{plate}/{well}_s1_{channel}", ["1", "2", "3", "4", "5", "6"])
    _require_images(images, table, folder, on_error)
    return prepare_table(
        root=root,
        table=table,
        columns={
            "image_id": "well_id",
            "plate": "plate_name",
            "well": "address",
            "batch": "experiment_name",
            "perturbation": "treatment",
            "smiles": "SMILES",
            "dose_um": "concentration",
        },
        images=images,
        channels=CHANNELS,
        scaling=scaling,
        split=split,
        crop=crop,
        size=size,
        pixel_size_um=pixel_size_um,
        licence=LICENCE,
        citation=CITATION,
        cells=cells,
        accept=accept,
        on_error=on_error,
        overwrite=overwrite,
    )


def annotate(table: pl.DataFrame) -> pl.DataFrame:
    """Say in the index's words what was done to each well, from the columns that all releases of RxRx3 share.

    Guides keep names of their own (PLK1_guide_3), with their gene in `gene`.
    """
    treatment, kind = pl.col("treatment"), pl.col("perturbation_type").cast(pl.String).str.to_lowercase()
    control = treatment.is_in([UNTREATED, NON_TARGETING])
    return table.with_columns(
        is_control=treatment == UNTREATED,
        control_type=treatment.replace_strict({UNTREATED: "untreated", NON_TARGETING: "non-targeting"}, default=None),
        # the controls of compound plates are guides too, or nothing
        perturbation_type=pl.when(treatment == UNTREATED)
        .then(pl.lit("none"))
        .when(treatment == NON_TARGETING)
        .then(pl.lit("crispr"))
        .otherwise(kind),
        gene=pl.when(~control).then(pl.col("gene")),
    )


def _require_images(images: ParquetImages, table: pl.DataFrame, folder: Path, on_error: str) -> None:
    if not images.files:
        raise FileNotFoundError(
            f"{folder}/data has no parquet files: download=true fetches them, dry_run=true says how much that is."
        )
    first = table.select(plate="plate_name", key=pl.format("{}/{}_s1_1", "plate_name", "address"))
    absent = first.filter(images.absent(first["key"]))
    if absent.height and on_error == "raise":
        plates = absent.group_by("plate", maintain_order=True).len().head(5).rows()
        raise UnreadableImage(
            f"{absent.height} of {table.height} wells of {METADATA} are in none of the {len(images.files)} parquet "
            f"files of {folder}/data, in plates {plates} …; the first keys are {absent['key'].head(5).to_list()}. "
            "download=true fetches what is missing, and on_error=skip leaves such wells out and lists them."
        )
