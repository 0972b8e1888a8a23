"""What the simulator's perturbations do to a cell: the true effects that an assay tries to recover.

A cell's **phenotype** is a vector on AXES, 0 for an untouched cell and about 2 where a change is plain to see.
A compound c of mechanism class m at dose d moves it by

    z(c, d) = h(d) (a_m + s_c),   h(d) = d^k / (d^k + EC50^k),   s_c = sqrt(2 / M) B cos(W f_c + b)

with f_c its normalised Morgan fingerprint: random Fourier features (Rahimi and Recht 2007), that is, one draw of a
smooth function of the structure, so that what an unseen compound adds is predictable from its neighbours. EC50 is such
a function too. Nothing of this depends on the seed of a screen: a drug does the same in every simulated laboratory.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import StringIO
from pathlib import Path

import numpy as np
import polars as pl
from rdkit import Chem, rdBase

from virtassay.data.molecules.descriptors import Morgan

AXES = (
    "nucleus_size", "nucleus_irregularity", "chromatin_clumping", "nucleoli", "cell_area", "elongation", "protrusions",
    "tubulin_bundling", "tubulin_loss", "perinuclear", "actin_rim", "actin_fibres", "actin_clumps", "granularity",
    "mitosis", "spindle_collapse", "multinucleation",
)  # fmt: skip
# The direction a_m of each mechanism class, from what its best known members do to adherent epithelial cells.
CLASSES: dict[str, dict[str, float]] = {
    "tubulin destabiliser": dict(
        tubulin_loss=2.4, cell_area=-0.9, mitosis=1.6, multinucleation=1.2, nucleus_irregularity=0.8,
        spindle_collapse=1.0),
    "tubulin stabiliser": dict(
        tubulin_bundling=2.4, multinucleation=2.0, nucleus_irregularity=1.0, mitosis=0.9, elongation=-0.4),
    "actin disruptor": dict(
        actin_fibres=-2.0, actin_clumps=2.4, actin_rim=-1.4, protrusions=2.2, cell_area=-0.8, multinucleation=0.6),
    "Eg5 inhibitor": dict(
        mitosis=3.2, spindle_collapse=2.5, cell_area=-0.5, nucleus_irregularity=0.5),
    "Aurora kinase inhibitor": dict(
        nucleus_size=2.4, nucleus_irregularity=1.8, cell_area=1.6, multinucleation=0.9, mitosis=-0.6),
    "cholesterol-lowering": dict(
        elongation=2.6, cell_area=-1.2, actin_fibres=-1.4, protrusions=1.0, perinuclear=0.7),
    "HDAC inhibitor": dict(
        cell_area=1.8, elongation=1.2, actin_fibres=2.2, chromatin_clumping=-1.4, nucleus_size=0.9, mitosis=-0.6),
    "lysosomotropic": dict(
        granularity=2.6, perinuclear=1.0, actin_rim=-0.4, tubulin_bundling=-0.3),
    "protein synthesis inhibitor": dict(
        nucleoli=-2.0, cell_area=-1.2, nucleus_size=-1.0, elongation=0.7, actin_rim=1.4, granularity=-0.8,
        mitosis=-0.8),
    "proteasome inhibitor": dict(
        perinuclear=2.4, granularity=1.2, cell_area=-1.3, chromatin_clumping=1.2, elongation=0.9, tubulin_bundling=0.6),
    "DNA damage": dict(
        nucleus_size=2.0, nucleoli=1.8, cell_area=1.6, chromatin_clumping=0.9, mitosis=-1.0, actin_fibres=0.8),
    "PI3K/mTOR inhibitor": dict(
        cell_area=-1.0, nucleus_size=-1.2, granularity=1.3, actin_rim=-1.0, nucleoli=-0.8, perinuclear=-1.0),
    "inactive": {},
}  # fmt: skip
TOXICITY = {  # the part of the cells that is gone at a saturating dose
    "tubulin destabiliser": 0.45, "tubulin stabiliser": 0.45, "actin disruptor": 0.3, "Eg5 inhibitor": 0.35,
    "Aurora kinase inhibitor": 0.5, "cholesterol-lowering": 0.4, "HDAC inhibitor": 0.5, "lysosomotropic": 0.25,
    "protein synthesis inhibitor": 0.55, "proteasome inhibitor": 0.65, "DNA damage": 0.6, "PI3K/mTOR inhibitor": 0.35,
    "inactive": 0.0,
}  # fmt: skip
GENES = {  # gene knocked out -> the class of the drugs that hit its product; AAVS1 is the usual harmless site
    "KIF11": "Eg5 inhibitor", "TUBB": "tubulin destabiliser", "AURKB": "Aurora kinase inhibitor",
    "ACTB": "actin disruptor", "HMGCR": "cholesterol-lowering", "PSMB5": "proteasome inhibitor",
    "HDAC1": "HDAC inhibitor", "EEF2": "protein synthesis inhibitor", "MTOR": "PI3K/mTOR inhibitor",
    "TOP2A": "DNA damage", "AAVS1": "inactive",
}  # fmt: skip
KNOCK_OUT_RESPONSE = 0.8  # a knock-out resembles a drug near saturation, but cells adapt to it
SPECIFIC = 0.3  # standard deviation of the compound-specific part, in each axis
LENGTH = 0.8  # of that smooth function; unrelated fingerprints lie about 1.3 apart, analogues 0.5
FEATURES = 512
DRUG = {"name": pl.String, "moa": pl.String, "top_um": pl.Float64, "smiles": pl.String}
WORLD = 2024  # seeds the draw of the smooth functions


@dataclass(frozen=True)
class Perturbation:
    """A compound or a knock-out with its truth: `direction` on AXES at saturation, Hill constants, toxicity."""

    name: str
    moa: str
    direction: np.ndarray
    toxicity: float
    smiles: str | None = None
    gene: str | None = None
    top_um: float = 0.0  # highest dose that the screen gives; a knock-out has none
    ec50_um: float | None = None
    slope: float = 1.0

    def response(self, dose_um: float | None) -> float:
        """h = d^k / (d^k + EC50^k), in [0, 1); a knock-out has no dose and a constant response."""
        if self.ec50_um is None:
            return KNOCK_OUT_RESPONSE
        return hill(dose_um or 0.0, self.ec50_um, self.slope)

    def effect(self, dose_um: float | None) -> np.ndarray:
        """Mean shift of the phenotype at this dose, on AXES."""
        return self.response(dose_um) * self.direction

    def survival(self, dose_um: float | None) -> float:
        """Part of the cells that is left; killing needs about twice the dose that the phenotype needs."""
        if self.ec50_um is None:
            return 1 - self.toxicity * KNOCK_OUT_RESPONSE / 2
        return 1 - self.toxicity * hill(dose_um or 0.0, 2 * self.ec50_um, 2 * self.slope)


def hill(dose_um: float, ec50_um: float, slope: float) -> float:
    """h = d^k / (d^k + EC50^k): 0 without drug, 1/2 at the EC50."""
    return 0.0 if dose_um <= 0 else 1 / (1 + (ec50_um / dose_um) ** slope)


def class_direction(moa: str) -> np.ndarray:
    """Return the direction a_m of a mechanism class, on AXES."""
    return np.array([CLASSES[moa].get(axis, 0.0) for axis in AXES])


def unit_fingerprints(smiles: list[str]) -> np.ndarray:
    """Return Morgan fingerprints (radius 2, 2,048 bits) scaled to length 1, (n, 2048)."""
    bits = Morgan()(smiles).astype(float)
    return bits / np.linalg.norm(bits, axis=1, keepdims=True)


def specific_part(smiles: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the smooth functions of structure: shift on AXES (n, 17), and a standard normal for the potency (n,)."""
    rng = np.random.default_rng(WORLD)
    weight = rng.standard_normal((2048, FEATURES)) / LENGTH
    phase = rng.uniform(0, 2 * np.pi, FEATURES)
    readout = rng.standard_normal((FEATURES, len(AXES) + 1))
    values = np.sqrt(2 / FEATURES) * np.cos(unit_fingerprints(smiles) @ weight + phase) @ readout
    return SPECIFIC * values[:, :-1], values[:, -1]


@cache
def compounds() -> tuple[Perturbation, ...]:
    """Return all compounds of the simulated world; the first twelve belong to twelve classes."""
    return compounds_of(pl.read_csv(StringIO(files("virtassay.simulator").joinpath("drugs.csv").read_text("utf8"))))


def compounds_of(table: pl.DataFrame) -> tuple[Perturbation, ...]:
    """Return what molecules do that belong to these classes: columns name, moa (of CLASSES), top_um, smiles."""
    shifts, potency = specific_part(table["smiles"].to_list())
    drugs = []
    for row, shift, z in zip(table.iter_rows(named=True), shifts, potency, strict=True):
        moa, top = row["moa"], float(row["top_um"])
        direction = np.zeros(len(AXES)) if moa == "inactive" else class_direction(moa) + shift
        ec50 = top * 10 ** float(np.clip(-0.8 + 0.2 * z, -1.3, -0.4))
        drugs.append(Perturbation(row["name"], moa, direction, TOXICITY[moa], row["smiles"], None, top, ec50, 1.5))
    return tuple(drugs)


def read_drugs(path: str | Path) -> tuple[Perturbation, ...]:
    """Read compounds of a csv (name, moa, of CLASSES, top_um, smiles): what they would do in the simulated world.

    Raises FileNotFoundError, and ValueError naming the column, the first rows and what to give instead.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"drugs={path}: there is no such file; give a csv with the columns {list(DRUG)}.")
    table = pl.read_csv(path, infer_schema_length=None)
    absent = [name for name in DRUG if name not in table.columns]
    if absent or not table.height:
        raise ValueError(f"{path}: {'no rows' if not absent else f'no column {absent[0]}'}; give {list(DRUG)}.")
    table = table.select(pl.col(name).cast(kind, strict=False) for name, kind in DRUG.items())
    with rdBase.BlockLogs():
        molecule = [bool(text) and Chem.MolFromSmiles(text) is not None for text in table["smiles"]]
    wrong = {
        "name: each once, and not DMSO, which is the control": table["name"].is_duplicated() | table["name"].eq("DMSO"),
        f"moa: one of {list(CLASSES)}": ~table["moa"].is_in(list(CLASSES)).fill_null(False),
        "top_um: a dose in µM, above 0": ~table["top_um"].gt(0).fill_null(False),
        "smiles: a molecule that RDKit can read": ~pl.Series(molecule, dtype=pl.Boolean),
    }
    for what, rows in wrong.items():
        bad = table.filter(rows.fill_null(True))
        if bad.height:
            raise ValueError(f"{path}: {bad.height} rows, the first {bad.head(5).rows()}; give {what}.")
    return compounds_of(table)


@cache
def knock_outs() -> tuple[Perturbation, ...]:
    """Return all gene knock-outs: the direction of the class that hits the gene's product, with a part of their own."""
    rng = np.random.default_rng(WORLD + 1)
    genes = []
    for gene, moa in GENES.items():
        own = SPECIFIC * rng.standard_normal(len(AXES))
        direction = np.zeros(len(AXES)) if moa == "inactive" else class_direction(moa) + own
        genes.append(Perturbation(gene, moa, direction, TOXICITY[moa], gene=gene))
    return tuple(genes)
