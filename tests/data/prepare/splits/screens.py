"""Screens to split: of compounds whose scaffolds are known."""

import polars as pl

from virtassay.schema import validate

DRUGS = ["DMSO", "DMSO", "DMSO", "DMSO", "taxol", "taxol", "taxol", "nocodazole", "nocodazole", "ALLN"]


def compounds(**smiles: str) -> pl.DataFrame:
    """Each compound at 0.1, 1 and 10 µM in two wells, in two batches of two cell types; and controls."""
    rows = []
    for batch, cell_type in (("b1", "U2OS"), ("b2", "A549")):
        for name, text in {"DMSO": None, **smiles}.items():
            for dose in (0.1, 1.0, 10.0):
                for repeat in range(2):
                    rows.append(
                        {
                            "image_id": f"{batch}-{name}-{dose}-{repeat}", "plate": batch,
                            "well": f"{name}-{dose}-{repeat}", "batch": batch, "cell_type": cell_type,
                            "perturbation": name, "is_control": name == "DMSO", "smiles": text,
                            "dose_um": None if name == "DMSO" else dose,
                        }
                    )  # fmt: skip
    return validate(pl.DataFrame(rows))


DRUG_LIKE = {  # two of benzene, two of pyridine, two without rings, one of naphthalene
    "toluene": "Cc1ccccc1", "phenol": "Oc1ccccc1", "picoline": "Cc1ccncc1", "aminopyridine": "Nc1ccncc1",
    "hexane": "CCCCCC", "glycine": "NCC(=O)O", "naphthol": "Oc1ccc2ccccc2c1",
}  # fmt: skip


SCAFFOLDS = [{"toluene", "phenol"}, {"picoline", "aminopyridine"}, {"hexane", "glycine"}, {"naphthol"}]
