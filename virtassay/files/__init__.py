"""Files: written whole or not at all, locked, checked, and fetched by their URL. Knows nothing else of ours."""

from virtassay.files.disk import in_words, lock, replace_folder, require_space, sha256, whole, write_bytes, write_text
from virtassay.files.download import RemoteFile, cache_folder, fetch, fetch_into, size_at
from virtassay.files.urls import fetch_url, identity, is_remote, reason, upload

__all__ = [
    "RemoteFile", "cache_folder", "fetch", "fetch_into", "fetch_url", "identity", "in_words", "is_remote", "lock",
    "reason", "replace_folder", "require_space", "sha256", "size_at", "upload", "whole", "write_bytes", "write_text",
]  # fmt: skip
