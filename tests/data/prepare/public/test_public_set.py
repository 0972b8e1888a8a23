"""The public sets as prepare.py configures them: dry runs of each, and options that a set does not have."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate

SETS = {
    "bbbc021": "58 files, 46.1 GB to download, and about 104 GB when unpacked",
    "bbbc021_impa": "1 files, 12.5 GB to download",
    "rxrx1": "2 files, 49 GB to download, and about 50 GB when unpacked",
    "rxrx3_core": "36 files, 17.4 GB to download",
    "jump": "experiment-metadata.tsv (about 14.2 kB, published)",
}


def composed(repo: Path, folder: Path, *overrides: str):
    paths = [f"paths.data={folder / 'raw'}", f"paths.datasets={folder / 'datasets'}"]
    with initialize_config_dir(version_base="1.3", config_dir=str(repo / "conf")):
        return compose("prepare", [*overrides, *paths])


@pytest.mark.parametrize("name", SETS)
def test_a_dry_run_of_each_set_says_how_large_it_is(name: str, repo: Path, tmp_path: Path, caplog):
    nowhere = "http://127.0.0.1:1"
    overrides = [f"data={name}", "dry_run=true", f"data.prepare.public_set.address={nowhere}"]
    config = composed(
        repo, tmp_path, *overrides, *([f"data.prepare.public_set.tables={nowhere}"] if name == "jump" else [])
    )
    with caplog.at_level(logging.INFO):
        assert instantiate(config.data.prepare) is None
    assert SETS[name] in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_set_without_its_files_says_what_to_do(repo: Path, tmp_path: Path):
    for name in SETS:
        with pytest.raises(Exception, match=r"has no .*paths\.data=.*download=true.*dry_run=true"):
            instantiate(composed(repo, tmp_path, f"data={name}").data.prepare)


def test_an_option_that_a_set_lacks_is_refused(repo: Path, tmp_path: Path):
    with pytest.raises(ConfigCompositionException, match=r"data\.prepare\.plates"):
        composed(repo, tmp_path, "data=bbbc021", "data.prepare.plates=[Week1_22123]")


def test_a_download_of_what_is_no_public_set_is_refused(repo: Path, tmp_path: Path):
    command = [
        sys.executable,
        str(repo / "prepare.py"),
        "data=simulated",
        "download=true",
        f"paths.datasets={tmp_path}",
    ]
    environment = os.environ | {"PYTHONPATH": str(repo), "PYTHONUTF8": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "download=true is for public sets, and data.name=simulated is none" in done.stderr


def test_plates_are_named_on_the_command_line(repo: Path, tmp_path: Path):
    assert composed(repo, tmp_path, "data=bbbc021", "data.prepare.keep={plate: [P]}").data.prepare.keep == {
        "plate": ["P"]
    }
    keep = composed(repo, tmp_path, "data=jump", "+data.prepare.keep={Assay_Plate_Barcode: [B]}").data.prepare.keep
    assert set(keep) == {"Batch", "Assay_Plate_Barcode"}
