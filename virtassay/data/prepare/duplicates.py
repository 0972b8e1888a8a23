"""Images that are the same, or nearly so, in two sides of a split."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.fft import dct

from virtassay.data.dataset.store import Dataset

CHUNK = 1024  # images held at once
SAMPLED = 4096  # images that the medians of the frequencies are taken over
BITS = 64  # of a perceptual hash
BANDS = 4  # of 16 bits: two hashes that differ in fewer bits than there are bands share at least one of them
APART = 8  # bits by which nearly the same images may differ
CLOSEST = 4  # candidates for each image that are looked at
EDGE = 8  # cosine frequencies along each axis that images are compared by
CORRELATION = 0.97  # of these, that nearly the same images have at least: different cells of BBBC021 reach 0.952
OF_THE_REST = 0.2  # correlation of all other frequencies: fields without cells share their light, and not their noise
COMPARED = 1 << 22  # hashes compared at once
ONES = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)

Pairs = list[tuple[int, int]]


def find_duplicates(dataset: Dataset, seen: Sequence[str], test: Sequence[str]) -> tuple[Pairs, Pairs]:
    """Return pairs of rows, of splits `test` and `seen`, that are the same, and that are nearly the same.

    An image appears in one pair at most, with its closest partner. Nearly the same are images whose perceptual hashes
    differ in at most 8 of 64 bits, whose 8 × 8 lowest cosine frequencies correlate by 0.97 or more and the others by
    0.2 or more, averaged over the channels: what is left of an image after compression, another contrast, some noise, a
    shift by a pixel. Flipped and turned images are not found. The hash holds the signs of the lowest frequencies
    against their medians over the screen (after Zauner 2010); images that share a fourth of it are compared, so any two
    within 3 bits, and most within 5. Images of one grey level are left out, feature vectors compared byte by byte only.
    Memory: about 100 bytes an image, and a thousand images.
    """
    split = dataset.index["split"]
    rows = np.flatnonzero(split.is_in([*seen, *test]).to_numpy())
    tested = split.is_in(list(test)).to_numpy()[rows]
    if tested.all() or not tested.any():
        return [], []
    digest, bits, shown = _hashes(dataset, rows)
    tests, others = rows[tested & shown], rows[~tested & shown]
    first = dict(zip(digest[~tested & shown].tolist()[::-1], others[::-1].tolist(), strict=True))
    digests = zip(tests.tolist(), digest[tested & shown].tolist(), strict=True)
    same = [(row, first[d]) for row, d in digests if d in first]
    if dataset.info.image_shape[1:] == (1, 1):
        return same, []
    paired = [row for row, _ in same]
    near: dict[int, tuple[float, int]] = {}
    for pairs in _candidates(bits[tested & shown], bits[~tested & shown]):
        a, b = tests[pairs[:, 0]], others[pairs[:, 1]]
        new = ~np.isin(a, paired)
        for start in range(0, int(new.sum()), CHUNK):
            x, y = a[new][start : start + CHUNK], b[new][start : start + CHUNK]
            low, rest = _alike(dataset.images(x), dataset.images(y))
            for pair in np.flatnonzero((low >= CORRELATION) & (rest >= OF_THE_REST)).tolist():
                near[int(x[pair])] = max(near.get(int(x[pair]), (0.0, 0)), (float(rest[pair]), int(y[pair])))
    return same, [(row, partner) for row, (_, partner) in sorted(near.items())]


def _hashes(dataset: Dataset, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a digest of the bytes (n,) uint64, a perceptual hash (n,) uint64, and which images show anything (n,)."""
    sample = rows[:: -(-len(rows) // SAMPLED)]
    middle = np.median(np.concatenate([_coarse(images) for images in _read(dataset, sample)]), axis=0)
    place = np.uint64(1) << np.arange(len(middle), dtype=np.uint64)
    digest, bits, shown = [], [], []
    for images in _read(dataset, rows):
        digest += [int.from_bytes(hashlib.blake2b(image, digest_size=8).digest(), "little") for image in images]
        bits.append(np.where(_coarse(images) > middle, place, np.uint64(0)).sum(1, dtype=np.uint64))
        spread = images.max((2, 3)) > images.min((2, 3))
        shown.append(spread.any(1) if images.shape[2:] != (1, 1) else np.ones(len(images), bool))
    return np.array(digest, np.uint64), np.concatenate(bits), np.concatenate(shown)


def _read(dataset: Dataset, rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), CHUNK):
        yield np.ascontiguousarray(dataset.images(rows[start : start + CHUNK]))


def _frequencies(images: np.ndarray) -> np.ndarray:
    """Return the lowest cosine frequencies, in rising order without the mean: (n, c, h, w) → (n, c, 63 or fewer)."""
    height, width = images.shape[2:]
    down, across = (np.asarray(dct(np.eye(size), axis=0, norm="ortho"))[:EDGE] for size in (height, width))
    table = down @ images.astype(np.float64) @ across.T
    order = np.argsort(np.add.outer(np.arange(len(down)), np.arange(len(across))).ravel(), kind="stable")
    return table.reshape(*images.shape[:2], -1)[:, :, order[1:]]


def _coarse(images: np.ndarray) -> np.ndarray:
    """Return the 64 or fewer frequencies that make the hash, of unit length together: (n, c, h, w) → (n, ≤ 64)."""
    chosen = _frequencies(images)[:, :, : max(1, BITS // images.shape[1])].reshape(len(images), -1)
    return chosen / np.maximum(np.linalg.norm(chosen, axis=1, keepdims=True), 1e-12)


def _candidates(tests: np.ndarray, others: np.ndarray) -> Iterator[np.ndarray]:
    """Yield (m, 2) places in `tests` and `others` whose hashes are near each other, the closest few of each test."""
    bands: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # others in order, first and last of each test
    for band in range(BANDS):
        own, key = ((hashes >> np.uint64(16 * band)) & np.uint64(0xFFFF) for hashes in (tests, others))
        order = np.argsort(key, kind="stable")
        bands.append((order, np.searchsorted(key[order], own), np.searchsorted(key[order], own, side="right")))
    size = sum(end - start for _, start, end in bands)
    part = (np.cumsum(size) // COMPARED).astype(np.int64)  # so that few are compared at once
    for number in np.unique(part):
        members = np.flatnonzero(part == number)
        near = []
        for order, start, end in bands:
            count = (end - start)[members]
            a = np.repeat(members, count)
            inside = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            b = order[np.repeat(start[members], count) + inside]
            apart = ONES[(tests[a] ^ others[b]).view(np.uint16).reshape(-1, 4)].sum(1, dtype=np.int64)
            near.append(np.stack([a, apart, b], axis=1)[apart <= APART])
        pairs = np.unique(np.concatenate(near), axis=0)  # sorted by tests, then by distance
        rank = np.arange(len(pairs)) - np.searchsorted(pairs[:, 0], pairs[:, 0])
        yield pairs[rank < CLOSEST][:, [0, 2]]


def _alike(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlate pairs of images, (n, c, h, w) twice, in their lowest frequencies, and in all others: (n,) and (n,).

    The means over the channels that show any; the others are what the lowest leave of the pixels (Parseval's theorem).
    """
    x, y = (images.reshape(*images.shape[:2], -1).astype(np.float64) for images in (a, b))
    x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    low_x, low_y = _frequencies(a), _frequencies(b)
    low = [(u * v).sum(-1) for u, v in ((low_x, low_y), (low_x, low_x), (low_y, low_y))]
    full = [(u * v).sum(-1) for u, v in ((x, y), (x, x), (y, y))]
    return _mean_correlation(*low), _mean_correlation(*(f - part for f, part in zip(full, low, strict=True)))


def _mean_correlation(xy: np.ndarray, xx: np.ndarray, yy: np.ndarray) -> np.ndarray:
    norm = np.sqrt(np.maximum(xx, 0.0) * np.maximum(yy, 0.0))
    shown = norm > 1e-6
    return (np.where(shown, xy, 0.0) / np.where(shown, norm, 1.0)).sum(1) / np.maximum(shown.sum(1), 1)
