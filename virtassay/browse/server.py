"""Serve a folder to a browser on this machine."""

import contextlib
import ipaddress
import logging
import socket

log = logging.getLogger(__name__)


def browse(folder: str, second: str | None = None, host: str = "127.0.0.1", port: int = 8765) -> None:
    """Show a dataset, generated or screen's folder in the browser until Ctrl-C; port 0 takes any that is free.

    Raises ValueError or FileNotFoundError for the folder or a missing extra, OSError for the address.
    """
    try:
        import uvicorn

        from virtassay.browse.app import make_app, open_pages
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("starlette", "uvicorn"):
            raise
        raise ValueError(f'browsing needs the package {error.name}: pip install "virtassay[browse]".') from error
    pages = open_pages(folder, second)
    listener = listen(host, port)
    own = is_loopback(host)
    if not own:
        log.warning("host=%s: whoever reaches this machine can look at %s; there is no password.", host, folder)
    app = make_app(pages, [host, "localhost", "127.0.0.1", "[::1]"] if own else ["*"])
    name = f"[{host}]" if ":" in host else host
    log.info("%s: open http://%s:%d/ in a browser; Ctrl-C ends it.", folder, name, listener.getsockname()[1])
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1))
    with listener, contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """Listen at an address; port 0 takes any that is free. Raises ValueError for a port, OSError for an address."""
    if not 0 <= port <= 65535:
        raise ValueError(f"port={port}: ports are 0 (any that is free) to 65535.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise OSError(
            error.errno, f"{host}:{port} cannot be listened at ({error.strerror}): give another port=…."
        ) from None
