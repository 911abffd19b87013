"""The web page, and the API's documentation; both work without any network."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles

PAGE = Path(__file__).resolve().parent.parent / "page"

router = APIRouter(include_in_schema=False)

# Swagger UI's own page loads its code from a CDN and starts it inline; here
# the code comes from the installed package and the start is a file, as the
# content security policy asks.
_DOCS = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Winnow API</title>
<link rel="icon" href="static/favicon.svg" type="image/svg+xml">
<link rel="stylesheet" href="docs/assets/swagger-ui.css">
<noscript><p>The interface is described in <a href="openapi.json">/openapi.json</a>.</p></noscript>
<div id="swagger-ui"></div>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</html>
"""
_START = """window.ui = SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, tryItOutEnabled: true, validatorUrl: null,
});
"""


# Monitors and link checkers ask with HEAD.
_READ = ["GET", "HEAD"]


@router.api_route("/", methods=_READ)
async def page() -> Response:
    """The web page."""
    file = PAGE / "index.html"
    if not file.is_file():
        raise HTTPException(404, "this installation has no web page; the API is at /docs")
    return FileResponse(file, media_type="text/html; charset=utf-8")


@router.api_route("/docs", methods=_READ)
async def docs() -> Response:
    """Swagger UI."""
    return HTMLResponse(_DOCS)


@router.api_route("/docs/start.js", methods=_READ)
async def start_docs() -> Response:
    """What the documentation page runs."""
    return Response(_START, media_type="text/javascript; charset=utf-8")


def swagger_folder() -> Path | None:
    """Return the folder with Swagger UI's files, found without importing the package."""
    spec = importlib.util.find_spec("fastapi_swagger")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "resources"


def mount_files(app: FastAPI) -> None:
    """Serve the page's files at /static and Swagger UI's at /docs/assets."""
    if PAGE.is_dir():
        app.mount("/static", StaticFiles(directory=PAGE), name="static")
    swagger = swagger_folder()
    if swagger is not None:
        app.mount("/docs/assets", StaticFiles(directory=swagger), name="swagger")
