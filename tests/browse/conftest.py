"""Small folders to look through, and a server for them in a thread."""

import contextlib
import http.client
import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import polars as pl
import pytest
from PIL import Image

from virtassay.data.dataset.store import DatasetInfo, write_dataset
from virtassay.schema import validate

pytest.importorskip("starlette", reason="needs the extra `browse`")
uvicorn = pytest.importorskip("uvicorn", reason="needs the extra `browse`")

EVIL = "<script>alert('x')</script>&\"../../etc"
DOSES = (0.3, 1.0, 3.0)
SIDE = 16


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(frozen=True)
class Site:
    """A running server; paths go out as they are written, `..` and all."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, host: str | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.putrequest("GET", quote(path, safe="/%?&=.+~:"), skip_host=host is not None)
            if host is not None:
                connection.putheader("Host", host)
            connection.endheaders()
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, headers, answer.read())


def write_folder(root: Path, generated: bool = False, images: int = 3, unseen: tuple[str, ...] = ()) -> Path:
    """Two batches, a plate each: DMSO, taxol at three doses, an evil name; brightness says the dose."""
    rows, pixels = [], []
    random = np.random.default_rng(int(generated))
    treatments = [("DMSO", None), *(("taxol", dose) for dose in DOSES), (EVIL, 1.0), ("KIF11", None)]
    for batch in ("week1", "week2"):
        for number, (name, dose) in enumerate(treatments):
            for image in range(0 if name in unseen else images):
                rows.append(
                    {
                        "image_id": f"{batch}-{number}-{image}",
                        "plate": f"{batch}/p1",
                        "well": f"B{number + 1:02d}",
                        "batch": batch,
                        "perturbation": name,
                        "is_control": name == "DMSO",
                        "dose_um": dose,
                        "split": "generated" if generated else ("train", "test")[number % 2],
                        "cells": 10.0 * number,
                    }
                )
                level = 20 + 60 * (dose or 0.0)
                noise = random.uniform(0, 10, (2, SIDE, SIDE))
                pixels.append(noise + np.array([level, 40 * (batch == "week2")])[:, None, None])
    info = DatasetInfo(root.name, ("DNA", "actin"), (2, SIDE, SIDE), "uint8")
    index = validate(pl.DataFrame(rows, infer_schema_length=None))
    return write_dataset(root, info, np.stack(pixels).clip(0, 255).astype(np.uint8), index)


def write_hits(root: Path) -> Path:
    """What a screen leaves: six hits, a plate map, a report."""
    root.mkdir()
    smiles = ["CCO", "CCN", "c1ccccc1", "CC(=O)O", "not a molecule", "CCCl"]
    hits = pl.DataFrame(
        {
            "rank": pl.Series(range(1, 7), dtype=pl.UInt32),
            "name": ["ethanol", EVIL, "benzene", "acetic acid", "broken", "chloroethane"],
            "smiles": smiles,
            "score": [3.0, 2.5, 2.0, 1.0, 0.5, float("nan")],
            "lower": [2.0, 1.5, 1.0, 0.0, -0.5, float("nan")],
            "upper": [4.0, 3.5, 3.0, 2.0, 1.5, float("nan")],
            "dose_um": [1.0, 10.0, 10.0, 1.0, 0.1, 1.0],
            "scores": [[1.0, 3.0, 2.0]] * 6,
            "lowers": [[0.8, 2.5, 1.8]] * 6,
            "uppers": [[1.2, 3.5, 2.2]] * 6,
            "nearest": ["methanol"] * 6,
            "similarity": [0.5, 0.4, 0.9, 0.2, 0.1, 0.3],
            "q": [0.01, 0.02, 0.2, 0.3, 0.4, float("nan")],
            "flags": ["", "seeds disagree", "", "", "unlike anything in training", ""],
        }
    )
    hits.write_parquet(root / "hits.parquet")
    summary = {"compounds": 9, "warnings": ["the model was never judged"], "screen": {"doses_um": [0.1, 1.0, 10.0]}}
    (root / "report.json").write_text(json.dumps(summary))
    (root / "report.html").write_text("<h1>report</h1><script>alert(1)</script>")
    (root / "plate.csv").write_text(
        "plate,well,name,smiles,dose_um,is_control\nplate1,A01,ethanol,CCO,1.0,false\n"
        "plate1,A02,benzene,c1ccccc1,10.0,false\nplate1,A03,control,,,true\n"
    )
    return root


@pytest.fixture(scope="session")
def real(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("browse") / "mine", images=60)


@pytest.fixture(scope="session")
def generated(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("browse") / "generated", generated=True, unseen=("KIF11",))


@pytest.fixture(scope="session")
def hits(tmp_path_factory) -> Path:
    return write_hits(tmp_path_factory.mktemp("browse") / "found")


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., Site]]:
    """Start servers in threads; they end with the tests."""
    from virtassay.browse.app import make_app, open_pages
    from virtassay.browse.server import listen

    running = []

    def start(folder: Path, beside: Path | None = None) -> Site:
        listener = listen("127.0.0.1", 0)
        app = make_app(open_pages(folder, beside), ["127.0.0.1", "localhost"])
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        running.append((server, thread, listener))
        while not server.started:
            time.sleep(0.01)
        return Site(listener.getsockname()[1])

    yield start
    for server, thread, listener in running:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="session")
def site(serve, real, generated) -> Site:
    return serve(real, generated)


@pytest.fixture(scope="session")
def screen_site(serve, hits) -> Site:
    return serve(hits)


def picture(answer) -> np.ndarray:
    assert answer.status == 200
    assert answer.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(answer.body)))


def shown(text: str, side: str) -> list[int]:
    return [int(row) for row in re.findall(rf'src="/pixels/{side}/(\d+)\.png', text)]
