"""What all figures of reports share: colours, type, and how they become data URIs, which load nothing."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

MODEL, BASELINE, REAL, OUTLIER, FAINT = "#0b5cad", "#85898f", "#1c1e21", "#c2410c", "#d9dce1"
SOFT, BAND = "#5b616a", "#f5f6f8"  # axes and labels; every second line
matplotlib: Any = mpl  # its types are incomplete
STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.7,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": REAL,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.parse_math": False,  # a compound's name may hold a dollar sign
    "svg.hashsalt": "virtassay",  # the same judgement gives the same file
}


def style() -> Any:
    """The context in which a figure is drawn and saved."""
    return matplotlib.rc_context(STYLE)


def new_figure(width: float, height: float) -> Any:
    """An empty figure, in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def dashed(axes: Any, *places: float) -> None:
    """Draw a dashed line down a plot at each place."""
    for x in places:
        axes.axvline(x, color=SOFT, lw=0.8, ls=(0, (4, 3)), zorder=0)


def named_lines(axes: Any, names: Sequence[str], size: float = 9.0) -> None:
    """Name the lines of a plot on its y axis, the first on top; every second line is shaded."""
    for y in range(1, len(names), 2):
        axes.axhspan(y - 0.5, y + 0.5, color=BAND, zorder=-2, lw=0)
    axes.set_ylim(len(names) - 0.5, -0.5)
    only_names(axes, range(len(names)), names, size)


def only_names(axes: Any, places: Sequence[float], names: Sequence[str], size: float) -> None:
    """Put names on a y axis in the place of its ticks and its line."""
    axes.set_yticks(places, names, color=REAL, fontsize=size)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def legend_above(figure: Any, axes: Any, keys: Sequence[tuple[str, str, float, str]]) -> None:
    """Explain (marker, colour, size, words) above a figure."""
    for marker, colour, size, label in keys:
        axes.plot([], [], marker, color=colour, ms=size, mew=1.2 if marker == "|" else 0, label=label)
    figure.legend(loc="outside upper left", ncols=len(keys), frameon=False, handletextpad=0.2, columnspacing=1.6)


def data_uri(kind: str, data: bytes) -> str:
    """Turn the bytes of a picture into a data URI; kind: "png" or "svg+xml"."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def svg_uri(figure: Any) -> str:
    """Turn a figure into a data URI."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return data_uri("svg+xml", buffer.getvalue())


def png_uri(pixels: NDArray[np.uint8]) -> str:
    """Turn (H, W) grey or (H, W, 3) colour pixels into a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return data_uri("png", buffer.getvalue())


def evenly(n: int, most: int) -> list[int]:
    """Choose at most `most` of n numbers from 0, evenly spaced, both ends among them."""
    return [int(i) for i in np.unique(np.linspace(0, n - 1, min(most, n)).round())]
