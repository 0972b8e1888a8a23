"""Which device there is, and which precision it does best."""

import torch


def bf16_pays(device: str) -> bool:
    """Return whether bf16 matrix products are done in hardware: on GPUs from Ampere on, on CPUs with AVX-512 BF16."""
    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())  # torch has no public name for it yet
    return False


def best_device() -> str:
    """Return "cuda" where a GPU can be used, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"
