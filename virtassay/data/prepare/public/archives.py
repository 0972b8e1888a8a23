"""Archives of strangers: unpacked only where nothing in them could be written outside of the folder."""

import logging
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from tqdm.auto import tqdm

from virtassay.files import require_space, whole

log = logging.getLogger(__name__)


class UnsafeArchive(ValueError):
    """An archive that is refused, damaged, or would write outside of its folder; nothing of it was unpacked."""


def unpack(archive: str | Path, folder: str | Path) -> None:
    """Unpack a zip file into `folder`; files that are there already, of the same size, are left as they are.

    So that what was cut goes on. Each file is written whole or not at all, and its CRC is checked.
    Raises UnsafeArchive naming the members with absolute paths, paths that climb out, or links; UnsafeArchive if the
    file is damaged; OSError(ENOSPC) before anything is written if the disk has no room.
    """
    archive, folder = Path(archive), Path(folder)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            unsafe = [member.filename for member in members if not _is_safe(member)]
            if unsafe:
                raise UnsafeArchive(
                    f"{archive} is refused: {len(unsafe)} of its {len(members)} files would be written outside of "
                    f"{folder}, or are links: {unsafe[:5]}. Nothing was unpacked; fetch it again from its publisher."
                )
            wanted = [member for member in members if _size(folder / member.filename) != member.file_size]
            require_space(folder, sum(member.file_size for member in wanted), f"unpacking {archive.name}")
            for member in tqdm(wanted, desc=f"unpacking {archive.name}", unit=" files", leave=False, disable=None):
                place = folder / member.filename
                place.parent.mkdir(parents=True, exist_ok=True)
                with whole(place) as part, opened.open(member) as packed, part.open("wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UnsafeArchive(f"{archive} cannot be unpacked ({error}): remove it, and fetch it again.") from error
    log.info("unpacked %d files of %s; the archive itself is no longer needed", len(wanted), archive)


def _is_safe(member: zipfile.ZipInfo) -> bool:
    posix, windows = PurePosixPath(member.filename), PureWindowsPath(member.filename)
    absolute = posix.is_absolute() or bool(windows.drive) or bool(windows.root)
    link = stat.S_ISLNK(member.external_attr >> 16)
    return not (absolute or link or ".." in (*posix.parts, *windows.parts))


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
