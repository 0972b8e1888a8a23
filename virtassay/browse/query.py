"""The query of a page's address, read with care, and the addresses of neighbouring pages."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self
from urllib.parse import urlencode


class BadQuery(ValueError):
    """An address whose query makes no sense; the message names the field and what it takes."""


@dataclass(frozen=True)
class Query:
    """A page's query; an empty text means any, or the first. low, high: contrast, percentiles of a channel's pixels."""

    plate: str = ""
    well: str = ""
    batch: str = ""
    split: str = ""
    perturbation: str = ""
    dose: str = ""  # µM, as the page wrote it
    colour: str = "treatment"  # the column that wells are coloured by
    channel: str = ""  # empty: the composite of all
    low: float = 1.0
    high: float = 99.7
    name: str = ""  # part of a hit's name or SMILES
    flags: str = ""  # of hits: "none" or "some"
    sort: str = "rank"
    page: int = 1
    full: int = 0  # 1: an image at its own size

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Self:
        """Read a query; fields that no page has are ignored. Raises BadQuery."""
        read: dict[str, Any] = {}
        for field in fields(cls):
            text = query.get(field.name, "")
            if text and field.type in (int, float):
                read[field.name] = _number(field.name, text, field.type)
            elif field.name in query:
                read[field.name] = text or field.default
        parsed = cls(**read)
        if not 0 <= parsed.low < parsed.high <= 100:
            raise BadQuery(
                f"contrast from {parsed.low:g} to {parsed.high:g} is none: give percentiles, 0 ≤ low < high ≤ 100."
            )
        return parsed

    def url(self, path: str, **changes: Any) -> str:
        """Address `path` with this query, some fields changed; defaults are left out."""
        default = asdict(Query())
        query = {key: value for key, value in asdict(replace(self, **changes)).items() if value != default[key]}
        return f"{path}?{urlencode(query)}" if query else path


def _number(field: str, text: str, kind: Any) -> int | float:
    try:
        value = kind(text[:20])  # longer ones are nonsense, and slow to read
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadQuery(f"{field}={text[:20]!r} is no number.")
    return value
