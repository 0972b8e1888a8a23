"""A dataset folder → its data card: `python describe.py folder=datasets/mine` writes card.html and card.json there."""

import hydra
from omegaconf import DictConfig

from virtassay.cli import user_errors


@hydra.main(version_base="1.3", config_path="conf", config_name="describe")
@user_errors
def main(cfg: DictConfig) -> None:
    """Compose, instantiate (which writes)."""
    hydra.utils.instantiate(cfg.card)


if __name__ == "__main__":
    main()
