"""How reports are filled: pages that load nothing."""

import json
from collections.abc import Mapping
from typing import Any

import jinja2

from virtassay.evaluation.report.tables import name, number


def page(template: str, content: Mapping[str, Any]) -> str:
    """Fill a template, named from the evaluation or the package; text from indices and folders is escaped."""
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
