"""Fit a model: `python train.py experiment=quickstart`, sweeps with -m; conf/train.yaml holds every choice."""

from pathlib import Path

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from virtassay.cli import user_errors


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
@user_errors
def main(cfg: DictConfig) -> None:
    """Compose, instantiate, fit."""
    import torch

    from virtassay.assay import VirtualAssay
    from virtassay.files import is_remote
    from virtassay.training import claim, fill_in, start_from, take_scales

    first = None if cfg.start.run is None else VirtualAssay.load(cfg.start.run, trust=cfg.trust)
    run = claim(Path(cfg.run), resume=cfg.resume, overwrite=cfg.overwrite)
    own = cfg.loader.folder == cfg.data.folder and not is_remote(cfg.data.folder)
    if own and not Path(cfg.data.folder).exists():
        instantiate(cfg.data.prepare)
    data = instantiate(cfg.loader)
    if first is not None:
        take_scales(data, first)
    config = fill_in(
        OmegaConf.to_container(cfg, resolve=True),  # pyright: ignore[reportArgumentType]
        data.vocabulary,
        data.molecules,
        instantiate(cfg.objective),
        None if first is None else first.model_sha256,
    )
    torch.manual_seed(cfg.seed)  # of the first weights; each step has a seed of its own
    module = instantiate(config["training"])(normalisation=data.vocabulary.normalisation)
    if first is not None:
        start_from(module.network, data.vocabulary, first, cfg.start.train)
    assay = VirtualAssay(module.network, module.source, module.objective.path, data.vocabulary, data.molecules, config)
    instantiate(cfg.fit)(run=run, data=data, module=module, assay=assay)
    if cfg.after is not None:
        instantiate(cfg.after)(run)


if __name__ == "__main__":
    main()
