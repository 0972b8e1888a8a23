"""Generate images: `python sample.py run=runs/quickstart requests=table.csv`; conf/sample.yaml holds every choice."""

from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from virtassay.cli import user_errors


@hydra.main(version_base="1.3", config_path="conf", config_name="sample")
@user_errors
def main(cfg: DictConfig) -> None:
    """Compose, instantiate, generate."""
    from virtassay.assay import VirtualAssay
    from virtassay.data.dataset.store import open_dataset
    from virtassay.data.loading.controls import ControlPool
    from virtassay.generation import (
        inline_requests,
        like_dataset,
        one_way,
        read_requests,
        which_channels,
        write_samples,
    )
    from virtassay.generation.requests import KNOWN, NAMING

    one_way({name: cfg[name] for name in ("requests", "like", *NAMING)})
    sampler = hydra.utils.instantiate(cfg.sampler)
    assay = VirtualAssay.load(cfg.run, device=cfg.device, guide=sampler.guidance.needs_guide, trust=cfg.trust)
    begins = assay.needs_controls or cfg.counterfactual
    reads = begins or cfg.like is not None
    dataset = open_dataset(cfg.dataset or assay.folder, verify=cfg.verify) if reads else None
    if cfg.like is not None and dataset is not None:
        requests = like_dataset(dataset, cfg.like, cfg.most)
    elif cfg.requests is not None:
        requests = read_requests(Path(cfg.requests), assay.vocabulary)
    else:
        fields: dict[str, Any] = OmegaConf.to_container(OmegaConf.masked_copy(cfg, list(KNOWN)))  # pyright: ignore
        requests = inline_requests(fields, assay.vocabulary)
    write_samples(
        assay,
        requests,
        root=Path(cfg.out),
        sampler=sampler,
        channels=which_channels(cfg.channels, dataset if assay.any_channels else None),
        controls=ControlPool.of(dataset, cfg.controls) if begins and dataset is not None else None,
        counterfactual=cfg.counterfactual,
        minibatch_size=cfg.minibatch_size,
        seed=cfg.seed,
        precision=cfg.precision,
        overwrite=cfg.overwrite,
    )


if __name__ == "__main__":
    main()
