"""Look through a folder in the browser: `python browse.py folder=datasets/simulated`; conf/browse.yaml."""

import hydra
from omegaconf import DictConfig

from virtassay.cli import user_errors


@hydra.main(version_base="1.3", config_path="conf", config_name="browse")
@user_errors
def main(cfg: DictConfig) -> None:
    """Compose, instantiate, serve."""
    hydra.utils.instantiate(cfg.browse)


if __name__ == "__main__":
    main()
