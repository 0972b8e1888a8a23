"""How reports are filled and files are written: pages that load nothing, and whole files or none."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2


def page(template: str, content: Mapping[str, Any]) -> str:
    """Fill a template, named from the evaluation or the package; text from indices and folders is escaped."""
    from virtassay.evaluation.report.tables import name, number  # which need this module

    environment: Any = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(f"virtassay{part}", ".") for part in (".evaluation", "")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, name=name)
    return environment.get_template(template).render(content)


def as_json(tree: object) -> str:
    """Plain JSON; NaN is refused."""
    return json.dumps(tree, indent=1, allow_nan=False, ensure_ascii=False)


def write_whole(path: Path, text: str) -> Path:
    """Write a file under a temporary name, rename it, and return its path."""
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)
    return path
