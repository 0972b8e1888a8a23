"""The world: truth that is consistent, smooth in structure, and what molecules of one's own would do in it."""

from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from tests.simulator.wells import small
from virtassay.data.dataset import open_dataset
from virtassay.simulator import CLASSES, compounds, knock_outs, pharmacology, read_drugs
from virtassay.simulator.pharmacology import specific_part, unit_fingerprints


def test_every_smiles_is_a_molecule_of_its_own():
    smiles = [Chem.MolToSmiles(Chem.MolFromSmiles(drug.smiles)) for drug in compounds()]
    assert len(set(smiles)) == len(smiles) >= 36


def test_eight_to_twelve_classes_and_a_few_inactive():
    classes = {drug.moa for drug in compounds()} - {"inactive"}
    assert 8 <= len(classes) <= 12
    assert len({drug.moa for drug in compounds()[:12]}) == 12
    assert sum(drug.moa == "inactive" for drug in compounds()) >= 3


def test_the_response_is_none_without_drug_half_at_the_ec50_and_rises():
    for drug in compounds():
        assert drug.ec50_um is not None and drug.ec50_um < drug.top_um
        assert drug.response(0) == 0 and not drug.effect(0).any() and drug.survival(0) == 1
        assert drug.response(drug.ec50_um) == pytest.approx(0.5)
        ladder = [drug.response(drug.top_um * 3.0**k) for k in range(-6, 3)]
        assert np.all(np.diff(ladder) > 0) and ladder[-1] < 1


def test_inactive_compounds_do_nothing():
    for drug in compounds():
        harmless = drug.moa == "inactive"
        assert (not drug.effect(100 * drug.top_um).any()) == harmless
        assert (drug.survival(100 * drug.top_um) == 1) == harmless


def test_like_structures_have_like_effects():
    smiles = [drug.smiles for drug in compounds() if drug.smiles]
    similarity = unit_fingerprints(smiles) @ unit_fingerprints(smiles).T
    shift, _ = specific_part(smiles)
    apart = np.linalg.norm(shift[:, None] - shift, axis=-1)
    pair = np.triu_indices(len(smiles), 1)
    alike = similarity[pair] > 0.6
    assert alike.sum() >= 4
    assert apart[pair][alike].mean() < 0.75 * apart[pair][~alike].mean()
    assert np.corrcoef(similarity[pair], apart[pair])[0, 1] < -0.3


def test_the_smooth_function_has_the_stated_size(monkeypatch: pytest.MonkeyPatch):
    smiles = [drug.smiles for drug in compounds() if drug.smiles]
    spread = []
    for world in range(20):
        monkeypatch.setattr(pharmacology, "WORLD", world)
        spread.append(specific_part(smiles)[0])
    assert np.std(spread) == pytest.approx(pharmacology.SPECIFIC, rel=0.1)


def test_a_knock_out_resembles_the_drugs_of_its_target():
    directions = {moa: pharmacology.class_direction(moa) for moa in CLASSES if moa != "inactive"}
    for gene in knock_outs():
        if gene.moa == "inactive":
            assert not gene.effect(None).any()
        else:
            cosine = {moa: gene.direction @ d / np.linalg.norm(d) for moa, d in directions.items()}
            assert max(cosine, key=lambda moa: cosine[moa]) == gene.moa


def test_drugs_of_ones_own_do_what_their_class_and_structure_say(tmp_path: Path):
    path = tmp_path / "drugs.csv"
    path.write_text(
        "smiles,name,moa,top_um,vendor\nCOC(=O)Nc1nc2cc(ccc2[nH]1)C(=O)c1cccs1,nocodazole,tubulin destabiliser,3,x\n"
        "CCO,ethanol,inactive,50,y\n"
    )
    own = read_drugs(path)
    built_in = next(drug for drug in compounds() if drug.name == "nocodazole")
    assert (own[0].direction == built_in.direction).all() and own[0].ec50_um == built_in.ec50_um
    assert [drug.name for drug in own] == ["nocodazole", "ethanol"] and not own[1].direction.any()
    screen = open_dataset(small(root=tmp_path / "screen", drugs=path, n_compounds=None, combinations=0, knock_outs=0))
    assert set(screen.index["perturbation"].list.first()) == {"DMSO", "nocodazole", "ethanol"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,moa,top_um\na,inactive,1\n", "no column smiles; give .*'top_um'"),
        ("name,moa,top_um,smiles\n", "no rows"),
        ("name,moa,top_um,smiles\na,inactive,1,CCO\na,inactive,1,CCN\n", "2 rows, .*name: each once"),
        ("name,moa,top_um,smiles\nDMSO,inactive,1,CS(C)=O\n", "1 rows, .*name: each once, and not DMSO"),
        ("name,moa,top_um,smiles\na,magic,1,CCO\n", "moa: one of .*'Eg5 inhibitor'"),
        ("name,moa,top_um,smiles\na,inactive,none,CCO\n", "top_um: a dose in µM, above 0"),
        ("name,moa,top_um,smiles\na,inactive,1,C(C\n", "smiles: a molecule"),
        ("name,moa,top_um,smiles\na,inactive,1,\n", "smiles: a molecule"),
    ],
)
def test_wrong_drugs_are_named(tmp_path: Path, text: str, message: str):
    path = tmp_path / "drugs.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_drugs(path)
    with pytest.raises(FileNotFoundError, match="give a csv with the columns"):
        small(root=tmp_path / "screen", drugs=tmp_path / "none.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["drugs.csv"]
