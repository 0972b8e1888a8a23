"""One run of training: the run folder, the Trainer with its callbacks, and the way it ends."""

import json
import logging
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import lightning
import torch
import yaml
from lightning.pytorch.loggers.logger import Logger
from tqdm.contrib.logging import logging_redirect_tqdm

from virtassay import __version__
from virtassay.assay import VirtualAssay
from virtassay.data.dataset.store import Dataset
from virtassay.data.loading.datamodule import AssayData
from virtassay.files import write_text
from virtassay.flow.sampler import Sampler
from virtassay.precision import bf16_pays
from virtassay.run_folder import FILES, FORMAT, GUIDE
from virtassay.training.checkpoint import RunCheckpoint, Stopped
from virtassay.training.ema import EMA
from virtassay.training.module import FlowTraining
from virtassay.training.progress import ImagesBar, MetricsCSV
from virtassay.training.validation import Assess, ModelInTraining, SampleGrids

log = logging.getLogger(__name__)


def claim(run: Path, *, resume: bool, overwrite: bool = False) -> Path:
    """Return the run folder's checkpoint-bearing path, or refuse: an old run is never written over by accident."""
    checkpoint = run / "checkpoints" / "last.ckpt"
    if resume and not checkpoint.exists():
        raise FileNotFoundError(f"resume=true, but there is no checkpoint {checkpoint}: start without resume.")
    begun = any((run / name).exists() for name in ("metrics.csv", "checkpoints", FILES[2]))
    if begun and not resume and not overwrite:
        raise FileExistsError(
            f"{run} holds a run already. Go on with it by resume=true, choose another name=…, or start over with "
            "overwrite=true (which deletes it)."
        )
    if begun and overwrite and not resume:
        for name in (*FILES, GUIDE, "metrics.csv"):
            (run / name).unlink(missing_ok=True)
        for name in ("checkpoints", "samples"):
            shutil.rmtree(run / name, ignore_errors=True)
    return run


def fit(
    *,
    run: Path,
    data: AssayData,
    module: FlowTraining,
    assay: VirtualAssay,
    ema: EMA,
    sampler: Sampler,
    loggers: Sequence[Logger] = (),
    accelerator: str = "auto",
    devices: int = 1,
    strategy: str = "auto",
    precision: str = "auto",
    device_minibatch_size: int | None = None,
    gradient_clip: float | None = None,
    validate_every_images: int = 100_000,
    checkpoint_every_images: int = 50_000,
    assess_every_images: int = 0,
    guide_at: float | None = None,
    resume: bool = False,
) -> None:
    """Train `module` and write the run folder: config.yaml, vocabulary.json, metrics.csv, samples/, checkpoints/,
    model.safetensors, and guide.safetensors after the share `guide_at` of the steps. `assay` shares the module's
    network, draws the grids, and holds the configuration that is stored. assess_every_images: how often generated
    validation images are judged (see Assess), 0 for never. Raises ValueError where guide_at is no share, where the
    network cannot read the channels of each minibatch, or where devices cannot share minibatches equally.
    """
    size = data.minibatch_size
    if guide_at is not None and not 0 < guide_at < 1:
        raise ValueError(f"fit.guide_at={guide_at} is a share of the run between 0 and 1; null keeps no guide.")
    guide_step = None if guide_at is None else max(1, round(guide_at * data.steps))
    _require_any_channels(data, assay)
    _write_folder(run, data, assay)
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if precision == "auto":
        precision = "bf16-mixed" if bf16_pays("cuda" if on_gpu else "cpu") else "32-true"
    accumulate = _accumulate(size, devices, device_minibatch_size)
    checkpoint = RunCheckpoint(run, ema, size, checkpoint_every_images, guide_step)
    trained = ModelInTraining(assay, sampler, size, bf16="bf16" in precision)
    grids = [SampleGrids(run / "samples" / name, trained, part) for name, part in _named(data.validation_parts)]
    folders = [data.dataset] if isinstance(data.dataset, Dataset) else data.dataset.by_folder()
    assessments = [
        Assess(trained, part, every_images=assess_every_images, prefix=f"val/{name}")
        for name, part in _named(folders)
        if assess_every_images
    ]
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no banners, no tips
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=devices,
        strategy=strategy,
        precision=precision,  # pyright: ignore[reportArgumentType]  # a string from the config, checked by Lightning
        max_steps=data.steps,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=gradient_clip,
        val_check_interval=min(max(1, validate_every_images // size), data.steps) * accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        logger=[MetricsCSV(run, size), *loggers],
        callbacks=[*grids, *assessments, ema, ImagesBar(size), checkpoint],  # what stands before ema has its weights
        use_distributed_sampler=False,  # the data module shares each global minibatch out itself
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=run,
    )
    n_parameters = sum(p.numel() for p in module.network.parameters() if p.requires_grad)
    log.info(
        "training %s: %.1f M parameters, %s, %d steps of %d images (%s images, %.1f epochs of %s)",
        run, n_parameters / 1e6, precision, data.steps, size, f"{data.steps * size:,}",
        data.steps * size / len(data.train), f"{len(data.train):,}",
    )  # fmt: skip
    products = torch.get_float32_matmul_precision()  # of the whole process, which may sample or screen after this
    try:
        torch.set_float32_matmul_precision("high" if on_gpu else "medium")
        with warnings.catch_warnings(), logging_redirect_tqdm():  # a warning gets a line of its own, above the bar
            # it is: minibatches are numbered by the step, and the sampler begins at the step of the checkpoint
            warnings.filterwarnings("ignore", message=".*your dataloader is not resumable")
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)  # of torch 2.13
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint.path if resume else None, weights_only=True)
    except Stopped as stop:  # Lightning would turn a KeyboardInterrupt into its own exit
        raise KeyboardInterrupt(str(stop)) from stop
    finally:
        torch.set_float32_matmul_precision(products)


def _require_any_channels(data: AssayData, assay: VirtualAssay) -> None:
    """Raise ValueError where minibatches differ in their channels, and something reads a fixed number of them."""
    if data.mixed_channels and not assay.any_channels:
        raise ValueError(
            f"{data.dataset.root}: minibatches show different channels of {list(data.vocabulary.channels)}, and this "
            "network takes all of them in one order: choose network=channel_dit_s (or _ti), or train on folders with "
            "the same channels, and with loader.channel_subsets=false."
        )
    if data.mixed_folders and data.control_set:
        raise ValueError(
            f"{data.dataset.root}: the folders have different channels, and the encoder of control images reads one "
            "set of them: choose condition=morgan or onehot, where the batch is told by its label."
        )


def _named(parts: Sequence[Dataset]) -> list[tuple[str, Dataset]]:
    """Name each dataset folder, where there are several, by its number and its own name: "1_screen/"."""
    if len(parts) == 1:
        return [("", parts[0])]
    return [(f"{number}_{part.root.name}/", part) for number, part in enumerate(parts, 1)]


def _write_folder(run: Path, data: AssayData, assay: VirtualAssay) -> None:
    """Write what names the run: config.yaml and vocabulary.json (a resumed run writes them again, unchanged)."""
    run.mkdir(parents=True, exist_ok=True)
    config = {**assay.config, "format": FORMAT, "version": __version__}
    write_text(run / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    write_text(run / "vocabulary.json", json.dumps(data.vocabulary.as_json(), indent=1, ensure_ascii=False))


def _accumulate(minibatch_size: int, devices: int, device_minibatch_size: int | None) -> int:
    """Return into how many micro-steps a device cuts its share of the global minibatch."""
    share, rest = divmod(minibatch_size, devices)
    if rest:
        raise ValueError(f"minibatch_size={minibatch_size} is global and cannot be shared by {devices} devices.")
    if device_minibatch_size is None:
        return 1
    parts = -(-share // device_minibatch_size)
    if share % parts:
        raise ValueError(
            f"{share} images a device cannot be cut into equal micro-steps of at most {device_minibatch_size}: "
            "choose a device_minibatch_size that divides them."
        )
    return parts
