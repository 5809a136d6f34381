"""Serve a page that recognises the expressions of faces in photos or before the camera, to this machine alone.

    make serve                              http://127.0.0.1:8000, or --port
    curl --data-binary @photo.jpg http://127.0.0.1:8000/api/faces

`POST /api/faces` takes the bytes of a picture, with `?model=NAME` for another network than the default, and answers
with JSON: model, warning (a sentence if the network is of no use for photos, else null), width and height (pixels),
milliseconds, and faces, each with box [left, top, width, height], emotion, confidence, uncertain and the seven
probabilities. An error is one sentence in `error`, with status 400; 413 if the picture is too large, 408 if it does not
arrive in time, 403 for pages of other sites. `GET /api/models` lists the networks. Pictures are kept in memory while
they are judged, and nowhere else.
"""

import argparse
import asyncio
import socket
import sys
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

sys.path.insert(0, str(Path(__file__).parents[1] / "stages"))

from fer.core.stage import InputError, catch
from fer.inference.photos import decode_photo
from fer.inference.recognition import Recogniser, check_name, choose_model, find_model, list_models, tell_models

HOST = "127.0.0.1"
PAGE = Path(__file__).with_suffix(".html")
LARGEST_UPLOAD = 20_000_000
"""Bytes of a picture file; `fer.inference.photos.LARGEST_PICTURE` bounds its pixels."""
DRAINED = 10 * LARGEST_UPLOAD
"""Bytes of a larger upload that are read and discarded: a client reads no answer while it is still sending."""
UPLOAD_TIMEOUT, SHUTDOWN_TIMEOUT = 60, 5
"""Seconds for an upload to arrive, and for pending requests to be answered when the server is stopped."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self' 'unsafe-inline'; img-src blob: data:; media-src blob:; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)  # their pages load scripts from other sites
app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])  # against DNS rebinding
worker = ThreadPoolExecutor(max_workers=1)
"""One picture at a time: each has all cores, and a `Recogniser` must not be shared between threads."""
recognisers: dict[str, tuple[int, Recogniser]] = {}
"""By name of the network: when its file was written (ns), and its recogniser."""


class RefusedRequest(Exception):
    """A request that is refused: HTTP status and one sentence."""


def open_recogniser(name: str) -> Recogniser:
    """The `Recogniser` of a network, kept until its file changes."""
    written = find_model(name).stat().st_mtime_ns
    if name not in recognisers or recognisers[name][0] != written:
        recognisers[name] = written, Recogniser(name)
    return recognisers[name][1]


def judge(content: bytes, name: str) -> dict[str, Any]:
    """The answer to `POST /api/faces` for the bytes of a picture and the name of a network."""
    recogniser, began = open_recogniser(name), time.perf_counter()
    photo = decode_photo(np.frombuffer(content, np.uint8), "the picture")
    (faces,) = recogniser.judge([recogniser.find(photo)])
    return {
        "model": name,
        "warning": recogniser.warning,
        "width": photo.shape[1],
        "height": photo.shape[0],
        "milliseconds": round(1000 * (time.perf_counter() - began), 1),
        "faces": [recogniser.describe(face) for face in faces],
    }


async def receive(request: Request) -> bytes:
    """The body of a request.

    Raises:
        RefusedRequest: it is too large, or takes too long.
    """
    content, length = bytearray(), 0
    try:
        async with asyncio.timeout(UPLOAD_TIMEOUT):
            async for part in request.stream():
                length += len(part)
                if length <= LARGEST_UPLOAD:
                    content += part
                elif length > DRAINED:
                    break
    except TimeoutError:
        raise RefusedRequest(408, f"the picture did not arrive within {UPLOAD_TIMEOUT} s; send it again") from None
    if length > LARGEST_UPLOAD:
        raise RefusedRequest(413, f"the picture has more than {LARGEST_UPLOAD // 1_000_000} MB; scale it down")
    return bytes(content)


def check_origin(request: Request) -> None:
    """Refuse requests that a page of another site makes the browser send."""
    origin = request.headers.get("origin")
    if origin and urllib.parse.urlsplit(origin).netloc != request.headers.get("host"):
        raise RefusedRequest(403, f"pages of {origin:.100} may not ask here; open http://{request.headers['host']}")


@app.get("/")
def show_page() -> HTMLResponse:
    return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers=HEADERS)


@app.get("/api/models")
def answer_models() -> JSONResponse:
    return JSONResponse({"models": list_models(), "default": app.state.model}, headers=HEADERS)


@app.post("/api/faces")
async def answer_faces(request: Request, model: str | None = None) -> JSONResponse:
    try:
        check_origin(request)
        name = model or app.state.model
        check_name(name)  # no path is made of what a request says
        content = await receive(request)
        answer = await asyncio.get_running_loop().run_in_executor(worker, judge, content, name)
        return JSONResponse(answer, headers=HEADERS)
    except RefusedRequest as refusal:
        status, sentence = refusal.args
        return JSONResponse({"error": sentence}, status_code=status, headers=HEADERS | {"Connection": "close"})
    except InputError as error:
        return JSONResponse({"error": str(error)}, status_code=400, headers=HEADERS)
    except (ClientDisconnect, asyncio.CancelledError):  # the client is gone, or the server stops
        return JSONResponse({"error": "the request was cancelled"}, status_code=503)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8000, help="of 127.0.0.1 (%(default)s); 0 takes a free one")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="the network of models/export that the page starts with; without it, the int8 network with the best "
        f"accuracy on val; {tell_models()}".replace("%", "%%"),
    )
    args = parser.parse_args()
    app.state.model = args.model or choose_model()
    check_name(app.state.model)
    open_recogniser(app.state.model)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, args.port))
            listener.listen()
        except (OSError, OverflowError):
            raise InputError(f"port {args.port} of {HOST} is not available; choose another with --port") from None
        print(f"http://{HOST}:{listener.getsockname()[1]}  (Ctrl-C stops it)", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=SHUTDOWN_TIMEOUT)).run(
            sockets=[listener]
        )


if __name__ == "__main__":
    catch(main)
