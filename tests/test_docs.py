"""docs/extend.md as it stands: its files are written to an empty folder and its commands run there, at tiny sizes."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.processes import execute
from tests.toy_screen import train_overrides, write_screen
from virtassay.data.dataset.store import open_dataset

TEXT = (REPO / "docs" / "extend.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
FILES = {block.partition("\n")[0].removeprefix("# "): block for kind, block in BLOCKS if kind != "bash"}
COMMANDS = [shlex.split(line) for kind, block in BLOCKS if kind == "bash" for line in block.splitlines()]
TRAINED = ("data.folder", "paths.runs", "images_total", "minibatch_size", "fit.", "molecules.size")
QUICK = {  # what makes a verb's command a matter of seconds
    "train": [],
    "sample": ["dataset=screen", "steps=2", "verify=false", "precision=32-true"],
    "evaluate": ["evaluation.resamples=20", "verify=false", "evaluation.cache=false", "real=screen",
                 *(f"~evaluation.featurizers.{name}" for name in ("efficientnet_lite0", "untrained_network"))],
    "screen": ["dataset=screen", "doses_um=[1]", "device=cpu", "minibatch_size=64",
               "stages=[{_target_: virtassay.screening.Stage, seeds: 2, steps: 2}]"],
}  # fmt: skip


def run(place: Path, words: list[str]) -> tuple[int, str]:
    """Run `virtassay VERB …` in `place`, with mylab on the path."""
    return execute(words, place, {"PYTHONPATH": str(place)})


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with the files of the page, in which all its commands were run."""
    place = tmp_path_factory.mktemp("mylab")
    write_screen(place / "screen")
    (place / "compounds.smi").write_text("CCO ethanol\nCCN amine\nCCCC butane\n")
    for name, text in FILES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, encoding="utf-8")
    QUICK["train"] = [o for o in train_overrides(place) if o.startswith(TRAINED)]
    for words in COMMANDS:
        code, log = run(place, [*words[1:], *QUICK[words[1]]])
        assert code == 0, f"{words}: {log[-3000:]}"
    return place


def test_an_example_is_short():
    assert {name.partition("/")[0] for name in FILES} == {"mylab", "conf"}
    assert max(len(block.strip().splitlines()) for block in FILES.values()) <= 21, "20 lines and the file's name"


def test_what_was_trained_is_ones_own_and_asks_for_trust(place):
    config = (place / "runs" / "mine" / "config.yaml").read_text()
    for name in ("network.Tinted", "encoder.Gated", "path.Quadratic", "coupling.by_brightness", "solver.ralston"):
        assert f"mylab.{name}" in config
    code, log = run(place, ["sample", "run=runs/mine", "like=test", *QUICK["sample"]])
    assert code == 1 and "trust=[mylab]" in log
    provenance = open_dataset(place / "runs" / "mine" / "generated").info.provenance
    assert provenance is not None and provenance["solver"] == "ralston"


def test_ones_own_metric_featurizer_and_baseline_stand_in_the_report(place):
    folder = place / "runs" / "mine" / "generated" / "evaluation"
    rows = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert {"gap"} <= {row["metric"] for row in rows} and {"edges"} <= {row["featurizer"] for row in rows}
    own = {row["generator"]: row for row in rows if (row["metric"], row["featurizer"]) == ("gap", "edges")}
    assert own["model"]["floor"] <= own["first_treatment"]["value"], "the best of the baselines, it among them"
    assert "How far generated means lie from real ones" in (folder / "report.html").read_text(encoding="utf-8")


def test_ones_own_goal_ranks(place):
    hits = (place / "runs" / "mine" / "screen" / "hits.csv").read_text().splitlines()
    assert len(hits) == 4
