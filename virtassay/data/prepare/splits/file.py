"""Split files: a split as a small csv that can be published and put onto the same screen by anybody.

# virtassay split, version 1
# dataset: bbbc021
# wells: 2f6c…
# settings: {"function": "virtassay.data.prepare.splits.assign.split_by_well", "seed": 0, "val": 0.1, "test": 0.25}
plate,well,split,held_out
Week1_22123,B02,train,

`wells` is the SHA-256 of the sorted names of the wells, `settings` what made the split.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from virtassay.data.prepare.splits.assign import Split
from virtassay.files import write_text
from virtassay.schema import InvalidIndex, some

FIRST_LINE = "# virtassay split, version 1"
KEYS = (("plate", "well"), ("plate", "well", "site"), ("image_id",))  # the first that tells the sides apart names them


def write_split(path: str | Path, index: pl.DataFrame, dataset: str, split: Split | None) -> None:
    """Write which wells are on which side, by field or by image where a well is on several; `split` made it."""
    key = _key(index)
    table = _sides(index, key).sort(key)
    head = (FIRST_LINE, f"# dataset: {dataset}", f"# wells: {_digest(table, key)}", f"# settings: {_settings(split)}")
    write_text(Path(path), "\n".join(head) + "\n" + table.write_csv())


def split_from_file(index: pl.DataFrame, *, path: str | Path) -> pl.DataFrame:
    """Put a published split onto an index (columns split and held_out).

    Raises FileNotFoundError, or InvalidIndex where the file is no split file or names other wells than the index has.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no split file {path}: correct split.path.")
    text = path.read_text(encoding="utf-8")
    if not text.startswith(FIRST_LINE + "\n"):
        raise InvalidIndex(f"{path} is no split file of this version: its first line must be {FIRST_LINE!r}.")
    table = pl.read_csv(text.encode(), comment_prefix="# ", infer_schema=False)
    key = next((list(key) for key in KEYS if {*key, "split"} <= set(table.columns)), None)
    key = [*key, "site"] if key and "site" in table.columns else key
    if key is None or not set(table.columns) <= {*key, "split", "held_out"} or table["split"].null_count():
        raise InvalidIndex(f"{path} needs the columns plate, well (or image_id) and split; it has {table.columns}.")
    missing = sorted(set(key) - set(index.columns))
    if missing:
        raise InvalidIndex(f"{path} names images by {key}, and the index has no column {missing}: map it in columns.")
    wells = next((line for line in text.splitlines() if line.startswith("# wells: ")), "")
    if wells != f"# wells: {_digest(table.sort(key), key)}":
        raise InvalidIndex(f"{path} was cut or edited: its wells are not those that its header was made for.")
    unknown = sorted(set(table["split"]) - {"train", "val", "test"})
    if unknown:
        raise InvalidIndex(f"{path} names split(s) {unknown}: each is train, val or test.")
    twice = table.filter(table.select(key).is_duplicated())
    if twice.height:
        raise InvalidIndex(f"{path} names {_names(twice, key)} more than once.")
    own = index.select(key).unique()
    lacking = own.join(table, on=key, how="anti", nulls_equal=True)
    extra = table.join(own, on=key, how="anti", nulls_equal=True)
    if lacking.height or extra.height:
        raise InvalidIndex(
            f"{path} is not of this screen: it lacks {_names(lacking, key)} and names {_names(extra, key)}, which "
            "the screen lacks. Keep the same plates and wells, spelt alike, as it was made for."
        )
    unsplit = index.drop("split", "held_out", strict=False)
    return unsplit.join(table, on=key, how="left", nulls_equal=True, maintain_order="left")


def _key(index: pl.DataFrame) -> list[str]:
    for key in KEYS:
        if set(key) <= set(index.columns) and not _sides(index, key).select(key).is_duplicated().any():
            return list(key)
    raise InvalidIndex("'image_id' repeats: each image needs its own.")


def _sides(index: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    return index.select(*key, "split", *(["held_out"] if "held_out" in index.columns else [])).unique()


def _digest(table: pl.DataFrame, key: list[str]) -> str:
    return hashlib.sha256(table.select(key).write_csv(include_header=False).encode()).hexdigest()


def _names(table: pl.DataFrame, key: list[str]) -> str:
    rows = [" ".join(map(str, row)) for row in table.select(key).sort(key).iter_rows()]
    return f"{len(rows)} well(s) or images ({some(rows)})" if rows else "none"


def _settings(split: Callable[..., Any] | None) -> str:
    """Say what made a split: the function and its arguments."""
    if split is None:
        return json.dumps({"function": None})
    arguments: dict[str, Any] = {}
    while isinstance(split, partial):
        arguments, split = {**split.keywords, **arguments}, split.func
    name = f"{split.__module__}.{getattr(split, '__qualname__', type(split).__name__)}"
    return json.dumps({"function": name, **arguments}, default=_described, ensure_ascii=False)


def _described(value: Any) -> Any:
    if callable(value):  # a function by its name: its repr holds an address
        return json.loads(_settings(value))
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if hasattr(value, "__iter__") else repr(value)
