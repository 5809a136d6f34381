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
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import psutil
from matplotlib.cbook import get_sample_data

from clones import ROOT
from damage import ODD
from faults.common import Row, Settings
from fer_pipeline.inference.opencv import cv2
from small_network import write_network

HOST, RAW = "127.0.0.1", "surrogateescape"
PATH, FORMS = PATHS = ("/api/faces", "/api/photos")
AT_ONCE, DISTURBING, HELD_OPEN = 50, 4, 200
"""Clients that ask, clients that misbehave, and connections with half a request."""
SECONDS, PHOTOS, DAMAGED = 600, 10_000, 50
"""Seconds of load; photos for `predict`, of which one in fifty is damaged."""
GROWTH, LARGEST = 30, 600
"""MB by which a process grows at most if it keeps nothing of what it has seen, and that `predict` may take."""
LEFT, OTHER, *OTHERS = "resnet18.int8", "vgg19", "2", "3", "4", "5"
"""The network that stays, the one that is replaced, and those that replace it."""
Faces = list[dict[str, Any]]

PRINTABLE = """
+5 1e3 abc 99999999999 %2e%2e/x ..%2fx %00 %ff * evil.example 127.0.0.1.evil.example evil@127.0.0.1 [::1] [ http://[x]
//[ http://evil.example utf-7''+2AA- idna''xn--%ff punycode''%ff utf-8''%ff <script> .git/config vgg19.onnx
models/export/vgg19.onnx
"""
WORDS = (
    *filter(str.strip, (*ODD, *PRINTABLE.split())),
    *("5 5", "5, 5", "5, 6", "a\r\n b", "a; filename*1=b", "x" * 60_000, "../" * 5000),
    *("\udcb2", "\udcff\udcfe", "\u202egpj.exe", "\N{GRINNING FACE}"),
)
"""What a client writes where something else belongs."""
TEXTS = (b"a text", b'{"photo": null}', b"--x--\r\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"photo=x&model=y")
SAID = (
    *("text/plain", "text/html", "application/json", "application/x-www-form-urlencoded"),
    *("image/svg+xml", "image/jpeg", "multipart/form-data; boundary=x"),
)
"""Content that is no picture, and what it is said to be."""
METHODS = ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "X" * 1000, "P\udcd6ST", "P ST")
HTTP_2, TLS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes.fromhex("16030100a5010000a10303") + bytes(range(100))
JUNK = (HTTP_2, TLS, b"GET /\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 100_000, b"x" * 1_000_000)
SLOW, LIES, OTHER_TYPES = "sends slowly or stops", "lies about lengths", "sends other types"
FOREIGN, ABSENT, NO_HTTP = "comes from elsewhere", "asks for what is not there", "speaks no HTTP"
FORM, TYPE = "Content-Disposition: form-data; name=p; filename", "Content-Type: "
CODING = "Transfer-Encoding: chunked"
REFUSED, ANSWERED, EITHER = "refused", "answered", "either"
"""What is due: one sentence or a closed connection; the answer that others get; one of the two."""
WAITS, CLOSED, LEAVES, RESETS = "waits", "stops sending", "leaves", "resets"  # after a client has sent its request
IN_STEP, AS_OLD, OVER = "in one step", "as old as it", "written over it"


class Client(NamedTuple):
    """A client, who may misbehave or only seem to."""

    request: bytes
    due: str = ANSWERED
    faces: Sequence[Faces] = ()
    """The right answers."""
    end: str = WAITS
    piece: int = 1 << 30
    """How many bytes it sends at once."""


def write_request(
    target: str, body: bytes = b"", *headers: str, method: str = "POST", host: str | None = HOST, length: bool = True
) -> bytes:
    """The bytes of a request; without the header Host if `host` is None."""
    lines = [f"{method} {target} HTTP/1.1", *([] if host is None else [f"Host: {host}"]), *headers]
    lines += [f"Content-Length: {len(body)}"] if length else []
    return "\r\n".join([*lines, "", ""]).encode(errors=RAW) + body


def write_form(heads: list[str], content: bytes, boundary: str = "x") -> bytes:
    """A request with a form of parts with these heads."""
    line = f"--{boundary}".encode(errors=RAW)
    parts = [line + f"\r\n{head}\r\n\r\n".encode(errors=RAW) + content + b"\r\n" for head in heads]
    header = f'Content-Type: multipart/form-data; boundary="{boundary}"'
    return write_request(FORMS, b"".join(parts) + line + b"--\r\n", header)


class Server:
    """`apps/serve.py` with six networks in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.networks = folder, folder / "models" / "export"
        for room in ("apps", "stages/fer_pipeline"):
            shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
        for seed, name in enumerate((LEFT, OTHER, *OTHERS)):
            write_network(self.networks / f"{name}.onnx", seed, trained_on="fer2013.csv")
        with open(folder.with_suffix(".log"), "w") as log:  # a pipe that nobody reads would fill
            command = [sys.executable, "-B", "apps/serve.py", "--port", "0"]
            self.process = psutil.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
        self.port = int(self.process.stdout.readline().split()[0].rsplit(":", 1)[1])

    def find_faces(self, photo: bytes, name: str = LEFT) -> Faces:
        """The right answer, given while nobody else asks."""
        status, text = self.send(Client(write_request(f"{PATH}?model={name}", photo)))
        assert status == 200, text
        return json.loads(text)["faces"]

    def send(self, client: Client) -> tuple[int, str]:
        """Do what a client does; status and text of the reply, or 0 if the connection was closed or nobody waits."""
        with socket.create_connection((HOST, self.port), timeout=100) as connection:
            with contextlib.suppress(ConnectionError):  # closed early: the reply that came before counts
                for start in range(0, len(client.request), client.piece):
                    connection.sendall(client.request[start : start + client.piece])
                    time.sleep(0.02 if client.piece > 1000 and start else 0)
            with contextlib.suppress(OSError):  # already closed
                if client.end == CLOSED:
                    connection.shutdown(socket.SHUT_WR)
                elif client.end == RESETS:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                if client.end in (CLOSED, WAITS):
                    reply = http.client.HTTPResponse(connection)
                    reply.begin()
                    return reply.status, reply.read().decode()
        return 0, ""

    def try_out(self, client: Client) -> str:
        """Do what a client does; what is wrong with the reply, or an empty string."""
        try:
            status, text = self.send(client)
            if status == 200 and client.due != REFUSED:
                known = json.loads(text)
                told = [one["answer"] for one in known["photos"]] if "photos" in known else [known]
                wrong = any(one and "faces" in one and one["faces"] not in client.faces for one in told)
                return "a wrong answer" if wrong else ""
        except (OSError, ValueError) as error:  # no answer in time, or none that can be read
            return f"{type(error).__name__} {error}"
        if client.due == ANSWERED or not (status == 0 or 400 <= status < 500):
            return f"status {status}, {text[:100]!r}"
        return "" if status == 0 or is_sentence(text) else f"not one sentence: {text[:100]!r}"

    def keep_asking(self, clients: list[Client], goes_on: Callable[[], bool]) -> list[str]:
        """Do what these clients do, again and again; what was wrong each time."""
        asking = itertools.takewhile(lambda _: goes_on(), itertools.cycle(clients))
        return [self.try_out(client) for client in asking]


def is_sentence(text: str) -> bool:
    """Whether an error is one line, alone or in a JSON object."""
    with contextlib.suppress(ValueError):
        known = json.loads(text)
        text = known.get("error") or known.get("detail") if isinstance(known, dict) else ""
    return isinstance(text, str) and 0 < len(text) < 1000 and "\n" not in text and "Traceback" not in text


def list_clients(photo: bytes, faces: Faces, rng: np.random.Generator) -> Iterator[tuple[str, Client]]:
    """All clients that misbehave."""
    ask, get = partial(write_request, PATH, photo), partial(write_request, method="GET")
    chunked, sent = partial(write_request, PATH, length=False), b"%x\r\n%b\r\n0\r\n\r\n" % (len(photo), photo)
    words, whole, packed, changed = (*WORDS, str(len(photo) + 1)), ask(), gzip.compress(photo), []
    for request, number in itertools.product((whole, write_form([f'{FORM}="a.jpg"'], photo)), range(10)):
        changed.append(bytearray(request))
        for place in rng.integers(0, request.index(photo), 1 + number % 3):
            changed[-1][place] = rng.integers(0, 256)
    requests = {
        **{(SLOW, EITHER, end): [whole] for end in (CLOSED, LEAVES, RESETS)},
        **{(SLOW, REFUSED, end): [b"", whole[:50], whole[: len(whole) // 2]] for end in (CLOSED, LEAVES, RESETS)},
        (LIES, REFUSED, WAITS): [chunked(photo, *one) for one in (["Content-Length: 0"], ["Content-Length: 100"], [])],
        (LIES, REFUSED, CLOSED): [
            *(chunked(photo, f"Content-Length: {word}") for word in words),
            *(chunked(word.encode(errors=RAW) + b"\r\nabcde\r\n0\r\n\r\n", CODING) for word in words),
            ask("Content-Length: 5"),
            *(chunked(sent[:-5], CODING), chunked(photo, CODING), chunked(sent, "Transfer-Encoding: gzip, chunked")),
        ],
        (LIES, EITHER, WAITS): [write_request(PATH, sent, CODING)],
        (LIES, ANSWERED, WAITS): [chunked(sent, CODING)],
        (OTHER_TYPES, REFUSED, WAITS): [
            *(write_request(path, text, TYPE + said) for path in PATHS for text in (*TEXTS, packed) for said in SAID),
            write_request(PATH, packed, "Content-Encoding: gzip"),
            *(write_form(heads, b"") for heads in ([], 10_000 * ["X: y"], 10_000 * [f"{FORM}=a"])),
            write_form([f"{TYPE}multipart/mixed; boundary=x"], b""),
        ],
        (OTHER_TYPES, EITHER, WAITS): [
            *(write_form([FORM + how.format(word)], photo) for word in words for how in ('="{}"', "*={}", "*0*={}")),
            *(write_form([f"{FORM}=a"], photo, word) for word in words),
            write_form([f"{FORM}=a\r\nX: {'x' * 1_000_000}"], photo),
        ],
        (OTHER_TYPES, ANSWERED, WAITS): [ask(f"{TYPE}text/html")],
        (FOREIGN, REFUSED, WAITS): [
            *(ask(host=word) for word in (*words, None)),
            *(ask(head) for head in ("Host: evil.example", *map("Origin: {}".format, words))),
        ],
        (FOREIGN, ANSWERED, WAITS): [ask(f"Origin: http://{HOST}")],
        (ABSENT, REFUSED, WAITS): [
            *(get(start + word) for word in words for start in ("", "/")),
            *(write_request(f"{PATH}?model={quote(word, safe='%', errors=RAW)}", photo) for word in words),
            *(ask(method=method) for method in METHODS),
            write_request(f"{PATH}?model={LEFT}&model=../x", photo),
        ],
        (ABSENT, EITHER, WAITS): [write_request(f"{PATH}?{'&'.join(f'model{n}=x' for n in range(5000))}", photo)],
        (NO_HTTP, REFUSED, CLOSED): [*JUNK, *(rng.bytes(int(rng.integers(1, 5000))) for _ in range(10))],
        (NO_HTTP, EITHER, WAITS): [*(ask(word) for word in words), ask(*(f"X{n}: y" for n in range(10_000)))],
        (NO_HTTP, EITHER, CLOSED): [get("/api/health", b"", "Upgrade: websocket", "Connection: upgrade"), *changed],
    }
    for (kind, due, end), some in requests.items():
        yield from ((kind, Client(request, due, [faces], end)) for request in some)
    yield SLOW, Client(whole, ANSWERED, [faces], piece=2000)
    yield SLOW, Client(whole[:200], REFUSED, end=CLOSED, piece=1)


def load(server: Server, photos: list[bytes], faces: list[Faces], seed: int, seconds: int) -> Iterator[Row]:
    """Many clients at once, and meanwhile those that misbehave, each at least once; and half requests left open."""
    until, memory, told = time.monotonic() + seconds, [], defaultdict(list)
    healthy = Client(write_request("/api/health", method="GET"))
    polite = [Client(write_request(PATH, one), ANSWERED, [due]) for one, due in zip(photos, faces, strict=True)]

    def disturb(worker: int) -> None:
        """Do what this worker's share of all clients does."""
        for turn in itertools.count():
            rng = np.random.default_rng((seed, turn))
            clients = list(list_clients(photos[0], faces[0], rng))
            for place in rng.permutation(len(clients))[worker::DISTURBING]:
                if turn and time.monotonic() > until:
                    return
                kind, client = clients[place]
                fault = server.try_out(client) or server.try_out(healthy)
                told[kind].append(fault and f"client {place} (seed {seed}, turn {turn}): {fault}")

    with ThreadPoolExecutor(AT_ONCE + DISTURBING) as pool:
        asking = pool.map(server.keep_asking, [polite] * AT_ONCE, [lambda: time.monotonic() < until] * AT_ONCE)
        disturbing = pool.map(disturb, range(DISTURBING))
        for moment in (until - seconds + min(60, seconds / 4), until):
            time.sleep(moment - time.monotonic())
            memory.append(server.process.memory_info().rss)
        yield f"a photo, {AT_ONCE} at once", [*itertools.chain(*asking)]
        list(disturbing)
    yield from ((f"a client that {kind}", faults) for kind, faults in sorted(told.items()))
    yield compare_memory("the server's memory", memory)
    with contextlib.ExitStack() as stack:
        for _ in range(HELD_OPEN):
            opened = stack.enter_context(socket.create_connection((HOST, server.port), timeout=100))
            opened.sendall(polite[0].request[:30])
        yield f"{HELD_OPEN} half requests left open", [server.try_out(polite[0])]
    if seconds >= 60:
        silent = Client(polite[0].request[:1000], REFUSED)
        yield "half a picture and then silence, refused after a minute", [server.try_out(silent)]


def compare_memory(what: str, memory: list[int]) -> Row:
    """A row that holds if memory (bytes) has not grown."""
    before, after = memory[len(memory) // 5] / 1e6, memory[-1] / 1e6
    return f"{what}, {before:.0f} and {after:.0f} MB", ["it has grown" if after > before + GROWTH else ""]


def replace(path: Path, content: bytes | None, how: str) -> None:
    """Replace a file: in one step, perhaps by one that is as old, as a copy may be, or by writing over it."""
    if content is None:
        path.unlink()
    elif how == OVER:
        with open(path, "wb", buffering=0) as file:
            for part in (content[: len(content) // 2], content[len(content) // 2 :]):
                file.write(part)
                time.sleep(0.3)
    else:
        beside = path.with_name(".new")
        beside.write_bytes(content)
        if how == AS_OLD:
            shutil.copystat(path, beside)
        beside.replace(path)


def replace_network(server: Server, photo: bytes, rng: np.random.Generator) -> Iterator[Row]:
    """Replace a network's file while clients ask for it."""
    networks = {name: (server.networks / f"{name}.onnx").read_bytes() for name in (OTHER, *OTHERS)}
    faces = {network: server.find_faces(photo, name) for name, network in networks.items()}
    first, one, two, three, last = networks.values()
    cut, noise = first[: int(rng.integers(1, len(first)))], rng.bytes(10_000)
    client = Client(write_request(f"{PATH}?model={OTHER}", photo), EITHER, [*faces.values()])
    models = client._replace(request=write_request("/api/models", method="GET"))
    for what, how, content in (
        *((f"a valid one {how}", how, network) for how, network in ((IN_STEP, one), (AS_OLD, two), (OVER, three))),
        *((f"a damaged one, {len(content)} bytes", IN_STEP, content) for content in (cut, noise, b"")),
        ("a damaged one written over it", OVER, cut),
        ("a valid one after that", OVER, last),
        ("nothing", IN_STEP, None),
        ("the first one again", IN_STEP, first),
    ):
        over, due = list[bool](), (ANSWERED, [faces[content]]) if content in faces else (REFUSED, [])
        with ThreadPoolExecutor(8) as pool:
            goes_on = [lambda over=over: not over] * 8
            asking = pool.map(server.keep_asking, [[models], *[[client]] * 7], goes_on)
            time.sleep(0.2)
            replace(server.networks / f"{OTHER}.onnx", content, how)
            after = server.try_out(Client(client.request, *due))
            over.append(True)
            yield f"a network replaced by {what}", [*itertools.chain(*asking), after and f"after it: {after}"]


def predict(folder: Path, photos: list[bytes], faces: list[Faces], count: int, seed: int) -> Iterator[Row]:
    """`predict` on a folder of photos; some of them are damaged."""
    rng = np.random.default_rng(seed)
    contents = [*photos, b"", b"a text", photos[0][:20], bytes(1000) + rng.bytes(1000), b"<!doctype html>"]
    numbers, damaged = np.arange(count) % len(photos), rng.choice(count, max(1, count // DAMAGED), replace=False)
    numbers[damaged] = len(photos) + damaged % (len(contents) - len(photos))
    (folder / "photos").mkdir()
    names = {f"{place:05d}.jpg": number for place, number in enumerate(numbers)}
    for name, number in names.items():
        (folder / "photos" / name).write_bytes(contents[number])
    command = [sys.executable, "-Bu", "apps/predict.py", "../photos", "--json", "--model", LEFT]
    answers, memory, problems = {}, [], ""
    process = psutil.Popen(command, cwd=folder / "served", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in process.stdout:
        if line.startswith("{"):
            answer = json.loads(line)
            answers[Path(answer["file"]).name] = answer["faces"]
            if len(answers) % 50 == 1 and process.poll() is None:
                memory.append(process.memory_info().rss)
        else:
            problems += line
    told = []
    for name, number in names.items():
        due, named = faces[number] if number < len(photos) else None, f"{name} is " in problems
        right = answers.get(name) == due and named == (due is None)
        told.append("" if right else f"{name} of {count} (seed {seed}): {answers.get(name)}, named: {named}")
    yield f"predict: photos of a folder, {len(damaged):,} of them damaged", told
    sentence = f"error: {len(damaged):,} of {count:,} files could not be processed:"
    ended = process.wait() == 1 and sentence in problems and "Traceback" not in problems
    yield "predict: exit code and sentence", ["" if ended else f"{process.wait()}, {problems[:100]!r}"]
    yield compare_memory("predict: memory", memory)
    yield f"predict: memory at most {LARGEST} MB", ["" if max(memory) < LARGEST * 1e6 else f"{max(memory):,} bytes"]


def run(settings: Settings) -> Iterator[Row]:
    seconds, server = settings.count or SECONDS, Server(settings.folder / "served")
    whole = cv2.imread(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    photos = [cv2.imencode(".jpg", whole[10 * cut :: 2, 15 * cut :: 2])[1].tobytes() for cut in range(6)]
    try:
        faces = [server.find_faces(photo) for photo in photos]
        yield from load(server, photos, faces, settings.seed, seconds)
        yield from replace_network(server, photos[0], np.random.default_rng(settings.seed))
    finally:
        server.process.terminate()
    log, rooms = (
        (settings.folder / "served.log").read_text(errors="replace"),
        {path.name for path in server.folder.iterdir()},
    )
    told = [f"a traceback: {log[-300:]}" if "Traceback" in log else "", "; ".join(rooms - {"apps", "models", "stages"})]
    yield "no traceback, and no file of a client's", told
    yield from predict(settings.folder, photos, faces, PHOTOS * seconds // SECONDS, settings.seed)
