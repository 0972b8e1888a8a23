"""How pages are filled from templates: each holds everything it needs and loads nothing."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from virtassay.report.numbers import name, number

STYLESHEET = Path(__file__).with_name("report.css")  # of all pages


def page(package: str, template: str, content: Mapping[str, Any]) -> str:
    """Fill a template of a package ("virtassay.card"); text from indices and folders is escaped.

    Templates include those of this package as "report/report.css" and "report/macros.j2". Raises
    jinja2.UndefinedError for what the content lacks.
    """
    shared = jinja2.PrefixLoader({"report": jinja2.PackageLoader("virtassay.report", ".")})
    environment: Any = jinja2.Environment(
        loader=jinja2.ChoiceLoader([shared, jinja2.PackageLoader(package, ".")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, name=name)
    return environment.get_template(template).render(content)


def as_json(tree: object) -> str:
    """Plain JSON; raises ValueError for NaN."""
    return json.dumps(tree, indent=1, allow_nan=False, ensure_ascii=False)
