"""A web server for one file, with ranges, that breaks off when it is told to.

Runs on CPython.
"""

import http.server
import threading
from collections.abc import Callable
from http import HTTPStatus


class DropServer:
    """Serves `data` at `url`.

    `drop(count)`: after how many bytes answer number `count` breaks off, None: never; `has_ranges`: whether
    it does as it is asked, or sends the whole file always.  `requests`: the first byte of each.
    """

    def __init__(self, data: bytes, drop: Callable[[int], int | None], *, has_ranges: bool = True) -> None:
        self.requests: list[int] = []
        self.sent_size = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                begin, _, end = self.headers["Range"].removeprefix("bytes=").partition("-")
                outer.requests.append(int(begin))
                limit = drop(len(outer.requests))
                part = data[int(begin) : int(end) + 1 if end else None] if has_ranges else data
                if self.path != "/lock.update":
                    self.send_error(HTTPStatus.NOT_FOUND)
                    return
                if limit == -1:
                    # It hangs up without a word.
                    return
                self.send_response(HTTPStatus.PARTIAL_CONTENT if has_ranges else HTTPStatus.OK)
                if has_ranges:
                    self.send_header(
                        "Content-Range", f"bytes {begin}-{int(begin) + len(part) - 1}/{len(data)}"
                    )
                self.send_header("Content-Length", str(len(part)))
                self.end_headers()
                part = part if limit is None else part[:limit]
                outer.sent_size += len(part)
                self.wfile.write(part)

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            # Who breaks off leaves broken pipes.
            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/lock.update"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> "DropServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
