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
    from virtassay.data.store import open_dataset
    from virtassay.precision import best_device
    from virtassay.requests import INLINE, inline_requests, like_dataset, read_requests
    from virtassay.sampling import write_samples

    given = [name for name in ("requests", "like", "perturbation", "smiles") if cfg[name] is not None]
    if not given or (len(given) > 1 and given != ["perturbation", "smiles"]):
        raise ValueError(
            "say what to generate by one of requests=table.csv, like=test (the images of a split of dataset=…), or "
            f"perturbation=… (and/or smiles=…) with dose_um, batch and n. Given: {given or 'none of them'}."
        )
    guidance = hydra.utils.instantiate(cfg.guidance)
    device = best_device() if cfg.device == "auto" else cfg.device
    assay = VirtualAssay.load(cfg.run, device=device, guide=guidance.needs_guide)
    if cfg.like is not None:
        dataset = open_dataset(cfg.dataset or assay.config["data"]["folder"], verify=cfg.verify)
        requests = like_dataset(dataset, cfg.like, cfg.most)
    elif cfg.requests is not None:
        requests = read_requests(Path(cfg.requests), assay.vocabulary)
    else:
        fields: dict[str, Any] = OmegaConf.to_container(OmegaConf.masked_copy(cfg, list(INLINE)))  # pyright: ignore
        requests = inline_requests(fields, assay.vocabulary)
    write_samples(
        assay,
        requests,
        root=Path(cfg.out),
        solver=hydra.utils.instantiate(cfg.solver),
        steps=cfg.steps,
        grid=hydra.utils.instantiate(cfg.grid),
        guidance=guidance,
        minibatch_size=cfg.minibatch_size,
        seed=cfg.seed,
        precision=cfg.precision,
        overwrite=cfg.overwrite,
    )


if __name__ == "__main__":
    main()
