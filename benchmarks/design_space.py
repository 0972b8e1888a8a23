"""The design space on simulated plates, one table: python benchmarks/design_space.py runs/design [images] [seeds]

Each variant is the base recipe with the overrides of its row, trained on each seed and judged on three kinds of test
well: seen treatments (well), compounds never trained on (perturbation), a batch never trained on (batch). Runs that are
finished are kept, so that a stopped benchmark goes on. Written to <folder>/scores.jsonl; the table is printed.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
import polars as pl
from hydra import compose, initialize_config_dir

from virtassay.assay import VirtualAssay
from virtassay.data.dataset.store import Dataset, open_dataset
from virtassay.data.loading.controls import ControlPool
from virtassay.evaluation import Criteria, assess
from virtassay.evaluation.baselines import mean_treated
from virtassay.evaluation.featurizers.cache import Cached
from virtassay.evaluation.featurizers.features import Texture
from virtassay.evaluation.featurizers.pretrained import EfficientNetLite0
from virtassay.evaluation.judgement import CEILING, MODEL, POOLED
from virtassay.evaluation.leaderboard import cell, over_seeds
from virtassay.evaluation.metrics.pools import distances
from virtassay.generation.requests import like_dataset
from virtassay.generation.write import write_samples

REPO = Path(__file__).resolve().parents[1]
BASE = (
    "experiment=quickstart",
    "data=design",
    "network.channels=64",
    "fit.guide_at=null",
    "fit.validate_every_images=12_000",
)
STRONG = ("data.name=design_strong", "data.prepare.batch_effect=3")
SEVEN = (  # seven batches to learn from, and an eighth
    "data.name=design_many",
    "data.prepare.n_batches=8",
    "data.prepare.plates_per_batch=1",
    "data.prepare.split.batches=[batch8]",
)
TRAIN = {
    "noise (base)": (),
    "noise, transport": ("coupling=ot",),
    "noise, transport across treatments": ("coupling=c2ot",),
    "control": ("source=control",),
    "control, transport": ("source=control", "coupling=ot"),
    "noisy control (CellFlux)": ("source=noisy_control",),
    "control, sin² path (CellFluxV2)": ("source=control", "path=sine_squared"),
    "noise, trigonometric path": ("path=trigonometric",),
    "noise, EDM's times": ("time_law=edm",),
    "noise, logit-normal times": ("time_law=logit_normal",),
    "noise, control set": ("condition=morgan_controls", "condition.width=192"),
    "noise, one-hot": ("condition=onehot",),
    "noise, MiniMol": ("condition=minimol",),
    "noise, labels": ("condition=onehot_dose",),
    "noise, labels, then molecules": (
        "condition=adapted", "start=film", "start.run={folder}/noise__labels-{seed}", "images_total={half}",
    ),
    "noise (base), as long as both": ("images_total={more}",),
    "noise, self-distilled": ("objective=self_distilled",),
    "strong batches: noise (base)": STRONG,
    "strong batches: control": (*STRONG, "source=control"),
    "strong batches: noise, control set": (*STRONG, "condition=morgan_controls", "condition.width=192"),
    "seven batches: noise (base)": SEVEN,
    "seven batches: noise, control set": (*SEVEN, "condition=morgan_controls", "condition.width=192"),
    "seven batches: control": (*SEVEN, "source=control"),
}  # fmt: skip
PLAIN = (("grid=cosine", "steps=10"),)
SAMPLE = {  # of these runs more ways of sampling are judged
    "noise (base)": (
        *PLAIN,
        ("solver=ab2", "steps=20"), ("solver=ab2", "steps=10"), ("solver=ab2", "steps=5"),
        ("solver=midpoint", "steps=5"), ("solver=euler", "steps=20"), ("solver=stochastic", "steps=10"),
        ("grid=cosine", "steps=10", "guidance=classifier_free"),
    ),
    "noise, transport": (*PLAIN, ("solver=ab2", "steps=5"), ("solver=midpoint", "steps=5")),
    "control": (*PLAIN, ("solver=ab2", "steps=5"), ("solver=midpoint", "steps=5")),
    "noise, self-distilled": (
        *PLAIN, *(("solver=jump", "grid=uniform", f"steps={n}") for n in (1, 2, 4)),
    ),
}  # fmt: skip
SIDES = ("well", "perturbation", "batch")
SHOWN = (MODEL, "mean_treated", CEILING)
METRICS = ("effect_explained", "pds", "fd")
MOST = 8  # images of each stratum


def main(folder: Path, images: int = 24_000, seeds: int = 2) -> None:
    """Train, sample and judge what is not there yet, and print the table of all."""
    scores = folder / "scores.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    featurizers = [Cached(f, folder / "features") for f in (Texture(), EfficientNetLite0(size=64))]
    for seed in range(seeds):
        for name, overrides in TRAIN.items():
            done = {(r["variant"], r["seed"], r["sampling"]) for r in _rows(scores)}
            ways = [way for way in SAMPLE.get(name, PLAIN) if (name, seed, " ".join(way)) not in done]
            if not ways:
                continue
            run = train(folder, name, overrides, images, seed)
            for way in ways:
                rows = list(judge(run, name, seed, way, featurizers, folder / "generated"))
                with scores.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    print(table(list(_rows(scores))))  # noqa: T201


def train(folder: Path, name: str, overrides: tuple[str, ...], images: int, seed: int) -> Path:
    """Train one run in a process of its own, unless its folder is finished."""
    run = folder / f"{''.join(c if c.isascii() and c.isalnum() else '_' for c in name)}-{seed}"
    last = run / "finished"
    if not last.exists():
        command = [
            sys.executable, str(REPO / "train.py"), *BASE, f"images_total={images}", f"seed={seed}",
            *(o.format(folder=folder, seed=seed, half=images // 2, more=3 * images // 2) for o in overrides),
            f"paths.datasets={folder / 'datasets'}", f"run={run}", "overwrite=true",
        ]  # fmt: skip
        subprocess.run(command, check=True, cwd=REPO)
        last.touch()
    return run


def judge(
    run: Path, name: str, seed: int, way: tuple[str, ...], featurizers: list[Cached], root: Path
) -> Iterator[dict[str, Any]]:
    """Generate the test images in one way and yield a score for each side, featurizer and metric."""
    assay = VirtualAssay.load(run)
    real = known = open_dataset(assay.config["data"]["folder"], verify=False)
    if assay.molecules is None:  # one-hot: drugs that it was not trained on cannot be asked for
        trained = real.split("train").index["perturbation"].explode().unique()
        known = real.where(pl.col("perturbation").list.eval(pl.element().is_in(trained.implode())).list.all())
    with initialize_config_dir(version_base="1.3", config_dir=str(REPO / "conf")):
        cfg = compose("sample", [f"run={run}", *way])
    write_samples(
        assay,
        like_dataset(known, "test", MOST),
        root=root,
        sampler=hydra.utils.instantiate(cfg.sampler),
        controls=ControlPool.of(real) if assay.needs_controls else None,
        minibatch_size=256,
        seed=seed,
        overwrite=True,
    )
    made = open_dataset(root, verify=False)
    for side in SIDES:
        part = known.where(pl.col("held_out").eq(side).fill_null(True) | pl.col("is_control"))
        if part.split("test").index.filter(~pl.col("is_control")).height == 0:
            continue
        for row in _assessed(part, made, featurizers, seed):
            if row["stratum"] == POOLED and row["generator"] in SHOWN and row["metric"] in METRICS:
                yield {
                    "variant": name, "seed": seed, "sampling": " ".join(way), "side": side,
                    "nfe": (made.info.provenance or {})["nfe"],
                    **{k: row[k] for k in ("generator", "metric", "featurizer", "value", "lower", "upper")},
                }  # fmt: skip


def _assessed(real: Dataset, made: Dataset, featurizers: list[Cached], seed: int) -> list[dict[str, Any]]:
    strata = real.split("test").index.filter(~pl.col("is_control")).select("batch", "treatment").unique()
    wanted = made.index.join(strata, on=["batch", "treatment"], how="semi")["image_id"]
    criteria = Criteria(
        featurizers={f.name: f for f in featurizers}, baselines={"mean_treated": mean_treated},
        metrics={"distances": distances}, seed=seed, resamples=300, repeats=2, max_images=40, max_controls=100,
        max_training=100,
    )  # fmt: skip
    return assess(real, made.where(pl.col("image_id").is_in(wanted.implode())), criteria).rows


def _rows(scores: Path) -> Iterator[dict[str, Any]]:
    if scores.exists():
        yield from map(json.loads, scores.read_text(encoding="utf-8").splitlines())


def table(rows: list[dict[str, Any]]) -> str:
    """Return one line a variant and way of sampling: mean over seeds, with the spread of judging and of seeds (±)."""
    by = ("variant", "sampling", "nfe", "generator", "side", "metric", "featurizer")
    pooled = over_seeds(pl.DataFrame(rows, infer_schema_length=None), by)
    lines: dict[str, list[str]] = {}
    columns = [("effect_explained", side) for side in SIDES] + [("pds", "perturbation"), ("fd", "well")]
    features = pooled["featurizer"].unique(maintain_order=True).to_list()
    head = ["variant", "sampling", "calls", "seeds", *(f"{m} {s} {f}" for m, s in columns for f in features)]
    for row in pooled.iter_rows(named=True):
        who = row["variant"] if row["generator"] == MODEL else f"{row['generator']} of {row['variant']}"
        if row["generator"] != MODEL and not (
            row["variant"].endswith("(base)") and row["sampling"] == " ".join(PLAIN[0])
        ):
            continue  # the same for all models of a screen
        key = f"{who} | {row['sampling']} | {row['nfe'] if row['generator'] == 'model' else ''} | {row['seeds']}"
        cells = lines.setdefault(key, [""] * (len(columns) * len(features)))
        place = (row["metric"], row["side"])
        if place in columns:
            cells[columns.index(place) * len(features) + features.index(row["featurizer"])] = cell(row)
    body = [f"| {key} | {' | '.join(cells)} |" for key, cells in lines.items()]
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *body])


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(n) for n in sys.argv[2:4]))
