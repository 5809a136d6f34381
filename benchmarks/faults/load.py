"""The endpoint under load and under clients that misbehave, and `predict` on thousands of photos.

For `count` seconds (600), 50 clients ask at once; meanwhile others send slowly, stop in the middle, lie about lengths,
and ask for what is not theirs. The server refuses each of those with one sentence or closes the connection; it never
answers 500. Then a network's file is replaced while the server uses it. `predict` gets 10,000 photos, 200 of them
damaged, or proportionally fewer if `count` is below 600. Memory is that of the process, without its children.
"""

import contextlib
import gzip
import http.client
import itertools
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import psutil
from matplotlib.cbook import get_sample_data

from clones import ROOT
from faults.common import Row, Settings, make_row, write_network
from faults.damage.ways import ODD
from fer_pipeline.inference.opencv import cv2
from fer_pipeline.inference.photos import decode_photo
from fer_pipeline.inference.recognition import Recogniser

HOST = "127.0.0.1"
AT_ONCE, DISTURBING, HELD_OPEN = 50, 4, 200
"""Clients that ask, clients that misbehave, and connections with half a request."""
SECONDS, PHOTOS, DAMAGED = 600, 10_000, 50
"""Seconds of load; photos for `predict`, of which one in fifty is damaged."""
GROWTH, MEGABYTES, LARGEST = 1.1, 30, 600
"""A process keeps nothing of what it has seen if its memory grows by less than this factor, or these MB; and the MB
that `predict` may take."""
LEFT, OTHER = "resnet18.int8", "vgg19"
"""The network that stays, and the one that is replaced."""
Faces = list[dict[str, Any]]

WORDS = (
    *(word for word in ODD if word.strip()),
    *(
        "+5",
        "1e3",
        "5 5",
        "abc",
        "\udcb2",
        "5, 5",
        "5, 6",
        "99999999999",
        "%2e%2e/x",
        "..%2fx",
        "%00",
        "%ff",
        "a\r\n b",
        "*",
    ),
    *(
        "evil.example",
        "127.0.0.1.evil.example",
        "evil@127.0.0.1",
        "[::1]",
        "[",
        "http://[x]",
        "//[",
        "http://evil.example",
    ),
    *("utf-7''+2AA-", "idna''xn--%ff", "punycode''%ff", "utf-8''%ff", "a; filename*1=b", "x" * 60_000, "../" * 5000),
    *(
        "\udcff\udcfe",
        "\u202egpj.exe",
        "\N{GRINNING FACE}",
        "<script>",
        ".git/config",
        "models/export/vgg19.onnx",
        "vgg19.onnx",
    ),
)
"""What a client writes where something else belongs."""
TEXTS = {
    "text/plain": b"a text",
    "application/json": b'{"photo": null}',
    "multipart/form-data; boundary=x": b"--x--\r\n",
    "text/html": b"<!doctype html><img src=x>",
    "image/svg+xml": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "application/x-www-form-urlencoded": b"photo=x&model=y",
    "image/jpeg": gzip.compress(bytes(1000)),
}
"""{content type: content that is no picture}."""
METHODS = ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "X" * 1000, "P\udcd6ST", "P ST")
NO_HTTP = (
    *(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n" * 100_000,
        b"x" * 1_000_000,
    ),
    bytes.fromhex("16030100a5010000a10303") + bytes(range(100)),
)
"""Other versions of HTTP, line ends, a long line and TLS."""
CLOSED = "stops sending"
HOWS = ("in one step", "as old as it", "written over it")


class Client(NamedTuple):
    """A client that misbehaves, or only seems to."""

    kind: str
    what: str
    request: bytes
    due: str = "refused"
    """`refused` with one sentence or a closed connection, `answered` as others are, or `either`."""
    end: str = "waits"
    """Or it `stops sending`, `leaves` or `resets` the connection."""
    piece: int = 1 << 30
    """How many bytes it sends at once."""


class Server(NamedTuple):
    """`apps/serve.py` in a folder of its own."""

    folder: Path
    process: psutil.Process
    port: int

    @property
    def megabytes(self) -> float:
        return float(self.process.memory_info().rss / 1e6)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server with two networks; its stderr goes into a file, because a pipe that nobody reads would fill."""
    for room in ("apps", "stages/fer_pipeline"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    for seed, name in enumerate((LEFT, OTHER)):
        write_network(folder / "models" / "export" / f"{name}.onnx", seed, trained_on="fer2013.csv")
    command = [sys.executable, "-B", "apps/serve.py", "--port", "0"]
    with (
        open(folder.with_suffix(".log"), "w") as log,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout
            port = int(process.stdout.readline().split()[0].rsplit(":", 1)[1])
            yield Server(folder, psutil.Process(process.pid), port)
        finally:
            process.terminate()


def make_photos() -> list[bytes]:
    """Six small JPEGs of the photo that comes with matplotlib, cut differently so that their answers differ."""
    whole = decode_photo(np.fromfile(get_sample_data("grace_hopper.jpg", asfileobj=False), np.uint8), "the photo")
    cuts = [cv2.resize(whole[10 * number :, 15 * number :], None, fx=0.5, fy=0.5) for number in range(6)]
    return [cv2.imencode(".jpg", cut)[1].tobytes() for cut in cuts]


def find_faces(network: Path, photos: list[bytes]) -> list[Faces]:
    """The right answers, found without a server."""
    recogniser = Recogniser(str(network))
    decoded = [decode_photo(np.frombuffer(photo, np.uint8), "the photo") for photo in photos]
    judged = recogniser.judge([recogniser.find(photo) for photo in decoded])
    return [json.loads(json.dumps([recogniser.describe(face) for face in faces])) for faces in judged]


def write_request(
    target: str, body: bytes = b"", *headers: str, method: str = "POST", host: str | None = HOST, length: bool = True
) -> bytes:
    """The bytes of a request; without the header Host if `host` is None."""
    lines = [f"{method} {target} HTTP/1.1", *([] if host is None else [f"Host: {host}"]), *headers]
    lines += [f"Content-Length: {len(body)}"] if length else []
    return "\r\n".join([*lines, "", ""]).encode(errors="surrogateescape") + body


def write_form(heads: list[str], content: bytes, boundary: str = "x") -> bytes:
    """A request with a form of parts with these heads."""
    line = f"--{boundary}".encode(errors="surrogateescape")
    parts = [line + f"\r\n{head}\r\n\r\n".encode(errors="surrogateescape") + content + b"\r\n" for head in heads]
    header = f'Content-Type: multipart/form-data; boundary="{boundary}"'
    return write_request("/api/photos", b"".join(parts) + line + b"--\r\n", header)


def send(port: int, client: Client) -> tuple[int, str] | None:
    """Do what a client does; status and text of the reply, 0 if the connection was closed, None if nobody waits."""
    with socket.create_connection((HOST, port), timeout=100) as connection:
        with contextlib.suppress(ConnectionError):  # closed early: the reply that came before counts
            for start in range(0, len(client.request), client.piece):
                connection.sendall(client.request[start : start + client.piece])
                time.sleep(0.02 if client.piece > 1000 and start else 0)
        if client.end == CLOSED:
            with contextlib.suppress(OSError):  # already closed
                connection.shutdown(socket.SHUT_WR)
        elif client.end == "resets":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if client.end in ("leaves", "resets"):
            return None
        reply = http.client.HTTPResponse(connection)
        try:
            reply.begin()
            return reply.status, reply.read().decode()
        except (ConnectionError, http.client.HTTPException):
            return 0, ""


def is_sentence(text: str) -> bool:
    """Whether an error is one line, alone or in a JSON object."""
    with contextlib.suppress(ValueError):
        known = json.loads(text)
        text = known.get("error") or known.get("detail") if isinstance(known, dict) else ""
    return isinstance(text, str) and 0 < len(text) < 1000 and "\n" not in text and "Traceback" not in text


def try_out(port: int, client: Client, faces: list[Faces]) -> str:
    """Do what a client does; what is wrong with the reply, or an empty string; `faces` are the right answers."""
    try:
        status, text = send(port, client) or (0, "")
        if status == 200 and client.due != "refused":
            known = json.loads(text)
            told = [one["answer"] for one in known["photos"]] if "photos" in known else [known]
            return "a wrong answer" if any(one and one.get("faces", faces[0]) not in faces for one in told) else ""
    except (OSError, ValueError) as error:  # no answer in time, or none that can be read
        return f"{type(error).__name__} {error}"
    if client.due == "answered" or not (status == 0 or 400 <= status < 500):
        return f"status {status}, {text[:100]!r}"
    return "" if status == 0 or is_sentence(text) else f"not one sentence: {text[:100]!r}"


def is_well(port: int) -> bool:
    """Whether the server answers another client."""
    with contextlib.suppress(OSError):
        reply = send(port, Client("", "", write_request("/api/health", method="GET")))
        return reply is not None and reply[0] == 200 and json.loads(reply[1])["status"] == "ok"
    return False


def list_clients(photo: bytes, rng: np.random.Generator) -> Iterator[Client]:
    """All clients that misbehave."""
    ask, form = partial(write_request, "/api/faces", photo), "Content-Disposition: form-data; name=p; filename"
    whole, chunked = ask(), partial(write_request, "/api/faces", length=False)
    chunks, coding = b"%x\r\n%b\r\n0\r\n\r\n" % (len(photo), photo), "Transfer-Encoding: chunked"
    client = partial(Client, "sends slowly or stops")
    yield client("the picture in pieces", whole, "answered", piece=2000)
    yield client("byte by byte", whole[:200], end=CLOSED, piece=1)
    for end, sent in itertools.product((CLOSED, "leaves", "resets"), (0, 50, len(whole) // 2, len(whole))):
        yield client(f"{sent} bytes, then {end}", whole[:sent], "either" if sent == len(whole) else "refused", end)
    client = partial(Client, "lies about lengths", end=CLOSED)
    for word in (*WORDS, str(len(photo) + 1)):
        yield client(f"the length {word:.20}", ask(f"Content-Length: {word}", length=False))
        body = word.encode(errors="surrogateescape") + b"\r\nabcde\r\n0\r\n\r\n"
        yield client(f"a chunk of {word:.20}", chunked(body, coding))
    for length in (0, 100):
        yield client(f"the length {length}", ask(f"Content-Length: {length}", length=False), end="waits")
    yield client("no length", ask(length=False), end="waits")
    yield client("two lengths", ask("Content-Length: 5"))
    yield client("chunks", chunked(chunks, coding), "answered", end="waits")
    yield client("chunks and a length", write_request("/api/faces", chunks, coding), "either", end="waits")
    yield client("chunks without an end", chunked(chunks[:-5], coding))
    yield client("garbage for chunks", chunked(photo, coding))
    yield client("another coding", chunked(chunks, "Transfer-Encoding: gzip, chunked"))
    client = partial(Client, "sends other types")
    for (name, body), path in itertools.product(TEXTS.items(), ("/api/faces", "/api/photos")):
        yield client(f"{name} to {path}", write_request(path, body, f"Content-Type: {name}"))
    yield client("packed by gzip", write_request("/api/faces", gzip.compress(photo), "Content-Encoding: gzip"))
    yield client("a picture as HTML", ask("Content-Type: text/html"), "answered")
    for heads in ([], ["X: y"] * 10_000, [f"{form}=a"] * 10_000, ["Content-Type: multipart/mixed; boundary=x"]):
        yield client(f"a form of {len(heads)} parts", write_form(heads, b""))
    yield client("a head of 1 MB", write_form([f"{form}=a\r\nX: {'x' * 1_000_000}"], photo), "either")
    for word, value in itertools.product(WORDS, ('="{}"', "*={}", "*0*={}")):
        yield client(f"a file{value.format(word):.20}", write_form([form + value.format(word)], photo), "either")
    for word in WORDS:
        yield client(f"the boundary {word:.20}", write_form([f"{form}=a"], photo, word), "either")
    client = partial(Client, "comes from elsewhere")
    for word in WORDS:
        yield client(f"the host {word:.20}", ask(host=word))
        yield client(f"the origin {word:.20}", ask(f"Origin: {word}"))
    yield client("no host", ask(host=None))
    yield client("two hosts", ask("Host: evil.example"))
    yield client("the origin of our own", ask(f"Origin: http://{HOST}"), "answered")
    client = partial(Client, "asks for what is not there")
    for word in WORDS:
        model = quote(word, safe="%", errors="surrogateescape")
        yield client(f"the path {word:.20}", write_request(f"/{word}", method="GET"))
        yield client(f"the address {word:.20}", write_request(word, method="GET"))
        yield client(f"the network {word:.20}", write_request(f"/api/faces?model={model}", photo))
    for method in METHODS:
        yield client(f"the method {method:.20}", ask(method=method))
    yield client("two networks", write_request(f"/api/faces?model={LEFT}&model=../x", photo))
    many = "&".join(f"model{number}=x" for number in range(5000))
    yield client("5,000 parameters", write_request(f"/api/faces?{many}", photo), "either")
    client = partial(Client, "speaks no HTTP")
    for headers in (*([word] for word in WORDS), [f"X{number}: y" for number in range(10_000)]):
        yield client(f"the headers {headers[0]:.20}", ask(*headers), "either")
    upgrade = write_request("/api/health", b"", "Upgrade: websocket", "Connection: upgrade", method="GET")
    yield client("an upgrade", upgrade, "either", CLOSED)
    for text in (*NO_HTTP, *(rng.bytes(int(rng.integers(1, 5000))) for _ in range(10))):
        yield client(f"{text[:10]!r}", text, end=CLOSED)
    for request, number in itertools.product((whole, write_form([f'{form}="a.jpg"'], photo)), range(10)):
        changed = bytearray(request)
        for place in rng.integers(0, request.index(photo), 1 + number % 3):
            changed[place] = rng.integers(0, 256)
        yield client(f"changed bytes, {number}", bytes(changed), "either", CLOSED)


def disturb(port: int, photo: bytes, faces: list[Faces], seed: int, worker: int, until: float) -> list[tuple[str, str]]:
    """Do what this worker's share of all clients does, at least once; their kinds and what went wrong."""
    told = []
    for turn in itertools.count():
        rng = np.random.default_rng((seed, turn))
        clients = list(list_clients(photo, rng))
        for client in [clients[place] for place in rng.permutation(len(clients))[worker::DISTURBING]]:
            if turn and time.monotonic() > until:
                return told
            fault = try_out(port, client, faces) or ("" if is_well(port) else "the server did not answer afterwards")
            told.append((client.kind, fault and f"{client.what} (seed {seed}, turn {turn}): {fault}"))
    return told


def ask(port: int, photos: list[bytes], faces: list[Faces], worker: int, until: float) -> list[str]:
    """Ask again and again; what went wrong each time."""
    told: list[str] = []
    while time.monotonic() < until:
        place = (worker + len(told)) % len(photos)
        client = Client("", "", write_request("/api/faces", photos[place]), "answered")
        fault = try_out(port, client, [faces[place]])
        told.append(fault and f"worker {worker}, request {len(told)}: {fault}")
    return told


def load(server: Server, photos: list[bytes], faces: list[Faces], seed: int, seconds: int) -> Iterator[Row]:
    """Many clients at once, and meanwhile those that misbehave."""
    began = time.monotonic()
    until = began + seconds
    with ThreadPoolExecutor(AT_ONCE + DISTURBING) as pool:
        askers = [pool.submit(ask, server.port, photos, faces, worker, until) for worker in range(AT_ONCE)]
        sent = server.port, photos[0], faces[:1], seed
        others = [pool.submit(disturb, *sent, worker, until) for worker in range(DISTURBING)]
        time.sleep(min(60, seconds / 4))
        before = server.megabytes
        time.sleep(until - time.monotonic())
        after = server.megabytes
    yield make_row(f"a photo, {AT_ONCE} at once", [fault for asker in askers for fault in asker.result()], began)
    told = [one for other in others for one in other.result()]
    for kind in sorted({kind for kind, _ in told}):
        yield make_row(f"a client that {kind}", [fault for of, fault in told if of == kind], began)
    yield compare_memory("the server's memory", before, after, began)


def compare_memory(what: str, before: float, after: float, began: float) -> Row:
    """A row that holds if memory (MB) has not grown."""
    flat = after < max(before * GROWTH, before + MEGABYTES)
    what = f"{what}, {before:.0f} and {after:.0f} MB"
    return make_row(what, ["" if flat else "it has grown"], began)


def try_limits(server: Server, photo: bytes, faces: list[Faces], patient: bool) -> Iterator[Row]:
    """Half requests that stay open, a second server on the port, and half a picture followed by silence."""
    began, whole = time.monotonic(), write_request("/api/faces", photo)
    with contextlib.ExitStack() as stack:
        for _ in range(HELD_OPEN):
            stack.enter_context(socket.create_connection((HOST, server.port), timeout=100)).sendall(whole[:30])
        fault = try_out(server.port, Client("", "", whole, "answered"), faces)
    yield make_row(f"{HELD_OPEN} half requests left open", [fault], began)
    command = [sys.executable, "-B", "apps/serve.py", "--port", str(server.port)]
    due = f"error: port {server.port} of {HOST} is not available; choose another with --port\n"
    process = subprocess.run(command, cwd=server.folder, capture_output=True, text=True, timeout=100)
    told = "" if (process.returncode, process.stderr) == (1, due) and is_well(server.port) else f"{process}"
    yield make_row("a second server on the port", [told], began)
    if patient:
        reply = send(server.port, Client("", "", whole[:1000]))
        told = "" if reply and reply[0] == 408 and is_sentence(reply[1]) else f"{reply}"
        yield make_row("half a picture and then silence, refused after a minute", [told], began)


def put(path: Path, content: bytes, how: str = "in one step") -> None:
    """Replace a file: in one step, perhaps by one that is as old, as a copy may be, or by writing over it."""
    times, beside = path.stat() if path.exists() else None, path.with_name(".new")
    if how == "written over it":
        with open(path, "wb") as file:
            for part in (content[: len(content) // 2], content[len(content) // 2 :]):
                file.write(part)
                file.flush()
                time.sleep(0.3)
        return
    beside.write_bytes(content)
    if times and how == "as old as it":
        os.utime(beside, ns=(times.st_atime_ns, times.st_mtime_ns))
    beside.replace(path)


def replace_network(server: Server, photo: bytes, rng: np.random.Generator) -> Iterator[Row]:
    """Replace a network's file while clients ask for it."""
    path = server.folder / "models" / "export" / f"{OTHER}.onnx"
    files = [path, *(write_network(server.folder.parent / f"{seed}.onnx", seed) for seed in range(2, 6))]
    contents, faces = [file.read_bytes() for file in files], [find_faces(file, [photo])[0] for file in files]
    cut, noise = contents[0][: int(rng.integers(1, len(contents[0])))], rng.bytes(10_000)
    steps: list[tuple[str, str, bytes | None, Faces | None]] = [
        *((f"a valid one {how}", how, contents[n], faces[n]) for n, how in enumerate(HOWS, 1)),
        *((f"a damaged one, {len(content)} bytes", "", content, None) for content in (cut, noise, b"")),
        ("a damaged one written over it", "written over it", cut, None),
        ("a valid one after that", "written over it", contents[4], faces[4]),
        ("nothing", "", None, None),
        ("the first one again", "", contents[0], faces[0]),
    ]
    client = Client("", "", write_request(f"/api/faces?model={OTHER}", photo), "either")
    models = client._replace(request=write_request("/api/models", method="GET"))

    def keep_asking(client: Client, over: list[bool]) -> list[str]:
        told = []
        while not over:
            told.append(try_out(server.port, client, faces))
        return told

    for what, how, content, due in steps:
        began, over = time.monotonic(), list[bool]()
        with ThreadPoolExecutor(8) as pool:
            askers = [pool.submit(keep_asking, one, over) for one in (models, *[client] * 7)]
            time.sleep(0.2)
            path.unlink() if content is None else put(path, content, how)
            last = try_out(server.port, client._replace(due="answered" if due else "refused"), [due] if due else [])
            over.append(True)
        told = [fault for asker in askers for fault in asker.result()] + [last and f"after it: {last}"]
        yield make_row(f"a network replaced by {what}", told, began)


def check_traces(server: Server) -> Row:
    """What all that left behind: no traceback in the server's log, and no file."""
    log, rooms = (
        server.folder.with_suffix(".log").read_text(errors="replace"),
        sorted(path.name for path in server.folder.iterdir()),
    )
    told = [f"a traceback, {[line for line in log.splitlines() if 'Error' in line][-1:]}" if "Traceback" in log else ""]
    told.append("" if rooms == ["apps", "models", "stages"] else f"the folder has {rooms}")
    return make_row("no traceback, and no file of a client's", told, time.monotonic())


def write_photos(folder: Path, photos: list[bytes], count: int, rng: np.random.Generator) -> dict[str, int | None]:
    """Write many photos, hard links to a few; {name: number of the photo, None if it is damaged}."""
    folder.mkdir()
    for number, photo in enumerate(photos):
        (folder.parent / f"{number}.jpg").write_bytes(photo)
    damaged = rng.choice(count, max(1, count // DAMAGED), replace=False).tolist()
    kinds = (b"", b"a text", photos[0][:20], bytes(1000) + rng.bytes(1000), b"<!doctype html>")
    names: dict[str, int | None] = {f"{number:05d}.jpg": number % len(photos) for number in range(count)}
    names |= {f"{number:05d}.jpg": None for number in damaged}
    for name, number in names.items():
        if number is None:
            (folder / name).write_bytes(kinds[int(name[:5]) % len(kinds)])
        else:
            (folder / name).hardlink_to(folder.parent / f"{number}.jpg")
    return names


def predict(folder: Path, photos: list[bytes], faces: list[Faces], count: int, seed: int) -> Iterator[Row]:
    """`predict` on a folder of photos, some of them damaged."""
    began, names = time.monotonic(), write_photos(folder / "photos", photos, count, np.random.default_rng(seed))
    command = [sys.executable, "-B", "apps/predict.py", "../photos", "--json", "--model", LEFT]
    answers, memory = {}, []
    with (
        open(folder / "predict.log", "w+") as log,
        subprocess.Popen(command, cwd=folder / "served", stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout
        for line in process.stdout:
            answer = json.loads(line)
            answers[Path(answer["file"]).name] = answer["faces"]
            if len(answers) % 50 == 1 and process.poll() is None:
                memory.append(psutil.Process(process.pid).memory_info().rss / 1e6)
        code = process.wait()
        log.seek(0)
        problems = log.read()
    told = []
    for name, number in names.items():
        right = name not in answers if number is None else answers.get(name) == faces[number]
        named = (f"{name} is " in problems) == (number is None)
        told.append("" if right and named else f"{name} of {count} (seed {seed}): {answers.get(name)}, named: {named}")
    damaged = list(names.values()).count(None)
    yield make_row(f"predict: photos of a folder, {damaged:,} of them damaged", told, began)
    sentence = f"error: {damaged:,} of {count:,} files could not be processed:" if count > 1 else "error: "
    ended = code == 1 and sentence in problems and "Traceback" not in problems
    yield make_row("predict: exit code and sentence", ["" if ended else f"{code}, {problems[:100]!r}"], began)
    yield compare_memory("predict: memory", memory[len(memory) // 5], memory[-1], began)
    told = ["" if max(memory) < LARGEST else f"{max(memory):.0f} MB"]
    yield make_row(f"predict: memory at most {LARGEST} MB", told, began)


def run(settings: Settings) -> Iterator[Row]:
    seconds, photos = settings.count or SECONDS, make_photos()
    with serving(settings.folder / "served") as server:
        faces = find_faces(server.folder / "models" / "export" / f"{LEFT}.onnx", photos)
        yield from load(server, photos, faces, settings.seed, seconds)
        yield from try_limits(server, photos[0], faces, patient=seconds >= 60)
        yield from replace_network(server, photos[0], np.random.default_rng(settings.seed))
        yield check_traces(server)
    yield from predict(settings.folder, photos, faces, max(1, PHOTOS * seconds // SECONDS), settings.seed)
