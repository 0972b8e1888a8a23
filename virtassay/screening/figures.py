"""Figures of a screen's report: scores against chance, structures, dose curves, and where hits lie among molecules."""

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray
from rdkit import Chem, DataStructs
from rdkit.Chem.Draw import rdMolDraw2D
from sklearn.manifold import TSNE

from virtassay.data.molecules.similarity import fingerprints
from virtassay.report.figures import BASELINE, FAINT, MODEL, REAL, SOFT, data_uri, new_figure, style, svg_uri
from virtassay.screening.enrichment import Curve

Array = NDArray[np.float64]


def structure(smiles: str, width: int = 170, height: int = 110) -> str:
    """Draw a molecule, a data URI of an SVG."""
    drawer = rdMolDraw2D.MolDraw2DSVG(width, height)
    drawer.drawOptions().clearBackground = False
    drawer.DrawMolecule(Chem.MolFromSmiles(smiles))
    drawer.FinishDrawing()
    return data_uri("svg+xml", drawer.GetDrawingText().encode())


def scores_figure(scores: Array, null: Array, label: str) -> str:
    """The distribution of the library's scores, and a tick for each compound that does nothing."""
    with style():
        figure = new_figure(9.6, 2.6)
        axes = figure.subplots()
        finite = scores[np.isfinite(scores)]
        bins = np.histogram_bin_edges(np.concatenate([finite, null]), bins=min(60, max(10, len(finite) // 5)))
        axes.hist(finite, bins, color=MODEL, alpha=0.8, label=f"{len(finite):,} compounds")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")  # not 10^x, whose markup figures do not parse
        if len(null):
            label_of_null = f"{len(null)} that do nothing"
            axes.plot(null, np.ones(len(null)), "|", ms=18, mew=1.6, color=REAL, label=label_of_null)
        axes.set(xlabel=label, ylabel="compounds")
        axes.legend(frameon=False)
        return svg_uri(figure)


def enrichment_figure(curve: Curve, actives: int, n: int) -> str:
    """Share of the known actives among the best of the library, by how many are tested; dashed: at random."""
    screened = np.geomspace(1 / n, 1, 400)
    with style():
        figure = new_figure(9.6, 2.8)
        axes = figure.subplots()
        highest = np.minimum(1, screened * n / actives)
        axes.plot(screened * n, highest, color=FAINT, lw=1.2, label="the best there can be")
        axes.plot(screened * n, np.interp(screened, *curve), color=MODEL, lw=1.6, label="this ranking")
        axes.plot(screened * n, screened, "--", color=BASELINE, lw=1, label="at random")
        axes.set(xscale="log", xlim=(1, n), ylim=(0, 1.02), xlabel="compounds tested, best first")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylabel("share of actives found")
        axes.legend(frameon=False, loc="upper left")
        return svg_uri(figure)


def dose_curves(names: Sequence[str], doses: Sequence[float], scores: Array, ends: Array, label: str) -> str:
    """Score by dose, (n, doses), with 95 % intervals, (2, n, doses), a panel for each compound."""
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    with style():
        figure = new_figure(2.4 * columns, 1.75 * rows + 0.2)
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for panel, name, y, reach in zip(panels, names, scores, np.abs(ends - scores).swapaxes(0, 1), strict=False):
            panel.errorbar(doses, y, reach, fmt="o-", color=MODEL, ms=4, lw=1.3, elinewidth=1)
            panel.axhline(0, color=BASELINE, lw=0.7)
            panel.set_xscale("log")
            panel.xaxis.set_major_formatter("{x:g}")
            panel.xaxis.set_minor_formatter(NullFormatter())
            panel.set_title(name if len(name) <= 26 else f"{name[:25]}…", fontsize=9)
        for panel in panels[len(names) :]:
            panel.set_axis_off()
        figure.supxlabel("dose (µM)", fontsize=9)
        figure.supylabel(label, fontsize=9)
        return svg_uri(figure)


def chemical_space(smiles: Sequence[str], scores: Array, seen: Sequence[str], seed: int = 0) -> str:
    """Hits and the compounds of training by likeness of structure: t-SNE of Tanimoto distances.

    Source: van der Maaten & Hinton 2008 (JMLR 9). Near points are alike; far ones say nothing of how unlike.
    """
    prints = fingerprints([*smiles, *seen])
    distances = np.array([DataStructs.BulkTanimotoSimilarity(bits, prints, returnDistance=True) for bits in prints])
    perplexity = min(30.0, max(2.0, (len(prints) - 1) / 4))
    embedding = TSNE(metric="precomputed", init="random", perplexity=perplexity, random_state=seed)
    places = embedding.fit_transform(distances)
    n = len(smiles)
    with style():
        figure = new_figure(9.6, 4.6)
        axes = figure.subplots()
        axes.plot(*places[n:].T, "x", color=SOFT, ms=6, mew=1.2, label="seen in training")
        shown = axes.scatter(*places[:n].T, c=scores, s=24, cmap="viridis", label="library", edgecolors="white", lw=0.4)
        axes.set_axis_off()
        axes.legend(frameon=False, loc="upper left")
        figure.colorbar(shown, ax=axes, shrink=0.7, label="score")
        return svg_uri(figure)
