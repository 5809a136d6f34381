"""The endpoint under load and under clients that misbehave, and `predict` on thousands of photos.

For `count` seconds (600), 50 ask at once; meanwhile others send slowly, stop in the middle, lie about lengths, and ask
for what is not theirs. Each of those is refused with one sentence, or its connection is closed; no answer is a 500.
Then a network's file is replaced while it serves. `predict` gets 10,000 photos, 200 of them damaged, or so many fewer
as `count` is below 600. Memory is that of the process, without its children.
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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import psutil
from conftest import ROOT, write_network
from matplotlib.cbook import get_sample_data

from faults.common import Row, Settings, make_row
from fer_pipeline.inference.opencv import cv2
from fer_pipeline.inference.photos import decode_photo
from fer_pipeline.inference.recognition import Recogniser

HOST = "127.0.0.1"
AT_ONCE, DISTURBING, HELD_OPEN = 50, 4, 200
SECONDS, PHOTOS, DAMAGED = 600, 10_000, 50
"""Of the load; of `predict`, and one of how many is damaged."""
GROWTH, MEGABYTES = 1.1, 30
"""By which factor, or by how many MB, a process may grow that does not keep what it has seen."""
LARGEST = 600
"""MB of `predict`, at any time."""
LEFT, OTHER = "resnet18.int8", "vgg19"
"""The network that is left alone, and the one that is replaced."""

Faces = list[dict[str, Any]]


class Client(NamedTuple):
    """One that misbehaves, or only looks as if it did."""

    kind: str
    what: str
    parts: tuple[bytes, ...]
    """What it sends."""
    due: str = "refused"
    """`refused` with one sentence or a closed connection, `answered` as others are, or `either`."""
    pause: float = 0.0
    """Seconds after each part."""
    end: str = "waits"
    """Or `stops sending`, `leaves` or `resets` the connection."""


class Reply(NamedTuple):
    """What came back."""

    status: int
    """0 if the connection was closed without an answer."""
    text: str = ""


class Server(NamedTuple):
    """`apps/serve.py` in a folder of its own."""

    folder: Path
    process: subprocess.Popen[str]
    port: int

    def measure(self) -> float:
        """Its memory in MB."""
        return float(psutil.Process(self.process.pid).memory_info().rss / 1e6)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server with two networks; what it complains about goes into a file, as a pipe that nobody reads would fill."""
    rooms = ("core", "running", "faces", "exported", "inference")
    for room in ("apps", *(f"stages/fer_pipeline/{name}" for name in rooms)):
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
            yield Server(folder, process, int(process.stdout.readline().split()[0].rsplit(":", 1)[1]))
        finally:
            process.terminate()


def make_photos() -> list[bytes]:
    """Six small JPEGs of the photo that comes with matplotlib, cut differently: each has its own answer."""
    content = np.fromfile(get_sample_data("grace_hopper.jpg", asfileobj=False), np.uint8)
    whole = decode_photo(content, "the photo")
    cuts = [whole[10 * number :, 15 * number :] for number in range(6)]
    return [cv2.imencode(".jpg", cv2.resize(cut, None, fx=0.5, fy=0.5))[1].tobytes() for cut in cuts]


def find_faces(network: Path, photos: list[bytes]) -> list[Faces]:
    """What is to be answered, found without a server."""
    recogniser = Recogniser(str(network))
    decoded = [decode_photo(np.frombuffer(photo, np.uint8), "the photo") for photo in photos]
    judged = recogniser.judge([recogniser.find(photo) for photo in decoded])
    return [json.loads(json.dumps([recogniser.describe(face) for face in faces])) for faces in judged]


def write_request(
    target: str, body: bytes = b"", *headers: str, method: str = "POST", host: str | None = HOST, length: bool = True
) -> bytes:
    """The bytes of a request; `host` None leaves the header out."""
    lines = [f"{method} {target} HTTP/1.1", *([] if host is None else [f"Host: {host}"]), *headers]
    lines += [f"Content-Length: {len(body)}"] if length else []
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def write_form(heads: list[bytes], content: bytes, boundary: str = "x") -> bytes:
    """A request with a form of parts with these heads."""
    line = b"--" + boundary.encode("latin-1")
    body = b"".join(line + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head in heads) + line + b"--\r\n"
    return write_request("/api/photos", body, f'Content-Type: multipart/form-data; boundary="{boundary}"')


def read_reply(connection: socket.socket) -> Reply:
    """The first answer on a connection."""
    reply = http.client.HTTPResponse(connection)
    try:
        reply.begin()
        return Reply(reply.status, reply.read().decode())
    except (ConnectionError, http.client.HTTPException):
        return Reply(0)


def send(port: int, client: Client) -> Reply | None:
    """Do what a client does; None where it does not wait for an answer.

    Raises:
        TimeoutError: nothing came back.
    """
    with socket.create_connection((HOST, port), timeout=100) as connection:
        with contextlib.suppress(ConnectionError):  # closed before all was sent: what came before that counts
            for part in client.parts:
                connection.sendall(part)
                time.sleep(client.pause)
        if client.end == "stops sending":
            with contextlib.suppress(OSError):  # of one that is closed already
                connection.shutdown(socket.SHUT_WR)
        if client.end == "resets":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return read_reply(connection) if client.end in ("waits", "stops sending") else None


def is_sentence(text: str) -> bool:
    """Whether an error is one line, alone or in a JSON object."""
    with contextlib.suppress(ValueError):
        known = json.loads(text)
        text = known.get("error") or known.get("detail") if isinstance(known, dict) else ""
    return isinstance(text, str) and 0 < len(text) < 1000 and "\n" not in text and "Traceback" not in text


def find_fault(due: str, reply: Reply | None, faces: list[Faces]) -> str:
    """What is wrong with a reply, or an empty string; `faces` are the answers of which one is right."""
    if reply is None:
        return ""
    if reply.status == 200 and due != "refused":
        known = json.loads(reply.text)
        told = [one["answer"] for one in known["photos"]] if "photos" in known else [known]
        wrong = [one for one in told if one and "faces" in one and one["faces"] not in faces]
        return "a wrong answer" if wrong else ""
    if due == "answered" or not (reply.status == 0 or 400 <= reply.status < 500):
        return f"status {reply.status}, {reply.text[:100]!r}"
    return "" if reply.status == 0 or is_sentence(reply.text) else f"not one sentence: {reply.text[:100]!r}"


def try_out(port: int, client: Client, faces: list[Faces]) -> str:
    """Do what a client does; what is wrong with the reply, or an empty string."""
    try:
        return find_fault(client.due, send(port, client), faces)
    except (OSError, ValueError) as error:  # no answer in time, or none that can be read
        return f"{type(error).__name__} {error}"


def is_well(port: int) -> bool:
    """Whether the server answers the next one."""
    try:
        reply = send(port, Client("", "", (write_request("/api/health", method="GET"),)))
    except OSError:
        return False
    return reply is not None and reply.status == 200 and json.loads(reply.text)["status"] == "ok"


def list_slow(photo: bytes) -> Iterator[Client]:
    kind, whole = "sends slowly or stops", write_request("/api/faces", photo)
    head = whole.index(b"\r\n\r\n")
    pieces = tuple(whole[start : start + 2000] for start in range(0, len(whole), 2000))
    yield Client(kind, "the picture in pieces", pieces, "answered", 0.02)
    yield Client(kind, "the headers byte by byte", (*(whole[i : i + 1] for i in range(head)), whole[head:]), "answered")
    for end in ("stops sending", "leaves", "resets"):
        yield Client(kind, f"half of the headers, then {end}", (whole[: head // 2],), end=end)
        yield Client(kind, f"half of the picture, then {end}", (whole[: len(whole) // 2],), end=end)
        yield Client(kind, f"all, then {end}", (whole,), "either", end=end)
    yield Client(kind, "nothing", (), end="stops sending")


def list_lengths(photo: bytes) -> Iterator[Client]:
    kind = "lies about lengths"

    def ask(what: str, *headers: str, body: bytes = photo, due: str = "refused", end: str = "stops sending") -> Client:
        return Client(kind, what, (write_request("/api/faces", body, *headers, length=False),), due, end=end)

    yield ask("too long", f"Content-Length: {len(photo) + 1}")
    yield ask("far too long", "Content-Length: 99999999999")
    yield ask("of 40 digits", f"Content-Length: {10**40}")
    yield ask("too short", "Content-Length: 100", end="waits")
    yield ask("zero", "Content-Length: 0", end="waits")
    yield ask("none", end="waits")
    for length in ("-1", "-0", "+5", "1e3", "0x10", "5 5", "abc", "", "\xb2", "5, 5", "5, 6"):
        yield ask(repr(length), f"Content-Length: {length}")
    yield ask("two", f"Content-Length: {len(photo)}", "Content-Length: 5")
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(photo), photo)
    chunked = "Transfer-Encoding: chunked"
    yield ask("chunks", chunked, body=chunks, due="answered", end="waits")
    yield ask("chunks and a length", chunked, "Content-Length: 5", body=chunks, due="either", end="waits")
    for size in (b"zz", b"-5", b"", b"fffffffffffffffffffffffff", b"5;" + b"x" * 100_000, b"4"):
        yield ask(f"a chunk of {size[:10]!r}", chunked, body=size + b"\r\nabcde\r\n0\r\n\r\n")
    yield ask("garbage for chunks", chunked, body=photo)
    yield ask("chunks without an end", chunked, body=chunks[:-5])
    yield ask("another coding", "Transfer-Encoding: gzip, chunked", body=chunks)


NAMES = (
    *("../../x", "/etc/passwd", "..\\\\x", "%2e%2e/x", "C:x", ".", "", "a\0b", "\xff\xfe", "a;b", "'", "x" * 10_000),
    *("\u202egpj.exe", "\N{GRINNING FACE}", "<script>", '\\"', "a\r\n b", "models/export/vgg19.onnx"),
)
HEADS = (
    *("filename*=undefined''x", "filename*=utf-7''+2AA-", "filename*=idna''xn--%ff", "filename*=punycode''%ff"),
    *("filename*=a%00b''x", "filename*=utf-8''%ff", "filename*=''", "filename*='", 'filename="', "filename"),
    *("filename*=a; filename*1=b", "filename*0*=utf-8''a; filename*1*=%ff", f"filename*{'9' * 5000}=x"),
)


def list_types(photo: bytes) -> Iterator[Client]:
    kind = "sends other types"
    texts = {
        "text/plain": b"a text",
        "text/html": b"<!doctype html><img src=x>",
        "application/json": b'{"photo": null}',
        "application/x-www-form-urlencoded": b"photo=x&model=y",
        "image/svg+xml": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "image/jpeg": gzip.compress(photo),
        "multipart/form-data; boundary=x": b"--x--\r\n",
    }
    for name, body in texts.items():
        for path in ("/api/faces", "/api/photos"):
            yield Client(kind, f"{name} to {path}", (write_request(path, body, f"Content-Type: {name}"),))
    packed = write_request("/api/faces", gzip.compress(photo), "Content-Encoding: gzip")
    yield Client(kind, "packed by gzip", (packed,))
    yield Client(
        kind, "a picture as HTML", (write_request("/api/faces", photo, "Content-Type: text/html"),), "answered"
    )
    described = b"Content-Disposition: form-data; name=p; "
    named = described + b"filename=a.jpg"
    for boundary in ("x" * 10_000, "a b", ".*+?[", "\xff", "--", "'()+_,-./:=?", "\\"):
        form = write_form([named], photo, boundary)
        yield Client(kind, f"a form with the boundary {boundary[:20]!r}", (form,), "either")
    for value in (
        "",
        "boundary",
        "boundary=",
        'boundary=""',
        "boundary=y",
        *(h.replace("filename", "boundary") for h in HEADS),
    ):
        form = write_request("/api/photos", b"--x\r\n\r\n", f"Content-Type: multipart/form-data; {value}")
        yield Client(kind, f"a form whose boundary is {value[:40]!r}", (form,))
    for name in NAMES:
        form = write_form([described + f'filename="{name}"'.encode()], photo)
        yield Client(kind, f"a file named {name[:20]!r}", (form,), "either")
    for head in HEADS:
        yield Client(kind, f"a part with {head[:40]!r}", (write_form([described + head.encode()], photo),), "either")
    yield Client(
        kind, "a part with a head of 1 MB", (write_form([named + b"\r\nX: " + b"x" * 1_000_000], photo),), "either"
    )
    yield Client(kind, "a form without parts", (write_form([], b""),))
    yield Client(kind, "10,000 parts without names", (write_form([b"X: y"] * 10_000, b""),))
    yield Client(kind, "10,000 files", (write_form([named] * 10_000, b""),))
    yield Client(kind, "a form in a form", (write_form([b"Content-Type: multipart/mixed; boundary=x"], photo),))


def list_hosts(photo: bytes) -> Iterator[Client]:
    kind = "comes from elsewhere"
    for host in (
        None,
        "",
        "evil.example",
        "127.0.0.1.evil.example",
        "evil@127.0.0.1",
        "[::1]",
        "\xff",
        "a b",
        "[",
        "0",
    ):
        yield Client(kind, f"Host {host!r}", (write_request("/api/faces", photo, host=host),))
    yield Client(kind, "two hosts", (write_request("/api/faces", photo, "Host: evil.example"),))
    for origin in (
        "http://evil.example",
        "null",
        "http://[",
        "http://[x]",
        "//[",
        "http://\u00aa",
        "http://127.0.0.1:1",
        "x" * 5000,
    ):
        yield Client(kind, f"Origin {origin[:20]!r}", (write_request("/api/faces", photo, f"Origin: {origin}"),))
    here = write_request("/api/faces", photo, f"Origin: http://{HOST}")
    yield Client(kind, "Origin of our own", (here,), "answered")


def list_paths(photo: bytes) -> Iterator[Client]:
    kind = "asks for what is not there"
    for path in (
        *(
            "/../apps/serve.py",
            "/%2e%2e/apps/serve.py",
            "/..%2fapps/serve.py",
            "//etc/passwd",
            "/etc/passwd",
            "/%00",
            "/%ff",
        ),
        *("/api/..%5c..%5cx", "/api/faces/../../x", "/.git/config", "/models/export/vgg19.onnx", "*", "api", "/docs"),
        *(
            "http://evil.example/",
            "/api/faces/%2e%2e",
            "/api/health;x",
            "/\u00e4",
            f"/{'x' * 60_000}",
            f"/{'../' * 5000}",
        ),
    ):
        yield Client(kind, f"GET {path[:30]}", (write_request(path, method="GET"),))
    for model in (
        "../../x",
        "../../../etc/passwd",
        "/etc/passwd",
        "vgg19.onnx",
        "vgg19\0",
        "vgg19\n",
        "%ff",
        "x" * 50_000,
        ".",
    ):
        request = write_request(f"/api/faces?model={quote(model, safe='%')}", photo)
        yield Client(kind, f"model {model[:20]!r}", (request,))
    yield Client(kind, "one network of two", (write_request(f"/api/faces?model={LEFT}&model=../x", photo),))
    for method in (
        "GET",
        "PUT",
        "DELETE",
        "PATCH",
        "OPTIONS",
        "TRACE",
        "CONNECT",
        "get",
        "X" * 1000,
        "P\xd6ST",
        "P ST",
    ):
        yield Client(kind, f"{method[:20]} /api/faces", (write_request("/api/faces", photo, method=method),))
    many = "&".join(f"model{number}=x" for number in range(5000))
    yield Client(kind, "5,000 parameters", (write_request(f"/api/faces?{many}", photo),), "either")


def list_odd(photo: bytes, rng: np.random.Generator) -> Iterator[Client]:
    kind = "speaks no HTTP"
    long = {"a header of 100 KB": "X: " + "x" * 100_000, "non-ASCII": "X: \xe4\xff", "none": "no colon", "NUL": "X: \0"}
    for what, header in long.items():
        yield Client(kind, f"headers: {what}", (write_request("/api/faces", photo, header),), "either")
    many = write_request("/api/faces", photo, *(f"X{number}: y" for number in range(10_000)))
    yield Client(kind, "headers: 10,000", (many,), "either")
    texts = {
        "TLS": bytes.fromhex("16030100a5010000a10303") + rng.bytes(100),
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/0.9": b"GET /\r\n",
        "HTTP/9.9": b"GET / HTTP/9.9\r\n\r\n",
        "100,000 line ends": b"\r\n" * 100_000,
        "a line of 1 MB": b"x" * 1_000_000,
        "an upgrade": write_request("/api/health", b"", "Upgrade: websocket", "Connection: upgrade", method="GET"),
    }
    for what, text in texts.items():
        due = "either" if what == "an upgrade" else "refused"
        yield Client(kind, what, (text,), due, end="stops sending")
    for number in range(10):
        yield Client(kind, f"noise {number}", (rng.bytes(int(rng.integers(1, 5000))),), end="stops sending")
    form = write_form([b'Content-Disposition: form-data; name="p"; filename="a.jpg"'], photo)
    for name, whole in (("a picture", write_request("/api/faces", photo)), ("a form", form)):
        heads = whole.index(photo)
        for number in range(10):
            request = bytearray(whole)
            for place in rng.integers(0, heads, 1 + number % 3):
                request[place] = rng.integers(0, 256)
            yield Client(
                kind, f"{name}, bytes of its head changed, {number}", (bytes(request),), "either", end="stops sending"
            )


def list_clients(photo: bytes, rng: np.random.Generator) -> list[Client]:
    """All of them, in an order that is drawn."""
    lists = (list_slow(photo), list_lengths(photo), list_types(photo), list_hosts(photo), list_paths(photo))
    clients = [*itertools.chain(*lists, list_odd(photo, rng))]
    return [clients[place] for place in rng.permutation(len(clients))]


def disturb(port: int, photo: bytes, faces: list[Faces], seed: int, worker: int, until: float) -> list[tuple[str, str]]:
    """Send what is this worker's of all clients, once at least; of each its kind, and what went wrong."""
    told = []
    for turn in itertools.count():
        for client in list_clients(photo, np.random.default_rng((seed, turn)))[worker::DISTURBING]:
            if turn and time.monotonic() > until:
                return told
            fault = try_out(port, client, faces)
            fault = fault or ("" if is_well(port) else "the server did not answer afterwards")
            told.append((client.kind, f"{client.what} (seed {seed}, turn {turn}): {fault}" if fault else ""))
    return told


def ask(port: int, photos: list[bytes], faces: list[Faces], worker: int, until: float) -> list[str]:
    """Ask one time after the other; what went wrong with each."""
    told = []
    for place in itertools.count(worker):
        if time.monotonic() > until:
            break
        client = Client("", "", (write_request("/api/faces", photos[place % len(photos)]),), "answered")
        fault = try_out(port, client, [faces[place % len(photos)]])
        told.append(fault and f"worker {worker}, request {len(told)}: {fault}")
    return told


def keep_flat(before: float, after: float) -> bool:
    """Whether memory (MB) has not grown."""
    return after < max(before * GROWTH, before + MEGABYTES)


def load(server: Server, photos: list[bytes], faces: list[Faces], seed: int, seconds: int) -> Iterator[Row]:
    """Many at once, and meanwhile those that misbehave."""
    began = time.monotonic()
    first, until = began + min(60, seconds / 4), began + seconds
    with ThreadPoolExecutor(AT_ONCE + DISTURBING) as pool:
        askers = [pool.submit(ask, server.port, photos, faces, worker, until) for worker in range(AT_ONCE)]
        others = [
            pool.submit(disturb, server.port, photos[0], faces[:1], seed, worker, until) for worker in range(DISTURBING)
        ]
        time.sleep(first - time.monotonic())
        before = server.measure()
        time.sleep(until - time.monotonic())
        after = server.measure()
    yield make_row(f"a photo, {AT_ONCE} at once", [fault for asker in askers for fault in asker.result()], began)
    kinds: dict[str, list[str]] = {}
    for kind, fault in itertools.chain(*(other.result() for other in others)):
        kinds.setdefault(kind, []).append(fault)
    for kind in sorted(kinds):
        yield make_row(f"a client that {kind}", kinds[kind], began)
    yield compare_memory("the server's memory", before, after, began)


def compare_memory(what: str, before: float, after: float, began: float, most: float = float("inf")) -> Row:
    fault = "" if keep_flat(before, after) and after < most else f"{before:.0f} MB, then {after:.0f} MB"
    return make_row(f"{what}, {before:.0f} and {after:.0f} MB", [fault], began)


def hold_open(server: Server, photo: bytes, faces: list[Faces]) -> Row:
    """Half requests that are left open, while another one asks."""
    began = time.monotonic()
    request = write_request("/api/faces", photo)
    with contextlib.ExitStack() as stack:
        for _ in range(HELD_OPEN):
            connection = stack.enter_context(socket.create_connection((HOST, server.port), timeout=100))
            connection.sendall(request[:30])
        fault = try_out(server.port, Client("", "", (request,), "answered"), faces)
    return make_row(f"{HELD_OPEN} half requests left open", [fault], began)


def wait_for_silent(server: Server, photo: bytes) -> Row:
    """Half a picture, and then nothing: the server ends it after a minute."""
    began = time.monotonic()
    try:
        reply = send(server.port, Client("", "", (write_request("/api/faces", photo)[:1000],)))
        fault = "" if reply and reply.status == 408 and is_sentence(reply.text) else f"{reply}"
    except TimeoutError:
        fault = "no answer"
    return make_row("half a picture and then silence, refused after a minute", [fault], began)


def start_second(server: Server) -> Row:
    """Another server on the same port."""
    began = time.monotonic()
    command = [sys.executable, "-B", "apps/serve.py", "--port", str(server.port)]
    due = f"error: port {server.port} of {HOST} is not available; choose another with --port\n"
    try:
        process = subprocess.run(command, cwd=server.folder, capture_output=True, text=True, timeout=100)
        fault = "" if (process.returncode, process.stderr) == (1, due) else f"{process.returncode}, {process.stderr!r}"
    except subprocess.TimeoutExpired:
        fault = "it runs"
    return make_row("a second server on the port", [fault or ("" if is_well(server.port) else "no health")], began)


def put(path: Path, content: bytes) -> None:
    """Replace a file in one step."""
    beside = path.with_name(".new")
    beside.write_bytes(content)
    beside.replace(path)


def put_as_old(path: Path, content: bytes) -> None:
    """The same, and the new file says that it is as old as the one before, as a copy may."""
    times = path.stat()
    beside = path.with_name(".new")
    beside.write_bytes(content)
    os.utime(beside, ns=(times.st_atime_ns, times.st_mtime_ns))
    beside.replace(path)


def write_over(path: Path, content: bytes) -> None:
    """Replace what is in a file, in two pieces."""
    with open(path, "wb") as file:
        for part in (content[: len(content) // 2], content[len(content) // 2 :]):
            file.write(part)
            file.flush()
            time.sleep(0.3)


def replace_network(server: Server, photo: bytes, rng: np.random.Generator) -> Iterator[Row]:
    """Replace a network's file while some ask for it."""
    path = server.folder / "models" / "export" / f"{OTHER}.onnx"
    beside = [write_network(server.folder.parent / f"{seed}.onnx", seed) for seed in range(2, 6)]
    contents = [path.read_bytes(), *(file.read_bytes() for file in beside)]
    faces = [find_faces(file, [photo])[0] for file in (path, *beside)]
    damaged = [contents[0][: int(rng.integers(1, len(contents[0])))], rng.bytes(10_000), b""]
    steps: list[tuple[str, Callable[[], None], Faces | None]] = [
        ("a valid one in one step", lambda: put(path, contents[1]), faces[1]),
        ("a valid one as old as it", lambda: put_as_old(path, contents[2]), faces[2]),
        ("a valid one written over it", lambda: write_over(path, contents[3]), faces[3]),
        *((f"a damaged one, {len(one)} bytes", lambda one=one: put(path, one), None) for one in damaged),
        ("a damaged one written over it", lambda: write_over(path, damaged[0]), None),
        ("a valid one after that", lambda: write_over(path, contents[4]), faces[4]),
        ("nothing", path.unlink, None),
        ("the first one again", lambda: put(path, contents[0]), faces[0]),
    ]
    client = Client("", "", (write_request(f"/api/faces?model={OTHER}", photo),), "either")
    models = Client("", "", (write_request("/api/models", method="GET"),), "either")
    for what, step, due in steps:
        began, over = time.monotonic(), [False]

        def keep_asking(client: Client, over: list[bool] = over) -> list[str]:
            told = []
            while not over[0]:
                told.append(try_out(server.port, client, faces))
            return told

        with ThreadPoolExecutor(8) as pool:
            askers = [pool.submit(keep_asking, models if number == 0 else client) for number in range(8)]
            time.sleep(0.2)
            step()
            last = try_out(server.port, client._replace(due="answered" if due else "refused"), [due] if due else [])
            over[0] = True
        told = [fault for asker in askers for fault in asker.result()] + [last and f"after it: {last}"]
        yield make_row(f"a network replaced by {what}", told, began)


def check_traces(server: Server) -> Row:
    """What all that left behind: no traceback in the server's log, and no file."""
    began = time.monotonic()
    log = server.folder.with_suffix(".log").read_text(errors="replace")
    last = [line for line in log.splitlines() if "Error" in line][-1:]
    rooms = sorted(path.name for path in server.folder.iterdir())
    told = [f"a traceback, {last}" if "Traceback" in log else ""]
    told.append("" if rooms == ["apps", "models", "stages"] else f"the folder has {rooms}")
    return make_row("no traceback, and no file of a client's", told, began)


def write_photos(folder: Path, photos: list[bytes], count: int, rng: np.random.Generator) -> set[str]:
    """A folder of so many photos, hard links of a few; the names of those that are damaged."""
    folder.mkdir()
    for number, photo in enumerate(photos):
        (folder.parent / f"{number}.jpg").write_bytes(photo)
    damaged = set(rng.choice(count, max(1, count // DAMAGED), replace=False).tolist())
    kinds = (b"", b"a text", photos[0][:20], bytes(1000), b"<!doctype html>")
    for number in range(count):
        path = folder / f"{number:05d}.jpg"
        if number in damaged:
            path.write_bytes(kinds[number % len(kinds)] + (rng.bytes(1000) if number % len(kinds) == 3 else b""))
        else:
            path.hardlink_to(folder.parent / f"{number % len(photos)}.jpg")
    return {f"{number:05d}.jpg" for number in damaged}


def predict(folder: Path, photos: list[bytes], faces: list[Faces], count: int, seed: int) -> Iterator[Row]:
    """`predict` on a folder of photos, some of them damaged."""
    began = time.monotonic()
    damaged = write_photos(folder / "photos", photos, count, np.random.default_rng(seed))
    command = [sys.executable, "-B", "apps/predict.py", "../photos", "--json", "--model", LEFT]
    answers, memory, most = {}, [0.0, 0.0], 0.0
    with (
        open(folder / "predict.log", "w+") as log,
        subprocess.Popen(command, cwd=folder / "served", stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout
        measured = psutil.Process(process.pid)
        for line in process.stdout:
            answer = json.loads(line)
            answers[Path(answer["file"]).name] = answer["faces"]
            if len(answers) % 50 == 1 and process.poll() is None:
                memory[len(answers) > 0.2 * count] = used = measured.memory_info().rss / 1e6
                most = max(most, used)
        code = process.wait()
        log.seek(0)
        problems = log.read()
    told = []
    for number in range(count):
        name = f"{number:05d}.jpg"
        right = name not in answers if name in damaged else answers.get(name) == faces[number % len(photos)]
        named = (f"{name} is " in problems) == (name in damaged)
        told.append("" if right and named else f"{name} of {count} (seed {seed}): {answers.get(name)}, named: {named}")
    yield make_row(f"predict: photos of a folder, {len(damaged):,} of them damaged", told, began)
    sentence = f"error: {len(damaged):,} of {count:,} files could not be processed:" if count > 1 else "error: "
    ended = code == 1 and sentence in problems and "Traceback" not in problems
    yield make_row("predict: exit code and sentence", ["" if ended else f"{code}, {problems[:100]!r}"], began)
    yield compare_memory("predict: memory", memory[0], max(memory[1], memory[0]), began, LARGEST)
    yield make_row(f"predict: memory at most {LARGEST} MB", ["" if most < LARGEST else f"{most:.0f} MB"], began)


def run(settings: Settings) -> Iterator[Row]:
    seconds = settings.count or SECONDS
    photos = make_photos()
    with serving(settings.folder / "served") as server:
        faces = find_faces(server.folder / "models" / "export" / f"{LEFT}.onnx", photos)
        yield from load(server, photos, faces, settings.seed, seconds)
        yield hold_open(server, photos[0], faces)
        yield start_second(server)
        yield from replace_network(server, photos[0], np.random.default_rng(settings.seed))
        if seconds >= 60:
            yield wait_for_silent(server, photos[0])
        yield check_traces(server)
    yield from predict(settings.folder, photos, faces, max(1, PHOTOS * seconds // SECONDS), settings.seed)
