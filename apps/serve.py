"""Serve a page that recognises the expressions of faces in photos or before the camera, to this machine alone.

    make serve                              http://127.0.0.1:8000, or --port
    curl --data-binary @photo.jpg http://127.0.0.1:8000/api/faces

`/api` describes all endpoints, for programs `/api/openapi.json`. An error is one sentence in `error`, with a
status of 400 to 413. Pictures are kept in memory while they are judged, and nowhere else.
"""

import signal

if __package__ == "fer_pipeline.apps":  # installed by pip
    from fer_pipeline.apps import checkout  # type: ignore[import-not-found]
else:
    import checkout

if __name__ == "__main__":  # until main() runs, Ctrl-C would show a traceback of the imports
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import asyncio
import logging
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import numpy as np
import uvicorn
from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field, create_model
from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

from fer_pipeline.answers import recognition
from fer_pipeline.answers.recognition import Description, Recogniser
from fer_pipeline.core.errors import InputError
from fer_pipeline.exported.onnx import LABELS, MAJORITY
from fer_pipeline.inference.photos import decode_photo
from fer_pipeline.running.stage import catch, explain

HOST = "127.0.0.1"
AROUND = Path(__file__).parents[1]
"""The clone, or the installed package."""
FILES = {
    "/": (AROUND / "site" / "index.html", "text/html"),
    "/page.css": (AROUND / "site" / "page.css", "text/css"),
    "/page.js": (AROUND / "site" / "page.js", "text/javascript"),
    "/answer.js": (AROUND / "site" / "by_server.js", "text/javascript"),
    "/sw.js": (AROUND / "site" / "no_sw.js", "text/javascript"),
    "/responsible-use.txt": (AROUND / "docs" / "responsible-use.md", "text/plain"),
    "/api": (Path(__file__).with_name("api.html"), "text/html"),
}
"""{address: the file there, its type}."""
LARGEST_UPLOAD, LARGEST_FORM, MOST_PICTURES = 20_000_000, 100_000_000, 100
"""Bytes of a picture file and of a form, and pictures in a form; `photos.LARGEST_PICTURE` bounds a picture's pixels."""
TOO_LARGE = "{} has more than {} MB; scale it down"
MOST_DRAINED = 10 * LARGEST_UPLOAD
"""Bytes of a refused upload that are read: a client reads no answer while it is still sending."""
UPLOAD_TIMEOUT, SHUTDOWN_TIMEOUT = 60, 5
"""Seconds for an upload to arrive, and for pending requests to be answered when the server is stopped."""
HEADERS = {
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline'; img-src blob: data:; media-src blob:; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


TOLD = {key: kind for key, kind in get_type_hints(Description, include_extras=True).items() if key != "number"}
FACE: dict[str, Any] = {key: (kind, Field(description=kind.__metadata__[0])) for key, kind in TOLD.items()}
FaceAnswer: Any = create_model("FaceAnswer", __doc__="One face.", **FACE)


class Answer(BaseModel):
    """What a picture shows."""

    model: Annotated[str, Field(description="the network that answered")]
    warning: Annotated[str | None, Field(description="a sentence if that network is of no use for photographs")]
    width: Annotated[int, Field(description="of the picture, in pixels")]
    height: int
    milliseconds: float
    faces: Annotated[list[FaceAnswer], Field(description="the largest first")]


class NamedAnswer(BaseModel):
    """One of several pictures: its answer, or what is wrong with it."""

    name: Annotated[str, Field(description="the file's name, as sent")]
    answer: Answer | None
    error: str | None


class Answers(BaseModel):
    """What several pictures show, in the order sent."""

    photos: list[NamedAnswer]


class ModelFacts(BaseModel):
    """A network."""

    name: str
    trained_on: Annotated[str, Field(description="name of the data set's file, or `drawn faces`")]
    answers_accuracy: Annotated[float | None, Field(description="share of its answers that are right, on val faces")]
    answers_compared_with: Annotated[str, Field(description="truth, where there is one", examples=[MAJORITY, LABELS])]
    val_accuracy: Annotated[float, Field(description="first head's accuracy on val labels; the second head may answer")]
    classes: Annotated[list[str], Field(description="what it may say of a face, in the order of `probabilities`")]


class Models(BaseModel):
    """The networks."""

    models: list[ModelFacts]
    default: Annotated[str, Field(description="the one that answers if a request names none")]


class Health(BaseModel):
    """The server can judge pictures."""

    status: Annotated[str, Field(examples=["ok"])]
    model: str
    waiting: Annotated[int, Field(description="requests that are being answered or wait for it")]


class Error(BaseModel):
    """What is wrong."""

    error: Annotated[str, Field(description="one sentence")]


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Error, "description": "no picture, a damaged one (in a form: a damaged form), or no such network"},
    403: {"model": Error, "description": "requested by a page of another site"},
    408: {"model": Error, "description": "the pictures did not arrive in time"},
    413: {"model": Error, "description": "the picture or the form is too large, or the form has too many pictures"},
}
BYTES = {"type": "string", "format": "binary"}
FORM = {"type": "object", "properties": {"photo": {"type": "array", "items": BYTES}}}
PICTURE = {"requestBody": {"required": True, "content": {"image/*": {"schema": BYTES}}}}
PICTURES = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}}
ModelName = Annotated[str | None, Query(description="one of `/api/models`; the default without it")]

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
"""{network: its file when it was opened (time in ns, inode, bytes), and its recogniser}."""
app.state.waiting = 0
"""Requests that are being answered or wait for it."""
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it prints a line about each damaged form


class RefusedRequest(Exception):
    """A refused request: HTTP status and one sentence."""


def open_recogniser(name: str) -> Recogniser:
    """The `Recogniser` of a network, which is kept until its file changes."""
    try:
        file = recognition.find_model(name).stat()
    except OSError as error:
        raise InputError(explain(error)) from None
    known = (file.st_mtime_ns, file.st_ino, file.st_size)  # a file that replaces another may be as old
    if name not in recognisers or recognisers[name][0] != known:
        recognisers[name] = known, Recogniser(name)
    return recognisers[name][1]


def judge(content: bytes, name: str, file: str = "the picture") -> dict[str, Any]:
    """The answer to `POST /api/faces` for the bytes of a picture and the name of a network; errors name `file`."""
    recogniser, began = open_recogniser(name), time.perf_counter()
    photo = decode_photo(np.frombuffer(content, np.uint8), file)
    faces = recogniser.recognise(photo)
    return {
        "model": name,
        "warning": recogniser.warning,
        "width": photo.shape[1],
        "height": photo.shape[0],
        "milliseconds": round(1000 * (time.perf_counter() - began), 1),
        "faces": [recogniser.describe(face) for face in faces],
    }


def judge_form(files: list[tuple[str, bytes]], name: str) -> dict[str, Any]:
    """The answer to `POST /api/photos` for the name and the bytes of each picture, and the name of a network."""
    photos: list[dict[str, Any]] = []
    for file, content in files:
        photos.append({"name": file, "answer": None, "error": None})
        try:
            if len(content) > LARGEST_UPLOAD:
                raise InputError(TOO_LARGE.format(file or "the picture", LARGEST_UPLOAD // 1_000_000))
            photos[-1]["answer"] = judge(content, name, file or "the picture")
        except InputError as error:
            photos[-1]["error"] = str(error)
    return {"photos": photos}


async def read_body(request: Request, most: int, excess: str) -> AsyncGenerator[bytes]:
    """The first `most` bytes of a request's body, as they arrive; a longer one is refused by the sentence `excess`."""
    length = 0
    async for part in request.stream():
        length += len(part)
        if length <= most:
            yield part
        elif length > MOST_DRAINED:
            break
    if length > most:
        raise RefusedRequest(413, excess.format(most // 1_000_000))


async def read_picture(request: Request) -> bytes:
    """The body of a request as the bytes of a picture."""
    body = read_body(request, LARGEST_UPLOAD, TOO_LARGE.format("the picture", "{}"))
    content = b"".join([part async for part in body])
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise RefusedRequest(400, "this is a form; send forms to /api/photos, and here the bytes of a picture")
    return content


class Form(MultiPartParser):
    """A form whose pictures never touch the disk."""

    spool_max_size = LARGEST_FORM
    complete = False

    def on_end(self) -> None:
        self.complete = True


async def read_form(request: Request) -> list[tuple[str, bytes]]:
    """The name and the bytes of each picture in the form that a request holds."""
    body, files = read_body(request, LARGEST_FORM, "the form has more than {} MB; send fewer pictures"), []
    headers = Headers({"content-type": request.headers.get("content-type", "")})
    form = Form(headers, body, max_files=MOST_PICTURES)
    try:
        for _, part in (await form.parse()).multi_items():
            if isinstance(part, UploadFile):
                files.append(((part.filename or "")[:200].encode("utf-8", "replace").decode(), part.file.read()))
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise RefusedRequest(413, f"the form has more than {MOST_PICTURES} pictures; send fewer") from None
    except (LookupError, TypeError, ValueError):  # of a form with `charset=undefined`
        raise RefusedRequest(400, "the form has a name that cannot be read; send plain file names") from None
    finally:
        async for _ in body:  # what is left of a form that is refused
            pass
    if not files:
        raise RefusedRequest(400, "no form with pictures; send multipart/form-data, a file per picture")
    if not form.complete:
        raise RefusedRequest(400, "the form ends in the middle; send it again")
    return files


async def answer_request(
    request: Request, model: str | None, read: Callable[[Request], Awaitable[Any]], work: Callable[[Any, str], Any]
) -> JSONResponse:
    """The response to a request with pictures: `work(await read(request), network's name)`, or a one-sentence error."""
    app.state.waiting += 1
    origin = request.headers.get("origin")
    try:
        if origin and origin.partition("://")[2] != request.headers.get("host"):  # a page of another site
            raise RefusedRequest(403, f"pages of {origin:.100} may not ask here; open http://{request.headers['host']}")
        name = model or app.state.model
        recognition.check_name(name)  # no path is made of what a request says
        async with asyncio.timeout(UPLOAD_TIMEOUT):
            content = await read(request)
        answer = await asyncio.get_running_loop().run_in_executor(worker, work, content, name)
        return JSONResponse(answer, headers=HEADERS)
    except TimeoutError:
        status, sentence = 408, f"the picture did not arrive within {UPLOAD_TIMEOUT} s; send it again"
    except RefusedRequest as refusal:
        status, sentence = refusal.args
    except InputError as error:
        status, sentence = 400, str(error)
    except (ClientDisconnect, asyncio.CancelledError):  # the client is gone, or the server stops
        status, sentence = 503, "the request was cancelled"
    finally:
        app.state.waiting -= 1
    return JSONResponse({"error": sentence}, status, HEADERS | {"Connection": "close"})


@app.exception_handler(HTTPException)
def answer_elsewhere(request: Request, error: HTTPException) -> JSONResponse:
    """The response to another address or method than those below; it repeats neither, for they may be of any length."""
    sentence = f"{str(error.detail).lower()}; see /api"
    return JSONResponse({"error": sentence}, error.status_code, HEADERS | dict(error.headers or {}))


def show_file(request: Request) -> Response:
    path, kind = FILES[request.url.path]
    return Response(path.read_bytes(), media_type=kind, headers=HEADERS)


for address in FILES:
    app.get(address, include_in_schema=False)(show_file)


@app.get("/api/models", response_model=Models, summary="The networks")
def answer_models() -> JSONResponse:
    models = {"models": recognition.describe_models(), "default": app.state.model}
    return JSONResponse(models, headers=HEADERS)


@app.get("/api/health", response_model=Health, summary="Health check")
def answer_health() -> JSONResponse:
    return JSONResponse({"status": "ok", "model": app.state.model, "waiting": app.state.waiting}, headers=HEADERS)


@app.post("/api/faces", response_model=Answer, responses=PROBLEMS, openapi_extra=PICTURE, summary="Faces of a picture")
async def answer_faces(request: Request, model: ModelName = None) -> JSONResponse:
    """The body is a JPEG, PNG, WebP, AVIF, GIF, TIFF or BMP of up to 20 MB and 100 million pixels."""
    return await answer_request(request, model, read_picture, judge)


@app.post("/api/photos", response_model=Answers, responses=PROBLEMS, openapi_extra=PICTURES, summary="Several pictures")
async def answer_photos(request: Request, model: ModelName = None) -> JSONResponse:
    """The body is a form with a file per picture: up to 100 of them, 100 MB together."""
    return await answer_request(request, model, read_form, judge_form)


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8000, help="port of 127.0.0.1 (%(default)s); 0 takes a free one")
    model = "network that answers by default; without it, the (default) of `predict.py --list`; "
    model += recognition.tell_models()
    parser.add_argument("--model", metavar="NAME", help=model.replace("%", "%%"))
    args = parser.parse_args()
    app.state.model = args.model or recognition.choose_model()
    recognition.check_name(app.state.model)
    open_recogniser(app.state.model)
    try:
        listener = socket.create_server((HOST, args.port))
    except (OSError, OverflowError):
        raise InputError(f"port {args.port} of {HOST} is not available; choose another with --port") from None
    print(f"http://{HOST}:{listener.getsockname()[1]}  (Ctrl-C stops it)", flush=True)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=SHUTDOWN_TIMEOUT)
    uvicorn.Server(config).run(sockets=[listener])


def run() -> None:
    """The command: `main`, whose errors are one sentence."""
    try:
        catch(main)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is left to do


if __name__ == "__main__":
    run()
