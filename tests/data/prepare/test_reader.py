"""Raw images that cannot be used are named, or left out and listed."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tifffile

from tests.data.prepare.own_screen import FILE, channel_tif, left_out, pixels, refused
from virtassay.data.prepare.sources import UnreadableImage


@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
@pytest.mark.parametrize("kept", [0.99, 0.5, 0.1])
def test_a_truncated_tiff(prepare: Callable, tmp_path: Path, compression: str | None, kept: float):
    source = channel_tif(tmp_path, pixels())
    tifffile.imwrite(tmp_path / FILE, pixels()[1, ..., 1], compression=compression, rowsperstrip=3)
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: int(kept * len(whole))])
    refused(prepare, UnreadableImage, "A02_s01_w2.tif cannot be read: .*on_error=skip", images=source)
    assert not (tmp_path / "out").exists()
    assert left_out(prepare(images=source, on_error="skip")) == ["row-1"]


def test_mixed_bit_depths(prepare: Callable, tmp_path: Path):
    source = channel_tif(tmp_path, pixels())
    tifffile.imwrite(tmp_path / FILE, pixels("uint16")[1, ..., 1])
    refused(
        prepare, UnreadableImage, r"A02_s01_w2.tif is uint16 \(12, 12\), where A02_s01_w1.tif is uint8", images=source
    )
    for channel in (1, 3):
        tifffile.imwrite(tmp_path / f"000/A02_s01_w{channel}.tif", pixels("uint16")[1, ..., 1])
    refused(prepare, UnreadableImage, r"A02_s01_w\*.tif is uint16 .*, where .*A01_s01_w\*.tif is uint8", images=source)
    assert left_out(prepare(images=source, on_error="skip")) == ["row-1"]
