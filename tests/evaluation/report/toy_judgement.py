"""A judgement of a few treatments, made up."""

import numpy as np
import polars as pl

from virtassay.data.dataset.store import DatasetInfo, open_dataset, write_dataset
from virtassay.evaluation.baselines import BASELINES, floors_of, informed_of
from virtassay.evaluation.judgement import CEILING, MODEL, Judgement
from virtassay.evaluation.selftest.caught import GLOSSARY

EVIL = "<b>x</b>"
FEATURIZERS = ("pixel_statistics", "texture")
METRICS = ("effect_explained", "fd", "effect_slope")


def dataset(root, treatments, generated=False, shape=(3, 20, 20), dtype="uint8", batches=("week1",)):
    """Four images of each treatment, and of controls, in each batch; treatments are (perturbation, dose, moa)."""
    every = [("DMSO", None, None), *treatments]
    rows = [(batch, *treatment, i) for batch in batches for treatment in every for i in range(4)]
    index = pl.DataFrame(
        {
            "image_id": [f"i{n}" for n in range(len(rows))],
            "plate": "p",
            "well": [f"{r[1]} {r[2]} {r[4]}" for r in rows],
            "batch": [r[0] for r in rows],
            "perturbation": [r[1] for r in rows],
            "is_control": [r[1] == "DMSO" for r in rows],
            "dose_um": pl.Series([r[2] for r in rows], dtype=pl.Float64),
            "moa": pl.Series([r[3] for r in rows], dtype=pl.String),
            "split": "generated" if generated else "test",
        }
    )
    images = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (len(rows), *shape), dtype=dtype)
    channels = tuple(f"channel{c}" for c in range(shape[0]))
    return open_dataset(write_dataset(root, DatasetInfo(root.name, channels, shape, dtype), images, index))


def row(generator, metric, featurizer, value, **given):
    interval = {"lower": None if value is None else value - 0.1, "upper": None if value is None else value + 0.1}
    return {
        **{"generator": generator, "metric": metric, "featurizer": featurizer, "stratum": "all", "value": value},
        **interval,
        **{"floor": 0.2, "ceiling": 0.9, "scaled": None if value is None else (value - 0.2) / 0.7},
        **{"n_real": 100, "n_generated": 90, "fingerprint": {"featurizer": featurizer, "weights": "none"}},
        **given,
    }


GENERATORS = (MODEL, *BASELINES, CEILING)


def judgement(tmp_path, treatments, batches=("week1",), featurizers=FEATURIZERS, **images):
    real = dataset(tmp_path / "real", treatments, batches=batches, **images)
    generated = dataset(tmp_path / "generated", treatments, True, batches=batches, **images)
    names = real.index.filter(~pl.col("is_control")).unique(["batch", "treatment"], keep="first", maintain_order=True)
    lines = [
        {
            **{"featurizer": f, "stratum": f"{b} | {t}", "batch": b, "treatment": t, "perturbation": p[0]},
            **{"dose_um": d[0], "moa": m, "true_effect": 2.0 + i, "generated_effect": 1.5 + i},
            **{"effect_explained": 0.7 - 0.1 * i, "lower": 0.5, "upper": 0.8, "n_real": 4, "n_generated": 4},
        }
        for f in featurizers
        for i, (b, t, p, d, m) in enumerate(
            names.select("batch", "treatment", "perturbation", "dose_um", "moa").iter_rows()
        )
    ]
    values = dict.fromkeys(BASELINES, 0.2) | {MODEL: 0.7, CEILING: 0.9}
    return Judgement(
        rows=[row(g, m, f, values[g]) for g in GENERATORS for m in METRICS for f in featurizers],
        effects=pl.DataFrame(lines, schema_overrides={"dose_um": pl.Float64, "moa": pl.String}),
        findings=pl.DataFrame([finding(f, t) for f in featurizers for t in names["treatment"].unique().sort()]),
        cells=pl.DataFrame(
            [
                {"featurizer": f, "stratum": f"{b} | {t}", "batch": b, "treatment": t, "side": side, "place": place}
                for f in featurizers
                for b, t in names.select("batch", "treatment").unique("treatment", keep="first").iter_rows()
                for side, middle in (("real", 2.0), ("generated", 1.5), ("control", 0.0))
                for place in middle + np.linspace(-1, 1, 5)
            ]
        ),
        confounders=pl.DataFrame(
            [
                {"featurizer": f, "treatment": t, "side": side, "confounder": c, **auc(0.9, 0.8, 0.85)}
                for f in featurizers
                for t in names["treatment"].unique().sort()
                for side in ("real", "generated")
                for c in ("brightness", "cell count")
            ]
        ),
        real=real,
        generated=generated,
        verdict={
            "passes": True,
            "grade": "PASS",
            "sentences": ["First sentence.", "Second sentence.", "Third sentence."],
            "reservations": [],
            "unchecked": ["memorisation", "effect_slope"],
            "per_featurizer": {f: {"apart": True} for f in featurizers},
            "warnings": ["a warning"],
        },
        provenance={"version": "0", "solver": {"nfe": 50}},
        glossary=GLOSSARY,
        floors=floors_of(BASELINES),
        informed=informed_of(BASELINES),
    )


def finding(featurizer, treatment, **given):
    right = {
        "slope": 1.0,
        "direction": 0.9,
        "pds": 0.95,
        "variance_ratio": 1.0,
        "real_rare": 0.2,
        "generated_rare": 0.1,
    }
    return {"featurizer": featurizer, "treatment": treatment, "clear": True, **right, **given}


def auc(told, alone, without):
    return {"all": told, "alone": alone, "without": without, "null_sd": 0.05}


TREATMENTS = [
    ("drug", 10.0, "moa A"),
    ("drug", 0.1, "moa A"),
    ("drug", 1.0, "moa A"),
    (EVIL, 3.0, EVIL),
    ("gene", None, None),
]
