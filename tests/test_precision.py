"""Which device and precision are chosen."""

import torch

from virtassay.precision import best_device, bf16_pays


def test_the_device_is_a_gpu_where_there_is_one(monkeypatch):
    for there_is_one, name in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda answer=there_is_one: answer)
        assert best_device() == name


def test_bf16_is_for_devices_that_compute_in_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for fast in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, answer=fast: answer)
        assert bf16_pays("cuda") is fast
    assert bf16_pays("mps") is False
