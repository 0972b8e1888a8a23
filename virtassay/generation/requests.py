"""Requests: what to generate, as an index in normal form whose rows are images to come, and the seed of each."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from virtassay.data.dataset.store import Dataset
from virtassay.data.loading.vocabulary import Vocabulary
from virtassay.schema import COMBINED, InvalidIndex, offenders, validate

NAMING = ("perturbation", "smiles", "gene")  # each of them can say what is done
KNOWN = (*NAMING, "dose_um", "batch", "cell_type", "n")  # the columns of a table, and what a command line can ask for
NO_BATCH = "unspecified"


def one_way(choices: Mapping[str, Any]) -> None:
    """Raise ValueError unless one way of saying what to generate was taken."""
    taken = [name for name, value in choices.items() if value is not None]
    if not taken or (len(taken) > 1 and not set(taken) <= set(NAMING)):
        raise ValueError(
            "say what to generate by one of requests=table.csv, like=test (the images of a split of dataset=…), or "
            "perturbation=… (and/or smiles=…, gene=…) with dose_um, batch and n. Given: "
            f"{', '.join(taken) or 'none of them'}."
        )


def read_requests(path: Path, vocabulary: Vocabulary) -> pl.DataFrame:
    """Read a csv or parquet of requests: perturbation, smiles and/or gene, dose_um, batch, cell_type, n images of each.

    Raises InvalidIndex naming column, rows and fix.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no requests table {path}.")
    table = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path)
    return expand(table, vocabulary, str(path))


def inline_requests(fields: dict[str, Any], vocabulary: Vocabulary) -> pl.DataFrame:
    """Make requests from overrides, each a value or a list.

    Names, SMILES and genes of one thing stand at one place of their lists; all else is crossed with them:
    perturbation=[a,b] dose_um=[1,10] asks for four things.
    """
    table = pl.DataFrame([{"_": 0}])
    for name in KNOWN:
        value = fields.get(name)
        if value is not None:
            values = value if isinstance(value, list) else [value]
            column = pl.DataFrame({name: values}, strict=False)
            paired = name in NAMING and table.columns != ["_"]
            if paired and len(values) != table.height:
                first = table.columns[1]
                raise InvalidIndex(f"{name} has {len(values)} entries and {first} {table.height}: give one each.")
            table = pl.concat([table, column], how="horizontal") if paired else table.join(column, how="cross")
    return expand(table.drop("_"), vocabulary, "requests")


def expand(table: pl.DataFrame, vocabulary: Vocabulary, source: str) -> pl.DataFrame:
    """Check a table of requests and repeat each row `n` times, one row an image."""
    if table.height == 0:
        raise InvalidIndex(f"{source}: no requests; the table is empty.")
    unknown = sorted(set(table.columns) - set(KNOWN))
    if unknown:
        raise InvalidIndex(f"{source}: unknown column(s) {unknown}; a request has {list(KNOWN)}.")
    naming = [name for name in NAMING if name in table.columns]
    if not naming:
        raise InvalidIndex(f"{source}: a request needs 'perturbation' (a name), 'smiles' or 'gene'.")
    table = table.with_columns(perturbation=pl.coalesce(naming))
    if "n" not in table.columns:
        table = table.with_columns(n=pl.lit(1))
    if not table["n"].dtype.is_integer() or (table["n"].fill_null(0) < 1).any():
        bad = ~table["n"].is_in([]) if not table["n"].dtype.is_integer() else table["n"].fill_null(0) < 1
        raise InvalidIndex(f"{source}: column 'n' must be a whole number of images ≥ 1: {offenders(table, bad, 'n')}.")
    if "batch" not in table.columns:
        table = table.with_columns(batch=pl.lit(NO_BATCH))
    table = table.with_columns(pl.col("batch").cast(pl.String).fill_null(NO_BATCH))
    table = table.with_row_index("request").with_columns(pl.col("n").repeat_by("n")).explode("n").drop("n")
    controls = set(vocabulary.controls)
    names = table["perturbation"].to_list()
    is_control = [(set(n) if isinstance(n, list) else {n}) <= controls for n in names]
    table = table.with_columns(
        image_id=pl.format("g{}", pl.int_range(pl.len())),
        plate=pl.lit("generated"),
        well=pl.format("request-{}", "request"),
        is_control=pl.Series(is_control),
        split=pl.lit("generated"),
    )
    return validate(table, source)


def image_seeds(image_ids: pl.Series, seed: int) -> np.ndarray:
    """Give each image a seed of its own, from `seed` and its image_id alone: 63 bits of their SHA-256."""
    digests = (hashlib.sha256(f"{seed}:{name}".encode()).digest() for name in image_ids)
    return np.array([int.from_bytes(digest[:8], "little") >> 1 for digest in digests], np.int64)


def which_channels(channels: str | Sequence[str] | None, dataset: Dataset | None) -> Sequence[str] | None:
    """Return the channels to generate: those given, or the ones of the dataset that is read; None: all there are."""
    if channels is None:
        return None if dataset is None else dataset.info.channels
    return [channels] if isinstance(channels, str) else list(channels)


def like_dataset(dataset: Dataset, split: str, most: int | None = None) -> pl.DataFrame:
    """Ask for one image for each image of a split: same perturbation, dose, batch and cell type, well for well.

    most: at most so many of each stratum (batch, treatment), spread over its wells.
    """
    index = dataset.split(split).index
    if most is not None:
        place = pl.int_range(pl.len()).shuffle(seed=0).over("batch", "treatment")
        index = index.filter(place < most)
    kept = ("plate", "well", "batch", "is_control", "cell_type", "moa", "perturbation_type", *COMBINED)
    requests = index.select(
        pl.format("g{}", pl.int_range(pl.len())).alias("image_id"),
        pl.col("image_id").alias("requested_as"),
        *[name for name in kept if name in index.columns],
    )
    return validate(requests.with_columns(split=pl.lit("generated")), str(dataset.root))
