"""Files that lie elsewhere, in object stores or on web servers, by their URL (fsspec): s3://, gs://, https://, …

A library is fetched once, whole, and results are uploaded once, at the end. What is worked on between lies in a folder
that can lock and rename files, as object stores cannot: that is what keeps restarts and arrays of jobs right.
"""

import hashlib
from pathlib import Path

import fsspec

from virtassay.data.dataset.remote import is_remote

HELP = (
    "is the address right, are you allowed to, and is the store's package installed (s3fs for s3://, gcsfs for gs://, "
    "adlfs for az://)?"
)


def fetched(url: str, place: Path) -> Path:
    """Fetch a file into the new folder `place`. Raises OSError saying what went wrong, and what might help."""
    place.mkdir()
    local = place / url.split("?")[0].rpartition("/")[2]
    try:
        fs, path = fsspec.url_to_fs(url)
        fs.get_file(path, str(local))
    except Exception as error:  # each store raises errors of its own
        raise _unread(url, error) from error
    return local


def identity(path: str | Path) -> str:
    """What tells two versions of a file apart: its SHA-256, or of a URL its size and ETag as far as they are told.

    Raises FileNotFoundError, and OSError for a URL that cannot be read.
    """
    if not is_remote(path):
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no library {path}: correct library=….")
        with Path(path).open("rb") as file:
            return f"SHA-256 {hashlib.file_digest(file, 'sha256').hexdigest()}"
    try:
        fs, there = fsspec.url_to_fs(str(path))
        told = {key.lower(): value for key, value in fs.info(there).items()}
    except Exception as error:
        raise _unread(str(path), error) from error
    return f"{told.get('size')} bytes, ETag {told.get('etag')}"


def published(folder: Path, files: list[str], url: str) -> None:
    """Upload files and folders of `folder` to the folder `url`, each file whole. Raises OSError."""
    try:
        fs, there = fsspec.url_to_fs(url.rstrip("/"))
        for name in files:
            for path in sorted(p for p in (folder / name, *(folder / name).rglob("*")) if p.is_file()):
                target = f"{there}/{path.relative_to(folder).as_posix()}"
                fs.makedirs(target.rpartition("/")[0], exist_ok=True)
                fs.put_file(str(path), target)
    except Exception as error:
        raise OSError(
            f"results could not be uploaded to {url} ({reason(error)}): {HELP} All of them are in {folder}; the same "
            "command uploads them again, and scores nothing twice."
        ) from error


def reason(error: Exception) -> str:
    """What an error says, or its kind where it says nothing."""
    told = error.strerror if isinstance(error, OSError) else None
    return told or str(error) or type(error).__name__


def _unread(url: str, error: Exception) -> OSError:
    return OSError(f"{url.partition('?')[0]} cannot be read ({reason(error)}): {HELP}")
