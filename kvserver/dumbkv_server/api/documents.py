"""What people and programs read about the API: /openapi.json, /docs and the page at /."""

import base64
import hashlib
import re
from importlib.resources import files

import msgspec
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from dumbkv_server.settings import Settings

from .openapi import document

SWAGGER = "/docs/assets"
# Swagger UI styles its elements inline; everything else comes from this server.
DOCS_POLICY = "default-src 'none'; connect-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'"
# The page makes its elements one by one: no text of it, or of an answer, can ever become markup or a script.
PAGE_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src data:; style-src {style}; script-src {script}; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
COMMON_POLICY = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


def add(app: FastAPI, settings: Settings) -> None:
    """Add the routes of all three to the application."""
    schema = msgspec.json.encode(document(settings.auth_tokens is not None))
    page = _page(settings.auth_tokens is not None)
    docs = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="DumbKV API",
        swagger_js_url=f"{SWAGGER}/swagger-ui-bundle.js",
        swagger_css_url=f"{SWAGGER}/swagger-ui.css",
        swagger_favicon_url="data:,",
    )
    docs_text = bytes(docs.body).decode()
    page_policy = PAGE_POLICY.format(style=_hashes("style", page), script=_hashes("script", page))
    docs_policy = f"{DOCS_POLICY}; script-src 'self' {_hashes('script', docs_text)}"

    async def get_page(_: Request) -> Response:
        return _html(page, page_policy)

    async def get_docs(_: Request) -> Response:
        return _html(docs_text, docs_policy)

    async def get_schema(_: Request) -> Response:
        return Response(schema, media_type="application/json")

    app.add_route("/", get_page, include_in_schema=False)
    app.add_route("/docs", get_docs, include_in_schema=False)
    app.add_route("/openapi.json", get_schema, include_in_schema=False)
    # The package ships Swagger UI's own files, so that /docs asks no other host for anything.
    app.router.routes.append(Mount(SWAGGER, StaticFiles(packages=[("fastapi_offline", "static")])))


def _page(with_authentication: bool) -> str:
    """The page as one document: its style and its script are in it."""
    folder = files(__package__).joinpath("page")
    html, style, server, page = (
        folder.joinpath(name).read_text(encoding="utf-8")
        for name in ("page.html", "page.css", "server.js", "page.js")
    )
    authentication = "on" if with_authentication else "off"
    return html.format(style=style, server=server, page=page, authentication=authentication)


def _html(text: str, policy: str) -> Response:
    return HTMLResponse(text, headers={**HEADERS, "content-security-policy": f"{policy}; {COMMON_POLICY}"})


def _hashes(element: str, text: str) -> str:
    """The hashes that let exactly these inline elements run (CSP level 3)."""
    contents = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
    digests = (hashlib.sha256(content.encode()).digest() for content in contents)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
