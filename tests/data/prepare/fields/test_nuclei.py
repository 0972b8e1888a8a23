"""Otsu's threshold is scikit-image's, and the channel of the nuclei is known by its name."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.filters import threshold_otsu

from virtassay.data.prepare.fields.nuclei import dna_channel, otsu

SEEDS = st.integers(0, 2**16)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, scale=st.sampled_from([1e-3, 1.0, 1e4]))
def test_otsu_is_scikit_images(seed, scale):
    rng = np.random.default_rng(seed)
    rows = scale * np.concatenate([rng.normal(0, 1, (4, 300)), rng.normal(rng.uniform(1, 9), 1, (4, 90))], 1)
    ours = otsu(torch.as_tensor(rows)).numpy()
    theirs = np.array([threshold_otsu(row) for row in rows])
    assert np.abs(ours - theirs).max() <= np.ptp(rows, 1).max() / 256 + 1e-9  # a level of the histogram, at most


def test_nothing_is_above_the_threshold_of_a_constant_row():
    rows = torch.tensor([[0.3] * 50, [0.3] * 49 + [0.3 + 1e-9]], dtype=torch.float64)
    assert not (rows > otsu(rows)[:, None]).any()


def test_the_dna_channel_by_name():
    assert dna_channel(("actin", "tubulin", "DAPI")) == 2
    assert dna_channel(("Hoechst 33342", "GFP")) == 0
    for names in (("actin", "ER"), ("DNA", "dapi")):
        with pytest.raises(ValueError, match="name the one"):
            dna_channel(names)
