"""Paired effects on toy generators whose noise depends on the seed."""

from dataclasses import fields

import numpy as np
import pytest
from scipy.stats import ttest_rel

from virtassay.evaluation.metrics.counterfactual import paired_effect

D, SEEDS = 4, 300
EFFECTS = {"control": np.zeros(D), "drug": np.array([1.0, 0, -2, 0]), "inert": np.zeros(D)}


def request(treatments=("control", "drug", "inert"), batches=("x", "y"), seeds=SEEDS):
    rows = [(s, b, t) for b in batches for t in treatments for s in range(seeds)]
    seed, batch, treatment = (np.array(column) for column in zip(*rows, strict=True))
    return seed, batch, treatment, treatment == "control"


def generate(seed, batch, treatment, shared=1.0, uneven=0.0):
    """A toy generator: the batch's mark, noise of the seed, noise of seed and treatment, and the treatment's effect."""
    noise = np.random.default_rng(0).normal(size=(seed.max() + 1, D))[seed]
    own = np.random.default_rng(1).normal(size=(len(EFFECTS), seed.max() + 1, D))
    other = own[[list(EFFECTS).index(t) for t in treatment], seed]
    effect = np.stack([EFFECTS[t] for t in treatment])
    mark = np.where(batch == "x", 0.0, 5.0)[:, None]
    size = 1 + uneven * np.where(seed % 2, 1, -1)[:, None]
    return mark + np.sqrt(shared) * noise + np.sqrt(1 - shared) * other + size * effect


def of(found, batch, treatment):
    s = int(np.flatnonzero((found.batch == batch) & (found.treatment == treatment))[0])
    return {f.name: getattr(found, f.name)[s] for f in fields(found)}


def test_a_null_perturbation_gives_exactly_zero():
    asked = request()
    inert = of(paired_effect(generate(*asked[:3]), *asked), "y", "inert")
    assert inert["response"] == 0
    assert (inert["mean"] == 0).all()
    assert (inert["standard_error"] == 0).all()
    assert inert["variance_reduction"] == 1


def test_a_null_perturbation_that_is_not_ignored_is_seen():
    """Planted: a label that the model reacts to by 1 % of the controls' spread, whose mean effect is 0."""
    asked = request()
    x = generate(*asked[:3])
    inert = asked[2] == "inert"
    x[inert] += 0.02 * np.where(asked[0][inert] % 2, 1, -1)[:, None]
    found = of(paired_effect(x, *asked), "x", "inert")
    assert found["mean"] == pytest.approx(np.zeros(D), abs=1e-12)
    assert found["response"] == pytest.approx(0.02, rel=0.1)


def test_an_effect_that_all_cells_share_is_found_without_error():
    asked = request()
    found = of(paired_effect(generate(*asked[:3]), *asked), "x", "drug")
    assert found["mean"] == pytest.approx(EFFECTS["drug"])
    assert found["standard_error"] == pytest.approx(np.zeros(D), abs=1e-12)
    assert found["variance_reduction"] == pytest.approx(1)
    assert found["response"] == pytest.approx(np.sqrt(5 / D), rel=0.1)  # ‖effect‖ over √(tr cov)
    assert found["n_pairs"] == SEEDS


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9])
def test_variance_reduction_is_the_share_of_the_noise_that_pairs_share(shared):
    asked = request(seeds=3000, batches=("x",), treatments=("control", "inert"))
    found = of(paired_effect(generate(*asked[:3], shared=shared), *asked), "x", "inert")
    assert found["variance_reduction"] == pytest.approx(shared, abs=0.03)
    assert found["response"] == pytest.approx(np.sqrt(2 * (1 - shared)), abs=0.03)
    assert found["standard_error"] == pytest.approx(np.full(D, np.sqrt(2 * (1 - shared) / 3000)), rel=0.1)


def test_standard_error_is_that_of_the_paired_t_test():
    asked = request(seeds=40, batches=("x",), treatments=("control", "drug"))
    x = generate(*asked[:3], shared=0.5)
    found = of(paired_effect(x, *asked), "x", "drug")
    oracle = ttest_rel(x[~asked[3]], x[asked[3]])
    assert found["mean"] / found["standard_error"] == pytest.approx(np.asarray(oracle.statistic))


def test_cells_that_respond_unevenly_have_a_standard_error():
    asked = request()
    found = of(paired_effect(generate(*asked[:3], uneven=0.5), *asked), "x", "drug")
    assert found["mean"] == pytest.approx(EFFECTS["drug"])
    assert found["standard_error"] == pytest.approx(0.5 * abs(EFFECTS["drug"]) / np.sqrt(SEEDS), rel=0.01)


def test_unrelated_pairs_are_found_out():
    """Planted: a sampler that ignores the seed. Pairing gains nothing, and a null perturbation does not give 0."""
    asked = request(seeds=2000, batches=("x",))
    found = of(paired_effect(generate(*asked[:3], shared=0.0), *asked), "x", "inert")
    assert found["variance_reduction"] == pytest.approx(0, abs=0.05)
    assert found["response"] == pytest.approx(np.sqrt(2), rel=0.03)


def test_pairs_stay_within_their_batch_whatever_the_order():
    asked = request()
    x = generate(*asked[:3])
    order = np.random.default_rng(0).permutation(len(x))
    straight, mixed = paired_effect(x, *asked), paired_effect(x[order], *(column[order] for column in asked))
    for field in fields(straight):
        a, b = getattr(straight, field.name), getattr(mixed, field.name)
        assert (a == b).all() if a.dtype.kind == "U" else a == pytest.approx(b, abs=1e-12)
    assert straight.batch.tolist() == ["x", "x", "y", "y"]
    assert straight.treatment.tolist() == ["drug", "inert"] * 2


def test_images_without_a_partner_are_counted():
    asked = request()
    seed, batch, _, control = asked
    keep = ~(control & ((batch == "y") | (seed < 10)))
    found = paired_effect(generate(*asked[:3])[keep], *(column[keep] for column in asked))
    assert of(found, "x", "drug")["n_pairs"] == SEEDS - 10
    assert of(found, "x", "drug")["n_unpaired"] == 10
    lost = of(found, "y", "drug")
    assert (lost["n_pairs"], lost["n_unpaired"]) == (0, SEEDS)
    assert np.isnan([*lost["mean"], *lost["standard_error"], lost["variance_reduction"], lost["response"]]).all()


def test_degenerate_strata():
    asked = request(seeds=1, batches=("x",))
    x = generate(*asked[:3])
    found = paired_effect(x, *asked)
    drug, inert = of(found, "x", "drug"), of(found, "x", "inert")
    assert drug["mean"] == pytest.approx(EFFECTS["drug"])
    assert np.isnan([*drug["standard_error"], drug["variance_reduction"], drug["response"]]).all()
    assert inert["response"] == 0  # a single image tells that nothing happened
    asked = request(seeds=5, batches=("x",))
    flat = np.where((asked[2] == "drug")[:, None], 0.3, 0.1) * np.ones((15, D))
    found = paired_effect(flat, *asked)
    assert of(found, "x", "drug")["response"] == np.inf
    assert of(found, "x", "inert")["response"] == 0
    assert np.isnan(found.variance_reduction).all()
    flat[asked[2] == "drug", 1] = np.nan
    found = paired_effect(flat, *asked)
    assert np.isnan(of(found, "x", "drug")["response"])
    assert np.isnan(of(found, "x", "drug")["mean"]).all()
    assert of(found, "x", "inert")["response"] == 0
    nothing = paired_effect(x[:1], *(column[:1] for column in request(seeds=1)))
    assert nothing.mean.shape == (0, D)
    empty = paired_effect(np.zeros((0, D)), [], [], [], [])
    assert empty.response.shape == (0,)


@pytest.mark.parametrize("treatment", ["control", "drug"])
def test_a_request_that_is_there_twice_is_named(treatment):
    asked = request(seeds=3)
    row = int(np.flatnonzero(asked[2] == treatment)[1])
    twice = [np.append(column, column[row]) for column in asked]
    with pytest.raises(ValueError, match=f"2 generated images.*row {row}, seed 1, batch x, treatment {treatment}"):
        paired_effect(np.zeros((len(twice[0]), D)), *twice)


def test_arrays_that_do_not_fit_are_named():
    asked = request(seeds=3)
    with pytest.raises(ValueError, match="generated images"):
        paired_effect(np.zeros((4, D)), *asked)
