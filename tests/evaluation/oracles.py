"""Third-party packages that are oracles only, and cannot be had whole."""

import sys
from types import ModuleType

import pytest

# efaar-benchmarking is installed without its dependencies (pip install --no-deps); these it imports at its top, for
# other figures than the ones compared here
STAND_INS = {"geomloss": {"SamplesLoss": None}, "scvi": {}, "scvi.model": {"SCVI": None}}


def efaar(monkeypatch: pytest.MonkeyPatch, module: str):
    """Import a module of efaar-benchmarking, or skip the test."""
    for name, contents in STAND_INS.items():
        stand_in = ModuleType(name)
        stand_in.__dict__.update(contents)
        monkeypatch.setitem(sys.modules, name, stand_in)
    return pytest.importorskip(f"efaar_benchmarking.{module}")
