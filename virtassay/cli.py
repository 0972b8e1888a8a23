"""The console command `virtassay`: one subcommand for each top-level script, and how their errors are shown."""

import difflib
import functools
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, ParamSpec, TypeVar

from virtassay import __version__

P = ParamSpec("P")
R = TypeVar("R")

VERBS = {
    "prepare": ("turn a screen, yours or a public one, into a dataset folder", "virtassay prepare data=simulated"),
    "describe": (
        "measure a dataset folder, and warn of what may mislead a model",
        "virtassay describe folder=datasets/simulated",
    ),
    "train": ("fit a model to a dataset folder", "virtassay train experiment=quickstart"),
    "sample": ("generate images with a trained model", "virtassay sample run=runs/quickstart like=test"),
    "evaluate": (
        "judge generated images against real ones, with a report",
        "virtassay evaluate real=datasets/simulated generated=runs/quickstart/generated",
    ),
    "screen": ("rank a library of compounds", "virtassay screen run=runs/quickstart library=compounds.smi"),
    "browse": ("look through a folder in the browser", "virtassay browse folder=datasets/simulated"),
}
USER_ERRORS = (ValueError, OSError, FloatingPointError)  # what bad input, a bad disk or a diverged run raises
INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended


def home() -> Path:
    """Return the folder that holds conf/ and the scripts: the package in a wheel, its parent in a checkout."""
    package = Path(__file__).resolve().parent
    return package if (package / "conf").is_dir() else package.parent


def usage() -> str:
    """Return the text of `virtassay --help`."""
    lines = ["virtassay VERB [key=value …]", "", "Train, sample and judge generative models of microscopy images.", ""]
    for verb, (what, example) in VERBS.items():
        lines += [f"  {verb:<10}{what}", f"  {'':<10}  {example}", ""]
    return "\n".join(
        [*lines, "virtassay VERB --help lists every key of a verb; virtassay --version tells the version.\n"]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `virtassay VERB key=value …`, as `python VERB.py key=value …` would in a checkout."""
    verb, *overrides = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if verb in ("-h", "--help"):
        sys.stdout.write(usage())
    elif verb == "--version":
        sys.stdout.write(f"virtassay {__version__}\n")
    elif verb in VERBS:
        script = home() / f"{verb}.py"
        sys.argv = [str(script), *overrides]
        try:
            runpy.run_path(str(script), run_name="__main__")
        except KeyboardInterrupt:  # while the script was still importing or composing
            _stop("interrupted", INTERRUPTED)
        except BrokenPipeError:  # virtassay train --help | head
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None
    else:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        _stop(f"error: {verb!r} is no verb of virtassay; there are {', '.join(VERBS)}.{meant}", code=2)


def user_errors(task: Callable[P, R]) -> Callable[P, R]:
    """Decorate a script's task, inside hydra.main: errors of the input end as one message, without a traceback.

    Exit codes: 1 for ValueError, OSError, FloatingPointError, a missing extra, and a key without a value; 130 for
    Ctrl-C. Anything else is a bug and keeps its traceback; VIRTASSAY_TRACEBACK=1 keeps it for all.
    """

    @functools.wraps(task)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return task(*args, **kwargs)
        except KeyboardInterrupt as error:
            _stop(f"interrupted: {error}" if str(error) else "interrupted", INTERRUPTED)
        except Exception as error:
            cause = _cause(error)
            of_the_configuration = type(cause).__module__.startswith("omegaconf.")
            if os.environ.get("VIRTASSAY_TRACEBACK") == "1" or not (
                isinstance(cause, USER_ERRORS) or of_the_configuration or _is_missing_extra(cause)
            ):
                raise
            _stop(f"error: {str(cause).strip() or type(cause).__name__}\n(VIRTASSAY_TRACEBACK=1 shows where.)", code=1)

    return run


def _cause(error: BaseException) -> BaseException:
    # hydra.utils.instantiate wraps what a constructor raises; hydra itself is imported by the scripts only
    while type(error).__name__ == "InstantiationException" and error.__cause__ is not None:
        error = error.__cause__
    return error


def _is_missing_extra(error: BaseException) -> bool:
    # ours say what to install; Python's own name the module, and where they come through something is broken
    return isinstance(error, ImportError) and error.name is None


def _stop(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    raise SystemExit(code)
