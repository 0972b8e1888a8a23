"""The pages as one web application that reads two folders at most and answers only to its own address."""

from collections.abc import Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from virtassay.browse.dataset_pages import DatasetPages
from virtassay.browse.query import BadQuery
from virtassay.browse.screen_pages import BrokenScreen, ScreenPages
from virtassay.report.pages import STYLESHEET, page

STYLES = (STYLESHEET, Path(__file__).with_name("browse.css"))
SCRIPT = Path(__file__).with_name("browse.js")
# nothing is loaded from elsewhere, whatever the names in a folder say
POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
SAFE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def open_pages(folder: str | Path, second: str | Path | None = None) -> DatasetPages | ScreenPages:
    """Open a dataset folder, a generated one, or a screen's. Raises FileNotFoundError or ValueError that says which."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: correct folder=….")
    if (folder / "dataset.json").is_file():
        return DatasetPages.open(folder, None if second is None else Path(second))
    if not (folder / "hits.parquet").is_file():
        inner = sorted(path.parent.name for path in folder.glob("*/dataset.json"))
        hint = f" Did you mean {folder / inner[0]}?" if inner else ""
        raise ValueError(
            f"{folder} has neither dataset.json (a dataset or generated folder) nor hits.parquet (a screen's).{hint}"
        )
    if second is not None:
        raise ValueError(f"{folder} holds the hits of a screen and no images: leave beside={second} out.")
    return ScreenPages.open(folder)


def make_app(pages: DatasetPages | ScreenPages, hosts: Sequence[str]) -> Starlette:
    """Put the pages together. hosts: the names that the server may be called by ("*": any)."""
    style = "\n".join(file.read_text(encoding="utf-8") for file in STYLES)
    script = SCRIPT.read_text(encoding="utf-8")
    own = [
        Route("/browse.css", lambda request: Response(style, media_type="text/css")),
        Route("/browse.js", lambda request: Response(script, media_type="text/javascript")),
    ]
    # another name that was made to point here (DNS rebinding) must not read the folder
    guard = Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    return Starlette(
        routes=own + pages.routes(),
        middleware=[guard, Middleware(BaseHTTPMiddleware, dispatch=with_headers)],
        exception_handlers=dict.fromkeys((HTTPException, BadQuery, BrokenScreen), refuse),
    )


def refuse(request: Request, error: Exception) -> Response:
    """Say what is not there, or what is wrong with the address."""
    status = 400 if isinstance(error, BadQuery) else 404
    message, status = (error.detail, error.status_code) if isinstance(error, HTTPException) else (str(error), status)
    return HTMLResponse(page("virtassay.browse", "refusal.html.j2", {"message": message, "status": status}), status)


async def with_headers(request: Request, answer: RequestResponseEndpoint) -> Response:
    """Let no answer be kept, guessed at, or load from elsewhere."""
    response = await answer(request)
    response.headers.setdefault("Content-Security-Policy", POLICY)
    response.headers.update(SAFE)
    return response
