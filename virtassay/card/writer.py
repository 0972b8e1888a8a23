"""A dataset folder → its data card: card.html to read, card.json with every number. Neither is part of the dataset."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from virtassay import __version__
from virtassay.card import contrast, design, figures
from virtassay.card.batches import ControlWells, batch_effects, control_wells
from virtassay.card.duplicates import duplicates
from virtassay.card.measurements import PixelMeasurements, draw_rows, measure, plates
from virtassay.card.warnings import warnings
from virtassay.data.dataset.store import Dataset, open_dataset
from virtassay.files import write_text
from virtassay.report.heatmaps import are_vectors
from virtassay.report.numbers import flat
from virtassay.report.pages import as_json, page

log = logging.getLogger(__name__)
LISTED = 3000  # lines of a table on the page; card.json has all
FOLDED = 20  # longer tables are folded
KEYS = {
    "dataset": "what dataset.json says of the images, and the cell types",
    "warnings": "sentences: what to know before training, gravest first",
    "counts": "how many there are of everything; perturbations and treatments without controls",
    "batches": "counts of each batch",
    "plates": "counts of each plate; of its control images the mean intensity (% of the largest stored value), the "
    "focus (slope of the log power spectrum over log frequency) and the saturated pixels (%), by channel; `checked`: "
    "means of the index columns focus, saturated, debris",
    "perturbations": "images and wells of each treated perturbation, and of each of its doses in µM",
    "controls": "control wells and images by type and name",
    "splits": "counts of each split; unseen_perturbations: those without a treated image in train",
    "audit": "audit.json of the folder, as it is; null without one",
    "layout": "shares of the control and of the treated wells on the edge of the plate; null where wells have no place",
    "confounding": "batches and plates without controls or of few, batches of one treatment, treatments in one batch",
    "batch_effect": "share of the variance among control wells (epsilon squared, 1 all, 0 none) that plate and batch "
    "explain, as stored, and less the mean of other control wells of the batch or of the plate",
    "explained": "AUC of treated against control images on wells that did not teach (0.5: chance), medians over "
    "treatments: told by all features, alone by the confounder, without it; explained = (alone - 0.5)/(told - 0.5). "
    "treatments: the AUCs of each",
    "duplicates": "images that are there twice, byte for byte",
    "flagged": "images by what the check of the fields says of them; null without a column flagged",
    "molecules": "how many perturbations have a SMILES that RDKit reads, salts, and names that share a structure",
    "measured": "images that the intensities, focus, batch_effect and explained are measured on",
}


def write(folder: str | Path) -> Path:
    """Measure a dataset folder and write card.html and card.json into it; returns the path of the page.

    Pixels are measured on a random part (`measurements.draw_rows`), duplicates looked for among all images.
    Raises FileNotFoundError or BrokenDataset for a folder that is no whole dataset, ValueError for a bad audit.json.
    """
    dataset = open_dataset(folder, verify=False)  # looking for duplicates reads every file anyway
    index, info = dataset.index, dataset.info
    audit = _audit(dataset.root / "audit.json")
    image_bytes = int(np.prod(info.image_shape)) * np.dtype(info.dtype).itemsize
    sample = draw_rows(index, image_bytes)
    contrasts = contrast.draw_contrasts(index, len(sample))
    measured = measure(dataset, np.unique(np.concatenate([sample, *(c.rows for c in contrasts)])))
    controls = control_wells(index[measured.rows], measured.features)
    aucs = contrast.contrast_aucs(contrasts, dataset, measured)
    cell_types = index["cell_type"].drop_nulls().unique().sort().to_list() if "cell_type" in index.columns else []
    card: dict[str, Any] = {
        "dataset": asdict(info) | {"cell_types": cell_types},
        "warnings": [],
        "counts": design.totals(index),
        "batches": design.by(index, "batch").drop("batches").to_dicts(),
        "plates": plates(index, measured, info.channels),
        "perturbations": design.doses(index),
        "controls": design.control_types(index),
        "splits": design.splits(index),
        "audit": audit,
        "layout": design.layout(index),
        "confounding": design.confounding(index),
        "batch_effect": [asdict(effect) for effect in (batch_effects(controls) if controls else [])],
        "explained": {
            "by": [asdict(share) for share in contrast.shares(aucs)],
            "treatments": aucs.drop("featurizer", "side").with_columns(pl.col(pl.Float64).fill_nan(None)).to_dicts(),
        },
        "duplicates": duplicates(dataset),
        "flagged": design.flagged(index),
        "molecules": design.molecules(index),
        "measured": len(measured.rows),
    }
    card["warnings"] = warnings(card)
    pictures = _pictures(dataset, measured, controls, aucs)
    origin = flat({"virtassay": __version__, "scaling": info.scaling, **(info.provenance or {})})
    facts = {"card": card, "pictures": pictures, "listed": LISTED, "folded_at": FOLDED, "origin": origin}
    write_text(dataset.root / "card.json", as_json({"format": "virtassay-card", "version": 1, "keys": KEYS, **card}))
    path = write_text(dataset.root / "card.html", page("virtassay.card", "card.html.j2", facts))
    for sentence in card["warnings"]:
        log.warning("%s", sentence)
    log.info("data card: %s", path)
    return path


def _pictures(
    dataset: Dataset, measured: PixelMeasurements, controls: ControlWells | None, aucs: pl.DataFrame
) -> dict[str, Any]:
    index, info = dataset.index, dataset.info
    return {
        "examples": None if are_vectors(info.image_shape) else figures.examples(dataset),
        "by_plate": figures.by_plate(index, measured, info.channels),
        "maps": (plate_maps := figures.plate_maps(index, measured)),
        "treatment_map": figures.treatment_map(index) if plate_maps else None,
        "scatter": figures.control_scatter(controls) if controls else None,
        "contrast": figures.contrast_figure(aucs),
    }


def _audit(path: Path) -> dict[str, Any] | None:
    """Read the leak audit; None where none was made."""
    if not path.is_file():
        return None
    try:
        audit = json.loads(path.read_text(encoding="utf-8"))
        for check in audit["checks"]:
            _ = check["name"].strip(), check["passed"], check["leak"], check["accepted"], f"{check['n']:,}"
            _ = [offender.strip() for offender in check["offenders"]]
        for near in audit["nearest_training_compound"]:
            _ = near["perturbation"].strip(), near["nearest"].strip(), float(near["tanimoto"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is no leak audit ({error!r}): remove it, or prepare the dataset again.") from error
    return audit
