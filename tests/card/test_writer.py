"""The whole card: its page and its numbers, and folders that cannot be described."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from tests.card.conftest import read
from virtassay import card
from virtassay.card.writer import KEYS
from virtassay.data.dataset.store import BrokenDataset, DatasetInfo, open_dataset, write_dataset
from virtassay.schema import validate

EVIL = "<script>alert(1)</script> & $x^{$"


def numbers(tree: Any) -> list[float]:
    if isinstance(tree, dict):
        return [x for value in tree.values() for x in numbers(value)]
    if isinstance(tree, list):
        return [x for value in tree for x in numbers(value)]
    return [tree] if isinstance(tree, float) else []


def test_the_page_holds_everything_and_loads_nothing(screen: Path):
    page, _ = read(screen / "card.html")
    assert page.count("<section") == 1 and page.rstrip().endswith("</html>")
    assert "default-src 'none'" in page
    assert "<script" not in page and "http://" not in page and "https://" not in page and "url(" not in page
    assert page.count('src="data:image/') >= 8 and page.count("src=") == page.count('src="data:image/')
    for heading in ("Examples", "Splits and leaks", "Plate maps", "Batch effect", "Duplicates", "Molecules"):
        assert heading in page


def test_every_number_is_in_the_json_and_every_key_is_explained(screen: Path):
    _, stored = read(screen / "card.html")
    assert set(KEYS) == set(stored) - {"format", "version", "keys"}
    assert stored["keys"] == KEYS
    assert all(map(math.isfinite, numbers(stored))) and len(numbers(stored)) > 20
    assert stored["counts"]["images"] == 192 and stored["measured"] == 192
    assert stored["explained"]["by"][0]["confounder"] == "brightness"


def test_the_dataset_still_opens_and_a_card_can_be_renewed(screen: Path):
    before = read(screen / "card.html")
    (screen / "card.json").unlink()
    assert read(card.write(screen)) == before
    open_dataset(screen)
    assert not list(screen.glob(".*"))


def test_names_are_text_and_never_markup(changed):
    def rename(index: pl.DataFrame) -> pl.DataFrame:
        evil = pl.lit(EVIL)
        return index.with_columns(
            plate=pl.col("plate") + evil,
            batch=pl.col("batch") + evil,
            perturbation=pl.when("is_control").then(pl.col("perturbation").list.first() + evil).otherwise(evil),
            cell_type=evil,
            control_type=evil,
        )

    page, stored = changed(rename, name=EVIL, licence=EVIL, citation=EVIL, channels=(EVIL, "actin"))
    assert "<script" not in page and "&lt;script&gt;" in page
    assert stored["dataset"]["name"] == EVIL


def test_two_thousand_perturbations_are_folded_into_a_small_page(tmp_path: Path):
    n = 2150
    control = np.arange(n) % 20 == 0
    rows = pl.DataFrame(
        {
            "image_id": [f"i{i}" for i in range(n)],
            "plate": [f"p{i // 384:03d}" for i in range(n)],
            "well": [f"{chr(65 + i % 384 // 24)}{i % 24 + 1:02d}" for i in range(n)],
            "batch": [f"b{i // 1536}" for i in range(n)],
            "perturbation": ["DMSO" if c else f"compound {i} with a long name" for i, c in enumerate(control)],
            "is_control": control,
            "split": ["train"] * n,
        }
    )
    pixels = np.random.default_rng(0).integers(0, 255, (n, 1, 8, 8), dtype=np.uint8)
    write_dataset(tmp_path / "d", DatasetInfo("many", ("DNA",), (1, 8, 8), "uint8"), pixels, validate(rows))
    page, stored = read(card.write(tmp_path / "d"))
    assert len(page) < 5_000_000
    assert len(stored["perturbations"]) > 1900 and "perturbations</summary>" in page
    assert stored["plates"][0]["focus"]["DNA"] is not None


def test_vectors_have_a_card_without_pictures(changed):
    page, stored = changed(
        images=lambda images: images.reshape(len(images), -1)[:, :24, None, None].astype(np.float32),
        channels=tuple(f"f{i}" for i in range(24)), image_shape=(24, 1, 1), dtype="float32",
    )  # fmt: skip
    assert 'id="examples"' not in page and "192 vectors" in page
    assert stored["plates"][0]["intensity"] is None and stored["explained"]["by"] == []
    assert stored["batch_effect"][0]["stored"] is not None
    assert not any("pixel size" in sentence for sentence in stored["warnings"])


AUDIT = {
    "checks": [
        {"name": "wells", "leak": True, "passed": True, "accepted": False, "n": 0, "offenders": []},
        {"name": "near_images", "leak": True, "passed": False, "accepted": True, "n": 7, "offenders": ["a b<c", "d e"]},
        {"name": "watched_wells", "leak": False, "passed": False, "accepted": False, "n": 2, "offenders": ["w"]},
    ],
    "nearest_training_compound": [{"perturbation": "AZ841", "nearest": "AZ-C", "tanimoto": 0.62}],
}


@pytest.mark.usefixtures("undrawn")
def test_a_leak_audit_is_shown_and_its_leaks_are_warned_of(screen: Path):
    (screen / "audit.json").write_text(json.dumps(AUDIT), encoding="utf-8")
    try:
        page, stored = read(card.write(screen))
    finally:
        (screen / "audit.json").unlink()
    assert stored["audit"] == AUDIT
    assert "The leak audit found 7 cases of near images, accepted when the dataset was prepared." in stored["warnings"]
    assert not any("watched" in sentence for sentence in stored["warnings"])
    assert "a b&lt;c" in page and "AZ841" in page and "0.62" in page


@pytest.mark.parametrize("audit", ["{", "[]", '{"checks": [{}]}', json.dumps(AUDIT | {"checks": [{"name": 3}]})])
def test_an_audit_that_is_none_is_refused_and_the_old_card_stays(screen: Path, audit: str):
    before = read(screen / "card.html")
    (screen / "audit.json").write_text(audit, encoding="utf-8")
    try:
        with pytest.raises(ValueError, match=r"audit\.json is no leak audit"):
            card.write(screen)
    finally:
        (screen / "audit.json").unlink()
    assert read(screen / "card.html") == before


def test_folders_that_are_no_datasets_are_refused(screen: Path, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="there is no dataset folder"):
        card.write(tmp_path / "nowhere")
    (tmp_path / "half" / "images").mkdir(parents=True)
    with pytest.raises(BrokenDataset, match="half written"):
        card.write(tmp_path / "half")
    assert [path.name for path in (tmp_path / "half").iterdir()] == ["images"]


@pytest.mark.usefixtures("undrawn")
def test_the_scripts_write_a_card_or_leave_it(screen: Path, repo: Path):
    with initialize_config_dir(version_base="1.3", config_dir=str(repo / "conf")):
        assert instantiate(compose("describe", [f"folder={screen}"]).card) == screen / "card.html"
        prepare = compose("prepare", [f"data.folder={screen}"])
        assert prepare.card._target_ == "virtassay.card.write" and prepare.card.folder == str(screen)
        assert instantiate(compose("prepare", ["card=null"]).card) is None
