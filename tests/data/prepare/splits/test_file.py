"""A split file is read back as it was, or refused."""

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from omegaconf import OmegaConf

from tests.data.prepare.splits.screens import DRUG_LIKE, compounds
from virtassay.data.prepare import splits
from virtassay.schema import InvalidIndex


def test_a_split_file_is_read_back_as_it_was(tmp_path: Path):
    index = compounds(**DRUG_LIKE)
    split = splits.split_unseen(index, perturbations=["phenol"], batches=["b2"], seed=3)
    made = partial(splits.split_unseen, perturbations=partial(splits.by_scaffold, seed=3), batches=["b2"])
    splits.write_split(tmp_path / "split.csv", split, "own", made)
    again = splits.split_from_file(index.reverse(), path=tmp_path / "split.csv")
    assert again.reverse().equals(split)
    lines = (tmp_path / "split.csv").read_text().splitlines()
    assert lines[:2] == ["# virtassay split, version 1", "# dataset: own"] and lines[4] == "plate,well,split,held_out"
    settings = json.loads(lines[3].removeprefix("# settings: "))
    assert settings["function"].endswith("split_unseen") and settings["batches"] == ["b2"]
    assert settings["perturbations"]["function"].endswith("by_scaffold") and settings["perturbations"]["seed"] == 3


def test_settings_that_a_yaml_gave_are_told_as_they_were(index: pl.DataFrame, tmp_path: Path):
    made = partial(splits.split_by_values, **OmegaConf.create({"test": {"site": ["4"]}}))  # pyright: ignore
    splits.write_split(tmp_path / "split.csv", made(index), "own", made)
    settings = json.loads((tmp_path / "split.csv").read_text().splitlines()[3].removeprefix("# settings: "))
    assert settings["test"] == {"site": ["4"]}


def test_a_split_inside_wells_is_kept_by_field_or_image(index: pl.DataFrame, tmp_path: Path):
    for split, key in (
        (splits.split_by_values(index, test={"site": ["4"]}), "plate,well,site,split"),
        (splits.split_by_values(index.with_columns(site=pl.lit("1")), test={"image_id": ["b1-0-0"]}), "image_id,split"),
    ):
        splits.write_split(tmp_path / "split.csv", split, "own", None)
        assert (tmp_path / "split.csv").read_text().splitlines()[4] == key
        assert splits.split_from_file(split.drop("split"), path=tmp_path / "split.csv").equals(
            split.select(pl.exclude("split"), "split")
        )


def test_a_split_file_of_another_screen_is_refused(index: pl.DataFrame, tmp_path: Path):
    path = tmp_path / "split.csv"
    splits.write_split(path, splits.split_by_well(index), "own", splits.split_by_well)
    part = index.filter(pl.col("well") > "A06").with_columns(plate=pl.col("plate").replace("b1P1", "p1"))
    with pytest.raises(
        InvalidIndex,
        match=r"it lacks 5 well\(s\) .*p1 A07, .*p1 A11\) and names 17 well\(s\) .*\(b1P1 A01, .*b1P1 A05, …\)",
    ):
        splits.split_from_file(part, path=path)
    text = path.read_text()
    for wrong, message in (
        (text.replace("version 1", "version 9"), "no split file of this version"),
        (text.rsplit("\n", 4)[0] + "\n", "was cut or edited"),
        (text.replace(",train", ",trian"), r"names split\(s\) \['trian'\]"),
        (text.replace("plate,well,split", "plate,wells,split"), "needs the columns plate, well"),
    ):
        path.write_text(wrong)
        with pytest.raises(InvalidIndex, match=message):
            splits.split_from_file(index, path=path)
    with pytest.raises(FileNotFoundError, match="there is no split file"):
        splits.split_from_file(index, path=tmp_path / "nowhere.csv")


def settings(path: Path) -> dict:
    """What a split file says of the function that made it."""
    return json.loads(path.read_text(encoding="utf-8").splitlines()[3].removeprefix("# settings: "))


@dataclass(frozen=True)
class Halves:
    """A split of one's own that is no function."""

    def __call__(self, index: pl.DataFrame) -> pl.DataFrame:
        return index


def test_what_made_a_split_is_written_by_name(index: pl.DataFrame, tmp_path: Path):
    split, path = splits.split_by_well(index), tmp_path / "split.csv"
    module = "virtassay.data.prepare.splits"
    lazy: Any = range(2)
    other: Any = 1j
    made = partial(splits.split_unseen, perturbations=splits.by_scaffold, cell_types=["β", "α"], batches=lazy)
    for function, written in (
        (None, {"function": None}),
        (splits.split_by_well, {"function": f"{module}.assign.split_by_well"}),
        (Halves(), {"function": f"{__name__}.Halves"}),
        (made, {
            "function": f"{module}.assign.split_unseen", "cell_types": ["β", "α"], "batches": [0, 1],
            "perturbations": {"function": f"{module}.compounds.by_scaffold"},
        }),
        (partial(splits.split_from_file, path=other), {"function": f"{module}.file.split_from_file", "path": "1j"}),
    ):  # fmt: skip
        splits.write_split(path, split, "own", function)
        assert settings(path) == written
    splits.write_split(path, split, "own", made)
    assert "β" in path.read_text(encoding="utf-8"), "names are readable in the file"


WELLS = "P,A01\nP,A02\n"


def split_file(path: Path, rows: str, columns: str = "plate,well,split", wells: str = WELLS) -> Path:
    """Write a split file by hand."""
    digest = hashlib.sha256(wells.encode()).hexdigest()
    head = f"# virtassay split, version 1\n# dataset: own\n# wells: {digest}\n# settings: {{}}\n"
    path.write_text(f"{head}{columns}\n{rows}")
    return path


def two_wells() -> pl.DataFrame:
    wells = ["A01", "A02"]
    return pl.DataFrame({"image_id": ["a", "b"], "plate": "P", "well": wells, "split": ["train", "test"]})


def test_the_digest_is_of_the_sorted_wells(tmp_path: Path):
    by_hand = split_file(tmp_path / "hand.csv", "P,A01,train\nP,A02,test\n").read_text()
    for index in (two_wells(), two_wells().reverse()):
        splits.write_split(tmp_path / "split.csv", index, "own", None)
        assert (tmp_path / "split.csv").read_text() == by_hand.replace("{}", '{"function": null}')
    split_file(tmp_path / "hand.csv", "P,A02,test\nP,A01,train\n")
    assert splits.split_from_file(two_wells().drop("split"), path=tmp_path / "hand.csv")["split"].to_list() == [
        "train", "test"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "columns", "wells", "message"),
    [
        ("P,A01,train,1\nP,A02,test,1\n", "plate,well,split,fold", WELLS, "needs the columns plate, well"),
        ("P,A01,train\nP,A02,\n", "plate,well,split", WELLS, "needs the columns plate, well"),
        ("P,A01\nP,A02\n", "plate,well", WELLS, r"it has \['plate', 'well'\]"),
        ("P,A01,1,train\n", "plate,well,site,split", "P,A01,1\n",
         r"by \['plate', 'well', 'site'\], and the index has no column \['site'\]"),
        ("P,A01,train\nP,A01,test\n", "plate,well,split", "P,A01\nP,A01\n",
         r"names 2 well\(s\) or images \(P A01, P A01\) more than once"),
        ("P,A01,train\n", "plate,well,split", "P,A01\n",
         r"lacks 1 well\(s\) or images \(P A02\) and names none, which"),
        ("P,A01,train\nP,A02,test\nP,A03,val\n", "plate,well,split", WELLS + "P,A03\n",
         r"lacks none and names 1 well\(s\) or images \(P A03\), which the screen lacks"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, rows: str, columns: str, wells: str, message: str):
    path = split_file(tmp_path / "split.csv", rows, columns, wells)
    with pytest.raises(InvalidIndex, match=message):
        splits.split_from_file(two_wells(), path=path)


def test_fields_without_a_number_are_found_again(tmp_path: Path):
    index = pl.DataFrame(
        {
            "image_id": ["a", "b", "c"], "plate": "P", "well": ["A01", "A01", "A02"], "site": ["1", None, None],
            "split": ["train", "test", "val"],
        }
    )  # fmt: skip
    splits.write_split(tmp_path / "split.csv", index, "own", None)
    assert splits.split_from_file(index, path=tmp_path / "split.csv").equals(index)


def test_images_of_one_name_on_two_sides_are_refused(tmp_path: Path):
    index = two_wells().with_columns(image_id=pl.lit("a"), well=pl.lit("A01"))
    with pytest.raises(InvalidIndex, match="'image_id' repeats"):
        splits.write_split(tmp_path / "split.csv", index, "own", None)
