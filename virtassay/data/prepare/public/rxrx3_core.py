"""RxRx3-core: 222,601 wells of HUVEC under 735 knock-outs and 1,674 compounds at eight doses, six stains."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from virtassay.data.prepare.annotation import Annotation, kept, read_table
from virtassay.data.prepare.parquet_images import ParquetImages
from virtassay.data.prepare.public.downloads import PublishedFile, missing
from virtassay.data.prepare.public.public_set import OfficialScreen, require_columns, require_tables
from virtassay.data.prepare.sources import UnreadableImage

ADDRESS = "https://huggingface.co/datasets/recursionpharma/rxrx3-core/resolve/main"  # the set's page there
METADATA, METADATA_BYTES = "metadata_rxrx3_core.csv", 20_600_000
SHARDS, SHARD_BYTES = 35, 17_390_577_507 // 35  # of data/, about
ANNOTATED = ("gene", "treatment", "SMILES", "concentration", "perturbation_type")
COLUMNS = ("well_id", "experiment_name", "plate", "address", "cell_type", *ANNOTATED)
MAPPED = {  # column of the index: column of the table
    "image_id": "well_id", "plate": "plate_name", "well": "address", "batch": "experiment_name",
    "perturbation": "treatment", "smiles": "SMILES", "dose_um": "concentration",
}  # fmt: skip
CHANNELS = ("DNA", "ER", "actin", "RNA", "mitochondria", "golgi")  # 1 … 6 in the keys
LICENCE = "non-commercial, Recursion's own: LICENSE at https://huggingface.co/datasets/recursionpharma/rxrx3-core"
CITATION = (
    "Kraus et al. 2025, RxRx3-core: benchmarking drug-target interactions in high-content microscopy (arXiv 2503.20158)"
)
UNTREATED, NON_TARGETING = "EMPTY_control", "CRISPR_control"


@dataclass(frozen=True)
class RxRx3Core:
    """RxRx3-core, an image a well (512×512, 8 bit, six JPEG 2000 images).

    In the folder: metadata_rxrx3_core.csv, and data/train-*.parquet with a row a channel, as Hugging Face gives them
    out. keep: {column of the table: values}, as {experiment_name: [gene-001]} or {perturbation_type: [compound]}.
    Untreated wells (EMPTY_control) are the controls; wells with a guide against nothing (CRISPR_control) are
    treatments, marked so.
    """

    address: str = ADDRESS

    def missing_files(self, folder: Path, keep: Mapping[str, Sequence[Any]]) -> Iterator[list[PublishedFile]]:
        """Yield the table and the parquet files, whatever is kept of them."""
        names = [f"data/train-{number:05d}-of-{SHARDS:05d}.parquet" for number in range(SHARDS)]
        shards = [PublishedFile(name, f"{self.address}/{name}", SHARD_BYTES) for name in names]
        yield missing([self._metadata(), *shards], folder)

    def read(self, folder: Path, keep: Mapping[str, Sequence[Any]], on_error: str) -> OfficialScreen:
        require_tables([self._metadata()], folder, "RxRx3-core")
        path = folder / METADATA
        raw = read_table(path)
        require_columns(raw, COLUMNS, path, "RxRx3-core's metadata")
        plate = pl.format("{}/Plate{}", "experiment_name", "plate")
        table = kept(annotate(raw), keep, str(path)).with_columns(plate_name=plate)
        files = sorted(map(str, (folder / "data").glob("*.parquet")))
        images = ParquetImages(files, "{plate}/{well}_s1_{channel}", ["1", "2", "3", "4", "5", "6"])
        _require_images(images, table, folder, on_error)
        return OfficialScreen(table, Annotation(MAPPED), images, CHANNELS, LICENCE, CITATION)

    def _metadata(self) -> PublishedFile:
        return PublishedFile(METADATA, f"{self.address}/{METADATA}", METADATA_BYTES)


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
        perturbation_type=treatment.replace_strict({UNTREATED: "none", NON_TARGETING: "crispr"}, default=kind),
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
