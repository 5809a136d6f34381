"""Serve a page that recognises the expressions of faces in photos or before the camera, to this machine alone.

    make serve                              http://127.0.0.1:8000, or --port
    curl --data-binary @photo.jpg http://127.0.0.1:8000/api/faces

`POST /api/faces` takes the bytes of a picture, with `?model=NAME` for another network than the default, and answers
with JSON; `POST /api/photos` takes several in one form. `GET /api/models` lists the networks, `GET /api/health` says
that the server is well. What they take and give is described at `GET /api/openapi.json`, and for people at `/api`,
which opens without the internet. An error is one sentence in `error`, with status 400; 413 if a picture is too large,
408 if it does not arrive in time, 403 for pages of other sites. Pictures are kept in memory while they are judged, and
nowhere else.
"""

import signal

if __name__ == "__main__":  # until main() runs, Ctrl-C would show a traceback of the imports
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

import checkout  # noqa: F401
from fer_pipeline.core.errors import InputError
from fer_pipeline.exported.onnx import read_accuracy, read_metadata
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.inference.photos import decode_photo
from fer_pipeline.inference.recognition import (
    Recogniser,
    check_name,
    choose_model,
    find_model,
    list_models,
    tell_models,
)
from fer_pipeline.running.stage import catch, explain

HOST = "127.0.0.1"
PAGE, DESCRIPTION = Path(__file__).with_suffix(".html"), Path(__file__).with_name("api.html")
LARGEST_UPLOAD = 20_000_000
"""Bytes of a picture file; `fer_pipeline.inference.photos.LARGEST_PICTURE` bounds its pixels."""
MOST_PICTURES = 100
"""In one form."""
LARGEST_FORM = 5 * LARGEST_UPLOAD
"""Bytes of a form with several pictures."""
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


class FaceAnswer(BaseModel):
    """One face."""

    box: Annotated[list[int], Field(description="left, top, width, height in pixels", examples=[[149, 102, 229, 229]])]
    roll: Annotated[int, Field(description="degrees by which the face is turned clockwise; it was judged upright")]
    cut: Annotated[bool, Field(description="whether the picture's edge runs through the face")]
    emotion: Annotated[str, Field(examples=["neutral"])]
    confidence: Annotated[float, Field(description="probability of that emotion, calibrated on FER-2013")]
    uncertain: Annotated[bool, Field(description="whether the confidence is below 0.6")]
    annotators: Annotated[int | None, Field(description="of ten people, how many would likely say so")]
    probabilities: Annotated[dict[str, float], Field(examples=[dict.fromkeys(CLASSES, 0.1429)])]


class Answer(BaseModel):
    """What a picture shows."""

    model: Annotated[str, Field(description="the network that answered")]
    warning: Annotated[str | None, Field(description="a sentence where that network is of no use for photographs")]
    width: Annotated[int, Field(description="of the picture, in pixels")]
    height: int
    milliseconds: float
    faces: Annotated[list[FaceAnswer], Field(description="the largest first")]


class NamedAnswer(BaseModel):
    """A picture of several: its answer, or what is wrong with it."""

    name: Annotated[str, Field(description="the file's name, as sent")]
    answer: Answer | None
    error: str | None


class Answers(BaseModel):
    """What several pictures show, in their order."""

    photos: list[NamedAnswer]


class ModelFacts(BaseModel):
    """A network."""

    name: str
    trained_on: Annotated[str, Field(description="name of the data set's file, or `drawn faces`")]
    val_accuracy: Annotated[float, Field(description="of its file, on the validation rows of that data set")]


class Models(BaseModel):
    """The networks."""

    models: list[ModelFacts]
    default: Annotated[str, Field(description="the name of the one that answers where none is named")]


class Health(BaseModel):
    """The server is well, and can judge pictures."""

    status: Annotated[str, Field(examples=["ok"])]
    model: str
    waiting: Annotated[int, Field(description="requests that are being answered, or wait for it")]


class Error(BaseModel):
    """What is wrong, in one sentence."""

    error: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error, "description": description}
    for status, description in (
        (400, "no picture, a damaged one, or no such network"),
        (403, "asked by a page of another site"),
        (408, "the picture did not arrive in time"),
        (413, "the picture is too large"),
    )
}
BYTES = {"type": "string", "format": "binary"}
FORM = {"type": "object", "properties": {"photo": {"type": "array", "items": BYTES}}}
PICTURE = {"requestBody": {"required": True, "content": {"image/*": {"schema": BYTES}}}}
PICTURES = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}}
ModelName = Annotated[str | None, Query(description="one of `/api/models`; without it, their default")]

app = FastAPI(
    title="Facial expressions",
    version="1",
    description="The expressions of faces in photographs, judged on this machine; pictures are not stored.",
    docs_url=None,  # these pages load scripts from other sites
    redoc_url=None,
    openapi_url="/api/openapi.json",
)
app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])  # against DNS rebinding
worker = ThreadPoolExecutor(max_workers=1)
"""One picture at a time: each has all cores, and a `Recogniser` must not be shared between threads."""
recognisers: dict[str, tuple[tuple[int, ...], Recogniser]] = {}
"""By name of the network: which file it was (time in ns, inode, bytes), and its recogniser."""


class RefusedRequest(Exception):
    """A request that is refused: HTTP status and one sentence."""


def open_recogniser(name: str) -> Recogniser:
    """The `Recogniser` of a network, kept until its file changes."""
    try:
        file = find_model(name).stat()
    except OSError as error:
        raise InputError(explain(error)) from None
    known = (file.st_mtime_ns, file.st_ino, file.st_size)  # a file that replaces another may be as old
    if name not in recognisers or recognisers[name][0] != known:
        recognisers[name] = known, Recogniser(name)
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


async def receive(request: Request, most: int = LARGEST_UPLOAD) -> bytes:
    """The body of a request, of at most so many bytes.

    Raises:
        RefusedRequest: it is too large, or takes too long.
    """
    content, length = bytearray(), 0
    try:
        async with asyncio.timeout(UPLOAD_TIMEOUT):
            async for part in request.stream():
                length += len(part)
                if length <= most:
                    content += part
                elif length > DRAINED:
                    break
    except TimeoutError:
        raise RefusedRequest(408, f"the picture did not arrive within {UPLOAD_TIMEOUT} s; send it again") from None
    if length > most:
        whole, remedy = ("picture", "scale it down") if most == LARGEST_UPLOAD else ("form", "send fewer pictures")
        raise RefusedRequest(413, f"the {whole} has more than {most // 1_000_000} MB; {remedy}")
    return bytes(content)


def split_form(content: bytes, kind: str) -> list[tuple[str, bytes]]:
    """The name and the bytes of each file in a form; `kind` is the request's Content-Type.

    Raises:
        RefusedRequest: it is no form with files, or one with too many, or with names that make no sense.
    """
    message = Message()
    message["content-type"] = kind
    files = []
    try:
        boundary = message.get_boundary()
        parts = (b"\r\n" + content).split(b"\r\n--" + boundary.encode("utf-8", "replace")) if boundary else []
        for part in parts[1:]:
            head, separator, body = part.partition(b"\r\n\r\n")
            described = HeaderParser().parsestr(head.decode("utf-8", "replace").lstrip("\r\n"))
            name = described.get_filename()
            if separator and name is not None:
                files.append((name[:200].encode("utf-8", "replace").decode(), body))
    except (TypeError, ValueError):  # of what stands for a name, `filename*=undefined''x`
        raise RefusedRequest(400, "the form has a name that cannot be read; send plain file names") from None
    if not files:
        raise RefusedRequest(400, "no form with pictures; send multipart/form-data, a file per picture")
    if len(files) > MOST_PICTURES:
        raise RefusedRequest(413, f"the form has more than {MOST_PICTURES} pictures; send fewer")
    return files


def check_origin(request: Request) -> None:
    """Refuse requests that a page of another site makes the browser send."""
    origin = request.headers.get("origin")
    if origin and origin.partition("://")[2] != request.headers.get("host"):
        raise RefusedRequest(403, f"pages of {origin:.100} may not ask here; open http://{request.headers['host']}")


class Waiting:
    """Counts the requests that are being answered."""

    count = 0


@contextlib.asynccontextmanager
async def counted() -> AsyncIterator[None]:
    """Count a request while it is answered."""
    Waiting.count += 1
    try:
        yield
    finally:
        Waiting.count -= 1


async def answer_request(
    request: Request, model: str | None, most: int, work: Callable[[bytes, str], Any]
) -> JSONResponse:
    """The answer to a request with pictures: `work` of its body and the network's name, or one sentence."""
    try:
        check_origin(request)
        name = model or app.state.model
        check_name(name)  # no path is made of what a request says
        async with counted():
            content = await receive(request, most)
            answer = await asyncio.get_running_loop().run_in_executor(worker, work, content, name)
        return JSONResponse(answer, headers=HEADERS)
    except RefusedRequest as refusal:
        status, sentence = refusal.args
        return JSONResponse({"error": sentence}, status_code=status, headers=HEADERS | {"Connection": "close"})
    except InputError as error:
        return JSONResponse({"error": str(error)}, status_code=400, headers=HEADERS)
    except (ClientDisconnect, asyncio.CancelledError):  # the client is gone, or the server stops
        return JSONResponse({"error": "the request was cancelled"}, status_code=503)


@app.get("/", include_in_schema=False)
def show_page() -> HTMLResponse:
    return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers=HEADERS)


@app.get("/api", include_in_schema=False)
def show_description() -> HTMLResponse:
    return HTMLResponse(DESCRIPTION.read_text(encoding="utf-8"), headers=HEADERS)


@app.get("/api/models", response_model=Models, summary="The networks")
def answer_models() -> JSONResponse:
    facts = []
    for name in list_models():
        with contextlib.suppress(InputError):  # it has just been removed
            known = read_metadata(find_model(name))
            trained_on, accuracy = known.get("trained_on", "unknown"), read_accuracy(known)
            facts.append({"name": name, "trained_on": trained_on, "val_accuracy": accuracy})
    return JSONResponse({"models": facts, "default": app.state.model}, headers=HEADERS)


@app.get("/api/health", response_model=Health, summary="Whether the server is well")
def answer_health() -> JSONResponse:
    return JSONResponse({"status": "ok", "model": app.state.model, "waiting": Waiting.count}, headers=HEADERS)


@app.post(
    "/api/faces", response_model=Answer, responses=PROBLEMS, openapi_extra=PICTURE, summary="The faces of a picture"
)
async def answer_faces(request: Request, model: ModelName = None) -> JSONResponse:
    """The body is a JPEG, PNG, WebP, GIF, TIFF or BMP of up to 20 MB and 100 million pixels."""
    return await answer_request(request, model, LARGEST_UPLOAD, judge)


@app.post(
    "/api/photos",
    response_model=Answers,
    responses=PROBLEMS,
    openapi_extra=PICTURES,
    summary="Several pictures",
)
async def answer_photos(request: Request, model: ModelName = None) -> JSONResponse:
    """The body is a form with a file per picture: up to 100 of them, 100 MB together."""
    kind = request.headers.get("content-type", "")

    def judge_form(content: bytes, name: str) -> dict[str, Any]:
        photos = []
        for file, picture in split_form(content, kind):
            try:
                if len(picture) > LARGEST_UPLOAD:
                    raise InputError(f"the picture has more than {LARGEST_UPLOAD // 1_000_000} MB; scale it down")
                photos.append({"name": file, "answer": judge(picture, name), "error": None})
            except InputError as error:
                photos.append({"name": file, "answer": None, "error": str(error)})
        return {"photos": photos}

    return await answer_request(request, model, LARGEST_FORM, judge_form)


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8000, help="of 127.0.0.1 (%(default)s); 0 takes a free one")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help=f"the network that the page starts with; without it, the one of pretrained/; {tell_models()}".replace(
            "%", "%%"
        ),
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
    try:
        catch(main)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is left to do
