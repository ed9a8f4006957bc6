"""The addresses that the app answers; all others are closed, also those that a newer Gradio may bring.

Gradio's server has some 90 routes: for logging in, its own editor, recordings, monitoring, proxying. This list holds
those that the page, `gradio_client`, curl (docs/api.md) and MCP clients use. A test holds it against the routes of the
running app, so that a new one is decided on.
"""

import re

__all__ = ["MCP", "OPEN", "methods_of", "route_path"]

OPEN = {
    # The page
    "/": "GET HEAD",
    "/theme.css": "GET",
    "/favicon.ico": "GET",
    "/manifest.json": "GET",
    "/robots.txt": "GET",
    "/assets/{path:path}": "GET",
    "/static/{path:path}": "GET",
    # What the page asks, and programs
    "/config": "GET",
    "/config/": "GET",
    "/gradio_api/info": "GET",
    "/gradio_api/info/": "GET",
    "/gradio_api/openapi.json": "GET",
    "/gradio_api/upload": "POST",
    "/gradio_api/upload_progress": "GET",
    "/gradio_api/file={path_or_url:path}": "GET HEAD",
    "/gradio_api/queue/join": "POST",
    "/gradio_api/queue/data": "GET",
    "/gradio_api/queue/status": "GET",
    "/gradio_api/call/{api_name}": "POST",
    "/gradio_api/call/v2/{api_name}": "POST",
    "/gradio_api/call/{api_name}/{event_id}": "GET",
    "/gradio_api/call/v2/{api_name}/{event_id}": "GET",
    "/gradio_api/run/{api_name}": "POST",
    "/gradio_api/cancel": "POST",
    "/gradio_api/reset": "POST",
    "/gradio_api/heartbeat/{session_hash}": "GET",
    # What an operator asks
    "/health": "GET HEAD",
    "/live": "GET HEAD",
    # What Gradio asks itself when it starts; it says yes or no
    "/gradio_api/startup-events": "GET",
}
"""Routes as Gradio writes them, and the methods that are let through."""

MCP = {"/gradio_api/mcp{rest:path}": "GET HEAD POST DELETE OPTIONS"}
"""Open as well where there is an MCP server."""


def methods_of(routes: dict[str, str]) -> list[tuple[re.Pattern[str], frozenset[str]]]:
    """Routes as expressions that match the whole path, with their methods."""
    return [(re.compile(_expression(route)), frozenset(methods.split())) for route, methods in routes.items()]


def _expression(route: str) -> str:
    parts = re.split(r"(\{\w+(?::path)?\})", route)
    return "".join(
        (".*" if part.endswith(":path}") else "[^/]+") if part.startswith("{") else re.escape(part) for part in parts
    )


def route_path(path: str, root_path: str) -> str:
    """The path that routes are matched with, as Starlette cuts it: without the sub-path that the app lies under."""
    if root_path and path.startswith(root_path):
        rest = path[len(root_path) :]
        if not rest or rest.startswith("/"):
            return rest
    return path
