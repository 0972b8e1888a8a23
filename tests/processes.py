"""Processes of tests, forked from one that has imported the package: a process that imports torch anew takes seconds.

What is tested by them (being killed, working at the same time, a command from its words to its files) is the same;
that a command begins from nothing is tested in test_cli.
"""

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from virtassay import cli

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["virtassay.training", "virtassay.screening"])
LIMIT_S = 300  # a process that hangs fails its test, not the run


@dataclass(frozen=True)
class Command:
    """A running `virtassay VERB …`, and the file of what it says."""

    process: ForkServerProcess
    log: Path

    def wait(self) -> int:
        """Its exit code, once it has ended; TimeoutError, and it is killed, if it does not."""
        self.process.join(LIMIT_S)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            raise TimeoutError(f"not ended after {LIMIT_S} s: {self.log.read_text(encoding='utf-8')[-3000:]}")
        return code


def begin(words: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Command:
    """Begin `virtassay WORDS` in a folder; what it says is kept in command.log there."""
    log = folder / "command.log"
    process = PROCESSES.Process(target=_run, args=(list(words), folder, log, dict(environment or {})))
    process.start()
    return Command(process, log)


def execute(words: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run `virtassay WORDS` in a folder: its exit code and what it says."""
    command = begin(words, folder, environment)
    return command.wait(), command.log.read_text(encoding="utf-8")


def _run(words: list[str], folder: Path, log: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    os.chdir(folder)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    cli.main(words)
