"""Runs side by side: judge each on the test wells when it is trained, and put all that lie in a folder into one table.

`train -m after=judge 'run=runs/sweep/${name}-${seed}' experiment=a,b seed=0,1` ends with runs/sweep/table.md.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from virtassay.assay import VirtualAssay
from virtassay.data.dataset.store import open_dataset
from virtassay.data.loading.controls import ControlPool
from virtassay.evaluation.comparison.record import HEADLINES, markdown_table
from virtassay.evaluation.criteria import Criteria
from virtassay.evaluation.judge import judge as judge_folders
from virtassay.evaluation.judgement import MODEL, POOLED
from virtassay.files import write_text
from virtassay.flow.sampler import Sampler
from virtassay.generation.requests import like_dataset
from virtassay.generation.write import write_samples

log = logging.getLogger(__name__)
HEADLINE_NAMES = [metric.name for metric in HEADLINES]


def judge_run(
    run: Path,
    *,
    judge: Criteria,
    sampler: Sampler,
    most: int | None = 20,
    split: str = "test",
    minibatch_size: int = 256,
    seed: int = 0,
    trust: Sequence[str] = (),
) -> Path:
    """Generate the images of `split` into run/generated, judge them into run/report, and write the folder's table.

    judge: by what. most: images of each batch and treatment. Control images, where the model needs them, are those of
    any split of the batch. trust: as in VirtualAssay.load. Returns the path of the table.
    """
    assay = VirtualAssay.load(run, guide=sampler.guidance.needs_guide, trust=trust)
    real = open_dataset(assay.folder, verify=False)
    generated = write_samples(
        assay,
        like_dataset(real, split, most),
        root=run / "generated",
        sampler=sampler,
        controls=ControlPool.of(real) if assay.needs_controls else None,
        minibatch_size=minibatch_size,
        seed=seed,
        overwrite=True,
    )
    judge_folders(real, open_dataset(generated, verify=False), run / "report", judge)
    return write_table(run.parent)


def write_table(folder: Path) -> Path:
    """Write table.md: a row for each name of the judged runs in `folder`, the mean over their seeds."""
    rows = [row for metrics in sorted(folder.glob("*/report/metrics.json")) for row in _rows(metrics)]
    pooled = over_seeds(pl.DataFrame(rows, infer_schema_length=None), ["name", "nfe", "images", "metric", "featurizer"])
    columns = pooled.select("metric", "featurizer").unique(maintain_order=True).rows()
    columns = sorted(columns, key=lambda column: HEADLINE_NAMES.index(column[0]))
    head = ["run", "seeds", "images seen", "calls", *(f"{metric} {featurizer}" for metric, featurizer in columns)]
    runs: list[list[str]] = []
    for (name, nfe, images), part in pooled.group_by("name", "nfe", "images", maintain_order=True):
        known = {(row["metric"], row["featurizer"]): row for row in part.iter_rows(named=True)}
        shown = [cell(known[column]) if column in known else "" for column in columns]
        runs.append([str(name), str(part["seeds"].max()), f"{images:,}", str(nfe), *shown])
    lines = markdown_table(head, runs)
    table = folder / "table.md"
    write_text(table, "\n".join([*lines, ""]))
    log.info("%s:\n%s", table, "\n".join(lines))
    return table


def over_seeds(rows: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Average `value` over the runs of each group; `plus` is half a 95 % interval of that mean.

    Its variance is that of one judgement (from `lower` to `upper` are 3.92 standard errors) and that between seeds,
    each over the number of seeds: (mean of s² + s²_seeds) / n. With one seed the spread of seeds is not known.
    """
    error = (pl.col("upper") - pl.col("lower")) / 3.92
    between = pl.col("value").var().fill_null(0.0)
    return rows.group_by(*by, maintain_order=True).agg(
        pl.col("value").mean(),
        plus=1.96 * ((error.pow(2).mean() + between) / pl.len()).sqrt(),
        seeds=pl.len(),
    )


def cell(row: dict[str, Any]) -> str:
    """Show a mean with its interval, or without one where there is none."""
    if row["value"] is None:
        return "not measured"
    plus = row["plus"]
    return f"{row['value']:.2f}" + (f" ± {plus:.2f}" if plus is not None and plus == plus else "")


def _rows(metrics: Path) -> list[dict[str, Any]]:
    run = metrics.parents[1]
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    provenance = open_dataset(run / "generated", verify=False).info.provenance or {}
    known = {"name": config["name"], "images": config["images_total"], "nfe": provenance["nfe"]}
    return [
        {**known, **{key: row[key] for key in ("metric", "featurizer", "value", "lower", "upper")}}
        for row in json.loads(metrics.read_text(encoding="utf-8"))
        if (row["generator"], row["stratum"]) == (MODEL, POOLED) and row["metric"] in HEADLINE_NAMES
    ]
