"""A small share of what `python benchmarks/fire.py load` and `sharing` do, and that their checks can fail."""

import asyncio
import json
import sys

import numpy as np
import pytest
from conftest import ROOT

import serve
from fer_pipeline.core.errors import InputError

sys.path.append(str(ROOT / "benchmarks"))

from faults import load, sharing
from faults.common import Settings

FACES = [{"emotion": "happy"}]
RIGHT = json.dumps({"model": "compact", "faces": FACES})
WRONG = json.dumps({"model": "compact", "faces": [{"emotion": "sad"}]})
FORM = json.dumps({"photos": [{"name": "a", "answer": None, "error": "x"}, {"name": "b", "answer": json.loads(WRONG)}]})


def test_the_endpoint_and_predict_for_seconds(tmp_path):
    """Every kind of client once, every way to replace a network, and a folder with a damaged photo."""
    rows = list(load.run(Settings(seed=1, count=3, folder=tmp_path)))
    assert len(rows) == 25 and all(row.tried for row in rows)
    assert [sentence for row in rows for sentence in row.found] == []
    assert all(row.held == row.tried for row in rows)


@pytest.mark.parametrize(
    "due, reply, right",
    [
        ("answered", load.Reply(200, RIGHT), True),
        ("answered", load.Reply(200, WRONG), False),
        ("answered", load.Reply(0), False),
        ("answered", load.Reply(400, '{"error": "a sentence"}'), False),
        ("either", load.Reply(200, FORM), False),
        ("either", load.Reply(400, '{"error": "a sentence"}'), True),
        ("refused", load.Reply(200, RIGHT), False),
        ("refused", load.Reply(0), True),
        ("refused", load.Reply(404, '{"detail": "Not Found"}'), True),
        ("refused", load.Reply(400, "Invalid host header"), True),
        ("refused", load.Reply(400, "two\nlines"), False),
        ("refused", load.Reply(400, ""), False),
        ("refused", load.Reply(400, "[]"), False),
        ("refused", load.Reply(500, "Internal Server Error"), False),
        ("either", load.Reply(503, '{"error": "a sentence"}'), False),
        ("refused", None, True),
    ],
)
def test_what_is_a_fault(due, reply, right):
    assert (load.find_fault(due, reply, [FACES]) == "") == right


@pytest.mark.parametrize("after, flat", [(100, True), (125, True), (131, False)])
def test_what_is_growth(after, flat):
    row = load.compare_memory("memory", 100, after, 0)
    assert (row.held == 1) == flat == (row.found == ())


def test_a_network_that_has_just_been_removed(tmp_path, monkeypatch):
    """Between its name being looked up and its file being opened: a sentence, and no entry in the list."""
    with monkeypatch.context() as patched:
        patched.setattr(serve, "find_model", lambda name: tmp_path / "gone.onnx")
        with pytest.raises(InputError, match="gone.onnx: no such file"):
            serve.open_recogniser("gone")
    monkeypatch.setattr(serve, "list_models", lambda: ["gone"])
    monkeypatch.setattr(serve.app.state, "model", "gone", raising=False)
    assert json.loads(serve.answer_models().body) == {"models": [], "default": "gone"}


async def send(content):
    yield content


@pytest.mark.parametrize("head", load.HEADS)
def test_names_that_make_no_sense(head):
    """Whatever the email package makes of them, the answer is a form that JSON can hold, or a sentence."""
    part = b"--x\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\nabc\r\n--x--\r\n"
    kinds = {"multipart/form-data; boundary=x": part}
    kinds[f"multipart/form-data; {head.replace('filename', 'boundary')}"] = b""
    for kind, content in kinds.items():
        try:
            files = asyncio.run(serve.split_form(send(content), kind))
        except serve.RefusedRequest as refusal:
            assert refusal.args[0] == 400 and load.is_sentence(refusal.args[1])
        else:
            json.dumps(files[0][0], ensure_ascii=False).encode()


@pytest.fixture
def team(tmp_path):
    if not sharing.SSHD:
        pytest.skip("no sshd here; install Debian's package openssh-server")
    with sharing.serve_ssh(tmp_path) as (url, user):
        yield sharing.make_team(tmp_path, url, user, np.random.default_rng(1))


def test_a_team_for_seconds(team):
    """A killed push, a damaged remote and a damaged cache; and before that all of it is whole, and said to be."""
    rng = np.random.default_rng(2)
    victim = team.find_object(team.team.store, sharing.LARGE)
    assert team.must("make", "--no-print-directory", "verify", f"FOLDER={team.team.store}") == ""
    assert sharing.verify(team, victim, f"FOLDER={team.team.store}") == "make verify: 0, "
    rows = [
        sharing.kill_pushes(team, rng, 1, seed=2),
        next(sharing.damage_store(team, [sharing.LARGE], rng, seed=2)),
        next(sharing.damage_cache(team, [sharing.LARGE], rng, seed=2)),
    ]
    assert [sentence for row in rows for sentence in row.found] == []
    assert [(row.tried, row.held) for row in rows] == [(1, 1)] * 3
    assert sharing.compare(team, team) == ""
    assert sharing.compare(team.clone("fresh"), team).startswith(f"{sharing.FILES + 4} files differ")


def test_what_to_do_is_in_the_manual():
    page = (ROOT / "docs" / "trouble.md").read_text()
    assert all(
        f"`{command}`" in page for command in (sharing.PUSH_AGAIN, sharing.PULL_ANEW, sharing.PUSH_ANEW, "make verify")
    )
