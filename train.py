"""Fit a model: `python train.py experiment=quickstart`, sweeps with -m; conf/train.yaml holds every choice."""

from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from virtassay.cli import user_errors


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
@user_errors
def main(cfg: DictConfig) -> None:
    """Compose, instantiate, fit."""
    import torch

    from virtassay.assay import VirtualAssay
    from virtassay.data.loading.datamodule import AssayData
    from virtassay.data.molecules.embeddings import with_sha256
    from virtassay.files import is_remote
    from virtassay.training.fit import claim
    from virtassay.training.warm_start import start_from, take_scales

    first = None if cfg.start.run is None else VirtualAssay.load(cfg.start.run, trust=cfg.trust)
    run = claim(Path(cfg.run), resume=cfg.resume, overwrite=cfg.overwrite)
    own = cfg.loader.folder == cfg.data.folder and not is_remote(cfg.data.folder)
    if own and not Path(cfg.data.folder).exists():
        hydra.utils.instantiate(cfg.data.prepare)
    data: AssayData = hydra.utils.instantiate(cfg.loader)
    if first is not None:
        take_scales(data, first)
        cfg.start.sha256 = first.model_sha256
    # what only the dataset knows goes into the config, so that the stored one is complete
    cfg.network.image_shape = list(data.vocabulary.image_shape)
    cfg.condition.perturbation.n_perturbations = len(data.vocabulary.perturbations)
    cfg.condition.n_batches = len(data.vocabulary.batches)
    cfg.condition.n_cell_types = len(data.vocabulary.cell_types)
    if "structure_size" in cfg.condition.perturbation and data.molecules is not None:
        cfg.condition.perturbation.structure_size = data.molecules.size
    if "control_set" in cfg.condition:
        cfg.condition.control_set.channels = len(data.vocabulary.channels)
    config: dict[str, Any] = with_sha256(OmegaConf.to_container(cfg, resolve=True))
    torch.manual_seed(cfg.seed)  # of the first weights; each step has a seed of its own
    module = hydra.utils.instantiate(cfg.training)(normalisation=data.vocabulary.normalisation)
    if first is not None:
        start_from(module.network, data.vocabulary, first, cfg.start.train)
    assay = VirtualAssay(module.network, module.source, module.objective.path, data.vocabulary, data.molecules, config)
    fit = hydra.utils.instantiate(cfg.fit)  # partial: the yaml holds the choices, these are the parts
    fit(run=run, data=data, module=module, assay=assay, settings=config)
    if cfg.after is not None:
        hydra.utils.instantiate(cfg.after)(run)


if __name__ == "__main__":
    main()
