"""Files that lie elsewhere, in object stores or on web servers, by their URL (fsspec): s3://, gs://, https://, …

A library is fetched once, whole, and results are uploaded once, at the end. What is worked on between lies in a folder
that can lock and rename files, as object stores cannot: that is what keeps restarts and arrays of jobs right.
"""

from pathlib import Path

import fsspec

from virtassay.files.disk import sha256

HELP = (
    "is the address right, are you allowed to, and is the store's package installed (s3fs for s3://, gcsfs for gs://, "
    "adlfs for az://)?"
)


def is_remote(path: str | Path) -> bool:
    """Whether the address of a file or folder is one of fsspec's, such as s3://bucket/folder."""
    return isinstance(path, str) and "://" in path


def fetch_url(url: str, folder: Path) -> Path:
    """Fetch a file into the new `folder` and return its path. Raises OSError saying what went wrong and may help."""
    folder.mkdir()
    local = folder / url.split("?")[0].rpartition("/")[2]
    try:
        file_system, path = fsspec.url_to_fs(url)
        file_system.get_file(path, str(local))
    except Exception as error:  # each store raises errors of its own
        raise _unreadable(url, error) from error
    return local


def identity(path: str | Path) -> str:
    """What tells two versions of a file apart: its SHA-256, or of a URL its size and ETag where the server says them.

    Raises FileNotFoundError, and OSError for a URL that cannot be read.
    """
    if not is_remote(path):
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no library {path}: correct library=….")
        return f"SHA-256 {sha256(Path(path))}"
    try:
        file_system, remote_path = fsspec.url_to_fs(str(path))
        details = {key.lower(): value for key, value in file_system.info(remote_path).items()}
    except Exception as error:
        raise _unreadable(str(path), error) from error
    return f"{details.get('size')} bytes, ETag {details.get('etag')}"


def upload(folder: Path, files: list[str], url: str) -> None:
    """Upload files and folders of `folder` to the folder `url`, each file whole. Raises OSError."""
    try:
        file_system, root = fsspec.url_to_fs(url.rstrip("/"))
        for name in files:
            for path in sorted(p for p in (folder / name, *(folder / name).rglob("*")) if p.is_file()):
                target = f"{root}/{path.relative_to(folder).as_posix()}"
                file_system.makedirs(target.rpartition("/")[0], exist_ok=True)
                file_system.put_file(str(path), target)
    except Exception as error:
        raise OSError(
            f"results could not be uploaded to {url} ({reason(error)}): {HELP} All of them are in {folder}; the same "
            "command uploads them again, and scores nothing twice."
        ) from error


def reason(error: Exception) -> str:
    """What an error says, or its kind where it says nothing."""
    said = error.strerror if isinstance(error, OSError) else None
    return said or str(error) or type(error).__name__


def _unreadable(url: str, error: Exception) -> OSError:
    return OSError(f"{url.partition('?')[0]} cannot be read ({reason(error)}): {HELP}")
