"""Features on disk: an image that a featurizer has seen is not computed again.

The folder holds one folder for each featurizer and kind of image, named by the hash of what featurizer.json in it says
in words, and there files of some thousand images: the BLAKE2b of each image's bytes, and its features. A file is named
by the hash of its own bytes, appears whole under that name, and never changes; so processes share the folder without
locks, and a damaged file is known as such. To be rid of the cache, delete the folder.
"""

import hashlib
import io
import json
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from virtassay.evaluation.featurizers.features import MINIBATCH, Features, Featurizer, Images
from virtassay.files import write_bytes, write_text

KEY_BYTES = 16
FILE_ROWS = 4096  # images of one file, at most
FILE_BYTES = 1 << 28  # of their pixels, at most: this much is copied at a time
Places = dict[bytes, tuple[Path, int]]  # hash of an image → the file and row of its features


@dataclass(frozen=True)
class Cached:
    """A featurizer that keeps its features in a folder, by image: any subset, in any order, is found again.

    Two featurizers, two fingerprints, two shapes or types of images and two versions of this package's featurizers
    share nothing. Features are those that were computed first, bit for bit. A damaged file is ignored with a
    RuntimeWarning, and its images are computed again; so is an image that two processes meet at the same time.
    """

    featurizer: Featurizer
    folder: str | Path
    _known: dict[Path, Places] = field(default_factory=dict[Path, Places], init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The featurizer's own."""
        return self.featurizer.name

    def fingerprint(self) -> dict[str, Any]:
        return self.featurizer.fingerprint()

    def __call__(self, images: Images) -> Features:
        if not len(images):
            return self.featurizer(images)
        subfolder = self._subfolder(images)
        keys, known = image_keys(images), self._places(subfolder)
        new = {key: row for row, key in enumerate(keys) if key not in known}  # equal images are computed once
        rows = list(new.values())
        step = max(MINIBATCH, min(FILE_ROWS, FILE_BYTES // images[0].nbytes))
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            path = _write(subfolder, [keys[row] for row in some], self.featurizer(images[some]))
            known |= {keys[row]: (path, place) for place, row in enumerate(some)}
        return _gather([known[key] for key in keys])

    def _subfolder(self, images: Images) -> Path:
        kind = type(self.featurizer)
        identity = {
            "featurizer": f"{kind.__module__}.{kind.__qualname__}",
            "name": self.name,
            "fingerprint": self.fingerprint(),
            "images": [images.dtype.name, *images.shape[1:]],
            "code": _code(),
        }
        text = json.dumps(identity, sort_keys=True, indent=1)
        subfolder = Path(self.folder) / _hash(text.encode())
        if not (subfolder / "featurizer.json").exists():
            subfolder.mkdir(parents=True, exist_ok=True)
            write_text(subfolder / "featurizer.json", text)
        return subfolder

    def _places(self, subfolder: Path) -> Places:
        """What lies in the folder by now; each file is read and checked when it is first seen."""
        known = self._known.setdefault(subfolder, {})
        seen = {path for path, _ in known.values()}
        for path in sorted(set(subfolder.glob("*.npy")) - seen):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, _blake2b).hexdigest()
            if digest != path.stem:
                warnings.warn(
                    f"{path} is damaged: its images are computed again. Remove it.", RuntimeWarning, stacklevel=3
                )
                continue
            keys = np.load(path, mmap_mode="r", allow_pickle=False)["key"].tobytes()
            known |= {keys[i : i + KEY_BYTES]: (path, i // KEY_BYTES) for i in range(0, len(keys), KEY_BYTES)}
        return known


def image_keys(images: Images) -> list[bytes]:
    """BLAKE2b (128 bits) of each image's bytes; images (n, …) of one shape and type, or a memory map of them."""

    def some(start: int) -> list[bytes]:
        part = np.ascontiguousarray(images[start : start + MINIBATCH])
        return [_blake2b(image).digest() for image in part]

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashlib lets go of the interpreter's lock
        return [key for keys in pool.map(some, range(0, len(images), MINIBATCH)) for key in keys]


def _blake2b(data: Any = b"") -> Any:
    return hashlib.blake2b(data, digest_size=KEY_BYTES)


def _hash(data: bytes) -> str:
    return _blake2b(data).hexdigest()


@cache
def _code() -> str:
    """Hash of this folder's sources: features of other code are not these."""
    return _hash(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))


def _gather(places: list[tuple[Path, int]]) -> Features:
    files: dict[Path, list[tuple[int, int]]] = {}
    for row, (path, place) in enumerate(places):
        files.setdefault(path, []).append((row, place))
    answer: Features = np.zeros((0, 0))
    for path, pairs in files.items():
        features = np.load(path, mmap_mode="r", allow_pickle=False)["features"]
        if not len(answer):
            answer = np.empty((len(places), features.shape[1]))
        rows, at = np.array(pairs).T
        answer[rows] = features[at]
    return answer


def _write(subfolder: Path, keys: list[bytes], features: Features) -> Path:
    records = np.empty(len(keys), [("key", f"V{KEY_BYTES}"), ("features", "<f8", features.shape[1:])])
    records["key"] = np.frombuffer(b"".join(keys), f"V{KEY_BYTES}")
    records["features"] = features
    buffer = io.BytesIO()
    np.save(buffer, records, allow_pickle=False)
    data = buffer.getvalue()
    return write_bytes(subfolder / f"{_hash(data)}.npy", data)
