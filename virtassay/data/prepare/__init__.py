"""Anything → a dataset folder: tables of images, tables of profiles, public screens, folders of other tools."""

from virtassay.data.prepare.annotation import Annotation
from virtassay.data.prepare.fields.cells import CellCrops
from virtassay.data.prepare.fields.find import Centres, LabelMasks, Nuclei, OutlineMasks, Tiles
from virtassay.data.prepare.fields.illumination import Illumination
from virtassay.data.prepare.fields.ome import OmeTiff, OmeZarr, plate_table
from virtassay.data.prepare.fields.quality import Quality
from virtassay.data.prepare.image_folder import open_image_folder
from virtassay.data.prepare.parquet_images import ParquetImages
from virtassay.data.prepare.profiles import prepare_profiles
from virtassay.data.prepare.scaling import Fixed, Percentile
from virtassay.data.prepare.sources import FilePerChannel, FilePerCrop, Stack
from virtassay.data.prepare.table import prepare_table

__all__ = [
    "Annotation", "CellCrops", "Centres", "FilePerChannel", "FilePerCrop", "Fixed", "Illumination", "LabelMasks",
    "Nuclei", "OmeTiff", "OmeZarr", "OutlineMasks", "ParquetImages", "Percentile", "Quality", "Stack", "Tiles",
    "open_image_folder", "plate_table", "prepare_profiles", "prepare_table",
]  # fmt: skip
