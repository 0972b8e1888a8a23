"""Judge generated images: `python evaluate.py real=datasets/mine generated=runs/mine/generated`; conf/evaluate.yaml."""

import logging
from pathlib import Path

import hydra
from omegaconf import DictConfig

from virtassay.cli import user_errors

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
@user_errors
def main(cfg: DictConfig) -> None:
    """Compose, instantiate, judge."""
    from virtassay.data.store import open_dataset

    judge = hydra.utils.instantiate(cfg.evaluation)
    real, generated = (open_dataset(folder, verify=cfg.verify) for folder in (cfg.real, cfg.generated))
    report = judge(real, generated, Path(cfg.out))
    log.info("report: %s", report)


if __name__ == "__main__":
    main()
