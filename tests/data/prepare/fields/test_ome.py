"""OME-TIFF and OME-Zarr as other libraries write them, read back to the last bit."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tifffile

from tests.data.prepare.own_screen import N, screen
from virtassay.data.dataset.store import Dataset
from virtassay.data.prepare.fields.ome import OmeTiff, OmeZarr, plate_table, well_name
from virtassay.data.prepare.sources import UnreadableImage
from virtassay.data.prepare.splits import split_by_well

WELLS = ("A/1", "A/2", "B/1", "B/2")
ROW = {"well": "A01", "site": "0", "source_file": "f.ome.tif"}


def pixels(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 60_000, (n, 2, 20, 24)).astype(np.uint16)


def ome_tiff(path: Path, image: np.ndarray, pixel: float = 0.65, unit: str = "µm", axes: str = "CYX") -> None:
    metadata = {"axes": axes, "Channel": {"Name": ["DAPI", "GFP"]}}
    metadata |= {"PhysicalSizeX": pixel, "PhysicalSizeXUnit": unit, "PhysicalSizeY": pixel, "PhysicalSizeYUnit": unit}
    tifffile.imwrite(path, image, ome=True, metadata=metadata, photometric="minisblack", compression="zlib")


def test_an_ome_tiff_comes_back_with_its_channels_and_pixel_size(tmp_path: Path):
    image = pixels(1)[0]
    ome_tiff(tmp_path / "f.ome.tif", image)
    source = OmeTiff(str(tmp_path))
    assert np.array_equal(source.read(ROW), image)
    assert source.describe(ROW) == (("DAPI", "GFP"), 0.65)
    ome_tiff(tmp_path / "f.ome.tif", image[:, None], 650, "nm", "CZYX")
    assert np.array_equal(source.read(ROW), image)
    assert source.describe(ROW)[1] == pytest.approx(0.65)


def test_what_is_no_single_plane_is_refused(tmp_path: Path):
    ome_tiff(tmp_path / "f.ome.tif", pixels(3), axes="ZCYX")
    with pytest.raises(UnreadableImage, match="has 3 along Z"):
        OmeTiff(str(tmp_path)).read(ROW)
    tifffile.imwrite(tmp_path / "f.ome.tif", pixels(1)[0], photometric="minisblack", ome=False)
    with pytest.raises(UnreadableImage, match="no OME-TIFF"):
        OmeTiff(str(tmp_path)).read(ROW)
    with pytest.raises(UnreadableImage, match="missing"):
        OmeTiff(str(tmp_path)).read(ROW | {"source_file": "g.ome.tif"})


def test_a_truncated_ome_tiff_is_named(tmp_path: Path):
    path = tmp_path / "f.ome.tif"
    ome_tiff(path, pixels(1)[0])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UnreadableImage, match=r"f\.ome\.tif is no OME-TIFF .*, or is cut short"):
        OmeTiff(str(tmp_path)).read(ROW)


@pytest.fixture
def as_ome_tiff(tmp_path: Path) -> OmeTiff:
    for i, image in enumerate(pixels(N)):
        ome_tiff(tmp_path / f"crop{i}.ome.tif", image)
    return OmeTiff(str(tmp_path), "{file}.ome.tif")


def test_channels_and_pixel_size_go_into_the_dataset(prepare: Callable[..., Dataset], as_ome_tiff: OmeTiff):
    dataset = prepare(images=as_ome_tiff, channels=None, dtype="uint16", crop=16, size=8)
    assert dataset.info.channels == ("DAPI", "GFP")
    assert dataset.info.pixel_size_um == pytest.approx(1.3)


def test_mixed_pixel_sizes_and_other_channels_are_refused(
    prepare: Callable[..., Dataset], as_ome_tiff: OmeTiff, tmp_path: Path
):
    with pytest.raises(UnreadableImage, match=r"says its channels are \['DAPI', 'GFP'\], not \['GFP', 'DAPI'\]"):
        prepare(images=as_ome_tiff, channels=("GFP", "DAPI"), dtype="uint16")
    ome_tiff(tmp_path / "crop7.ome.tif", pixels(1)[0], pixel=0.325)
    with pytest.raises(UnreadableImage, match=r"crop7\.ome\.tif says its pixels are 0\.325 µm, where 0\.65 µm"):
        prepare(images=as_ome_tiff, channels=None, dtype="uint16")


@pytest.fixture(params=["0.4", "0.5"])
def plate(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A plate of 2 × 2 wells with two fields each, as ome-zarr writes it; field s of well i is pixels(8)[2 i + s]."""
    zarr, writer, form = (pytest.importorskip(name) for name in ("zarr", "ome_zarr.writer", "ome_zarr.format"))
    fmt = {"0.4": form.FormatV04, "0.5": form.FormatV05}[request.param]()
    path = tmp_path / "plate.ome.zarr"
    root = zarr.open_group(path, mode="w", zarr_format=fmt.zarr_format)
    writer.write_plate_metadata(root, ["A", "B"], ["1", "2"], list(WELLS), fmt=fmt)
    channels = {"omero": {"channels": [{"label": name, "color": "FFFFFF", "window": {}} for name in ("DAPI", "GFP")]}}
    for i, well in enumerate(WELLS):
        group = root.require_group(well)
        writer.write_well_metadata(group, ["0", "1"], fmt=fmt)
        for site in range(2):
            image = pixels(8)[2 * i + site]
            field = group.require_group(str(site))
            writer.write_image(
                image, field, fmt=fmt, axes="cyx", scale_factors=[2],
                scale={"c": 1.0, "y": 0.65, "x": 0.65}, axes_units={"y": "micrometer", "x": "micrometer"},
            )  # fmt: skip
            attributes = field.attrs.asdict()
            attributes = {"ome": attributes["ome"] | channels} if "ome" in attributes else channels
            field.attrs.update(attributes)
    return path


def test_a_plate_comes_back_to_the_last_bit(plate: Path):
    source = OmeZarr(str(plate))
    assert source.fields().rows() == [(well, site) for well in ("A01", "A02", "B01", "B02") for site in ("0", "1")]
    for row, image in zip(source.fields().iter_rows(named=True), pixels(8), strict=True):
        assert np.array_equal(source.read(row), image)
        assert source.describe(row) == (("DAPI", "GFP"), 0.65)
    assert np.array_equal(source.read({"well": "b2"}), pixels(8)[6]), "without a site, the first"


def test_a_platemap_is_joined_to_the_fields(plate: Path, tmp_path: Path):
    wells = pl.DataFrame({"well": ["A1", "A02", "b1", "B2"], "perturbation": ["DMSO", "x", "DMSO", "y"]})
    wells.write_csv(tmp_path / "map.csv")
    table = plate_table(str(plate), tmp_path / "map.csv")
    assert table.select("well", "site", "perturbation").rows()[:3] == [
        ("A01", "0", "DMSO"),
        ("A01", "1", "DMSO"),
        ("A02", "0", "x"),
    ]
    assert table.height == 8
    wells.with_columns(well=pl.Series(["A1", "A2", "B1", "C5"])).write_csv(tmp_path / "map.csv")
    with pytest.raises(
        ValueError, match=r"images but no row, first \['B02'\]; 1 with a row but no images, first \['C05'\]"
    ):
        plate_table(str(plate), tmp_path / "map.csv")


def test_a_plate_is_prepared(plate: Path, tmp_path: Path, prepare: Callable[..., Dataset]):
    pl.DataFrame({"well": ["A1", "A2", "B1", "B2"], "drug": ["DMSO", "x", "DMSO", "x"]}).write_csv(tmp_path / "map.csv")
    source = OmeZarr(str(plate))
    dataset = prepare(
        table=plate_table(str(plate), tmp_path / "map.csv"), images=source, channels=None, dtype="uint16",
        columns={"perturbation": "drug"}, constants={"plate": "P1", "batch": "b"},
        split=partial(split_by_well, val=0.0),
    )  # fmt: skip
    assert dataset.info.channels == ("DAPI", "GFP") and dataset.info.pixel_size_um == 0.65
    assert np.array_equal(dataset.images(), pixels(8))


def test_a_truncated_chunk_is_named(plate: Path):
    chunks = [path for path in (plate / "A/1/0").rglob("*") if path.is_file() and path.name[0] not in "z."]
    largest = max(chunks, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:100])
    with pytest.raises(UnreadableImage, match="well A01, site 0 cannot be read"):
        OmeZarr(str(plate)).read(ROW)


def test_what_is_not_in_the_plate_is_named(plate: Path, tmp_path: Path):
    with pytest.raises(UnreadableImage, match=r"well C01, site 0 is not in the plate, which has \['A01'"):
        OmeZarr(str(plate)).read(ROW | {"well": "C01"})
    with pytest.raises(UnreadableImage, match=r"this well has the sites \['0', '1'\]"):
        OmeZarr(str(plate)).read(ROW | {"site": "7"})
    with pytest.raises(FileNotFoundError, match="no OME-Zarr plate"):
        OmeZarr(str(tmp_path / "none.zarr")).fields()
    with pytest.raises(FileNotFoundError, match="no 'plate' metadata"):
        OmeZarr(str(plate / "A")).fields()


def test_wells_are_named_alike():
    assert [well_name(well) for well in ("B3", "b03", "B/3", "AA-7", "B003", "12")] == [
        "B03", "B03", "B03", "AA07", "B03", "12",
    ]  # fmt: skip
    assert screen()["Well"].map_elements(well_name, pl.String).to_list() == screen()["Well"].to_list()
