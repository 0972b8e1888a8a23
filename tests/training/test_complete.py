"""What a configuration leaves open is filled in from the data, and what somebody has given stays."""

from types import SimpleNamespace
from typing import Any, cast

from virtassay.flow.objective import FlowMatching, SelfDistilled
from virtassay.flow.path import Linear
from virtassay.training.complete import fill_in

VOCABULARY: Any = SimpleNamespace(
    image_shape=(2, 12, 12), channels=("DNA", "actin"), perturbations=("DMSO", "taxol", "ALLN"), batches=("week1",),
    cell_types=(),
)  # fmt: skip


def test_marks_are_filled_in_wherever_they_stand_and_given_values_stay():
    condition = {"n_batches": "???", "n_cell_types": 4, "perturbation": {"structure_size": "???"}}
    config = {
        "condition": condition,
        "network": {"image_shape": "???", "average": "???", "condition": condition},
        "start": {"sha256": "???"},
        "data": {"channels": "???"},
    }
    molecules = cast("Any", SimpleNamespace(size=64))
    whole = fill_in(config, VOCABULARY, molecules, cast("Any", SelfDistilled(Linear())), "abc")
    assert whole["network"] == {"image_shape": [2, 12, 12], "average": True, "condition": whole["condition"]}
    assert whole["condition"] == {"n_batches": 1, "n_cell_types": 4, "perturbation": {"structure_size": 64}}
    assert whole["start"] == {"sha256": "abc"} and whole["data"] == {"channels": "???"}
    assert config["network"]["image_shape"] == "???", "the configuration that was given is as it was"


def test_only_an_objective_of_mean_velocities_asks_for_a_network_of_them():
    for average in ("???", True):
        network = fill_in({"network": {"average": average}}, VOCABULARY, None, FlowMatching(Linear()))["network"]
        assert network["average"] is (average is True)
