"""What README promises is there: its make targets, its files, and commands whose every key exists."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from virtassay.cli import VERBS

REPO = Path(__file__).resolve().parents[1]
README = (REPO / "README.md").read_text(encoding="utf-8")
BLOCKS = "\n".join(re.findall(r"^```(?:bash|sh|console)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL))
LINES = [shlex.split(line, comments=True) for line in BLOCKS.replace("\\\n", " ").splitlines()]


def verb(words: list[str]) -> str | None:
    """Name the verb that a command line runs: `virtassay train …` or `python train.py …`."""
    if words[:1] and Path(words[0]).name == "virtassay" and words[1:2] and words[1] in VERBS:
        return words[1]
    if words[:1] in (["python"], ["python3"]) and words[1:2] and Path(words[1]).stem in VERBS:
        return Path(words[1]).stem
    return None


def check(words: list[str]) -> None:
    """Compose a command line with Hydra, the first job of a sweep; raises what the user would see."""
    name = verb(words)
    assert name is not None
    overrides: list[str] = []
    for override in OverridesParser.create().parse_overrides([word for word in words[2:] if not word.startswith("-")]):
        if override.is_sweep_override():
            overrides.append(f"{override.get_key_element()}={next(override.sweep_string_iterator())}")
        else:
            overrides.append(override.input_line or "")
    with initialize_config_dir(version_base="1.3", config_dir=str(REPO / "conf")):
        compose(name, overrides=overrides, return_hydra_config=True)


COMMANDS = [words for words in LINES if verb(words)]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_composes(words: list[str]):
    check(words)


def test_every_verb_has_an_example_and_a_misspelt_one_would_be_found():
    assert {verb(words) for words in COMMANDS} == set(VERBS)
    with pytest.raises(Exception, match="experimnt"):
        check(["virtassay", "train", "experimnt=quickstart"])


@pytest.mark.parametrize("example", [example for _, example in VERBS.values()])
def test_the_examples_of_the_command_line_help_compose(example: str):
    check(shlex.split(example))


def test_every_make_command_is_a_target():
    targets = set(re.findall(r"^([a-z][\w-]*):", (REPO / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    wanted = set(re.findall(r"\bmake ([a-z][\w-]*)", BLOCKS))
    assert {"quickstart", "test"} <= wanted <= targets


def test_the_quickstart_runs_commands_that_compose():
    if shutil.which("make") is None:
        pytest.skip("needs make")
    done = subprocess.run(["make", "-n", "quickstart"], cwd=REPO, capture_output=True, text=True, check=True)
    commands = [shlex.split(line) for line in done.stdout.splitlines() if "/virtassay " in line]
    assert [verb(words) for words in commands] == ["prepare", "train", "sample", "evaluate"]
    for words in commands:
        check(words)


def test_every_file_it_links_to_is_there():
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", README) if not re.match(r"[a-z]+:", link)]
    shown = re.findall(r'<img[^>]*src="([^"]+)"', README)
    assert links
    assert [link for link in links + shown if not (REPO / link).exists()] == []


def test_every_file_of_the_layout_is_there():
    table = README.partition("## Layout")[2].partition("\n## ")[0]
    paths = re.findall(r"^\| `([^`]+)`", table, flags=re.MULTILINE)
    assert paths
    assert [path for path in paths if not (REPO / path).exists()] == []
