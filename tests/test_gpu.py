"""On a GPU: training in its own precision, and the same images as on a CPU from the same seeds."""

import numpy as np
import pytest

from tests.toy_screen import write_screen
from tests.training.test_runs import train
from virtassay.assay import VirtualAssay
from virtassay.flow.sampler import Sampler
from virtassay.flow.solver import midpoint
from virtassay.generation.requests import inline_requests

pytestmark = pytest.mark.gpu


def test_a_gpu_trains_and_draws_what_a_cpu_draws(tmp_path):
    write_screen(tmp_path / "screen")
    run = train(tmp_path, "fit.accelerator=gpu", "fit.precision=auto", "images_total=800")
    images = []
    for device in ("cuda", "cpu"):
        assay = VirtualAssay.load(run, device)
        table = inline_requests({"perturbation": ["DMSO", "taxol"], "n": 8}, assay.vocabulary)
        parts = assay.generate(table, np.arange(16), Sampler(midpoint, 5))
        images.append(np.concatenate([part for part, _ in parts]).astype(int))
    assert abs(images[0] - images[1]).max() <= 2  # float32 on both, rounded to 8 bits
