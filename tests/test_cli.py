"""The console command: verbs, help, versions, and how errors reach the user."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from virtassay import cli

SCRIPT = '''
import hydra
from virtassay.cli import user_errors

@hydra.main(version_base="1.3", config_path=None)
@user_errors
def main(cfg):
    """Fail as asked."""
    if cfg.kind == "value":
        raise ValueError("dose is negative; give µM ≥ 0.")
    if cfg.kind == "missing":
        return cfg.mandatory
    if cfg.kind == "wrapped":
        return hydra.utils.instantiate({"_target_": "os.listdir", "path": "nowhere"})
    if cfg.kind == "extra":
        try:
            import no_such_package
        except ImportError as error:
            raise ImportError('this needs no_such_package: pip install "virtassay[more]".') from error
    if cfg.kind == "broken":
        import no_such_package
    if cfg.kind == "interrupt":
        raise KeyboardInterrupt
    raise TypeError("a bug")

main()
'''


def python(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(cli.home()), *sys.path])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": path, "PYTHONUTF8": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def virtassay(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return python("-c", "from virtassay.cli import main; main()", *arguments, cwd=cwd)


def fail(kind: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "fails.py").write_text(SCRIPT, encoding="utf-8")
    settings = ["hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none", "+mandatory=???"]
    return python("fails.py", f"+kind={kind}", *settings, cwd=folder, **environment)


def test_home_holds_the_configuration_and_a_script_for_each_verb():
    assert (cli.home() / "conf" / "base.yaml").is_file()
    assert [verb for verb in cli.VERBS if not (cli.home() / f"{verb}.py").is_file()] == []


def test_help_names_every_verb_with_an_example_and_imports_no_torch(tmp_path: Path):
    code = "import sys; from virtassay.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    done = python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for verb, (what, example) in cli.VERBS.items():
        assert what in done.stdout
        assert example in done.stdout
        assert example.startswith(f"virtassay {verb} ")


def test_version(capsys: pytest.CaptureFixture[str]):
    cli.main(["--version"])
    assert capsys.readouterr().out == f"virtassay {cli.__version__}\n"


def test_unknown_verb_names_the_verbs_and_the_nearest(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["trian"])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert "Did you mean 'train'?" in message
    assert all(verb in message for verb in cli.VERBS)


def test_verb_finds_its_configuration_from_any_folder_and_leaves_nothing_behind(tmp_path: Path):
    done = virtassay("train", "--cfg", "job", "seed=7", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "seed: 7" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_help_of_a_verb_lists_its_groups_and_keys(tmp_path: Path):
    done = virtassay("train", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("virtassay train")
    assert "network: " in done.stdout
    assert "images_total: " in done.stdout


def test_misspelt_key_is_named_without_a_traceback(tmp_path: Path):
    done = virtassay("train", "images_totl=5", cwd=tmp_path)
    assert done.returncode == 1
    assert "images_totl" in done.stderr
    assert "Traceback" not in done.stderr


def test_sweep_runs_the_task_once_for_each_value(tmp_path: Path):
    done = virtassay("sample", "-m", "run=nowhere", "like=test", "seed=1,2", f"paths.runs={tmp_path}", cwd=tmp_path)
    assert "#0 : run=nowhere like=test seed=1" in done.stdout
    assert done.returncode == 1  # the first job stops the sweep
    assert "nowhere" in done.stderr


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        ("value", 1, "error: dose is negative; give µM ≥ 0."),
        ("missing", 1, "error: Missing mandatory value: mandatory"),
        ("wrapped", 1, "error: [Errno 2] No such file or directory: 'nowhere'"),
        ("extra", 1, 'error: this needs no_such_package: pip install "virtassay[more]".'),
        ("interrupt", 130, "interrupted"),
    ],
)
def test_errors_of_the_input_are_one_message(tmp_path: Path, kind: str, code: int, message: str):
    done = fail(kind, tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(message)
    assert "Traceback" not in done.stderr
    assert "Error executing job" not in done.stderr


def test_traceback_of_a_users_error_on_request_and_of_a_bug_always(tmp_path: Path):
    asked = fail("value", tmp_path, VIRTASSAY_TRACEBACK="1")
    bug, broken = fail("bug", tmp_path), fail("broken", tmp_path)
    assert asked.returncode == bug.returncode == broken.returncode == 1
    assert "ValueError: dose is negative" in asked.stderr
    assert "TypeError: a bug" in bug.stderr
    assert "ModuleNotFoundError: No module named" in broken.stderr
    assert all("Traceback" in failed.stderr for failed in (asked, bug, broken))
