"""How numbers, names and nested facts are written for people."""

import json
import math
from collections.abc import Mapping
from typing import Any, cast


def number(value: Any) -> str:
    """Write a number for people: three figures or fewer, a true minus sign, "n/a" for None and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "n/a"
    x = float(value)
    if math.isinf(x):
        text = "∞" if x > 0 else "-∞"
    elif abs(x) >= 1e6 or 0 < abs(x) < 1e-3:
        text = f"{x:.1e}"
    elif abs(x) >= 100:
        text = f"{x:,.0f}"
    elif abs(x) >= 10:
        text = f"{x:.1f}"
    else:
        text = f"{x:.2f}" if abs(x) >= 0.1 or x == 0 else f"{x:.3f}"
    return text.replace("-", "−")


def plain(value: Any) -> str:
    """Write any value of a fingerprint or a provenance on one line, cut after 300 characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str).strip("[]")
    return text if len(text) <= 300 else text[:300] + "…"


def name(identifier: str) -> str:
    """Write an identifier as words: "control_copy" → "control copy"."""
    return identifier.replace("_", " ")


def flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested dicts into (dotted key, text) pairs."""
    pairs: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            pairs += flat(cast(Mapping[str, Any], value), f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", plain(value)))
    return pairs
