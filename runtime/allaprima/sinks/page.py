"""A web page with the painting, live: MJPEG, which every browser shows without a plug-in, and the keys of the window.

The address is this machine's own, 127.0.0.1. Whoever opens it to a network gets a token in the address, without which
nobody sees anything; the connection is not encrypted all the same.
"""

from __future__ import annotations

import asyncio
import hmac
import io
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..errors import DeviceError
from ..frame import Frame, Image

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["PORT", "PageSink"]

PORT = 8765
_MOST_VIEWERS = (
    8  # each costs some 30 Mbit/s; a page that is left open in many tabs must not stop the painting
)
_ASSETS = Path(__file__).parents[1] / "assets"
_FILES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
    "/page.svg": ("page.svg", "image/svg+xml"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; "
    "img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class PageSink:
    """Serves the newest frame to whoever looks; pictures are encoded only while somebody does."""

    live = True
    takes_planes = False

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = PORT,
        quality: int = 80,
        view: Callable[[Frame], Image] = lambda frame: frame.image,
        status: Callable[[], str] = lambda: "",
        keys: Mapping[str, str] | None = None,
        on_key: Callable[[str], None] | None = None,
    ) -> None:
        """Starts serving. `port` 0: any that is free. `quality` is JPEG's. `view` makes what is shown of a painting,
        only while somebody looks; `status` gives the lines under it; `keys` (key -> what it does) go to `on_key`. All
        three are called in other threads than the caller's.

        Raises DeviceError E_PAGE_LIBRARY without the extra `web`, E_PAGE_ADDRESS where nothing can listen.
        """
        try:
            import starlette  # noqa: F401
            import uvicorn
        except ImportError as error:
            raise DeviceError(
                "E_PAGE_LIBRARY",
                "cannot serve a page",
                f"{error.name} is not installed",
                "pip install 'allaprima[web]'",
            ) from error
        self.notes: list[str] = []
        self._quality, self._view, self._status = quality, view, status
        self._keys, self._on_key = dict(keys or {}), on_key
        self.private = _is_loopback(host)
        """Seen from this machine only; otherwise `address` has a token."""
        self._token = "" if self.private else secrets.token_urlsafe(16)
        self._viewers = 0
        self._picture: bytes = b""
        self._number = 0
        self._last: Frame | None = None
        self._closing = False
        self._socket = _listen(host, port)
        address, port = self._socket.getsockname()[:2]
        shown = "127.0.0.1" if self.private else (address if address != "0.0.0.0" else _own_address())
        self.address = f"http://{shown}:{port}/" + (f"?token={self._token}" if self._token else "")
        self.name = f"page {self.address}"
        self._started = threading.Event()
        config = uvicorn.Config(
            self._application(), log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=2
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="page", daemon=True)
        self._thread.start()
        if not self._started.wait(10):
            raise DeviceError(
                "E_PAGE_ADDRESS", f"cannot serve {self.address}", "the server does not start", ""
            )

    def put(self, frame: Frame) -> bool:
        self._last = frame
        if self._viewers:
            self._encode()
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._announce()
        self._server.should_exit = True
        self._thread.join(10)

    def _encode(self) -> None:
        from PIL import Image as Pictures

        if self._last is None:
            return
        file = io.BytesIO()
        Pictures.fromarray(self._view(self._last)).save(file, "JPEG", quality=self._quality)
        self._picture = file.getvalue()
        self._number += 1
        self._announce()

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])

    def _announce(self) -> None:
        """Wake the viewers, from any thread."""

        async def wake() -> None:
            async with self._came:
                self._came.notify_all()

        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(wake(), self._loop)

    def _application(self) -> Any:
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.routing import Route

        @asynccontextmanager
        async def lifespan(application: Starlette) -> AsyncIterator[None]:
            self._loop = asyncio.get_running_loop()
            self._came = asyncio.Condition()
            self._started.set()
            yield

        # A foreign page can make a browser ask 127.0.0.1 under a name of its own: only ours are answered.
        hosts = ["127.0.0.1", "localhost"] if self.private else ["*"]
        return Starlette(
            routes=[
                *(Route(path, self._file) for path in _FILES),
                Route("/stream", self._stream),
                Route("/status", self._tell_status),
                Route("/key", self._key, methods=["POST"]),
            ],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
            lifespan=lifespan,
        )

    def _refusal(self, request: Request) -> Response | None:
        """Why this is not answered; None for those who may look."""
        from starlette.responses import PlainTextResponse

        # the page's own script, style and icon are no secret, and are asked for without the token
        if not self._token or request.url.path in _FILES.keys() - {"/"}:
            return None
        given = request.query_params.get("token", "")
        if hmac.compare_digest(given.encode(), self._token.encode()):
            return None
        return PlainTextResponse("the token is missing: use the whole address", 403, _HEADERS)

    async def _file(self, request: Request) -> Response:
        from starlette.responses import Response

        name, kind = _FILES[request.url.path]
        return self._refusal(request) or Response((_ASSETS / name).read_bytes(), 200, _HEADERS, kind)

    async def _tell_status(self, request: Request) -> Response:
        from starlette.responses import JSONResponse

        return self._refusal(request) or JSONResponse(
            {"line": self._status(), "keys": self._keys}, headers=_HEADERS
        )

    async def _key(self, request: Request) -> Response:
        """A key pressed on the page. The header is one that other sites cannot send without being asked."""
        from starlette.responses import PlainTextResponse, Response

        refused = self._refusal(request)
        if refused is not None:
            return refused
        if (
            request.headers.get("x-allaprima") != "page"
            or request.headers.get("sec-fetch-site") == "cross-site"
        ):
            return PlainTextResponse("only from the page itself", 403, _HEADERS)
        body = await request.body()
        try:
            key = (await request.json())["key"] if len(body) < 100 else None
        except (ValueError, TypeError, KeyError):
            key = None
        if self._on_key is None or not isinstance(key, str) or key not in self._keys:
            return PlainTextResponse("there is no such key", 400, _HEADERS)
        self._on_key(key)
        return Response(None, 204, _HEADERS)

    async def _stream(self, request: Request) -> Response:
        from starlette.responses import PlainTextResponse, StreamingResponse

        refused = self._refusal(request)
        if refused is not None:
            return refused
        if self._viewers >= _MOST_VIEWERS:
            return PlainTextResponse(f"{_MOST_VIEWERS} are looking already", 503, _HEADERS)
        kind = "multipart/x-mixed-replace; boundary=frame"
        pictures = self._pictures(ahead="ahead" in request.query_params)
        return StreamingResponse(pictures, 200, _HEADERS, kind)

    async def _pictures(self, *, ahead: bool) -> AsyncIterator[bytes]:
        """The newest picture whenever the viewer has taken the one before; those in between are not for him.

        `ahead`: the head of the next part comes with each picture, so that it cannot say how long that one will be.
        Chromium shows a part when the next one's head is there (its issue 527446): every picture one too late, and the
        last one before a pause never. Other programs want the length.
        """
        self._viewers += 1
        try:
            seen = 0
            self._encode()  # what is shown at the moment, which may stand still for long
            if ahead:
                yield _head()
            while not self._closing:
                if seen == self._number:
                    async with self._came:
                        await self._came.wait()
                    continue
                seen, picture = self._number, self._picture  # another thread takes the next one in its place
                whole = picture + b"\r\n"
                yield whole + _head() if ahead else _head(len(picture)) + whole
        finally:
            self._viewers -= 1


def _head(length: int | None = None) -> bytes:
    """What a part of the stream begins with."""
    said = "" if length is None else f"Content-Length: {length}\r\n"
    return f"--frame\r\nContent-Type: image/jpeg\r\n{said}\r\n".encode()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=16)
    except (OSError, OverflowError) as error:
        raise DeviceError(
            "E_PAGE_ADDRESS",
            f"cannot serve a page at {host}:{port}",
            (getattr(error, "strerror", "") or str(error)).lower(),
            "another program may use this port: choose another one"
            if 0 <= port <= 65535
            else "ports go from 1 to 65535",
        ) from error


def _own_address() -> str:
    """What others call this machine, as far as it knows; nothing is sent to find out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # a documentation address: only the route is looked up
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])
