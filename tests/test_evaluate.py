"""The evaluate script: folders of any tool's images, and several of them compared."""

import json

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from evaluate import main
from tests.conftest import REPO
from tests.evaluation import toy
from virtassay.data.dataset.store import open_dataset

LITTLE = [
    "~evaluation.featurizers.efficientnet_lite0", "~evaluation.featurizers.untrained_network", "verify=false",
    "~evaluation.featurizers.texture", "evaluation.resamples=50", "evaluation.repeats=2", "evaluation.max_images=30",
    "evaluation.cache=false",
]  # fmt: skip


def evaluate(*overrides):
    with initialize_config_dir(version_base="1.3", config_dir=str(REPO / "conf")):
        cfg = compose("evaluate", overrides=[*LITTLE, *map(str, overrides)])
    main.__wrapped__.__wrapped__(cfg)  # inside hydra.main and user_errors


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("evaluate")
    toy.write(place / "real", toy.real_plan())
    for run, strength in (("good", 1.0), ("weak", 0.2)):
        (place / run).mkdir()
        toy.write(
            place / run / "generated",
            toy.generated_plan(12),
            1,
            lambda *given, strength=strength: toy.draw(*given, strength=strength),
        )
    return place


def test_folders_are_compared_by_name(place):
    evaluate(f"real={place / 'real'}", f"compare=[{place}/weak/generated,{place}/good/generated]", f"out={place}/both")
    told = json.loads((place / "both" / "compare.json").read_text(encoding="utf-8"))
    assert list(told["folders"]) == ["weak", "good"]
    assert "Effect explained: good is better than weak." in told["sentences"]
    assert (place / "both" / "compare.html").stat().st_size < 1_000_000


def test_images_of_another_tool_score_as_the_same_images_in_a_dataset_folder(place):
    ours = open_dataset(place / "good" / "generated")
    arrays = place / "arrays"
    arrays.mkdir()  # two channels are no kind of PNG
    for image_id, image in zip(ours.index["image_id"], ours.images(), strict=True):
        np.save(arrays / f"{image_id}.npy", image.transpose(1, 2, 0))
    table = ours.index.select("image_id", "batch", "perturbation", "dose_um")
    table.explode("perturbation", "dose_um").write_csv(arrays / "index.csv")
    scored = []
    for folder in (arrays, place / "good" / "generated"):
        evaluate(f"real={place / 'real'}", f"generated={folder}")
        rows = json.loads((folder / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
        scored.append({(r["generator"], r["metric"], r["stratum"]): r["value"] for r in rows})
    assert scored[0] == scored[1]


def test_what_cannot_be_compared_is_refused(place):
    good = place / "good" / "generated"
    for compared, out, match in (
        ("[]", place / "out", "0 folder"),
        (good, place / "out", "1 folder"),
        (f"[{good},{good}]", place / "out", "given twice"),
        (f"[{good},{place / 'nowhere'}]", place / "out", "no dataset folder"),
        (f"[{good},{place / 'weak/generated'}]", None, "compare=.* needs out="),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=match):
            evaluate(f"real={place / 'real'}", f"compare={compared}", *([f"out={out}"] if out else []))
