"""Serve a page that says what the faces in a photo or before the camera show, to this machine alone.

    make serve                              http://127.0.0.1:8000, or --port
    curl --data-binary @photo.jpg "http://127.0.0.1:8000/api/faces?model=resnet18.int8"

`POST /api/faces` takes a picture's bytes and answers with JSON: model, warning (a sentence, where the network is of no
use for photos, or null), width and height (pixels), milliseconds, and faces, each with box [left, top, width, height],
emotion, confidence, uncertain and the seven probabilities. What is wrong with a request stands in `error`, one
sentence, status 400, or 413 where the picture is too large, 408 where it does not arrive, 403 for pages of other
sites. `GET /api/models` lists the networks. A picture is held in memory while it is looked at, and nowhere else.
"""

import argparse
import asyncio
import socket
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

from fer.core.stage import InputError, catch
from fer.inference.photos import decode_photo
from fer.inference.recognition import DEFAULT, Recogniser, check_name, find_model, list_models

HOST = "127.0.0.1"
PAGE = Path(__file__).with_suffix(".html")
LARGEST_UPLOAD = 20_000_000
"""Bytes of a picture file; `fer.inference.photos.LARGEST_PICTURE` bounds its pixels."""
DRAINED = 10 * LARGEST_UPLOAD
"""Bytes of a larger one that are read and dropped: who still sends does not hear why it is refused."""
PATIENCE, FAREWELL = 60, 5
"""Seconds that an upload may take, and that requests under way have when the server is told to end."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self' 'unsafe-inline'; img-src blob: data:; media-src blob:; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)  # their pages load scripts from elsewhere
app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])  # no other name may lead here
worker = ThreadPoolExecutor(max_workers=1)
"""One picture at a time: it has all cores, and neither detector nor network is shared between threads."""
recognisers = {}


class Refused(Exception):
    """A request that is refused: the status and one sentence."""


def open_recogniser(name):
    """The `Recogniser` of a network, kept until its file is another."""
    written = find_model(name).stat().st_mtime_ns
    if recognisers.get(name, (None, None))[0] != written:
        recognisers[name] = written, Recogniser(name)
    return recognisers[name][1]


def judge(content, name):
    """What `POST /api/faces` answers, for a picture's bytes and the name of a network."""
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


async def receive(request):
    """The body of a request, bytes.

    Raises:
        Refused: it is too large, or takes too long.
    """
    content, length = bytearray(), 0
    try:
        async with asyncio.timeout(PATIENCE):
            async for part in request.stream():
                length += len(part)
                if length <= LARGEST_UPLOAD:
                    content += part
                elif length > DRAINED:
                    break
    except TimeoutError:
        raise Refused(408, f"the picture did not arrive within {PATIENCE} s; send it again") from None
    if length > LARGEST_UPLOAD:
        raise Refused(413, f"the picture has more than {LARGEST_UPLOAD // 1_000_000} MB; scale it down")
    return bytes(content)


def check_origin(request):
    """Refuse what a page of another site has the browser send."""
    origin = request.headers.get("origin")
    if origin and urllib.parse.urlsplit(origin).netloc != request.headers.get("host"):
        raise Refused(403, f"pages of {origin:.100} may not ask here; open http://{request.headers['host']}")


@app.get("/")
def show_page():
    return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers=HEADERS)


@app.get("/api/models")
def answer_models():
    return JSONResponse({"models": list_models(), "default": app.state.model}, headers=HEADERS)


@app.post("/api/faces")
async def answer_faces(request: Request, model: str | None = None):
    try:
        check_origin(request)
        name = model or app.state.model
        check_name(name)  # nothing from outside becomes a path
        content = await receive(request)
        answer = await asyncio.get_running_loop().run_in_executor(worker, judge, content, name)
        return JSONResponse(answer, headers=HEADERS)
    except Refused as refusal:
        status, sentence = refusal.args
        return JSONResponse({"error": sentence}, status_code=status, headers=HEADERS | {"Connection": "close"})
    except InputError as error:
        return JSONResponse({"error": str(error)}, status_code=400, headers=HEADERS)
    except (ClientDisconnect, asyncio.CancelledError):  # nobody listens any more
        return JSONResponse({"error": "ended"}, status_code=503)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8000, help="of 127.0.0.1 (%(default)s); 0 takes a free one")
    parser.add_argument("--model", default=DEFAULT, metavar="NAME", help="of models/export (%(default)s)")
    args = parser.parse_args()
    check_name(args.model)
    open_recogniser(args.model)
    app.state.model = args.model
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, args.port))
            listener.listen()
        except (OSError, OverflowError):
            raise InputError(f"port {args.port} of {HOST} cannot be had; choose another by --port") from None
        print(f"http://{HOST}:{listener.getsockname()[1]}  (Ctrl-C ends it)", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=FAREWELL)).run(
            sockets=[listener]
        )


if __name__ == "__main__":
    catch(main)
