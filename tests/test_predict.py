"""`apps/predict.py` as a user calls it: photos, folders, videos, and files that are neither."""

import csv
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from apps import predict as app
from conftest import ROOT, encode, refuse, write_network
from PIL import Image
from tqdm import tqdm

from fer_pipeline.answers import recognition
from fer_pipeline.answers.drawing import CERTAIN, draw_faces
from fer_pipeline.answers.recognition import Face
from fer_pipeline.answers.summary import COLOURS, EmotionSummary, choose_colours, draw, to_csv
from fer_pipeline.answers.tracking import Tracker
from fer_pipeline.exported.onnx import load_exported, read_accuracy, read_answers_accuracy, read_metadata
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.inference.detection import Found
from fer_pipeline.inference.opencv import cv2
from fer_pipeline.inference.photos import open_video, read_frames

SCRIPT = ROOT / "apps" / "predict.py"
RUN = f"""
import runpy, sys
sys.argv[0] = {str(SCRIPT)!r}
sys.path.insert(0, {str(SCRIPT.parent)!r})
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""
LIST_LOADED = """
import atexit, sys
def list_loaded():
    parts = {module.partition(".")[0] for module in sys.modules}
    files = {part: getattr(sys.modules.get(part), "__file__", None) or "" for part in parts}
    installed = [part for part, file in files.items() if "site-packages" in file]
    print(*sorted(installed), *(name for name in sys.modules if name.startswith("fer_pipeline")), file=sys.stderr)
atexit.register(list_loaded)
"""
"""Has a script print on stderr, at its end, what it has loaded: installed packages, and modules of this project."""
ROOMS = ("core", "running", "faces", "exported", "inference", "answers")
"""The rooms of the package that the apps import."""


@pytest.fixture
def predict(network, call_stage, monkeypatch):
    """Call it in this process, with a small network; `code` is the exit code that it should have."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # its handlers are for a process of its own

    def run(*args, model=network, code=0):
        process = call_stage(app, "--model", model, *args)
        assert process.returncode == code, process.stderr
        process.lines = process.stdout.splitlines()
        return process

    return run


@pytest.fixture
def judge(predict):
    """Call it with --json, and return the answers."""
    return lambda *args: [json.loads(line) for line in predict(*args, "--json").lines]


def check_face(face):
    """A face of an answer has the probabilities of the seven emotions, and names the highest."""
    shares = face["probabilities"]
    assert [*shares] == [*CLASSES] and sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert face["confidence"] == max(shares.values()) == shares[face["emotion"]]


def read_csv(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def write_faces(folder, count):
    """Write grey pictures of 48x48 pixels, each of one brightness."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number:03}.png").write_bytes(encode(np.full((48, 48), number, np.uint8)))


def write_video(path, photo_file, frames=12, mirrored=False):
    """Write a video of 10 frames per second: the photo moves to the right, and to the left beside it.

    Its faces are about 105 pixels wide.
    """
    photo = cv2.resize(cv2.imread(str(photo_file)), (256, 300))
    moving = [np.pad(photo, ((0, 0), (2 * frame, 64 - 2 * frame), (0, 0))) for frame in range(frames)]
    pictures = [np.hstack([one, one[:, ::-1]]) if mirrored else one for one in moving]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, pictures[0].shape[1::-1])
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return path


def test_a_photo(predict, judge, photo_file):
    place, box, emotion, confidence = predict(photo_file, "--threshold", 0).lines[0].split("  ")
    assert place == str(photo_file) and emotion in CLASSES and confidence.endswith("%")
    assert f"  uncertain: {emotion}  " in predict(photo_file, "--threshold", 1).stdout
    ((face,),) = (answer["faces"] for answer in judge(photo_file))
    left, top, width, height = face["box"]
    assert box == f"{width}x{height} at {left},{top}"
    check_face(face)


@pytest.mark.parametrize(
    ("confidence", "told"),
    [(0.59996, ("sad", "60%")), (0.5999, ("uncertain: sad", "59%")), (0.57, ("uncertain: sad", "57%"))],
)
def test_no_number_contradicts_the_threshold(network, confidence, told):
    """What JSON gives as 0.6 is not below 0.6, and what is shown as below 60% is 59% at most."""
    probabilities = np.array([0, 0, 0, 0, confidence, 0, 1 - confidence])
    known = recognition.Recogniser(str(network)).describe(Face(Found((50, 50), (100, 100), 1.0), probabilities, None))
    assert known["uncertain"] == (known["confidence"] < 0.6) and recognition.tell_answer(known) == told


def test_faces_that_are_left_out(judge, predict, photo_file, tmp_path):
    """Small ones, which a summary counts; all but the largest; and those that the detector is not sure of."""
    with Image.open(photo_file) as photo:
        pair = Image.new("RGB", (1024, 600))
        pair.paste(photo, (0, 0))
        pair.paste(photo.resize((256, 300)), (600, 0))
    pair.save(tmp_path / "pair.png")

    def measure(*options):
        ((answer,)) = judge(tmp_path / "pair.png", *options)
        return [max(face["box"][2:]) for face in answer["faces"]]

    large, small = measure()
    assert large > 1.5 * small
    assert measure("--min-size", small) == [large, small] and measure("--min-size", small + 1) == [large]
    assert measure("--largest") == [large] and measure("--min-size", large + 1) == []
    assert measure("--detector-score", 0.999) == []
    options = ("--min-size", small + 1, "--summary", tmp_path / "sum", "--draw", tmp_path / "marked")
    assert len(predict(tmp_path / "pair.png", *options).lines) == 1
    *_, last = read_csv(tmp_path / "sum.csv")
    assert (last["emotion"], last["faces"], last["share"]) == ("too small", "1", "0.5000")
    drawn = cv2.imread(str(tmp_path / "marked" / "pair.png")) != cv2.imread(str(tmp_path / "pair.png"))
    assert drawn[:, :600].any() and not drawn[:, 800:].any()


def test_a_network_of_drawn_faces_says_so(predict, photo_file, network, tmp_path):
    drawn = write_network(tmp_path / "drawn.onnx", trained_on="drawn faces")
    assert predict(photo_file, model=network).stderr == ""
    warned = predict(photo_file, model=drawn)
    assert warned.stderr == "warning: drawn knows drawn faces only: for photos, train on photographs\n"
    assert warned.stdout.endswith("%\n")


def test_only_onnxruntime_opencv_and_numpy_are_loaded(photo_file, network):
    command = [sys.executable, "-c", LIST_LOADED + RUN, photo_file, "--model", network]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0 and str(photo_file) in process.stdout, process.stderr
    loaded = set(process.stderr.split())
    assert {"cv2", "numpy", "onnxruntime"} <= loaded
    ours = {module for module in loaded if re.fullmatch(rf"fer_pipeline(\.({'|'.join(ROOMS)})(\..+)?)?", module)}
    assert not loaded - {"cv2", "numpy", "onnxruntime", "flatbuffers", "_distutils_hack", "sitecustomize"} - ours


AT_FIRST_IMPORT = """
import sys
class Finder:
    def find_spec(name, *_):
        if name == "argparse":
            print(flush=True)
sys.meta_path.insert(0, Finder)
"""
"""Has a script print an empty line when it imports argparse, before all else."""


@pytest.mark.parametrize("milliseconds", range(0, 900, 75))
def test_ctrl_c_at_any_moment(network, photo_file, tmp_path, milliseconds):
    """While libraries are loaded, while photos are judged, and in between."""
    for number in range(30):
        (tmp_path / f"{number}.jpg").symlink_to(photo_file)
    command = [sys.executable, "-c", AT_FIRST_IMPORT + RUN, tmp_path, "--model", network]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    time.sleep(milliseconds / 1000)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode in (0, 130, -signal.SIGINT) and said in ("", "stopped\n")


@pytest.mark.parametrize(
    "classes, shape, crop", [(CLASSES, (48, 48), 44), (("bored & tired", "calm"), (64, 64, 3), 58)]
)
def test_one_cropped_face_is_judged_as_the_data_sets_are(predict, tmp_path, classes, shape, crop):
    """Its probabilities are the softmax of the logits, divided by the file's temperature."""
    face = np.random.default_rng(1).integers(0, 256, (1, *shape), np.uint8)
    Image.fromarray(face[0]).save(tmp_path / "face.png")
    path = write_network(tmp_path / "x.onnx", 0, classes, (crop, crop, *shape[2:]), size=str(shape[0]))
    (answer,) = map(json.loads, predict(tmp_path / "face.png", "--face", "--json", model=path).lines)
    model = load_exported(path)
    powers = np.exp(model.compute(face, "logits")["logits"] / 1.5)
    assert model.predict(face) == pytest.approx(powers / powers.sum())
    told = answer["faces"][0]["probabilities"]
    assert [*told] == [*classes] and [*told.values()] == pytest.approx(model.predict(face)[0], abs=1e-4)
    assert model.predict(face[:0]).shape == (0, len(classes))


LONG = ("Abcdefghijklmnopqrstuvwxyz" + "w" * 14, "a name that has spaces - and 40 letters", "zu müde")
MANY = tuple(map("class number {}".format, range(17)))
TWENTY = LONG + MANY


@pytest.mark.parametrize("classes", [("calm", "bored & tired"), (*CLASSES, "contempt"), TWENTY])
def test_all_forms_of_an_answer_follow_the_classes(predict, photo_file, tmp_path, classes):
    """In their order; a drawing has a bar for each where there is place, and a summary a colour."""
    path = write_network(tmp_path / "x.onnx", 0, classes, (40, 40, 3))
    outputs = ("--csv", tmp_path / "faces.csv", "--summary", tmp_path / "sum", "--draw", tmp_path / "marked")
    predict(photo_file, *outputs, "--threshold", 0, model=path)
    (row,) = read_csv(tmp_path / "faces.csv")
    assert [*row][-len(classes) :] == [*classes] and float(row[row["emotion"]]) == float(row["confidence"])
    amounts = {row["emotion"]: row["faces"] for row in read_csv(tmp_path / "sum.csv")}
    assert [*amounts] == [*classes, "uncertain", "too small"] and amounts[row["emotion"]] == "1"
    face = {"box": [40, 30, 60, 60], "emotion": classes[-1], "confidence": 0.9, "uncertain": False}
    picture = np.zeros((800, 700, 3), np.uint8)
    drawn = draw_faces(picture, [{**face, "probabilities": dict.fromkeys(classes, 0.0) | {classes[-1]: 1.0}}])
    bars = (drawn == CERTAIN).all(axis=2).any(axis=1).nonzero()[0]
    assert (bars[-1] - 92) // 14 == len(classes) - 1


def test_twenty_classes_have_twenty_colours():
    """FER-2013's have their own in any set."""
    for classes in (MANY, CLASSES + MANY[:13], TWENTY):
        assert len({*choose_colours(classes).values()}) == len(classes)
    assert choose_colours(CLASSES) == dict(zip(CLASSES, COLOURS, strict=False))
    assert choose_colours(["awe", "sad"])["sad"] == choose_colours(CLASSES)["sad"]
    assert len(choose_colours([*TWENTY, "a", "b"])) == 22


def test_a_folder_with_a_bad_file(predict, photo_file, tmp_path):
    """The others are judged; the bad one is named at the end, and in the exit code."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.jpg", "deep/c.JPG"):
        shutil.copy(photo_file, folder / name)
    for name in ("b.jpg", "notes.txt"):
        (folder / name).write_text("a text")
    Image.new("L", (400, 300), 128).save(folder / "d.png")
    Image.new("L", (400, 300), 128).save(folder / "e.pgm")
    first, second = predict(folder, "--csv", tmp_path / "faces.csv", code=1).stderr.splitlines()
    assert first == "error: 1 of 5 files could not be processed:"
    assert f"{folder}/b.jpg is not a readable picture" in second
    rows = read_csv(tmp_path / "faces.csv")
    assert [row["file"] for row in rows] == [f"{folder}/{name}" for name in ("a.jpg", "d.png", "deep/c.JPG", "e.pgm")]
    assert [row["emotion"] in CLASSES for row in rows] == [True, False, True, False] and rows[1]["left"] == ""
    assert sum(float(rows[0][emotion]) for emotion in CLASSES) == pytest.approx(1, abs=1e-3)
    assert predict(folder / "d.png").stdout == f"{folder}/d.png  no face found\n"


@pytest.fixture
def show(predict, tmp_path, monkeypatch):
    """What stderr shows, as if it were a terminal, while 40 cropped faces are judged into a table."""
    write_faces(tmp_path, 40)

    def show():
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        return predict(tmp_path, "--face", "--csv", tmp_path / "faces.csv").stderr

    return show


def test_a_terminal_shows_progress(show, monkeypatch):
    """It shows a progress bar on stderr if the answers go into a file, and removes it at the end."""
    monkeypatch.setattr("tqdm.tqdm", functools.partial(tqdm, mininterval=0))
    *shown, last, end = show().split("\r")
    half = next(line for line in shown if "20/40" in line)
    assert re.fullmatch(r" 50%\|█+▌? +\| 20/40 \[00:0\d<00:0\d, .*file/s\] *", half)
    assert last.strip() == "" and end == ""


def test_without_tqdm_there_is_no_bar(show, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert show() == ""


def test_drawings(predict, photo_file, tmp_path):
    photos = [tmp_path / "photos" / name / "a.jpg" for name in ("one", "two")]
    for photo in photos:
        photo.parent.mkdir(parents=True)
        shutil.copy(photo_file, photo)
    predict(*photos, "--draw", tmp_path / "marked")
    assert sorted(path.name for path in (tmp_path / "marked").iterdir()) == ["a.jpg", "a_2.jpg"]
    drawn = cv2.imread(str(tmp_path / "marked" / "a_2.jpg")).astype(int)
    changed = abs(drawn - cv2.imread(str(photo_file))).max(axis=2) > 60
    assert drawn.shape == (600, 512, 3) and 0.02 < changed.mean() < 0.3


def test_nothing_overwrites_a_file_that_is_needed(predict, photo_file, network, tmp_path):
    """Neither a drawing, nor a table, nor a summary; nothing is judged before."""
    photo, model = (shutil.copy(file, tmp_path / name) for file, name in ((photo_file, "a.jpg"), (network, "x.onnx")))
    (tmp_path / "below").mkdir()
    other = shutil.copy(photo_file, tmp_path / "below" / "a.jpg")
    for judged, folder in ((photo, tmp_path), (photo, tmp_path / "below"), (tmp_path / "below", tmp_path)):
        refused = predict(judged, "--draw", folder, code=1)
        assert f"{folder}/a.jpg exists; remove it, or name another folder" in refused.stderr and not refused.stdout
    assert "it is a file; name a folder" in predict(photo, "--draw", photo, code=1).stderr
    clash = ("--draw", tmp_path / "marked", "--csv", tmp_path / "marked" / "a.jpg")
    assert "would overwrite a file that is needed" in predict(photo, *clash, code=1).stderr
    assert other.read_bytes() == photo_file.read_bytes() and not (tmp_path / "marked").exists()
    (tmp_path / "link.jpg").symlink_to(photo)
    for table in (photo, model, tmp_path / "link.jpg"):
        assert "would overwrite a file that is needed" in predict(photo, "--csv", table, model=model, code=1).stderr
    assert "name the table to write" in predict("--csv", other, photo, code=1).stderr  # of --csv *.jpg
    assert photo.read_bytes() == other.read_bytes() == photo_file.read_bytes()
    assert model.read_bytes() == network.read_bytes()


def test_a_drawing_that_cannot_be_written_is_one_problem(predict, tmp_path):
    """The photos are judged once each, in their order, and the others are drawn."""
    folder, drawn = tmp_path / "photos", tmp_path / "marked"
    write_faces(folder, 150)
    (folder / "070.png").unlink()
    (folder / "070.jpg").write_bytes(encode(np.zeros((16, 65_535), np.uint8)))
    process = predict(folder, "--face", "--json", "--draw", drawn, code=1)
    assert process.stderr.startswith("error: 1 of 150 files could not be processed:")
    assert "070.jpg: 65535x114 pixels are too many for this format; scale" in process.stderr
    answers = list(map(json.loads, process.lines))
    names = [f"{number:03}.{'jpg' if number == 70 else 'png'}" for number in range(150)]
    assert [answer["file"] for answer in answers] == [f"{folder}/{name}" for name in names]
    assert len({answer["faces"][0]["confidence"] for answer in answers}) > 20
    assert len(list(drawn.iterdir())) == 149


def test_folders_behind_links_are_searched_once(predict, photo_file, tmp_path):
    (tmp_path / "real").mkdir()
    shutil.copy(photo_file, tmp_path / "real" / "a.jpg")
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "given")
    (line,) = predict(tmp_path / "given").lines
    assert line.startswith(f"{tmp_path}/given/link/a.jpg  ")


def test_files_may_stand_on_both_sides_of_an_option(predict, photo_file, tmp_path):
    shutil.copy(photo_file, tmp_path / "b.jpg")
    assert len(predict(photo_file, "--json", tmp_path / "b.jpg").lines) == 2


@pytest.mark.parametrize(
    "arguments", [(), ("",), ("a.jpg", "--list"), ("--camera", "0", "a.jpg"), ("a.jpg", "--draw", "")]
)
def test_what_to_judge_is_named_once(predict, arguments):
    assert "error: " in predict(*arguments, code=2).stderr


def test_a_face_that_fills_its_picture_has_its_bars_below_it(predict, tmp_path):
    (tmp_path / "face.png").write_bytes(encode(np.full((48, 48), 99, np.uint8)))
    predict(tmp_path / "face.png", "--face", "--draw", tmp_path / "marked")
    drawn = cv2.imread(str(tmp_path / "marked" / "face.png"))
    assert drawn.shape == (240 + 7 * 24, 240, 3)
    assert (drawn[60:200, 20:220] == 99).all() and len(np.unique(drawn[240:])) > 3


def test_a_summarys_picture_ends_after_its_first_sources(monkeypatch):
    monkeypatch.setattr("fer_pipeline.answers.summary.MOST_DRAWN", 2)
    some = [EmotionSummary(f"{number}.mp4", CLASSES, True) for number in range(4)]
    two, all_of_them = draw(some[:2]), draw(some)
    assert np.array_equal(all_of_them[: len(two)], two) and (all_of_them[len(two) :] < 255).any()


class Recorded:
    """A video of frames that are shown at these seconds."""

    def __init__(self, *seconds):
        self.seconds, self.shown = [*seconds], 0.0

    def read(self):
        self.shown = self.seconds.pop(0) if self.seconds else self.shown
        return bool(self.seconds), self.shown if self.seconds else None

    def get(self, _):
        return 1000 * self.shown


def test_frames_have_the_times_of_their_file():
    """A pause, as in recordings of a screen; the last frame, and one without a time of its own, last as others do."""
    told = [(round(start, 6), round(length, 6)) for start, length, _ in read_frames(Recorded(0, 0.02, 2.02, 0, 9), 4)]
    assert told == [(0, 0.02), (0.02, 2), (2.02, 0.25), (2.27, 0.25)]


def test_a_video(predict, judge, photo_file, tmp_path):
    """Two faces that move keep their numbers, in JSON and in CSV; every frame is drawn."""
    video = write_video(tmp_path / "two.mp4", photo_file, mirrored=True)
    pairs = [(answer, face) for answer in judge(video) for face in answer["faces"]]
    found = [(answer["frame"], answer["seconds"], face["number"], face["box"][0]) for answer, face in pairs]
    assert [place[:2] for place in found] == [(frame, frame / 10) for frame in range(12) for _ in range(2)]
    places = [[left for *_, number, left in found if number == one] for one in (1, 2)]
    assert [len(one) for one in places] == [12, 12]
    moved = sorted(one[-1] - one[0] for one in places)
    assert -36 < moved[0] < -10 and 10 < moved[1] < 36
    predict(video, "--csv", tmp_path / "faces.csv", "--draw", tmp_path / "marked")
    rows = read_csv(tmp_path / "faces.csv")
    assert [tuple(float(row[key]) for key in ("frame", "seconds", "face", "left")) for row in rows] == found
    assert cv2.VideoCapture(str(tmp_path / "marked" / "two.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 12


def test_a_summary(predict, judge, photo_file, tmp_path):
    """It sums up the answers by emotion: seconds of a video, faces of photos."""
    video = write_video(tmp_path / "clip.mp4", photo_file)
    (tmp_path / "none.png").write_bytes(encode(np.full((300, 300), 99, np.uint8)))
    answers = judge(video, photo_file, tmp_path / "none.png", "--summary", tmp_path / "sum")
    faces = [face for answer in answers for face in answer["faces"]]
    *filmed, photographed = ("uncertain" if face["uncertain"] else face["emotion"] for face in faces)
    kinds, total = (*CLASSES, "uncertain", "too small"), len(filmed)
    expected = [
        (str(video), kind, f"{n / 10:.3f}", "", f"{n / total:.4f}") for kind in kinds for n in [filmed.count(kind)]
    ]
    expected += [("photos", kind, "", f"{kind == photographed:d}", f"{kind == photographed:.4f}") for kind in kinds]
    assert [tuple(row.values()) for row in read_csv(tmp_path / "sum.csv")] == expected
    picture = cv2.imread(str(tmp_path / "sum.png"))
    assert picture.shape[1] == 1200 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 5
    assert "would overwrite" in predict(tmp_path / "sum.png", "--summary", tmp_path / "sum", code=1).stderr


def test_the_picture_of_a_summary_shows_emotions_over_time():
    """Happy for ten seconds, nobody for ten, then sad: the thirds have these colours."""
    summary = EmotionSummary("clip", CLASSES, video=True)
    for second in (*range(10), *range(20, 30)):
        summary.add([{"emotion": "happy" if second < 10 else "sad", "uncertain": False}], second, 1.0)
    assert summary.measure()["happy"] == summary.measure()["sad"] == 10
    shares = summary.spread()
    assert shares.shape == (60, 9) and shares.sum() == pytest.approx(40)
    row = draw([summary])[200]
    thirds = [row[x].tolist() for x in (200, 600, 1000)]
    happy, sad = (list(COLOURS[CLASSES.index(name)]) for name in ("happy", "sad"))
    assert thirds == [happy, [255, 255, 255], sad]
    assert to_csv([EmotionSummary("none", CLASSES, video=False)]).splitlines()[1] == "none,angry,,0,"


def test_a_video_that_ends_too_early(predict, photo_file, tmp_path):
    """Its frames are judged, and its end is reported."""
    video = write_video(tmp_path / "clip.avi", photo_file, frames=32)
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    process = predict(video, "--json", code=1)
    judged = len(process.lines)
    assert 5 < judged < 28
    assert process.stderr == f"error: {video} is damaged and ends after {judged} of 32 frames; copy it again\n"


def test_a_camera_that_stops_keeps_what_it_showed(predict, photo_file, tmp_path, monkeypatch):
    """Here a video stands in for it, and its end for the end of the frames."""
    video = write_video(tmp_path / "clip.mp4", photo_file)
    monkeypatch.setattr(app, "open_video", lambda source: open_video(video))
    outputs = ("--csv", tmp_path / "faces.csv", "--summary", tmp_path / "sum", "--draw", tmp_path / "marked")
    process = predict("--camera", 3, *outputs, code=1)
    assert process.stderr == "error: camera 3 stopped sending frames; connect it again\n"
    assert {row["file"] for row in read_csv(tmp_path / "faces.csv")} == {"camera 3"}
    assert {row["source"] for row in read_csv(tmp_path / "sum.csv")} == {"camera 3"}
    assert (tmp_path / "sum.png").exists() and (tmp_path / "marked" / "camera3.mp4").exists()


def test_a_table_outlives_a_run_that_judges_nothing(predict, tmp_path):
    table = tmp_path / "faces.csv"
    table.write_text("of an earlier run")
    for what in (("--camera", 97), (tmp_path / "none.jpg",)):
        predict(*what, "--csv", table, code=1)
        assert table.read_text() == "of an earlier run"


@pytest.mark.parametrize(("name", "codec", "rate"), [("10:30.avi", "MJPG", 119.7634), ("10:30.mp4", "mp4v", 29.97003)])
def test_a_video_may_have_a_colon_in_its_name_and_any_rate(
    name, codec, rate, predict, photo_file, tmp_path, monkeypatch
):
    """Here it is in the working directory, and the drawn one in another, then the other way round."""
    monkeypatch.chdir(tmp_path)
    photo = cv2.resize(cv2.imread(str(photo_file)), (256, 300))
    writer = cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter.fourcc(*codec), rate, (256, 300))
    for _ in range(6):
        writer.write(photo)
    writer.release()
    assert len(predict(name, "--json", "--draw", "marked").lines) == 6
    monkeypatch.chdir(tmp_path / "marked")
    Path("10:30.mp4").unlink()
    assert len(predict(tmp_path / name, "--json", "--draw", ".").lines) == 6
    assert cv2.VideoCapture(str(Path("10:30.mp4").absolute())).get(cv2.CAP_PROP_FRAME_COUNT) == 6


def test_a_photo_is_judged_whatever_precedes_it(predict, photo_file, tmp_path):
    """An empty folder, names that are too long, and one that OpenCV cannot take."""
    (tmp_path / "empty").mkdir()
    video = tmp_path / os.fsdecode(b"\xff.mp4")
    write_video(tmp_path / "clip.mp4", photo_file, frames=2).rename(video)
    places = (tmp_path / "empty", "x" * 300 + ".jpg", "x" * 300 + ".mp4", video, photo_file, photo_file)
    process = predict(*places, code=1)
    assert process.stderr.startswith("error: 4 of 5 files could not be processed:")
    assert "the name is not UTF-8; rename it" in process.stderr and len(process.lines) == 1


def test_a_film_keeps_time(tmp_path):
    """Three frames within a second, at 10 per second; each is shown until the next."""
    film = app.Film(tmp_path / "x.mp4", 10, (64, 48), "x.avi")
    for seconds, tone in ((0, 0), (0.4, 128), (1, 255)):
        film.write_frame(np.full((48, 64, 3), tone, np.uint8), seconds)
    film.finish()
    assert film.frames == 11
    written = cv2.VideoCapture(str(tmp_path / "x.mp4"))
    tones = [round(frame.mean() / 128) for _, frame in iter(written.read, (False, None))]
    assert tones == [0] * 4 + [1] * 6 + [2]
    (tmp_path / "x.mp4").write_bytes(b"a disk that was full")
    assert refuse(film.finish).startswith("x.avi: the drawn video is incomplete; free some space")


CONTRADICTORY = {
    "foreign": {},
    "other_crop": {"crop": "40"},
    "few": {"classes": '["a", "b"]'},
    "twice": {"classes": json.dumps(["a"] * 7)},
    "numbers": {"classes": "[0, 1, 2, 3, 4, 5, 6]"},
    "letters": {"classes": '"abcdefg"'},
    "lines": {"classes": json.dumps(["a\nb", *"bcdefg"])},
    "small": {"size": "43"},
    "huge": {"size": "1000000"},
    "wordy": {"size": "large"},
    "cold": {"temperature": "0"},
}
"""{name of a file: what its metadata say instead}."""
REFUSED = {
    "nowhere.jpg": "error: nowhere.jpg: not found",
    "nowhere.mp4": "error: nowhere.mp4: not found",
    "none": "error: none: no pictures or videos in this folder",
    "empty.png": "error: empty.png is empty; give a picture",
    "text.jpg": "error: text.jpg is not a readable picture",
    "text.mp4": "error: text.mp4 is not a readable video or is damaged; use one of .3gp",
    "--camera=97": "error: camera 97 shows nothing; name another with --camera",
    "a.jpg --threshold 0.605": "--threshold is 0.605, expected 0 to 1 in hundredths",
    "a.jpg --detector-score 0": "--detector-score is 0.0, expected more than 0",
    "--camera=-1": "--camera is -1, expected the number of a camera",
    "--camera=99999999999999999999": "--camera is 99999999999999999999, expected the number of a camera",
    "a.jpg --csv /dev/stdout": "error: --csv /dev/stdout: not a place for a file",
    "a.jpg --model vgg99": "error: no network named 'vgg99'; ",
    "a.jpg --model none.onnx": "error: none.onnx: not found; run `dvc repro export`",
    "a.jpg --model text.onnx": "error: text.onnx: not an ONNX file, or damaged",
    **{
        f"a.jpg --model {name}.onnx": f"error: {name}.onnx: not a network of stages/export.py" for name in CONTRADICTORY
    },
}
"""{arguments: how the one sentence begins}."""


@pytest.mark.parametrize("arguments", REFUSED)
def test_bad_input_is_one_sentence(predict, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "none").mkdir()
    for name, text in {"empty.png": "", **dict.fromkeys(("text.jpg", "text.mp4", "text.onnx"), "text")}.items():
        (tmp_path / name).write_text(text)
    for name, metadata in CONTRADICTORY.items():
        model = onnx.load(write_network(tmp_path / f"{name}.onnx", **metadata))
        if name == "foreign":
            onnx.helper.set_model_props(model, {})
        onnx.save(model, tmp_path / f"{name}.onnx")
    is_usage = "expected" in REFUSED[arguments]
    process = predict(*arguments.split(), code=2 if is_usage else 1)
    *before, line = process.stderr.splitlines()
    assert REFUSED[arguments] in line and (is_usage or not before) and process.stdout == ""


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """An empty folder instead of models/export/."""
    monkeypatch.setattr(recognition, "OWN", tmp_path)
    monkeypatch.setattr(recognition, "PRETRAINED", tmp_path / "none")
    return tmp_path


@pytest.mark.parametrize(
    "accuracies, chosen",
    [
        ({"a.int8": "0.6", "b.int8": "0.7", "c.int8": "0.65"}, "b.int8"),
        ({"a.int8": "0.6", "b": "0.7"}, "a.int8"),  # int8 before float32
        ({"a": "0.6", "b": "0.7"}, "b"),
        ({"b.int8": "0.7", "a.int8": "0.7"}, "a.int8"),  # the first name among equals
        ({"a.int8": None, "b.int8": "0.1"}, "b.int8"),
        ({"a.int8": None, "b.int8": None}, "a.int8"),
        ({"a.int8": "0.1", "b.int8": "nan", "c.int8": "70", "d.int8": "best"}, "a.int8"),
    ],
)
def test_the_default_is_the_best_int8_network_on_val(exported, accuracies, chosen):
    for name, accuracy in accuracies.items():
        write_network(exported / f"{name}.onnx", **({"val_accuracy": accuracy} if accuracy else {}))
    (exported / "damaged.int8.onnx").write_bytes(b"damaged")
    if not chosen.endswith(".int8"):
        (exported / "damaged.int8.onnx").rename(exported / "damaged.onnx")
    assert recognition.choose_model() == chosen
    assert read_accuracy(read_metadata(exported / f"{chosen}.onnx")) == float(accuracies[chosen] or 0)


def test_the_best_of_ones_own_networks_answers_if_it_knows_photographs(exported):
    """Until then the network of the clone does; networks of drawn faces are listed last, and marked."""
    write_network(exported / "best.int8.onnx", val_accuracy="0.9", trained_on="drawn faces")
    for name in ("small", "small.int8", "photo"):  # the last is that of stages/export_photo.py
        write_network(exported / "none" / f"{name}.onnx", val_accuracy="0.7", trained_on="fer2013.csv")
    assert recognition.list_models() == ["pretrained/small", "pretrained/small.int8", "best.int8"]
    assert recognition.choose_model() == "pretrained/small.int8"
    assert recognition.find_model("pretrained/small") == exported / "none" / "small.onnx"
    assert recognition.find_model("best.int8") == exported / "best.int8.onnx"
    assert "no network named 'small'; there are pretrained/small, " in refuse(recognition.find_model, "small")
    for name, accuracy in (("own.int8", "0.6"), ("own", "0.8"), ("worse.int8", "0.5")):
        write_network(exported / f"{name}.onnx", val_accuracy=accuracy, trained_on="fer2013.csv")
    assert recognition.choose_model() == "own.int8"
    head, *lines = (re.sub("   +", "  ", line) for line in recognition.tabulate_models())
    assert head.split("  ")[0] == "network" and len(lines) == 6
    assert lines[3] == "own.int8  fer2013.csv  7  60.0%  the data set's labels  0.1  (default)"
    assert lines[5] == "best.int8  drawn faces  7  90.0%  the data set's labels  0.1  (not for photos)"


VOTED = {"answers": "votes", "val_accuracy": "0.7", "val_agreement": '{"logits": 0.71, "votes": 0.88}'}


@pytest.mark.parametrize(
    "metadata, accuracy, reference",
    [
        (VOTED, 0.88, "the annotators' majority"),
        (VOTED | {"answers": "logits"}, 0.71, "the annotators' majority"),
        ({"answers": "logits", "val_accuracy": "0.7"}, 0.7, "the data set's labels"),  # the data have no votes
        ({"answers": "votes", "val_accuracy": "0.7"}, None, "the data set's labels"),  # that is the first head's
        (VOTED | {"val_agreement": '{"votes": 88}'}, None, "the annotators' majority"),
        (VOTED | {"val_agreement": "[0.88]"}, None, "the data set's labels"),
        ({}, None, "the data set's labels"),
    ],
)
def test_the_accuracy_told_is_that_of_the_head_that_answers(exported, metadata, accuracy, reference):
    write_network(exported / "a.onnx", **metadata)
    assert read_answers_accuracy(read_metadata(exported / "a.onnx")) == (accuracy, reference)
    known = recognition.describe_model("a")
    assert (known["answers_accuracy"], known["answers_compared_with"]) == (accuracy, reference)
    told = "unknown" if accuracy is None else f"{accuracy:.1%}"
    assert f"  unknown     7        {told}" in recognition.tabulate_models()[1]


@pytest.mark.parametrize("app", ["predict", "serve"])
def test_a_library_that_is_missing_is_one_sentence(app):
    """As in an environment without NumPy: Python loads nothing that is installed."""
    command = [sys.executable, "-S", f"apps/{app}.py"]
    process = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, timeout=60)
    assert process.returncode == 1 and process.stdout == ""
    assert re.fullmatch(r"error: \w+ is not installed; run `python -m pip install .*`.*\n", process.stderr)


def test_without_networks_it_says_what_to_do(exported):
    sentence = f"no network; {exported / 'none'} and {exported} are empty: run `dvc repro`"
    assert refuse(recognition.choose_model) == sentence
    assert recognition.tabulate_models() == [sentence]


def make_face(left, share):
    """A face 100 pixels wide that is angry to this share, or else disgusted."""
    return Face(Found((left + 50, 50), (100, 100), 1.0), np.array([share, 1 - share, 0, 0, 0, 0, 0]), None)


@pytest.fixture
def follow():
    """Give faces to a tracker that has seen one, surely not angry; returns {number: how angry it is}."""
    tracker = Tracker()
    tracker.follow([make_face(0, 0.0)], 0.1)
    return lambda faces, seconds: {face.number: face.probabilities[0] for face in tracker.follow(faces, seconds)}


def test_a_face_is_smoothed_over_time(follow):
    """After 0.3 s, the weight of what it showed before has faded to 1/e; a new face starts with what it shows."""
    for frame in range(1, 10):
        found = follow([make_face(frame, 1.0)], 1 / 30)
    assert found == {1: pytest.approx(1 - np.exp(-0.3 * 30 / 30 / 0.3), abs=1e-9)}
    assert follow([make_face(300, 1.0)], 1 / 30) == {2: 1}


def test_a_face_that_is_missed_for_a_moment_keeps_its_number(follow):
    for _ in range(4):
        assert follow([], 0.1) == {}
    assert 0 < follow([make_face(0, 1.0)], 0.1)[1] < 1
    for _ in range(7):
        follow([], 0.1)
    assert follow([make_face(0, 0.0)], 0.1) == {2: 0}


def test_two_faces_never_share_one_past(follow):
    found = follow([make_face(0, 1.0), make_face(10, 1.0)], 0.1)
    assert 0 < found[1] < 1 and found[2] == 1


@pytest.mark.parametrize(("left", "number"), [(53, 1), (54, 2)])
def test_a_box_that_shares_less_than_three_tenths_is_another_face(follow, left, number):
    assert [*follow([make_face(left, 1.0)], 0.1)] == [number]
