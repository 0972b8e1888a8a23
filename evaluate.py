"""Judge generated images: `python evaluate.py real=datasets/mine generated=runs/mine/generated`; conf/evaluate.yaml."""

import logging
from tempfile import TemporaryDirectory

import hydra
from omegaconf import DictConfig, OmegaConf

from virtassay.cli import user_errors

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
@user_errors
def main(cfg: DictConfig) -> None:
    """Compose, instantiate, judge or compare."""
    from virtassay.data.prepare import open_image_folder
    from virtassay.evaluation import compare, judge, names_of

    compared = [cfg.compare] if isinstance(cfg.compare, str) else cfg.compare
    if compared is not None and OmegaConf.is_interpolation(cfg, "out"):
        raise ValueError("compare=[…] needs out=…, a folder for compare.html, compare.md and compare.json.")
    folders = [cfg.generated] if compared is None else compared
    names, criteria = names_of(folders), hydra.utils.instantiate(cfg.evaluation)
    with TemporaryDirectory(prefix="virtassay-", ignore_cleanup_errors=True) as cache:
        real = open_image_folder(cfg.real, cache, verify=cfg.verify)
        opened = {
            name: open_image_folder(folder, cache, like=real.info, verify=cfg.verify)
            for name, folder in zip(names, folders, strict=True)
        }
        if compared is None:
            report = judge(real, opened[names[0]], cfg.out, criteria)
        else:
            report = compare(real, opened, cfg.out, criteria)
    log.info("report: %s", report)


if __name__ == "__main__":
    main()
