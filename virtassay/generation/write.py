"""Generate requested images into a dataset folder, the same format as the real ones, with a contact sheet."""

import logging
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from tqdm.auto import tqdm

from virtassay import __version__
from virtassay.assay import VirtualAssay
from virtassay.data.dataset.store import DatasetInfo, DatasetWriter, open_dataset
from virtassay.data.loading.controls import ControlPool
from virtassay.flow.sampler import Sampler
from virtassay.flow.traits import trait
from virtassay.generation.requests import image_seeds
from virtassay.precision import bf16_pays
from virtassay.report.pictures import paired_sheet, treatment_sheet

log = logging.getLogger(__name__)


def write_samples(
    assay: VirtualAssay,
    requests: pl.DataFrame,
    *,
    root: Path,
    sampler: Sampler,
    channels: Sequence[str] | None = None,
    controls: ControlPool | None = None,
    counterfactual: bool = False,
    minibatch_size: int = 256,
    seed: int = 0,
    precision: str = "auto",
    overwrite: bool = False,
) -> Path:
    """Generate the requests (an index in normal form) and write them to the dataset folder `root`.

    channels: what the images show, by default all that the model knows. The index gains `seed`, the seed of each image,
    and `control_id`, the control that it began at, if any. Raises UnknownToModel before anything is written.
    """
    bf16 = bf16_pays(assay.device.type) if precision == "auto" else "bf16" in precision
    vocabulary = assay.vocabulary
    requests = requests.with_columns(seed=pl.Series(image_seeds(requests["image_id"], seed)))
    seeds = requests["seed"].to_numpy()
    begins = controls if assay.source.needs_control or counterfactual else None
    if begins is not None:
        start = begins.draw(requests["batch"].to_list(), seeds, 1)[:, 0]  # the first that a seed draws, as `generate`
        requests = requests.with_columns(control_id=begins.controls.index["image_id"].gather(start))
    parts = assay.generate(
        requests,
        seeds,
        sampler,
        channels=channels,
        controls=controls,
        counterfactual=counterfactual,
        minibatch_size=minibatch_size,
        bf16=bf16,
    )
    provenance = {
        "generated_by": f"virtassay {__version__}",
        "model_sha256": assay.model_sha256,
        "run": assay.config.get("run"),
        **sampler.describe(),
        "counterfactual": counterfactual,
        "controls": controls.source if controls is not None else None,
        "guide_sha256": assay.guide_sha256,
        "precision": "bf16" if bf16 and not trait(sampler.solver, "controls_error") else "float32",
        "seed": seed,
    }
    shown = vocabulary.channels if channels is None else tuple(channels)
    info = DatasetInfo(
        name=root.name,
        channels=shown,
        image_shape=(len(shown), *vocabulary.image_shape[1:]),
        dtype=vocabulary.dtype,
        pixel_size_um=vocabulary.pixel_size_um,
        scaling=vocabulary.scaling if shown == vocabulary.channels else None,  # it has one range for each channel
        provenance=provenance,
    )
    nfe = 0
    with (
        DatasetWriter(root, info, overwrite=overwrite) as writer,
        tqdm(total=requests.height, unit="img", desc="sample", dynamic_ncols=True) as bar,
    ):
        done = 0
        for images, calls in parts:
            nfe = calls
            writer.append(images, requests[done : done + len(images)])
            done += len(images)
            bar.update(len(images))
        provenance["nfe"] = nfe  # network calls for each image, guidance counted
    dataset = open_dataset(root, verify=False)
    title = f"generated · {nfe} network calls an image"
    if begins is not None:
        paired_sheet(root / "contact_sheet.png", dataset, begins.controls, title)
    else:
        treatment_sheet(root / "contact_sheet.png", dataset, title=title)
    log.info("wrote %d images to %s (%d network calls each)", requests.height, root, nfe)
    return root
