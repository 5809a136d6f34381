"""The frame of every stage, tried on stages of a few lines in processes of their own."""

import csv
import os
import signal
import subprocess
import sys
import time
from datetime import datetime

import psutil
import pytest
from conftest import ROOT

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import check_writable, replacing, to_json, write_files
from fer_pipeline.running.timing import read_times

PRELUDE = (
    f"import sys; sys.path.insert(0, {str(ROOT / 'stages')!r}); from fer_pipeline.core.files import *; import time\n"
)


def start(code):
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    ("body", "code", "stderr"),
    [
        ("pass", 0, ""),
        ("raise InputError('x.csv: empty; download it again')", 1, "error: x.csv: empty; download it again\n"),
        ("open('/nonexistent/x')", 1, "error: /nonexistent/x: no such file or directory\n"),
        ("raise OSError(28, 'No space left on device', 'x.h5')", 1, "error: x.h5: no space left on device; free some space and run again\n"),
        ("raise KeyboardInterrupt", 130, "stopped\n"),
    ],
)  # fmt: skip
def test_how_a_stage_ends(body, code, stderr):
    process = start(f"def main():\n  {body}\nrun(main)")
    _, printed = process.communicate(timeout=60)
    assert (process.returncode, printed) == (code, stderr)


def test_each_run_is_logged(tmp_path):
    """Start, duration, exit code and command; a log that cannot be written stops nothing."""
    log = tmp_path / "logs" / "stages.csv"
    bodies = {"pass": "0", "raise InputError('x')": "1", "sys.exit(143)": "143", "raise KeyboardInterrupt": "130"}
    for body in bodies:
        start(
            f"import fer_pipeline.core.files; fer_pipeline.running.stage.LOG = Path({str(log)!r})\nrun(lambda: exec({body!r}))"
        ).wait(60)
    rows = list(csv.reader(log.read_text().splitlines()))
    assert [code for _, _, code, _ in rows] == list(bodies.values())
    for began, seconds, _, command in rows:
        assert abs(datetime.fromisoformat(began).timestamp() - time.time()) < 120
        assert 0 <= float(seconds) < 60 and command.startswith("python -c")
    assert (
        start(
            "import fer_pipeline.core.files; fer_pipeline.running.stage.LOG = Path('/dev/null/x')\nrun(lambda: None)"
        ).wait(60)
        == 0
    )


def test_bugs_keep_their_traceback():
    process = start("def main():\n  1 / 0\nrun(main)")
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" in printed and "ZeroDivisionError" in printed


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_half_file(number, code, tmp_path):
    target = tmp_path / "x.txt"
    target.write_text("old")
    process = start(
        "def main():\n"
        f"  with replacing({str(target)!r}) as unfinished:\n"
        "    unfinished.write_text('half')\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
        "run(main)"
    )
    assert process.stdout.readline() == "writing\n"
    time.sleep(0.2)
    os.kill(process.pid, number)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_signal_while_another_process_starts_leaves_no_traceback(tmp_path, monkeypatch):
    """What waits for it, and then dies of the same signal, says nothing of its own."""
    (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(1)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    script = tmp_path / "x.py"
    calls = "call_apart(os.system, ['echo begun', *['sleep 5'] * 5])"
    script.write_text(
        f"{PRELUDE}from fer_pipeline.running.apart import call_apart\nif __name__ == '__main__': run(lambda: {calls})"
    )
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    time.sleep(0.3)
    process.terminate()
    time.sleep(0.2)
    for child in psutil.Process(process.pid).children(recursive=True):
        child.terminate()
    _, printed = process.communicate(timeout=60)
    assert (process.returncode, printed) == (143, "")


def test_times_that_are_no_numbers_are_forgotten(tmp_path):
    path = tmp_path / "timing.json"
    path.write_text('{"train_x": {"seconds": NaN}}')
    assert read_times(path) == {}
    path.write_text('{"train_x": {"seconds": 1.5}}')
    assert read_times(path) == {"train_x": {"seconds": 1.5}}


def test_replacing_makes_folders_and_keeps_the_suffix(tmp_path):
    with replacing(tmp_path / "a" / "b" / "x.png") as unfinished:
        assert unfinished.suffix == ".png"
        assert unfinished.parent == tmp_path / "a" / "b"
        unfinished.write_text("new")
        assert not (tmp_path / "a" / "b" / "x.png").exists()
    assert (tmp_path / "a" / "b" / "x.png").read_text() == "new"


def test_checking_a_place_changes_nothing_there(tmp_path):
    target = tmp_path / "x.txt"
    target.write_text("old")
    check_writable(target)
    check_writable(tmp_path / "new" / "x.txt")
    assert target.read_text() == "old"
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "new", target]
    with pytest.raises(OSError, match="x.txt"):
        check_writable(target / "below")
    with pytest.raises(InputError, match="is not a regular file"):
        check_writable(tmp_path)


def test_several_files_are_replaced_together_or_not_at_all(tmp_path):
    """The last of three cannot be written: the first two stay as they were."""
    paths = [tmp_path / name for name in ("a", "b", "file")]
    for path in paths:
        path.write_bytes(b"old")
    with pytest.raises(OSError):
        write_files({paths[0]: b"new", paths[1]: b"new", paths[2] / "below": b"new"})
    assert [path.read_bytes() for path in paths] == [b"old"] * 3
    assert sorted(tmp_path.iterdir()) == paths
    write_files(dict.fromkeys(paths, b"new"))
    assert [path.read_bytes() for path in paths] == [b"new"] * 3


@pytest.mark.parametrize("path", ["", ".", "/", "/dev/null"])
def test_what_is_no_file_is_never_replaced(path):
    with pytest.raises(InputError, match="is not a regular file"), replacing(path):
        pass


def test_json_refuses_nan():
    assert to_json({"a": 1}) == b'{\n  "a": 1\n}\n'
    with pytest.raises(ValueError):
        to_json({"a": float("nan")})


def test_what_a_killed_process_left_is_removed(tmp_path):
    """Also while the process is still listed, as long as its parent has not asked after it; a running one's stays."""
    target = tmp_path / "x.csv"
    killed, running = (subprocess.Popen(["sleep", "60"]) for _ in range(2))
    left, kept = (tmp_path / f".x.{process.pid}.unfinished.csv" for process in (killed, running))
    for path in (left, kept):
        path.touch()
    killed.kill()
    os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
    try:
        with replacing(target) as unfinished:
            unfinished.write_text("new")
        assert target.read_text() == "new" and not left.exists() and kept.exists()
    finally:
        running.kill()
        for process in (killed, running):
            process.wait()
