"""Conditions → vectors: combinations are sets, doses are continuous, nulls drop per sample and per field."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.networks.toy import WIDTH, conditions, encoder
from virtassay.networks.condition import ConditionEncoder
from virtassay.networks.encoders import ControlSet
from virtassay.schema import NULL, Condition


def test_a_combination_is_a_set_and_doses_stay_with_their_perturbations():
    encode = encoder().eval()
    vectors = encode(conditions())
    c = conditions()
    assert torch.allclose(vectors[2], vectors[3], atol=1e-6)  # rows 2 and 3 are the same pair in both orders
    swapped_doses = Condition(**{**vars(c), "log_dose": c.log_dose.flip(1)})
    assert (encode(swapped_doses)[2] - vectors[2]).abs().max() > 1e-3


def test_null_differs_from_every_condition_and_keeps_batch():
    encode, c = encoder().eval(), conditions()
    null = encode(c.without("perturbation"))
    assert ((null - encode(c)).norm(dim=1) > 1e-2).all()
    assert (null[0] - null[1]).norm() > 1e-2  # other batch
    assert torch.allclose(null[2], null[3])  # same batch and cell type


def test_nulls_are_dropped_per_sample_and_per_field():
    torch.manual_seed(0)
    encode = encoder(dropout=0.3)
    n = 4000
    one = conditions()[1:2]
    many = one._map(lambda value: value.expand(n, *value.shape[1:]))
    vectors = encode(encode.drop(many))
    # 4 fields dropped independently (dose only counts while its perturbation stays): 3 × 2 × 2 distinct vectors
    distinct = torch.unique(vectors.detach().round(decimals=3), dim=0, return_counts=True)[1]
    assert len(distinct) == 12
    kept = 0.7**4
    assert distinct.max().item() / n == pytest.approx(kept, abs=0.03)
    assert len(torch.unique(encode(many).detach(), dim=0)) == 1  # the encoder itself drops nothing
    assert encoder(dropout=0.0).drop(many) is many


@pytest.mark.parametrize("structure", [False, True])
@pytest.mark.parametrize("fields", [{"n_cell_types": 1}, {"n_cell_types": 2, "use_dose": False}, {"use_batch": False}])
def test_every_weight_has_a_part_in_the_loss(structure: bool, fields: dict[str, Any]):
    perturbation = encoder(structure).perturbation
    settings: dict[str, Any] = {"n_batches": 3, "n_cell_types": 2, **fields}
    made = ConditionEncoder(width=WIDTH, perturbation=perturbation, **settings)
    made(conditions()).sum().backward()
    assert [name for name, weight in made.named_parameters() if weight.grad is None] == []  # DDP refuses them


def treated(numbers: list[list[int]], doses: list[list[float]]) -> Condition:
    """Wells of batch 0 and cell type 0, one row of perturbations and doses for each."""
    n, k = len(numbers), len(numbers[0])
    zero = torch.zeros(n, dtype=torch.int64)
    return Condition(torch.tensor(numbers), torch.zeros(n, k, 8), torch.tensor(doses), zero, zero)


def test_a_combination_of_any_size_is_the_sum_of_its_components_in_any_order():
    encode = encoder().eval()
    nothing = encode(treated([[NULL]], [[torch.nan]])) - encode.null["perturbation"]  # batch and cell type
    alone = encode(treated([[0], [1], [2], [3]], [[0.3], [-1.2], [torch.nan], [2.0]])) - nothing
    four = treated([[0, 1, 2, 3], [3, 1, 0, 2]], [[0.3, -1.2, torch.nan, 2.0], [2.0, -1.2, 0.3, torch.nan]])
    assert torch.allclose(encode(four) - nothing, alone.sum(dim=0).expand(2, -1), atol=1e-5)
    padded = treated([[0, NULL, NULL]], [[0.3, torch.nan, torch.nan]])  # beside a triple in the minibatch
    assert torch.allclose(encode(padded) - nothing, alone[:1], atol=1e-5)


def test_unseen_doses_lie_between_their_neighbours():
    torch.manual_seed(0)
    encode, readout = encoder(dropout=0.0), torch.nn.Linear(WIDTH, 1)
    optimizer = torch.optim.Adam([*encode.parameters(), *readout.parameters()], lr=3e-3)

    def response(doses: torch.Tensor) -> torch.Tensor:
        return readout(encode(treated([[1]] * len(doses), doses[:, None].tolist())))[:, 0]

    doses = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])
    hill = 1 / (1 + 10**-doses)  # a dose response with its EC50 in the middle
    for _ in range(300):
        optimizer.zero_grad()
        ((response(doses) - hill) ** 2).mean().backward()
        optimizer.step()
    fine = torch.linspace(-2, 2, 41)
    with torch.no_grad():
        assert (response(doses) - hill).abs().max() < 0.03
        assert (response(fine) - 1 / (1 + 10**-fine)).abs().max() < 0.08
        assert (response(fine).diff() > -0.01).all()


def with_controls(dropout: float = 0.15) -> ConditionEncoder:
    perturbation = encoder().perturbation
    controls = ControlSet(width=WIDTH, channels=2, images=3)
    return ConditionEncoder(
        width=WIDTH, perturbation=perturbation, n_batches=3, n_cell_types=2, use_batch=False, dropout=dropout,
        control_set=controls,
    )  # fmt: skip


def test_control_images_take_the_place_of_the_batch_and_its_null_that_of_none():
    encode, c = with_controls().eval(), conditions()
    images = torch.randn(4, 3, 2, 12, 12)
    assert encode.control_set is not None
    seen = encode(replace(c, control_set=images))
    assert torch.allclose(seen - encode.control_set(images), encode(c) - encode.null["batch"], atol=1e-5)
    for nothing in (c, replace(c, control_set=images).without("batch")):
        assert torch.equal(encode(nothing), encode(c))
    other_batch = replace(c, control_set=images, batch=torch.full((4,), NULL))
    assert torch.equal(encode(other_batch), seen)  # the label is not read: a plate never in training has none
    images[1] = torch.nan  # one sample of the minibatch has no controls
    mixed = encode(replace(c, control_set=images))
    assert torch.equal(mixed[1], encode(c)[1]) and torch.equal(mixed[[0, 2, 3]], seen[[0, 2, 3]])


def test_control_images_drop_per_sample_and_get_gradients():
    torch.manual_seed(0)
    encode, c = with_controls(dropout=0.5), conditions()[2:3]
    n = 400
    images = torch.randn(1, 2, 2, 12, 12)
    many = replace(c, control_set=images)._map(lambda value: value.expand(n, *value.shape[1:]))
    encode.null["batch"].data += 100  # seen from far
    dropped = encode.drop(many)
    share = (encode(dropped).mean(dim=1) > 50).float().mean()
    assert share.item() == pytest.approx(0.5, abs=0.08)
    encode(dropped).sum().backward()
    assert [name for name, weight in encode.named_parameters() if weight.grad is None] == []


def test_the_batch_enters_one_way_and_the_names_of_weights_stay():
    with pytest.raises(ValueError, match="use_batch=false"):
        ConditionEncoder(
            width=WIDTH, perturbation=encoder().perturbation, n_batches=3, n_cell_types=1,
            control_set=ControlSet(width=WIDTH, channels=2, images=3),
        )  # fmt: skip
    assert {name.partition(".")[0] for name in encoder().state_dict()} == {
        "perturbation", "dose", "treatment", "batch", "cell_type", "null",
    }  # fmt: skip
    assert {"batch.weight", "null.batch", "null.dose", "perturbation.rows.weight"} <= encoder().state_dict().keys()
    assert "null.batch" in with_controls().state_dict()
