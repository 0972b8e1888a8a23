"""The hash by which a fingerprint names weights."""

import hashlib
from collections.abc import Iterable

from torch import Tensor


def digest(tensors: Iterable[Tensor]) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the tensors' values, in order."""
    hashed = hashlib.sha256()
    for tensor in tensors:
        hashed.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()[:16]
