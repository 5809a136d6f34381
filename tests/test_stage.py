"""How scripts end, tried on stages of a few lines in processes of their own; and how files are written."""

import csv
import os
import signal
import subprocess
import sys
import time
from datetime import datetime

import psutil
import pytest
from conftest import ROOT, refuse

from fer_pipeline.core.files import replacing, to_json, write_files
from fer_pipeline.running.paths import check_writable

PRELUDE = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT / "stages")!r})
from pathlib import Path
from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import replacing
from fer_pipeline.running import stage
from fer_pipeline.running.apart import call_apart
"""


def start(code, *arguments):
    """Start a process that runs `code` after `PRELUDE`."""
    command = [sys.executable, "-c", PRELUDE + code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("body", "code", "stderr"),
    [
        ("pass", 0, ""),
        ("raise InputError('x.csv: empty; download it again')", 1, "error: x.csv: empty; download it again\n"),
        ("open('/nonexistent/x')", 1, "error: /nonexistent/x: no such file or directory\n"),
        ("raise OSError(28, 'No space left on device', 'x.h5')", 1, "error: x.h5: no space left on device; free some space and run again\n"),
        ("raise PermissionError(13, 'Permission denied', 'x.h5')", 1, "error: x.h5: permission denied; check the permissions of the file and of its folder\n"),
        ("raise KeyboardInterrupt", 130, "stopped\n"),
        ("sys.exit(143)", 143, ""),
        ("1 / 0", 1, None),
    ],
)  # fmt: skip
def test_how_a_stage_ends_and_is_logged(body, code, stderr, tmp_path):
    """Exit code, stderr (a bug keeps its traceback), and the log: start, duration, exit code, command."""
    log = tmp_path / "logs" / "stages.csv"
    process = start(f"stage.LOG = Path(sys.argv[1])\ndef main():\n  {body}\nstage.run(main)", log)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == code
    assert printed == stderr if stderr is not None else "Traceback" in printed and "ZeroDivisionError" in printed
    ((began, seconds, logged, command),) = csv.reader(log.read_text().splitlines())
    assert abs(datetime.fromisoformat(began).timestamp() - time.time()) < 120
    assert 0 <= float(seconds) < 60 and logged == str(code) and command.startswith("python -c")


def test_the_log_grows_and_stops_no_stage_if_it_cannot_be_written(tmp_path):
    log = tmp_path / "stages.csv"
    log.write_text("earlier\n")
    for path in (log, "/dev/null/x"):
        assert start("stage.LOG = Path(sys.argv[1])\nstage.run(lambda: None)", path).wait(60) == 0
    earlier, added = log.read_text().splitlines()
    assert earlier == "earlier" and "python -c" in added


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_half_file(number, code, tmp_path):
    target = tmp_path / "x.txt"
    target.write_text("old")
    body = "unfinished.write_text('half'); print('writing', flush=True); time.sleep(60)"
    process = start(f"def main():\n  with replacing(sys.argv[1]) as unfinished:\n    {body}\nstage.run(main)", target)
    assert process.stdout.readline() == "writing\n"
    time.sleep(0.2)
    os.kill(process.pid, number)
    process.communicate(timeout=60)
    assert (process.returncode, target.read_text(), list(tmp_path.iterdir())) == (code, "old", [target])


def test_a_signal_while_another_process_starts_leaves_no_traceback(tmp_path, monkeypatch):
    """What waits for it, and then dies of the same signal, prints nothing."""
    (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(1)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    script = tmp_path / "x.py"
    calls = "call_apart(os.system, ['echo begun', *['sleep 5'] * 5])"
    script.write_text(f"{PRELUDE}if __name__ == '__main__': stage.run(lambda: {calls})")
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    time.sleep(0.3)
    process.terminate()
    time.sleep(0.2)
    for child in psutil.Process(process.pid).children(recursive=True):
        child.terminate()
    _, printed = process.communicate(timeout=60)
    assert (process.returncode, printed) == (143, "")


def test_threads_that_silence_stderr_give_it_back():
    """One of them waits in its block until the other, if it could, had begun."""
    code = """
import threading
from fer_pipeline.running.quiet import no_stderr
inside, leave = threading.Event(), threading.Event()
def hold():
    with no_stderr():
        inside.set()
        leave.wait(10)
def follow():
    with no_stderr():
        time.sleep(0.5)
threads = [threading.Thread(target=hold), threading.Thread(target=follow)]
threads[0].start()
inside.wait(10)
threads[1].start()
time.sleep(0.2)
leave.set()
for thread in threads:
    thread.join()
os.write(2, b"heard")
"""
    assert start(code).communicate(timeout=60)[1] == "heard"


def test_checking_a_place_changes_nothing_there(tmp_path):
    target = tmp_path / "x.txt"
    target.write_text("old")
    check_writable(target)
    check_writable(tmp_path / "new" / "x.txt")
    assert target.read_text() == "old" and sorted(tmp_path.rglob("*")) == [tmp_path / "new", target]
    with pytest.raises(OSError, match="x.txt"):
        check_writable(target / "below")


def test_several_files_are_replaced_together_or_not_at_all(tmp_path):
    """The last of three cannot be written: the first two stay as they were."""
    paths = [tmp_path / name for name in ("a", "b", "file")]
    write_files(dict.fromkeys(paths, b"old"))
    with pytest.raises(OSError):
        write_files(dict.fromkeys([*paths[:2], paths[2] / "below"], b"new"))
    assert {path: path.read_bytes() for path in sorted(tmp_path.iterdir())} == dict.fromkeys(paths, b"old")


@pytest.mark.parametrize("path", ["", ".", "/", "/dev/null"])
def test_only_regular_files_are_replaced(path):
    assert "is not a regular file" in refuse(check_writable, path)


def test_json_refuses_nan():
    assert to_json({"a": 1}) == b'{\n  "a": 1\n}\n'
    with pytest.raises(ValueError):
        to_json({"a": float("nan")})


def test_what_a_killed_process_left_is_removed(tmp_path):
    """Also while its parent has not collected it and it is still listed; files of running processes and others stay."""
    killed, running = (subprocess.Popen(["sleep", "60"]) for _ in range(2))
    names = (f".x.{killed.pid}", f".x.{running.pid}", f".y.{killed.pid}", ".x.mine")
    left, *kept = (tmp_path / f"{name}.unfinished.csv" for name in names)
    for path in (left, *kept):
        path.touch()
    killed.kill()
    os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
    try:
        with replacing(tmp_path / "x.csv") as unfinished:
            unfinished.touch()
        assert {*tmp_path.iterdir()} == {tmp_path / "x.csv", *kept}
    finally:
        running.kill()
        for process in (killed, running):
            process.wait()
