"""Small public screens laid out as their publishers do, with images from the simulator; and a server of files."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import imagecodecs
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import tifffile

from virtassay.data.dataset.store import Dataset, open_dataset
from virtassay.simulator.grow import grow
from virtassay.simulator.plan import Treatment, Well
from virtassay.simulator.render import Optics

EDGE = 32  # pixels of an image: what the layouts hold matters here, not their size


def opened(root: Path | None) -> Dataset:
    """Open what was prepared."""
    assert root is not None, "a dry run"
    return open_dataset(root)


@cache
def rendered(channels: int, size: int = EDGE) -> np.ndarray:
    """Simulated images (n, channels, size, size), uint8."""
    ones = np.ones(channels)
    optics = Optics(ones, 10 * ones, 0.8 * ones, np.zeros(2), 0.05)
    return grow(Well("b", "p", "A01", Treatment(), optics, 1.0, (0,)), 24, size, channels)[0]


def broad(folder: Path, tables: Path, plates: list[str], wells: list[str]) -> pl.DataFrame:
    """Some wells of BBBC021: the official tables, and Week1_22123/….tif (16 bit) as the zip files unpack."""
    for name in ("compound", "moa"):
        text = (tables / f"BBBC021_v1_{name}.csv").read_text(encoding="utf-8")
        (folder / f"BBBC021_v1_{name}.csv").write_text(text, encoding="utf-8")
    plate, well = pl.col("Image_Metadata_Plate_DAPI"), pl.col("Image_Metadata_Well_DAPI")
    table = pl.read_csv(tables / "BBBC021_v1_image.csv").filter(plate.is_in(plates) & well.is_in(wells))
    table.write_csv(folder / "BBBC021_v1_image.csv")
    images = rendered(3).astype(np.uint16) * 16
    for number, row in enumerate(table.iter_rows(named=True)):
        place = folder / row["Image_Metadata_Plate_DAPI"]
        place.mkdir(exist_ok=True)
        for channel, stain in enumerate(("DAPI", "Tubulin", "Actin")):
            tifffile.imwrite(place / row[f"Image_FileName_{stain}"], images[number % len(images), channel])
    return table


def recursion_1(folder: Path, table: pl.DataFrame) -> None:
    """RxRx1's layout for the rows of a table in the official form: rxrx1/metadata.csv, rxrx1/images/…png."""
    (folder / "rxrx1").mkdir()
    table.write_csv(folder / "rxrx1" / "metadata.csv")
    images = rendered(6)
    for number, row in enumerate(table.iter_rows(named=True)):
        place = folder / "rxrx1" / "images" / row["experiment"] / f"Plate{row['plate']}"
        place.mkdir(parents=True, exist_ok=True)
        for channel in range(6):
            plane = np.ascontiguousarray(images[number % len(images), channel])
            path = place / f"{row['well']}_s{row['site']}_w{channel + 1}.png"
            path.write_bytes(imagecodecs.png_encode(plane))


def recursion_3(folder: Path, table: pl.DataFrame, pictures: list[list[bytes]], files: int = 2) -> None:
    """RxRx3-core's layout: metadata_rxrx3_core.csv, and parquet files with a row a channel, in small row groups."""
    table.write_csv(folder / "metadata_rxrx3_core.csv")
    (folder / "data").mkdir()
    keys, values = [], []
    for number, row in enumerate(table.iter_rows(named=True)):
        for channel, encoded in enumerate(pictures[number % len(pictures)], start=1):
            keys.append(f"{row['experiment_name']}/Plate{row['plate']}/{row['address']}_s1_{channel}")
            values.append({"bytes": encoded, "path": None})
    for number, part in enumerate(np.array_split(np.arange(len(keys)), files)):
        shard = pa.table({"__key__": [keys[i] for i in part], "jp2": [values[i] for i in part]})
        pq.write_table(shard, folder / "data" / f"train-{number:05d}-of-{files:05d}.parquet", row_group_size=10)


def jpeg_2000(size: int = EDGE) -> list[list[bytes]]:
    """Simulated images, six lossless jp2 each."""
    return [
        [bytes(imagecodecs.jpeg2k_encode(np.ascontiguousarray(plane), reversible=True, level=0)) for plane in image]
        for image in rendered(6, size)
    ]


def jump_plate(folder: Path, batch: str, barcode: str, wells: list[str], fields: int = 2) -> Path:
    """One plate in the Cell Painting Gallery's layout: 16-bit LZW TIFFs, five stains and a brightfield image."""
    place = folder / "images" / batch / "images" / f"{barcode}__2020-11-05T19_51_35-Measurement1" / "Images"
    place.mkdir(parents=True)
    images = rendered(6).astype(np.uint16) * 100
    for number, well in enumerate(wells):
        for field in range(1, fields + 1):
            stem = f"r{ord(well[0]) - 64:02d}c{int(well[1:]):02d}f{field:02d}p01"
            for channel, plane in enumerate(images[(2 * number + field) % len(images)], start=1):
                tifffile.imwrite(place / f"{stem}-ch{channel}sk1fk1fl1.tiff", plane, compression="lzw")
    return place


class FileServer(ThreadingHTTPServer):
    """Serves the files of a folder on the loopback, with HEAD and Range, and lists them as an S3 bucket does.

    cut: an answer ends after so many bytes; requests: what was asked for, "GET path from byte".
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.cut: int | None = None
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(folder: Path) -> Iterator[FileServer]:
    """Run a FileServer on `folder`."""
    server = FileServer(folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        path = self.server.folder / unquote(address.path).lstrip("/")
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.server.requests.append(f"{self.command} {unquote(address.path)} {start}")
        if "list-type" in query:
            body, start = self._listing(query), 0
        elif path.is_file():
            body = path.read_bytes()[start:]
        else:
            self.send_error(404)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: self.server.cut])

    def _listing(self, query: dict[str, list[str]]) -> bytes:
        """Five keys a page."""
        root, prefix = self.server.folder, query["prefix"][0]
        keys = [p.relative_to(root).as_posix() for p in sorted(root.rglob("*")) if p.is_file()]
        keys = [key for key in keys if key.startswith(prefix)]
        start = int(query.get("continuation-token", ["0"])[0])
        entries = [f"<Contents><Key>{k}</Key><Size>{(root / k).stat().st_size}</Size></Contents>" for k in keys]
        more = start + 5 < len(keys)
        token = f"<NextContinuationToken>{start + 5}</NextContinuationToken>" if more else ""
        body = "".join(entries[start : start + 5]) + token
        return f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{body}</ListBucketResult>'.encode()
