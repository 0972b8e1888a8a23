"""Mutation testing: plant small faults in a folder, one at a time, and see which its tests miss.

    make mutants FOLDER=virtassay/flow

cosmic-ray plants them (− for +, < for <=, 2 for 1, a loop that never runs, …); for virtassay/x/y.py the tests are those
of tests/x/test_y.py, or of the whole folder where no test has that name. All happens in a copy, build/mutants. Each
mutant's tests run in a fork, so that torch is imported once.
"""

import argparse
import ast
import difflib
import os
import random
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
COPY = REPO / "build" / "mutants"
# of cosmic-ray's operators: one replacement of each sign, none that needs arguments, none that mostly repeats another
OPERATORS = re.compile(
    r"core/(ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Div|Mod_Mul|Pow_Mul|MatMul_Mul|BitAnd_BitOr|"
    r"BitOr_BitAnd|BitXor_BitOr)|ReplaceComparisonOperator_(Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|Lt_GtE|Gt_LtE|Eq_NotEq|NotEq_Eq|"
    r"In_NotIn|Is_IsNot)|ReplaceUnaryOperator_(Delete_Not|USub_UAdd|Invert_UAdd|Delete_USub|Delete_Invert)|AddNot|"
    r"ReplaceTrueWithFalse|ReplaceFalseWithTrue|ReplaceAndWithOr|ReplaceOrWithAnd|ReplaceBreakWithContinue|"
    r"ReplaceContinueWithBreak|NumberReplacer|RemoveDecorator|ZeroIterationForLoop)$"
)


class Meaning(ast.NodeTransformer):
    """What a program does: its tree without annotations, without what only refuses or is only asked by isinstance.

    That are frozen dataclasses, arguments by name or by place alone (`*,` becomes `/,`), and runtime_checkable.
    """

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
        node.defaults = [*node.defaults, *(value for value in node.kw_defaults if value is not None)]
        node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.decorator_list = [d for d in node.decorator_list if ast.unparse(d) != "runtime_checkable"]
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> ast.AST | None:
        return None if node.arg == "frozen" else self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(0)
        return self.generic_visit(node)


def meaning(code: str) -> str:
    """Return a text that is the same for two programs that differ in annotations and layout alone."""
    return ast.dump(Meaning().visit(ast.parse(code)))


def mutants(source: str) -> Iterator[str]:
    """Every different program that one operator makes of a source, at each place where it applies."""
    from cosmic_ray.mutating import mutate_code  # pyright: ignore[reportMissingImports]
    from cosmic_ray.plugins import get_operator, operator_names  # pyright: ignore[reportMissingImports]

    seen = {meaning(source)}
    for name in sorted(filter(OPERATORS.match, operator_names())):
        operator = get_operator(name)()
        occurrence = 0
        while (code := mutate_code(source, operator, occurrence)) is not None:
            occurrence += 1
            try:
                what = meaning(code)
            except SyntaxError:
                continue
            if what not in seen:
                seen.add(what)
                yield code


def tests_of(source: Path) -> Path:
    """The mirrored test file of a source, both relative to the checkout, or the mirrored folder if there is none."""
    folder = Path("tests", *source.parts[1:-1])
    mirrored = folder / f"test_{source.stem.removeprefix('_')}.py"
    return mirrored if mirrored.exists() else folder


def passes(tests: list[str], limit_s: int) -> tuple[bool, float]:
    """Run tests in a fork: whether they pass, and their CPU seconds. Over the limit of those they count as failed."""
    child = os.fork()
    if child == 0:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 5))
        import pytest

        os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests])))
    _, status, usage = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status) == 0, usage.ru_utime + usage.ru_stime


def copy() -> None:
    """Copy the checkout's files, as they are now, to where they may be broken."""
    shutil.rmtree(COPY, ignore_errors=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in filter(None, subprocess.run(command, cwd=REPO, capture_output=True, text=True).stdout.split("\0")):
        if (REPO / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPO / name, COPY / name)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Print the diff of each survivor, then the counts of each file; 1 if any survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("where", type=Path, help="a folder or a file of the package, such as virtassay/flow")
    parser.add_argument("--tests", nargs="+", help="tests to run instead of the mirrored ones")
    parser.add_argument("--most", type=int, help="mutants of each file, drawn at random (seed 0); all by default")
    arguments = parser.parse_args()
    copy()
    os.chdir(COPY)
    sys.path[0] = str(COPY)  # not the folder of this script
    os.environ["OMP_NUM_THREADS"] = "1"
    __import__("torch").set_num_threads(1)
    __import__("scipy.stats")
    __import__("sklearn.neighbors")
    counts: list[str] = []
    survivors = 0
    for source in sorted(arguments.where.rglob("*.py")) if arguments.where.is_dir() else [arguments.where]:
        original = source.read_text(encoding="utf-8")
        planted = list(mutants(original))
        if arguments.most is not None and len(planted) > arguments.most:
            planted = random.Random(0).sample(planted, arguments.most)
        if not planted:
            continue
        tests = arguments.tests or [str(tests_of(source))]
        sys.dont_write_bytecode = False
        passed, cpu_s = passes(tests, 600)
        if not passed:
            sys.exit(f"{source}: {' '.join(tests)} fail without any mutant")
        sys.dont_write_bytecode = True  # a mutant may have the size and the second of its predecessor
        survived = 0
        for code in planted:
            source.write_text(code, encoding="utf-8")
            if passes(tests, limit_s=10 + 3 * round(cpu_s))[0]:
                survived += 1
                lines = difflib.unified_diff(original.splitlines(), code.splitlines(), str(source), "survivor", n=0)
                say("\n".join(line.rstrip() for line in lines))
        source.write_text(original, encoding="utf-8")
        survivors += survived
        counts.append(f"{source}: {len(planted)} planted, {len(planted) - survived} killed, {survived} survived")
        say(counts[-1])
    say("\n" + "\n".join(counts))
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
