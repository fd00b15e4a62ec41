"""The explorer: a page for people, served by the node from its package's files, that asks only this node.

Runs on CPython.  `GET /` is the page, `/explorer/NAME` are its files, which stand in chain_node/explorer/:
HTML, CSS and JavaScript modules as they are, with no build step and no foreign address.  The files are read
once, at start; only names that were found then are served, so no path leads anywhere else.  The policy lets
the page run nothing but these files and talk to nobody but the node it came from, and forbids it to make
markup of texts, so that what strangers write into transactions stays text.
"""

from collections.abc import Mapping
from hashlib import sha256
from importlib import resources

from aiohttp import web

TYPES = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}
"""By the ending of a file's name; no file of another is served."""
INDEX = "index.html"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Asked for again each time, and answered in a few bytes when it is the same: a newer node, a newer page.
    "Cache-Control": "no-cache",
}


def read_files() -> Mapping[str, bytes]:
    """The files by name."""
    folder = resources.files("chain_node") / "explorer"
    return {
        item.name: item.read_bytes()
        for item in sorted(folder.iterdir(), key=lambda each: each.name)
        if item.name.rpartition(".")[2] in TYPES
    }


class Explorer:
    """Answers GET with the files."""

    def __init__(self) -> None:
        self._files = {name: (data, sha256(data).hexdigest()) for name, data in read_files().items()}

    def routes(self) -> list[web.RouteDef]:
        """For an aiohttp application."""
        return [web.get("/", self.index), web.get("/explorer/{name}", self._named)]

    async def index(self, request: web.Request) -> web.Response:
        """The page itself."""
        return self._answer(INDEX, request)

    async def _named(self, request: web.Request) -> web.Response:
        return self._answer(request.match_info["name"], request)

    def _answer(self, name: str, request: web.Request) -> web.Response:
        if name not in self._files:
            raise web.HTTPNotFound(text="there is no such file\n", headers=HEADERS)
        data, tag = self._files[name]
        if any(each.value == tag for each in request.if_none_match or ()):
            response = web.Response(status=304, headers=HEADERS)
        else:
            kind = TYPES[name.rpartition(".")[2]]
            response = web.Response(body=data, content_type=kind, charset="utf-8", headers=HEADERS)
        response.etag = tag
        return response
