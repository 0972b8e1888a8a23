"""Screens that their publishers give out: a class for each, and `prepare_public`, which fetches and prepares any."""

from virtassay.data.prepare.public.bbbc021 import BBBC021
from virtassay.data.prepare.public.bbbc021_impa import BBBC021Impa, split_published
from virtassay.data.prepare.public.downloads import PublishedFile
from virtassay.data.prepare.public.jump import Jump
from virtassay.data.prepare.public.public_set import OfficialScreen, PublicSet, prepare_public
from virtassay.data.prepare.public.rxrx1 import RxRx1
from virtassay.data.prepare.public.rxrx3_core import RxRx3Core
from virtassay.data.prepare.public.sbs_plate import plate_map

__all__ = [
    "BBBC021", "BBBC021Impa", "Jump", "OfficialScreen", "PublicSet", "PublishedFile", "RxRx1", "RxRx3Core", "plate_map",
    "prepare_public", "split_published",
]  # fmt: skip
