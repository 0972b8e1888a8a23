"""Pages to look through a folder in the browser."""

from virtassay.browse.server import browse

__all__ = ["browse"]
