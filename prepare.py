"""Turn a screen into a dataset folder: `python prepare.py data=table …`; conf/data/ holds what there is."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from virtassay.cli import user_errors


@hydra.main(version_base="1.3", config_path="conf", config_name="prepare")
@user_errors
def main(cfg: DictConfig) -> None:
    """Compose, instantiate (which prepares, then describes)."""
    for option in ("download", "dry_run"):
        if cfg[option] and option not in cfg.data.prepare:
            raise ValueError(f"{option}=true is for public sets, and data.name={cfg.data.name} is none.")
    folder = Path(cfg.data.folder)
    if folder.exists() and not (cfg.data.prepare.overwrite or cfg.dry_run):
        raise FileExistsError(f"{folder} exists already: overwrite=true replaces it, data.folder=… names another.")
    if "split" in cfg:
        cfg.data.prepare.split = cfg.split
    if hydra.utils.instantiate(cfg.data.prepare) is not None:  # a dry run makes no folder
        hydra.utils.instantiate(cfg.card)


if __name__ == "__main__":
    main()
