"""JUMP Cell Painting: plates of an Opera Phenix, joined with the plate maps that say what was in each well."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars as pl

from virtassay.data.prepare.annotation import Annotation, kept, read_table
from virtassay.data.prepare.public.downloads import PublishedFile, list_bucket, missing
from virtassay.data.prepare.public.public_set import OfficialScreen, require_columns, require_tables
from virtassay.data.prepare.sources import FilePerChannel
from virtassay.data.prepare.splits import WELL
from virtassay.schema import InvalidIndex

log = logging.getLogger(__name__)
ADDRESS = "https://cellpainting-gallery.s3.amazonaws.com"  # the Cell Painting Gallery, registry.opendata.aws
TABLES = "https://raw.githubusercontent.com/jump-cellpainting"  # of the set's authors
PROJECT = "cpg0000-jump-pilot/source_4"
PLATES = "experiment-metadata.tsv"
PLATE_BYTES = 40_000_000_000  # of five stains in 384 wells × 9 fields, about: estimated from one site
PATTERN = "{}-ch{}sk1fk1fl1.tiff"
NAME = r"^r(?<row>\d+)c(?<column>\d+)f(?<field>\d+)p(?<plane>\d+)-ch(?<channel>\d+)sk1fk1fl1\.tiff$"
STAINS = {  # as Index.idx.xml calls them, in lower case
    "hoechst 33342": "DNA", "alexa 488": "ER", "alexa 488 long": "RNA", "alexa 568": "AGP", "alexa 647": "Mito",
}  # fmt: skip
# r01c02f01p01-ch1…: the README of jump-cellpainting/2024_Chandrasekaran_NatureMethods; 6 to 8 are brightfield
CHANNELS = {"DNA": 5, "ER": 4, "RNA": 3, "AGP": 2, "Mito": 1}
MAP_COLUMNS = ("Batch", "Plate_Map_Name", "Assay_Plate_Barcode", "Perturbation", "Cell_type", "Time")
PIXEL_SIZE_UM = 0.598  # Opera Phenix, 20× (× 1.087), 2 × 2 camera pixels of 6.5 µm
LICENCE = "CC0 1.0"
CITATION = (
    "Chandrasekaran et al. 2024, Three million images and morphological profiles of cells treated with matched "
    "chemical and genetic perturbations (doi 10.1038/s41592-024-02241-6), dataset cpg0000, available from the Cell "
    "Painting Gallery on the Registry of Open Data on AWS"
)


@dataclass(frozen=True)
class Jump:
    """Plates of JUMP, an image a field (1080×1080, 16 bit, LZW).

    In the folder: experiment-metadata.tsv (Batch, Plate_Map_Name, Assay_Plate_Barcode, Perturbation, Cell_type, Time),
    for each plate map NAME_platemap.tsv and NAME_metadata.tsv, and images/BATCH/images/BARCODE__…/Images/….tiff, as in
    the bucket (or BARCODE…/Images). keep: {column of experiment-metadata.tsv: values}: the plates, of 40 GB each.
    channels: {stain: number in the file names}; where a plate has its Index.idx.xml, that decides. dose_um: of all
    compounds, where the plate map does not say (mmoles_per_liter). address: of the bucket; tables: of the authors'
    repositories; project: its folder in the bucket. Wells that no plate map names are left out, and logged.
    """

    channels: Mapping[str, int] = field(default_factory=lambda: CHANNELS)
    dose_um: float | None = None
    address: str = ADDRESS
    tables: str = TABLES
    project: str = PROJECT

    def missing_files(self, folder: Path, keep: Mapping[str, Sequence[Any]]) -> Iterator[list[PublishedFile]]:
        """Yield the table of plates; then the plate maps that it names; then images and Index.idx.xml of the plates."""
        yield missing(self._plates(), folder)
        if missing(self._plates(), folder):
            log.info("which plates there are stands in %s; each is about %d GB", PLATES, PLATE_BYTES // 10**9)
            return
        chosen = self._chosen(folder, keep)
        yield missing(self._maps(chosen), folder)
        yield missing([image for row in chosen.iter_rows(named=True) for image in self._listed(row)], folder)

    def read(self, folder: Path, keep: Mapping[str, Sequence[Any]], on_error: str) -> OfficialScreen:
        chosen = self._chosen(folder, keep)
        require_tables([*self._plates(), *self._maps(chosen)], folder, "JUMP's tables")
        table = _fields(folder, chosen, dict(self.channels), self.dose_um)
        parts = [table.select("plate", path=pl.format(PATTERN, "stem", f"ch_{stain}")) for stain in self.channels]
        numbers, needed = [f"{{ch_{stain}}}" for stain in self.channels], (folder, pl.concat(parts))
        images = FilePerChannel(str(folder), PATTERN.format("{stem}", "{channel}"), numbers)
        own = {"plate": table["plate"].unique().to_list()} if keep else {}  # files of other plates are no concern
        channels = tuple(self.channels)
        return OfficialScreen(table, Annotation(keep=own), images, channels, LICENCE, CITATION, needed, PIXEL_SIZE_UM)

    def _plates(self) -> list[PublishedFile]:
        url = f"{self.tables}/2024_Chandrasekaran_NatureMethods/main/benchmark/output/{PLATES}"
        return [PublishedFile(PLATES, url, 14_162)]

    def _chosen(self, folder: Path, keep: Mapping[str, Sequence[Any]]) -> pl.DataFrame:
        require_tables(self._plates(), folder, "JUMP's tables")
        table = read_table(folder / PLATES)
        require_columns(table, MAP_COLUMNS, folder / PLATES, "JUMP's table of plates")
        return kept(plates(table), keep, str(folder / PLATES))

    def _maps(self, chosen: pl.DataFrame) -> list[PublishedFile]:
        names = [f"{name}.tsv" for name in chosen["Plate_Map_Name"].unique(maintain_order=True)]
        names += [name.replace("platemap", "metadata") for name in names]
        return [PublishedFile(name, f"{self.tables}/JUMP-Target/master/{name}", 50_000) for name in names]

    def _listed(self, row: Mapping[str, Any]) -> list[PublishedFile]:
        prefix = f"{self.project}/images/{row['Batch']}/images/{row['Assay_Plate_Barcode']}__"
        endings = (*(f"-ch{number}sk1fk1fl1.tiff" for number in self.channels.values()), "Index.idx.xml")
        listed = [(key, size) for key, size in list_bucket(self.address, prefix) if key.endswith(endings)]
        return [
            PublishedFile(key.removeprefix(f"{self.project}/"), f"{self.address}/{key}", size) for key, size in listed
        ]


def channel_numbers(images: Path) -> dict[str, int]:
    """Read which stain each channel number is from the Index.idx.xml of a plate; {} where there is none.

    Raises InvalidIndex if it cannot be read.
    """
    path = images / "Index.idx.xml"
    numbers: dict[str, int] = {}
    if not path.is_file():
        return numbers
    try:
        for _, element in ElementTree.iterparse(path):
            tag = element.tag.rpartition("}")[2]
            if tag == "Entry" and (name := element.findtext("{*}ChannelName")) is not None:
                stain = STAINS.get(name.lower().removesuffix(" (cp)"), name)
                numbers.setdefault(stain, int(element.attrib["ChannelID"]))
            if tag == "Maps":  # what follows names each of tens of thousands of images
                break
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise InvalidIndex(
            f"{path} cannot be read ({error}): remove it, and the channels are as configured."
        ) from error
    return numbers


def _images_of(folder: Path, batch: str, barcode: str) -> Path | None:
    for base in (folder / "images" / batch / "images", folder / batch / "images", folder):
        for plate in sorted(base.glob(f"{barcode}__*")) + sorted(base.glob(barcode)):
            return plate / "Images" if (plate / "Images").is_dir() else plate
    return None


def _fields(folder: Path, chosen: pl.DataFrame, channels: Mapping[str, int], dose_um: float | None) -> pl.DataFrame:
    """A row a field: what the listing of each plate's folder shows, joined with what its plate map says of the well."""
    parts, absent = [], []
    for row in chosen.iter_rows(named=True):
        place = _images_of(folder, row["Batch"], row["Assay_Plate_Barcode"])
        if place is None:
            absent.append(row["Assay_Plate_Barcode"])
            continue
        numbers = {**channels, **{s: n for s, n in channel_numbers(place).items() if s in channels}}
        if numbers != dict(channels):
            log.warning("%s: by its Index.idx.xml the channels are %s", row["plate"], numbers)
        names = pl.DataFrame({"name": sorted(entry.name for entry in place.iterdir())})
        images = names.select(pl.col("name").str.extract_groups(NAME).struct.unnest()).drop_nulls()
        images = images.filter(pl.col("plane").cast(pl.Int32) == 1)
        images = images.unique(["row", "column", "field"], maintain_order=True)
        below = pl.lit(str(place.relative_to(folder)))
        images = images.select(
            plate=pl.lit(row["plate"]),
            well=pl.lit("ABCDEFGHIJKLMNOP").str.slice(pl.col("row").cast(pl.Int32) - 1, 1) + pl.col("column"),
            site=pl.col("field").cast(pl.Int32).cast(pl.String),
            stem=pl.format("{}/r{}c{}f{}p{}", below, "row", "column", "field", "plane"),
            **{f"ch_{stain}": pl.lit(number) for stain, number in numbers.items()},
        )
        parts.append(images)
    if absent:
        raise FileNotFoundError(
            f"{folder} has no images of {len(absent)} of {chosen.height} plates, {absent[:5]}: keep="
            "{Assay_Plate_Barcode: [...]} prepares only those you name, download=true fetches them (40 GB each)."
        )
    known = wells(folder, chosen, dose_um)
    fields = pl.concat(parts)
    for what, own, others in (
        ("wells of the plate maps have no images", known, fields),
        ("wells with images are in no plate map, and are left out", fields, known),
    ):
        lost = own.join(others, on=WELL, how="anti").unique(WELL, maintain_order=True)
        if lost.height:
            log.warning("%d %s: %s …", lost.height, what, lost.select(WELL).head(5).rows())
    table = fields.join(known, on=WELL, how="inner", maintain_order="left")
    if not table.height:
        raise InvalidIndex(f"{folder}: none of the images is of a well that a plate map names.")
    return table.with_columns(image_id=pl.format("{}_{}_f{}", "plate", "well", "site"))


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
    parts: list[pl.DataFrame] = []
    for row in chosen.iter_rows(named=True):
        names = {"plate": row["plate"], "batch": row["batch"], "cell_type": row["Cell_type"]}
        parts.append(maps[row["Plate_Map_Name"]].with_columns(**{name: pl.lit(text) for name, text in names.items()}))
    return pl.concat(parts, how="diagonal_relaxed")


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
    idle, guide = (kind == "negcon").fill_null(False), "orf" if "orf" in path.name.lower() else "crispr"
    named = pl.concat_str(pl.col("gene").fill_null("unknown"), sample, separator="_")
    return table.select(
        **said,
        perturbation=pl.when(idle).then(pl.lit("non-targeting")).when(sample.is_null()).then(pl.lit("untreated"))
        .otherwise(named),
        perturbation_type=pl.when(sample.is_null()).then(pl.lit("none")).otherwise(pl.lit(guide)),
        is_control=idle,
        control_type=pl.when(idle).then(pl.lit("non-targeting")).when(sample.is_null()).then(pl.lit("untreated"))
        .when(_positive(kind)).then(pl.lit("positive")),
        gene=pl.when(~idle).then("gene"),
    )  # fmt: skip


def _positive(kind: pl.Expr) -> pl.Expr:
    return kind.str.starts_with("poscon").fill_null(False)
