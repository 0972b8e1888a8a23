"""Features on disk: found again in any order, by any process, never another's, and never from a damaged file."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtassay.evaluation.featurizers import cache as module
from virtassay.evaluation.featurizers.cache import Cached, image_keys
from virtassay.evaluation.featurizers.features import PixelStatistics


@dataclass(frozen=True)
class Counting:
    """Sums of the image's halves, as good as any features, and how many images were asked for."""

    name: str = "counting"
    weights: str = "none"
    asked: list[int] = field(default_factory=list)

    def fingerprint(self):
        return {"weights": self.weights}

    def __call__(self, images):
        self.asked.append(len(images))
        flat = images.reshape(len(images), 2, np.prod(images.shape[1:]) // 2)
        return flat.sum(2, dtype=np.float64) / 3


def asked(cached: Cached) -> list[int]:
    assert isinstance(cached.featurizer, Counting)
    return cached.featurizer.asked


def noise(n=10, seed=0, shape=(2, 8, 8), dtype: type = np.uint8):
    return np.random.default_rng(seed).integers(0, 255, (n, *shape)).astype(dtype)


def test_any_subset_in_any_order_is_found_again(tmp_path):
    images, plain = noise(), Counting()
    first = Cached(Counting(), tmp_path)
    np.testing.assert_array_equal(first(images[:6]), plain(images[:6]))
    again = Cached(Counting(), tmp_path)  # as another process opens it
    order = np.array([9, 2, 2, 0, 7, 5, 9])
    np.testing.assert_array_equal(again(images[order]), plain(images[order]))
    assert asked(again) == [2]  # images 9 and 7, once each
    assert first(images).shape == (10, 2)
    assert asked(first) == [6, 2]  # images 6 and 8; the others it read from the other's file
    assert (again.name, again.fingerprint()) == ("counting", {"weights": "none"})


@settings(max_examples=8, deadline=None)
@given(rows=st.lists(st.lists(st.integers(0, 7), max_size=9), max_size=4), file_rows=st.integers(1, 5))
def test_whatever_is_asked_the_features_are_right(rows, file_rows, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FILE_ROWS", file_rows)
        patch.setattr(module, "MINIBATCH", 1)
        cached, images = Cached(Counting(), tmp_path_factory.mktemp("cache")), noise(8)
        for some in rows:
            np.testing.assert_array_equal(cached(images[some]), Counting()(images[some]))
        assert sum(asked(cached)) == len({row for some in rows for row in some})
        assert max(asked(cached), default=0) <= file_rows


def test_a_real_featurizer_gives_the_same_bits(tmp_path):
    images = noise(9, shape=(3, 16, 16), dtype=np.uint16)
    own = PixelStatistics()(images)
    for _ in range(2):
        np.testing.assert_array_equal(Cached(PixelStatistics(), tmp_path)(images), own)


@pytest.mark.parametrize(
    ("other", "images"),
    [
        (Counting(weights="others"), noise()),
        (Counting(name="other"), noise()),
        (Counting(), noise().reshape(10, 2, 4, 16)),
        (Counting(), noise().view(np.int8)),
    ],
    ids=["fingerprint", "name", "shape", "type"],
)
def test_other_featurizers_and_other_images_of_the_same_bytes_share_nothing(other, images, tmp_path):
    other.asked.clear()
    Cached(Counting(), tmp_path)(noise())
    Cached(other, tmp_path)(images)
    assert other.asked == [10]
    assert len(list(tmp_path.iterdir())) == 2


def test_another_version_of_the_code_shares_nothing(tmp_path, monkeypatch):
    Cached(Counting(), tmp_path)(noise())
    monkeypatch.setattr(module, "_code", lambda: "another")
    cached = Cached(Counting(), tmp_path)
    cached(noise())
    assert asked(cached) == [10]


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:200] + b"?" + b[201:], lambda b: b""])
def test_a_damaged_file_is_ignored_with_a_warning(damage, tmp_path):
    images = noise()
    right = Cached(Counting(), tmp_path)(images)
    (path,) = tmp_path.glob("*/*.npy")
    path.write_bytes(damage(path.read_bytes()))
    cached = Cached(Counting(), tmp_path)
    with pytest.warns(RuntimeWarning, match=rf"{path} is damaged"):
        np.testing.assert_array_equal(cached(images), right)
    assert asked(cached) == [10]
    np.testing.assert_array_equal(Cached(Counting(), tmp_path)(images), right)  # computed again, and whole again


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(module.os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        Cached(Counting(), tmp_path)(noise())
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_many_at_once_share_a_folder(tmp_path):
    def ask(seed: int) -> None:
        order, images = np.random.default_rng(seed).permutation(400), noise(400)
        cached = Cached(Counting(), tmp_path)  # each knows only what it reads from the folder
        for end in range(50, 401, 50):
            np.testing.assert_array_equal(cached(images[order[:end]]), Counting()(images[order[:end]]))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4)))
    cached = Cached(Counting(), tmp_path)
    cached(noise(400))
    assert asked(cached) == []
    assert not list(tmp_path.rglob("*.partial"))


def test_no_images_and_nan_features(tmp_path):
    cached = Cached(Counting(weights="nan"), tmp_path)
    assert cached(noise(0)).shape == (0, 2)
    empty = Cached(Broken(), tmp_path)
    for _ in range(2):
        assert np.isnan(empty(noise(3))).all()


@dataclass(frozen=True)
class Broken(Counting):
    def __call__(self, images):
        return np.full((len(images), 2), np.nan)


def test_keys_are_of_the_bytes_in_order():
    images = noise(300)
    keys = image_keys(images)
    assert len(set(keys)) == 300 and {len(key) for key in keys} == {16}
    assert image_keys(images[::-1]) == keys[::-1]
    assert image_keys(images.transpose(0, 1, 3, 2)) != keys
    assert image_keys(images[:0]) == []


def test_a_folder_says_whose_features_it_holds(tmp_path):
    Cached(Counting(weights="w1"), tmp_path)(noise())
    (told,) = tmp_path.glob("*/featurizer.json")
    assert '"weights": "w1"' in told.read_text()
