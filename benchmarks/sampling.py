"""What grid and guidance do to one trained model: python benchmarks/sampling.py runs/quickstart

Every row has the same weights, seeds and real images, so that only the way of sampling differs. The run must have kept
a guide (experiment=quickstart does); start from the folder that it was trained from.
"""

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import hydra
import yaml
from hydra import compose, initialize_config_dir

from virtassay.assay import VirtualAssay
from virtassay.data.dataset.store import open_dataset
from virtassay.generation.requests import like_dataset
from virtassay.generation.write import write_samples

CONF = str(Path(__file__).resolve().parents[1] / "conf")
ROWS = (
    ("grid=uniform", "steps=10"),
    ("grid=uniform", "steps=24"),
    ("grid=cosine", "steps=10"),
    ("grid=cosine", "steps=30"),
    ("grid=cosine", "steps=10", "guidance=classifier_free"),
    ("grid=cosine", "steps=10", "guidance=auto"),
    ("grid=cosine", "steps=10", "guidance=auto", "guidance.interval=[0,1]"),
    ("solver=heun", "grid=cosine", "steps=10"),
)


def main(run: Path, most: int = 32) -> None:
    """Print one line a way of sampling: network calls, images a second, effect explained in each featurizer."""
    settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    real = open_dataset(settings["data"]["folder"])
    assay = VirtualAssay.load(run, guide=True)
    requests = like_dataset(real, "test", most)
    with initialize_config_dir(version_base="1.3", config_dir=CONF), TemporaryDirectory() as folder:
        judge = hydra.utils.instantiate(compose("evaluate", ["real=.", "generated=.", "out=."]).evaluation)
        for row in ROWS:
            cfg = compose("sample", [f"run={run}", *row])
            start = time.perf_counter()
            root = write_samples(
                assay,
                requests,
                root=Path(folder) / "generated",
                sampler=hydra.utils.instantiate(cfg.sampler),
                minibatch_size=cfg.minibatch_size,
                seed=cfg.seed,
                overwrite=True,
            )
            speed = requests.height / (time.perf_counter() - start)
            made = open_dataset(root)
            judge(real, made, Path(folder) / "report")
            explained = _explained(Path(folder) / "report" / "metrics.json")
            calls = (made.info.provenance or {})["nfe"]
            print(f"{' '.join(row):70s} {calls:3d} calls, {speed:5.1f} images/s: {explained}", flush=True)  # noqa: T201


def _explained(metrics: Path) -> str:
    rows = json.loads(metrics.read_text(encoding="utf-8"))
    found = [
        f"{r['featurizer']} {r['value']:.2f} ({r['lower']:.2f} to {r['upper']:.2f})"
        for r in rows
        if (r["generator"], r["metric"], r["stratum"]) == ("model", "effect_explained", "all")
    ]
    return ", ".join(found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(n) for n in sys.argv[2:3]))
