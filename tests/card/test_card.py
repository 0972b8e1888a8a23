"""The whole card: its page and its numbers, what it warns of, and folders that cannot be described."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from tests.toy_screen import write_screen
from virtassay import card
from virtassay.card.writer import KEYS
from virtassay.data.dataset.store import BrokenDataset, DatasetInfo, open_dataset, write_dataset
from virtassay.schema import validate

EVIL = "<script>alert(1)</script> & $x^{$"


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy screen of two batches with a card."""
    root = write_screen(tmp_path_factory.mktemp("card") / "screen")
    card.write(root)
    return root


@pytest.fixture
def changed(screen: Path, tmp_path: Path) -> Callable[..., tuple[str, dict[str, Any]]]:
    """Change the index (and the images) of the screen; returns the page and the numbers of its card."""

    def run(
        change: Callable[[pl.DataFrame], pl.DataFrame] = lambda index: index,
        images: Callable[[np.ndarray], np.ndarray] = lambda images: images,
        **info: Any,
    ) -> tuple[str, dict[str, Any]]:
        dataset = open_dataset(screen)
        index = change(dataset.index.drop("shard", "offset", "treatment").with_row_index("_row"))
        pixels = images(dataset.images(index["_row"].to_numpy()))
        write_dataset(tmp_path / "d", replace(dataset.info, **info), pixels, validate(index.drop("_row")))
        return read(card.write(tmp_path / "d"))

    return run


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take most of the time: they are drawn only in tests of them."""
    names = ("examples", "by_plate", "maps", "treatment_map", "scatter", "strips")
    monkeypatch.setattr("virtassay.card.writer._pictures", lambda *_: dict.fromkeys(names))


def read(page: Path) -> tuple[str, dict[str, Any]]:
    return page.read_text(encoding="utf-8"), json.loads((page.parent / "card.json").read_text(encoding="utf-8"))


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
    _, told = read(screen / "card.html")
    assert set(KEYS) == set(told) - {"format", "version", "keys"}
    assert told["keys"] == KEYS
    assert all(map(math.isfinite, numbers(told))) and len(numbers(told)) > 20
    assert told["counts"]["images"] == 192 and told["measured"] == 192
    assert told["explained"]["by"][0]["confounder"] == "brightness"


def test_the_dataset_still_opens_and_a_card_can_be_renewed(screen: Path):
    before = read(screen / "card.html")
    (screen / "card.json").unlink()
    assert read(card.write(screen)) == before
    open_dataset(screen)
    assert not list(screen.glob(".*"))


def test_warnings_stand_at_the_top_of_the_page_in_plain_words(screen: Path):
    page, told = read(screen / "card.html")
    assert any(sentence.startswith("Edge wells hold 100 % of the controls") for sentence in told["warnings"])
    assert any("Plate explains" in sentence for sentence in told["warnings"])  # week2 is brighter, by design
    assert not any("Batch explains" in sentence for sentence in told["warnings"])  # each plate is a batch: said once
    assert any("No licence" in sentence for sentence in told["warnings"])
    assert page.index("Before you train") < page.index("Edge wells hold") < page.index('id="facts"')


CONTROL, WEEK1 = pl.col("is_control"), pl.col("batch") == "week1"
ETHANOL, TWO_CONTROLS = pl.col("well").str.starts_with("C"), pl.col("well").is_in(["A01", "A02"])
FLAG = pl.when(pl.col("_row") < 5).then(pl.lit("debris: DNA"))
SAME = pl.when(~CONTROL).then(pl.lit("CCO"))
CHANGES: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "There is no split": lambda i: i.drop("split"),
    "There is one plate only": lambda i: i.filter(WEEK1),
    "1 batch without control wells (week2)": lambda i: i.filter(~CONTROL | WEEK1),
    "2 batches without control wells (week1, week2)": lambda i: i.filter(~CONTROL),
    "2 plates with fewer than 4 control wells": lambda i: i.filter(~TWO_CONTROLS),
    "1 batch holds only one treatment (week1)": lambda i: i.filter(~WEEK1 | ~ETHANOL),
    "5 images (3 %) are flagged": lambda i: i.with_columns(flagged=FLAG),
    "1 structure under more than one name (ethanol = taxol)": lambda i: i.with_columns(smiles=SAME),
}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("warning", CHANGES)
def test_what_is_wrong_with_the_index_is_said(changed, warning: str):
    page, told = changed(CHANGES[warning])
    assert [sentence for sentence in told["warnings"] if sentence.startswith(warning)], told["warnings"]
    assert "Before you train" in page


@pytest.mark.usefixtures("undrawn")
def test_what_is_wrong_with_the_pixels_is_said(changed):
    def spoil(images: np.ndarray) -> np.ndarray:
        spoilt = images.copy()
        spoilt[:, 1, :2] = 255  # a sixth of actin
        spoilt[1] = spoilt[0]
        return spoilt

    _, told = changed(images=spoil, licence="CC0", pixel_size_um=0.5)
    assert "2 images have an exact copy (1 group)." in told["warnings"]
    clipped = "actin: more than 1 % of the pixels are saturated on 2 plates (week1-p1, week2-p1)."
    assert clipped in told["warnings"]
    assert not any("licence" in sentence or "pixel size" in sentence for sentence in told["warnings"])


@pytest.mark.usefixtures("undrawn")
def test_dim_and_blurred_plates_are_named(changed):
    def plates(index: pl.DataFrame) -> pl.DataFrame:
        return index.with_columns(plate=pl.concat_str(pl.col("batch"), pl.col("well").str.slice(1)))

    def spoil(images: np.ndarray) -> np.ndarray:
        spoilt = images.copy()
        well = np.arange(len(images)) // 8 % 4
        spoilt[well == 3] //= 3
        spoilt[well == 2] = np.kron(spoilt[well == 2][:, :, ::4, ::4], np.ones((1, 1, 4, 4))).astype(np.uint8)
        return spoilt

    _, told = changed(plates, spoil)
    dim = "DNA: the controls of 2 plates (week104, week204) are more than 1.5 times brighter or dimmer"
    assert any(sentence.startswith(dim) for sentence in told["warnings"]), told["warnings"]


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

    page, told = changed(rename, name=EVIL, licence=EVIL, citation=EVIL, channels=(EVIL, "actin"))
    assert "<script" not in page and "&lt;script&gt;" in page
    assert told["dataset"]["name"] == EVIL


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
    page, told = read(card.write(tmp_path / "d"))
    assert len(page) < 5_000_000
    assert len(told["perturbations"]) > 1900 and "perturbations</summary>" in page
    assert told["plates"][0]["focus"]["DNA"] is not None


def test_vectors_have_a_card_without_pictures(changed):
    page, told = changed(
        images=lambda images: images.reshape(len(images), -1)[:, :24, None, None].astype(np.float32),
        channels=tuple(f"f{i}" for i in range(24)), image_shape=(24, 1, 1), dtype="float32",
    )  # fmt: skip
    assert 'id="examples"' not in page and "192 vectors" in page
    assert told["plates"][0]["intensity"] is None and told["explained"]["by"] == []
    assert told["batch_effect"][0]["stored"] is not None
    assert not any("pixel size" in sentence for sentence in told["warnings"])


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
        page, told = read(card.write(screen))
    finally:
        (screen / "audit.json").unlink()
    assert told["audit"] == AUDIT
    assert "The leak audit found 7 cases of near images, accepted when the dataset was prepared." in told["warnings"]
    assert not any("watched" in sentence for sentence in told["warnings"])
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
