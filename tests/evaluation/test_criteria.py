"""One's own metric, baseline and featurizer: a function or class in one's own package, and one yaml."""

import json
import sys

import pytest
from hydra import compose, initialize_config_dir

from evaluate import main
from tests.conftest import REPO
from tests.evaluation import toy

PACKAGE = '''
import numpy as np
from virtassay.evaluation import LOWER, POOLED, Description, over_perturbations
from virtassay.flow.traits import having


@having(describes=(Description("gap", "Gap of means", LOWER, "How far the means are apart, in s.d. of controls."),))
def gap(candidate, space):
    """The distance of the means of a stratum, the mean over strata."""
    strata, draw = candidate.evaluation.strata, candidate.draws[0]
    means = [(space.of(draw[s.name].reference).mean(0), space.of(draw[s.name].generated).mean(0)) for s in strata]
    gaps = np.array([np.linalg.norm(real - generated) for real, generated in means])
    names = [s.perturbation for s in strata]
    score = over_perturbations(
        gaps, np.ones(len(gaps)), names, candidate.counts, candidate.resamples, candidate.evaluation.seed
    )
    return {("gap", POOLED): score}


def nameless(candidate, space):
    """What nothing describes is shown by its name."""
    return {("my_number", POOLED): gap(candidate, space)["gap", POOLED]}


def swapped(evaluation, draw):
    """Everybody's cells are those of the first stratum: knows nothing, and is too good to be true in no metric."""
    from virtassay.evaluation.baselines import model

    images = model(evaluation, draw)
    first = next(iter(images.values())).generated
    return {name: type(i)(i.reference, first, i.control, i.generated_control) for name, i in images.items()}


class Mean:
    name = "my_mean"

    def fingerprint(self):
        return {"weights": "none", "trained": False}

    def __call__(self, images):
        return images.mean((2, 3))
'''
CHOICE = """
defaults:
  - quick
featurizers:
  my_mean: {_target_: mylab.Mean}
baselines:
  swapped: {_target_: mylab.swapped, _partial_: true}
metrics:
  gap: {_target_: mylab.gap, _partial_: true}
  nameless: {_target_: mylab.nameless, _partial_: true}
resamples: 50
repeats: 2
max_images: 30
cache: false
"""
LITTLE = ["evaluation=mine", "verify=false", *(f"~evaluation.featurizers.{f}" for f in (
    "efficientnet_lite0", "untrained_network", "texture"))]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("own")
    (place / "mylab.py").write_text(PACKAGE, encoding="utf-8")
    (place / "conf" / "evaluation").mkdir(parents=True)
    (place / "conf" / "evaluation" / "mine.yaml").write_text(CHOICE, encoding="utf-8")
    toy.write(place / "real", toy.real_plan())
    for name, seed in (("a", 1), ("b", 2)):
        (place / name).mkdir()
        toy.write(place / name / "generated", toy.generated_plan(12), seed)
    return place


@pytest.fixture
def evaluate(place, monkeypatch):
    monkeypatch.syspath_prepend(place)
    monkeypatch.delitem(sys.modules, "mylab", raising=False)  # another test's
    yield lambda *overrides: _evaluate(place, *overrides)
    sys.modules.pop("mylab", None)


def _evaluate(place, *overrides):
    search = f"hydra.searchpath=[file://{place}/conf]"  # what --config-dir does
    with initialize_config_dir(version_base="1.3", config_dir=str(REPO / "conf")):
        cfg = compose("evaluate", overrides=[search, *LITTLE, f"real={place}/real", *overrides])
    main.__wrapped__.__wrapped__(cfg)


def test_ones_own_stand_in_rows_verdict_and_report(place, evaluate):
    evaluate(f"generated={place}/a/generated", f"out={place}/report")
    rows = json.loads((place / "report" / "metrics.json").read_text(encoding="utf-8"))
    pooled = {(r["generator"], r["metric"], r["featurizer"]): r for r in rows if r["stratum"] == "all"}
    own = pooled["model", "gap", "my_mean"]
    trivial = ("control_copy", "unconditional", "label_shuffled", "mean_treated", "swapped")
    assert own["floor"] == min(pooled[b, "gap", "my_mean"]["value"] for b in trivial)
    assert own["value"] < own["floor"]
    undescribed = pooled["model", "my_number", "my_mean"]
    assert undescribed["value"] == own["value"] and undescribed["scaled"] is None
    verdict = json.loads((place / "report" / "verdict.json").read_text(encoding="utf-8"))
    explained = {b: pooled[b, "effect_explained", "my_mean"] for b in trivial}
    decided = verdict["per_featurizer"]["my_mean"]
    assert decided["best_baseline"] == max(r["value"] for r in explained.values())
    assert decided["baseline_upper"] == max(r["upper"] for r in explained.values())
    for file in ("report.html", "report.md"):
        text = (place / "report" / file).read_text(encoding="utf-8")
        assert "Gap of means" in text and "my number" in text and "my mean" in text
    page = (place / "report" / "report.html").read_text(encoding="utf-8")
    assert "swapped" in page and "How far the means are apart" in page


def test_ones_own_stand_in_a_comparison(place, evaluate):
    evaluate(f"compare=[{place}/a/generated,{place}/b/generated]", f"out={place}/compared")
    text = (place / "compared" / "compare.html").read_text(encoding="utf-8")
    assert "Gap of means" in text and "swapped" in text and "my number" in text
