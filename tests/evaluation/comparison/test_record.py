"""What a comparison says of its differences."""

from virtassay.evaluation.comparison.record import Comparison


def test_a_claim_of_some_featurizers_is_told_as_such():
    def told(*winners):
        pairs = [
            {"metric": "pds", "featurizer": f"f{i}", "first": "a", "second": "b", "better": winner, "lower": 0.1}
            for i, winner in enumerate(winners)
        ]
        return Comparison({"a": {}, "b": {}}, "real", "test", [], pairs, []).sentences[0].partition(": ")[2]

    assert told("a", "a") == "a is better than b."
    assert told("b", None) == "b is better than a in f0 only, of 2 featurizers."
    assert told("a", "b") == "it depends on the featurizer: a is better in f0 and b is better in f1."
