"""Splits hold out whole wells, perturbations and batches, and nothing leaks."""

from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tests.data.prepare.splits.screens import DRUG_LIKE, DRUGS, compounds
from virtassay.data.prepare import splits
from virtassay.schema import InvalidIndex, validate


def sides(index: pl.DataFrame, *by: str) -> dict:
    found = index.group_by(*by).agg(pl.col("split").unique().sort())
    return {row[:-1] if len(by) > 1 else row[0]: row[-1] for row in found.iter_rows()}


def check(before: pl.DataFrame, after: pl.DataFrame) -> None:
    assert after["image_id"].equals(before["image_id"])  # nothing lost, doubled or reordered
    assert after["split"].is_in(["train", "val", "test"]).all()


def test_by_well_whole_wells_are_held_out_in_every_stratum_that_can_spare_them(index: pl.DataFrame):
    split = splits.split_by_well(index, seed=1, val=0.1, test=0.25)
    check(index, split)
    assert all(len(names) == 1 for names in sides(split, "plate", "well").values())
    strata = split.with_columns(drug=pl.col("perturbation").list.join("+"))
    for (_, drug), names in sides(strata, "batch", "drug").items():
        wells = DRUGS.count(drug) or 1
        assert names == {1: ["train"], 2: ["test", "train"]}.get(wells, ["test", "train", "val"])


def test_by_well_depends_on_the_seed_and_not_on_the_order_of_rows(index: pl.DataFrame):
    first = splits.split_by_well(index, seed=1)
    again = splits.split_by_well(index.sample(fraction=1, shuffle=True, seed=3), seed=1)
    assert sides(first, "image_id") == sides(again, "image_id")
    assert sides(first, "image_id") != sides(splits.split_by_well(index, seed=2), "image_id")


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (-0.1, 0.2), (0.1, 1.0)])
def test_fractions_must_leave_something_to_learn_from(index: pl.DataFrame, val: float, test: float):
    with pytest.raises(ValueError, match="leave some for training"):
        splits.split_by_well(index, val=val, test=test)


@pytest.mark.parametrize("val", [(), ("nocodazole",)])
def test_an_unseen_perturbation_is_unseen_in_combinations_too(index: pl.DataFrame, val: tuple[str, ...]):
    split = splits.split_unseen_perturbation(index, test=["ALLN"], val=val)
    check(index, split)
    holds = pl.col("perturbation").list.contains("ALLN")
    assert split.filter(holds)["split"].unique().to_list() == ["test"]
    assert split.filter(~holds & ~pl.col("is_control") & (pl.col("split") == "test")).is_empty()
    if val:
        assert split.filter(pl.col("perturbation").list.contains("nocodazole"))["split"].unique().to_list() == ["val"]
    else:  # wells of seen compounds watch the training
        assert split.filter(~holds & ~pl.col("is_control") & (pl.col("split") == "val")).height
    for batch in ("b1", "b2"):
        controls = split.filter(pl.col("is_control") & (pl.col("batch") == batch))
        assert set(controls["split"]) == {"train", "val", "test"}
    assert all(len(names) == 1 for names in sides(split, "plate", "well").values())


def test_an_unseen_batch_is_unseen(index: pl.DataFrame):
    split = splits.split_unseen_batch(index, test=["b2"])
    check(index, split)
    assert sides(split, "batch") == {"b1": ["train", "val"], "b2": ["test"]}
    assert all(len(names) == 1 for names in sides(split, "plate", "well").values())
    assert sides(splits.split_unseen_batch(index, test=["b2"], val=["b1"]), "batch") == {"b1": ["val"], "b2": ["test"]}


def test_by_values_every_named_column_must_match(index: pl.DataFrame):
    split = splits.split_by_values(index, test={"batch": ["b2"], "well": ["A05", "A06"]}, val={"site": [4]})
    check(index, split)
    tested = (pl.col("batch") == "b2") & pl.col("well").is_in(["A05", "A06"])
    assert split.filter(tested)["split"].unique().to_list() == ["test"]
    assert split.filter(~tested & (pl.col("site") == "4"))["split"].unique().to_list() == ["val"]
    assert split.filter(~tested & (pl.col("site") != "4"))["split"].unique().to_list() == ["train"]


def test_names_that_are_not_there_are_told_with_those_that_are(index: pl.DataFrame):
    with pytest.raises(InvalidIndex, match=r"\['taxl'\] to hold out are not in the index; there are .*'taxol'"):
        splits.split_unseen_perturbation(index, test=["taxl"])
    with pytest.raises(InvalidIndex, match=r"\['b3'\] to hold out are not in the index; there are \['b1', 'b2'\]"):
        splits.split_unseen_batch(index, test=["b3"])
    with pytest.raises(InvalidIndex, match="no column 'plat' to split by"):
        splits.split_by_values(index, test={"plat": ["b1P1"]})
    with pytest.raises(InvalidIndex, match="name what to hold out"):
        splits.split_by_values(index, test={})
    with pytest.raises(InvalidIndex, match=r"treated perturbation \['DMSO'\] to hold out are not in the index"):
        splits.split_unseen_perturbation(index, test=["DMSO"])
    with pytest.raises(InvalidIndex, match=r"\['ALLN'\] cannot be held out for both test and val"):
        splits.split_unseen_perturbation(index, test=["ALLN"], val=["ALLN", "taxol"])
    with pytest.raises(InvalidIndex, match="holds out every image, which leaves none for training"):
        splits.split_unseen_batch(index, test=["b1", "b2"])
    with pytest.raises(InvalidIndex, match="are needed"):
        splits.split_unseen_perturbation(index, test=[])


def test_wells_perturbations_and_batches_are_held_out_together_and_it_is_said_why(index: pl.DataFrame):
    split = splits.split_unseen(index, perturbations=["ALLN"], batches=["b2"], seed=0)
    check(index, split)
    why = split.with_columns(drug=pl.col("perturbation").list.join("+"))
    assert (why.filter(pl.col("held_out").is_not_null())["split"] == "test").all()
    there = why.filter(pl.col("batch") == "b2")
    both = there["drug"].str.contains("ALLN")
    assert set(there.filter(both)["held_out"]) == {"perturbation+batch"}
    assert set(there.filter(~both)["held_out"]) == {"batch"}
    here = why.filter(pl.col("batch") == "b1")
    assert set(here.filter(pl.col("drug").str.contains("ALLN"))["held_out"]) == {"perturbation"}, "combinations too"
    rest = here.filter(~pl.col("drug").str.contains("ALLN"))
    assert (
        set(rest["held_out"]) == {"well", None}
        and rest.filter(pl.col("held_out").is_null())["split"].is_in(["train", "val"]).all()
    )
    assert not {"b2"} & set(split.filter(split="train")["batch"])


@pytest.mark.parametrize("wrong", [{"perturbations": ["taxoll"]}, {"batches": ["b9"]}, {"perturbations": ["DMSO"]}])
def test_unknown_names_cannot_be_held_out(index: pl.DataFrame, wrong: dict):
    with pytest.raises(InvalidIndex, match="are not in the index"):
        splits.split_unseen(index, **wrong)


def test_the_highest_doses_of_each_compound_are_held_out():
    index = compounds(**DRUG_LIKE).filter(
        (pl.col("perturbation").list.first() != "phenol") | (pl.col("dose_um").list.first() < 5)
    )
    split = splits.split_unseen(index, highest_doses=1)
    new = split.filter(held_out="dose").explode("perturbation", "dose_um")
    highest = dict(new.select("perturbation", "dose_um").unique().iter_rows())
    assert highest == dict.fromkeys(DRUG_LIKE, 10.0) | {"phenol": 1.0}
    assert not split.filter(pl.col("held_out") == "dose")["is_control"].any()
    named = splits.split_unseen(index, doses_um=[0.1 + 1e-9])
    assert set(named.filter(held_out="dose")["dose_um"].explode(empty_as_null=False)) == {0.1}
    computed = index.with_columns(dose_um=pl.col("dose_um").list.eval(pl.element() * 3))  # 0.30000000000000004
    named = splits.split_unseen(computed, doses_um=[0.3])
    assert set(named.filter(held_out="dose")["dose_um"].explode(empty_as_null=False)) == {0.1 * 3} != {0.3}
    with pytest.raises(
        InvalidIndex, match=r"dose\(s\) \[3.0\] µM to hold out are not in the index; there are \[0.1, 1.0, 10.0\]"
    ):
        splits.split_unseen(index, doses_um=[3.0])
    with pytest.raises(InvalidIndex, match="highest_doses=3: no compound has more doses"):
        splits.split_unseen(index, highest_doses=3)
    with pytest.raises(InvalidIndex, match="the index gives none"):
        splits.split_unseen(index.drop("dose_um"), highest_doses=1)


def test_a_dose_of_one_part_of_a_combination_is_unseen():
    both = {"perturbation": [["phenol", "hexane"]], "dose_um": [[1.0, 10.0]], "smiles": [["Oc1ccccc1", "CCCCCC"]]}
    index = compounds(**DRUG_LIKE)
    mixed = index.head(1).with_columns(
        image_id=pl.lit("mix"), well=pl.lit("mix"), is_control=False, **{k: pl.Series(v) for k, v in both.items()}
    )
    split = splits.split_unseen(pl.concat([index, mixed]), highest_doses=1)
    assert split.filter(image_id="mix").select("split", "held_out").row(0) == ("test", "dose")


def test_what_is_unseen_is_combined_and_named():
    index = compounds(**DRUG_LIKE)
    split = splits.split_unseen(
        index, perturbations=["phenol"], highest_doses=1, cell_types=["A549"], test=0.4, val=0.1
    )
    check(index, split)
    name, top = pl.col("perturbation").list.first(), pl.col("dose_um").list.first() == 10
    for cell_type, drug, high, expected in (
        ("A549", "phenol", True, "perturbation+dose+cell_type"),
        ("A549", "hexane", False, "cell_type"),
        ("U2OS", "phenol", False, "perturbation"),
        ("U2OS", "phenol", True, "perturbation+dose"),
        ("U2OS", "hexane", True, "dose"),
    ):
        here = split.filter((name == drug) & (top == high) & (pl.col("cell_type") == cell_type))
        assert set(here["held_out"]) == {expected} and set(here["split"]) == {"test"}
    seen = split.filter((pl.col("cell_type") == "U2OS") & (name == "hexane") & ~top)
    assert set(seen["held_out"]) == {"well", None} and set(seen["split"]) == {"train", "test"}
    assert (split["held_out"].is_not_null() == (split["split"] == "test")).all()
    assert set(split.filter((pl.col("cell_type") == "A549") & pl.col("is_control"))["held_out"]) == {"cell_type"}
    with pytest.raises(InvalidIndex, match="leaves no treated images for training"):
        splits.split_unseen(index, batches=["b1"], cell_types=["A549"])


def test_the_published_lists_fit_the_published_table(shared_data: Path, repo: Path):
    table = pl.read_csv(shared_data / "bbbc021" / "BBBC021_v1_image.csv", infer_schema_length=None).with_row_index()
    drug, plate = pl.col("Image_Metadata_Compound"), pl.col("Image_Metadata_Plate_DAPI")
    index = validate(
        table.select(
            image_id=pl.format("{}", "index"), plate=plate, well="Image_Metadata_Well_DAPI", perturbation=drug,
            batch=plate.str.split("_").list.first(), is_control=drug == "DMSO",
            dose_um=pl.when(drug != "DMSO").then(pl.col("Image_Metadata_Concentration").cast(pl.Float64)),
        )
    )  # fmt: skip
    for name, n in (("bbbc021_cellflux", 8), ("bbbc021_impa", 10)):
        config = OmegaConf.load(repo / "conf" / "split" / f"{name}.yaml")
        split = instantiate(config)(index)
        names = set(split.filter((pl.col("split") == "test") & ~pl.col("is_control"))["perturbation"].explode())
        assert names == set(config.test) and len(names) == n
        assert not names & set(split.filter(pl.col("split") != "test")["perturbation"].explode())


def wells(**numbers: int) -> pl.DataFrame:
    """So many wells of each perturbation, one image each; DMSO is the control."""
    rows = [
        {
            "image_id": f"{name}-{k}", "plate": "P", "well": f"{name}-{k}", "batch": "b", "perturbation": name,
            "is_control": name == "DMSO",
        }
        for name, n in numbers.items() for k in range(n)
    ]  # fmt: skip
    return validate(pl.DataFrame(rows))


def counts(split: pl.DataFrame) -> dict[str, tuple[int, int, int]]:
    """Wells for training, val and test of each perturbation."""
    name = pl.col("perturbation").list.first()
    return {
        drug: tuple(int((part["split"] == to).sum()) for to in ("train", "val", "test"))
        for (drug,), part in split.group_by(name)
    }  # pyright: ignore


def test_the_numbers_of_wells_by_hand():
    index = wells(DMSO=1, a=2, b=3, c=8, d=20)
    usual = {"DMSO": (1, 0, 0), "a": (1, 0, 1), "b": (1, 1, 1), "c": (5, 1, 2), "d": (13, 2, 5)}
    assert counts(splits.split_by_well(index)) == usual  # a tenth and a quarter, at least one of each
    assert splits.split_by_well(index).equals(splits.split_by_well(index, seed=0, val=0.1, test=0.25))
    no_test = {"DMSO": (1, 0, 0), "a": (1, 1, 0), "b": (2, 1, 0), "c": (7, 1, 0), "d": (18, 2, 0)}
    assert counts(splits.split_by_well(index, test=0)) == no_test
    no_val = {"DMSO": (1, 0, 0), "a": (1, 0, 1), "b": (2, 0, 1), "c": (6, 0, 2), "d": (15, 0, 5)}
    assert counts(splits.split_by_well(index, val=0)) == no_val
    watched = {"DMSO": (1, 0, 0), "a": (1, 1, 0), "b": (1, 2, 0), "c": (1, 7, 0), "d": (1, 19, 0)}
    assert counts(splits.split_by_well(index, val=0.96, test=0)) == watched
    most = {"DMSO": (1, 0, 0), "a": (1, 0, 1), "b": (1, 0, 2), "c": (1, 0, 7), "d": (1, 1, 18)}
    assert counts(splits.split_by_well(index, val=0.05, test=0.9)) == most  # one well is left to train


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0.2), (0.1, -0.2), (0.5, 0.5), (1.0, 0.0), (0.0, 1.0)])
def test_fractions_that_leave_nothing_are_refused(val: float, test: float):
    with pytest.raises(ValueError, match="must leave some for training"):
        splits.split_by_well(wells(a=4), val=val, test=test)


def test_a_quarter_of_the_controls_is_for_test_and_an_eighth_for_val():
    index = wells(DMSO=24, a=3, b=8, c=2)
    held = counts(splits.split_unseen_perturbation(index, test=["a"], val=["c"]))
    assert held == {"DMSO": (15, 3, 6), "a": (0, 0, 3), "b": (8, 0, 0), "c": (0, 2, 0)}
    held = counts(splits.split_unseen_perturbation(index, test=["a"]))
    assert held == {"DMSO": (15, 3, 6), "a": (0, 0, 3), "b": (7, 1, 0), "c": (2, 0, 0)}
    held = counts(splits.split_unseen_perturbation(index, test=["a"], controls=0.5))
    assert held["DMSO"] == (6, 6, 12)


def test_a_tenth_of_the_wells_that_are_left_watches_the_training():
    index = wells(a=20, b=5, c=3)
    assert counts(splits.split_by_values(index, test={"well": ["a-0", "c-0", "c-1"]})) == {
        "a": (17, 2, 1), "b": (4, 1, 0), "c": (1, 0, 2)
    }  # fmt: skip


def test_the_usual_shares_of_a_split_by_what_is_unseen():
    index = wells(DMSO=8, a=20, b=3)
    assert counts(splits.split_unseen(index, perturbations=["b"])) == {
        "DMSO": (5, 1, 2), "a": (13, 2, 5), "b": (0, 0, 3)
    }  # fmt: skip


def test_doses_are_the_same_to_six_digits():
    more = pl.col("dose_um").list.eval(pl.element() * 1.00001)
    of_phenol = pl.col("perturbation").list.first() == "phenol"
    index = compounds(**DRUG_LIKE).with_columns(dose_um=pl.when(of_phenol).then(more).otherwise("dose_um"))
    for named, drugs in ((1.000001, set(DRUG_LIKE) - {"phenol"}), (1.00001, {"phenol"})):
        split = splits.split_unseen(index, doses_um=[named])
        held = split.filter(held_out="dose")["perturbation"].explode(empty_as_null=False)
        assert set(held) == drugs


def test_the_two_highest_doses_of_each_compound_are_held_out():
    split = splits.split_unseen(compounds(**DRUG_LIKE), highest_doses=2)
    assert set(split.filter(held_out="dose")["dose_um"].explode(empty_as_null=False)) == {1.0, 10.0}


def test_so_many_compounds_are_held_out_as_the_fraction_says():
    ten = {f"d{n}": "C1" + "C" * n + "C1" for n in range(1, 11)}  # rings of ten sizes are ten scaffolds
    assert len(splits.by_scaffold(compounds(**ten))) == 2, "a fifth"
    assert splits.by_scaffold(compounds(**ten)) == splits.by_scaffold(compounds(**ten), fraction=0.2, seed=0)
    for fraction, n in ((0.01, 1), (0.3, 3), (0.96, 10)):
        assert len(splits.by_scaffold(compounds(**ten), fraction=fraction)) == n
    assert len(splits.by_scaffold(compounds(one="c1ccccc1", two="C1CC1"), fraction=0.1)) == 1, "two groups are enough"
    for fraction in (0.0, 1.0):
        with pytest.raises(ValueError, match="must lie between 0 and 1"):
            splits.by_scaffold(compounds(**ten), fraction=fraction)


def test_controls_alone_leave_nothing_to_train():
    with pytest.raises(InvalidIndex, match="leaves no treated images for training"):
        splits.split_unseen(wells(DMSO=8, a=4), perturbations=["a"])


def test_a_value_that_is_not_given_is_not_held_out():
    index = wells(a=4).with_columns(cell_type=pl.Series(["U2OS", None, "A549", None]))
    split = splits.split_by_values(index, test={"cell_type": ["U2OS"]}, val={"cell_type": ["A549"]})
    assert split["split"].to_list() == ["test", "train", "val", "train"]


def test_the_usual_clusters_are_a_fifth_of_the_compounds():
    index = compounds(**{f"d{n}": "C1" + "C" * n + "C1" for n in range(1, 5)}, **DRUG_LIKE)
    usual = splits.by_cluster(index)
    assert usual == splits.by_cluster(index, fraction=0.2, similarity=0.4, seed=0) and 1 <= len(usual) <= 2


def test_the_usual_seed_is_0():
    index = wells(DMSO=20, a=20, b=2)
    for split in (
        splits.split_by_well,
        partial(splits.split_unseen_perturbation, test=["b"]),
        partial(splits.split_unseen, perturbations=["b"]),
        partial(splits.split_by_values, test={"perturbation_type": ["b"]}),
    ):
        table = index.with_columns(perturbation_type=pl.col("perturbation").list.first())
        assert split(table).equals(split(table, seed=0)) and not split(table).equals(split(table, seed=1))
    two = pl.concat([index, wells(c=2).with_columns(batch=pl.lit("c"))])
    usual = splits.split_unseen_batch(two, test=["c"])
    assert usual.equals(splits.split_unseen_batch(two, test=["c"], seed=0))
    assert not usual.equals(splits.split_unseen_batch(two, test=["c"], seed=1))


def test_the_first_twenty_of_what_is_there_are_named():
    index = wells(**{f"d{n:02d}": 1 for n in range(1, 22)})
    with pytest.raises(InvalidIndex, match=r"there are \['d01', .*'d20'\]\.$"):
        splits.split_unseen_perturbation(index, test=["x"])
    with pytest.raises(InvalidIndex, match="treated perturbation names to hold out are needed; there are"):
        splits.split_unseen_perturbation(index, test=[])
    dosed = index.with_columns(dose_um=pl.Series([[float(n)] for n in range(1, 22)]))
    with pytest.raises(InvalidIndex, match=r"there are \[1\.0, .*19\.0, 20\.0\]\.$"):
        splits.split_unseen(dosed, doses_um=[30.0])


def test_doses_that_are_all_unknown_cannot_be_held_out():
    unknown = compounds(**DRUG_LIKE).with_columns(pl.col("dose_um").list.eval(pl.element() * None))
    wrong: Any
    for wrong in ({"highest_doses": 1}, {"doses_um": [1.0]}):
        with pytest.raises(InvalidIndex, match="doses are to be held out, and the index gives none"):
            splits.split_unseen(unknown, **wrong)
