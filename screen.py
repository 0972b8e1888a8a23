"""Rank a library of compounds: `python screen.py run=runs/quickstart library=compounds.smi`; conf/screen.yaml."""

import logging

import hydra
from omegaconf import DictConfig

from virtassay.cli import user_errors

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path="conf", config_name="screen")
@user_errors
def main(cfg: DictConfig) -> None:
    """Compose, instantiate, screen."""
    report = hydra.utils.instantiate(cfg.screen)
    if report is not None:
        log.info("report: %s", report)


if __name__ == "__main__":
    main()
