"""Say what the faces in photos, videos or a camera's stream show, with a network of models/export/.

    python stages/predict.py photo.jpg holiday/ clip.mp4
    python stages/predict.py holiday/ --csv faces.csv --draw marked/
    python stages/predict.py --camera 0

A line per face: file, box, emotion (or `uncertain`, under the threshold) and calibrated confidence. Folders are
searched with all that is below them. A file that cannot be read is listed at the end, and the exit code is 1; the
others are judged all the same. It needs onnxruntime, OpenCV and NumPy; neither PyTorch nor TensorFlow is loaded.
"""

import argparse
import contextlib
import csv
import json
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

from fer.core.quiet import quiet_stderr
from fer.core.stage import InputError, catch, explain, replacing
from fer.inference.photos import SUFFIXES, Box, cv2, read_photo
from fer.inference.recognition import DEFAULT, THRESHOLD, Face, Recogniser, find_model

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
COUNTED = (".avi", ".m4v", ".mov", ".mp4")
"""Videos that say themselves how many frames they have."""
BATCH = 64
"""Faces judged at a time, and photos looked at before they are."""
HELD = 50_000_000
"""Pixels of photos that wait to be drawn, at most: 150 MB."""
SEARCHED = 320
"""Width and height to which frames are scaled down to find faces, in pixels: a quarter of the time at 640x480."""
MEMORY = 0.3
"""Seconds in which what a face showed before fades to 1/e, in a video."""
PATIENCE = 0.5
"""Seconds for which a face that the detector misses is still the same face."""
OVERLAP = 0.3
"""Intersection over union of two boxes from which on they are one face."""
SMALLEST_DRAWN, LARGEST_ENLARGED = 240, 4000
"""A photo with a side below the first is drawn enlarged, in pixels, unless its other side grows above the second."""
CERTAIN, UNCERTAIN, BACKGROUND = (60, 150, 30), (120, 120, 120), (60, 60, 60)
"""Colours as OpenCV has them: blue, green, red."""


class Item(NamedTuple):
    """A photo, or a frame, with its faces."""

    file: str
    frame: int | None
    """From 0; None for a photo."""
    seconds: float | None
    """Since the video's start; None for a photo."""
    faces: list[Face]


class Output:
    """Prints or writes `Item`s as lines, JSON Lines or CSV."""

    def __init__(self, recogniser, threshold, as_json, table):
        """`table` is an open file for CSV, or None."""
        self.recogniser, self.threshold, self.as_json = recogniser, threshold, as_json
        self.table = table and csv.writer(table, lineterminator="\n")
        if self.table:
            box = ("left", "top", "width", "height")
            columns = ("file", "frame", "seconds", "face", *box, "emotion", "confidence", "uncertain")
            self.table.writerow((*columns, *recogniser.model.classes))

    def add(self, item):
        """Put an item out; its faces as dicts of `Recogniser.describe`, for a drawing."""
        described = [self.recogniser.describe(face, self.threshold) for face in item.faces]
        live = item.frame is not None
        if self.table:
            place = [item.file, item.frame, item.seconds]
            for number, face in enumerate(described):
                known = [face["emotion"], face["confidence"], face["uncertain"], *face["probabilities"].values()]
                self.table.writerow([*place, number, *face["box"], *known])
            if not described:
                self.table.writerow(place + [None] * (8 + len(self.recogniser.model.classes)))
        elif self.as_json:
            place = {"frame": item.frame, "seconds": item.seconds} if live else {}
            print(json.dumps({"file": item.file, **place, "faces": described}, ensure_ascii=False), flush=live)
        else:
            name = f"{item.file} {item.seconds:.2f} s" if live else item.file
            for face in described:
                left, top, width, height = face["box"]
                emotion = "uncertain" if face["uncertain"] else face["emotion"]
                print(f"{name}  {width}x{height} at {left},{top}  {emotion}  {face['confidence']:.0%}", flush=live)
            if not described and not live:
                print(f"{name}  no face found")
        return described


class Tracker:
    """Follows the faces of a video from frame to frame, and smooths what they show over time."""

    def __init__(self):
        self.tracks = []  # [Face as last smoothed, seconds since it was seen]

    def follow(self, faces, seconds):
        """`faces` of the next frame, each with its probabilities averaged with those it had `seconds` before."""
        keep = math.exp(-seconds / MEMORY)
        free = [[last, missed + seconds] for last, missed in self.tracks if missed < PATIENCE]
        smoothed = []
        for face in faces:
            nearest = max(free, key=lambda track: share_area(track[0].box, face.box), default=None)
            if nearest and share_area(nearest[0].box, face.box) >= OVERLAP:
                free = [track for track in free if track is not nearest]
                blend = keep * nearest[0].probabilities + (1 - keep) * face.probabilities
                face = face._replace(probabilities=blend)
            smoothed.append(face)
        self.tracks = [[face, 0] for face in smoothed] + free
        return smoothed


def share_area(one, other):
    """Intersection over union of two `Box`es, in [0, 1]."""
    width = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    height = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    shared = max(0, width) * max(0, height)
    return shared / (one.width * one.height + other.width * other.height - shared)


def list_files(paths, drawn=None):
    """What is to be judged: files as they are, and of folders every picture and video.

    Hidden files and folders are left out, and `drawn`, the folder of drawings, where it lies in one that is searched.

    Returns:
        {file: its name below what was given}, and a sentence for each path that cannot be searched.
    """
    files, problems = {}, []
    hidden = drawn and os.path.realpath(drawn)
    for path in map(Path, paths):
        try:
            if not path.is_dir():
                files.setdefault(path, Path(path.name))
                continue
        except OSError as error:
            problems.append(explain(error))
            continue
        found, known = [], len(problems)
        for folder, below, names in os.walk(path, onerror=lambda error: problems.append(explain(error))):
            below[:] = [n for n in below if not n.startswith(".") and os.path.realpath(Path(folder, n)) != hidden]
            found += [Path(folder, name) for name in names if not name.startswith(".")]
        found = sorted(file for file in found if file.suffix.lower() in SUFFIXES + VIDEO_SUFFIXES)
        if not found and len(problems) == known:
            problems.append(f"{path}: no pictures or videos in this folder")
        for file in found:
            files.setdefault(file, file.relative_to(path))
    return files, problems


def name_drawings(files, folder):
    """{file: the path of its drawing below `folder`}; files of one name are numbered.

    Raises:
        InputError: a drawing would lie among what is to be judged.
    """
    taken, drawings = set(), {}
    for file, name in files.items():
        suffix = ".mp4" if is_video(file) else ".jpg" if file.suffix.lower() in (".jpg", ".jpeg") else ".png"
        place, number = name.with_suffix(suffix), 1
        while place in taken:
            number += 1
            place = name.with_name(f"{name.stem}_{number}{suffix}")
        taken.add(place)
        drawings[file] = folder / place
    places = {os.path.realpath(parent) for parent in {file.parent for file in files}}
    if places & {os.path.realpath(parent) for parent in {drawing.parent for drawing in drawings.values()}}:
        raise InputError(f"--draw {folder}: pictures to be judged lie there; name another folder")
    return drawings


def check_table(path, files, model):
    """Raise an `InputError` where the table at `path` would take the place of a photo or of the network."""
    if str(path).startswith(("/dev/", "/proc/")):
        raise InputError(f"--csv {path}: no place for a file; leave --csv out to print")
    if os.path.realpath(path) in map(os.path.realpath, [*files, find_model(model)]):
        raise InputError(f"--csv {path}: would overwrite what is to be read; name another file")


def is_video(file):
    return file.suffix.lower() in VIDEO_SUFFIXES


class Photos:
    """Judges photos, the faces of many at once."""

    def __init__(self, recogniser, drawings, output, problems):
        """`drawings` is {file: path of its drawing}, empty where nothing is drawn; `problems` takes what goes wrong."""
        self.recogniser, self.drawings, self.output, self.problems = recogniser, drawings, output, problems
        self.waiting = []  # (file, photo where it will be drawn, what the recogniser found in it)
        self.pixels = 0

    def add(self, file):
        """Read a photo and find its faces.

        Raises:
            InputError: it cannot be read.
        """
        photo = read_photo(file)
        self.waiting.append((file, photo if self.drawings else None, self.recogniser.find(photo)))
        self.pixels += photo.shape[0] * photo.shape[1] if self.drawings else 0
        if sum(len(found) for *_, found in self.waiting) + len(self.waiting) >= BATCH or self.pixels >= HELD:
            self.flush()

    def flush(self):
        """Judge what waits, and put it out."""
        waiting, self.waiting, self.pixels = self.waiting, [], 0
        judged = self.recogniser.judge([found for *_, found in waiting])
        for (file, photo, _), faces in zip(waiting, judged, strict=True):
            described = self.output.add(Item(str(file), None, None, faces))
            if self.drawings:
                content = cv2.imencode(self.drawings[file].suffix, draw_photo(photo, described))[1]
                try:
                    with replacing(self.drawings[file]) as unfinished:
                        unfinished.write_bytes(content)
                except (InputError, OSError) as error:
                    self.problems.append(str(error) if isinstance(error, InputError) else explain(error))


class Film:
    """Writes a video, MPEG-4, at a constant rate."""

    def __init__(self, path, rate, size):
        """`size` is (width, height) in pixels, `path` has to end in .mp4; an `InputError` says what cannot be."""
        self.path, self.rate, self.frames = str(path), rate, 0
        with quiet_stderr():
            self.writer = cv2.VideoWriter(self.path, cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
        if not self.writer.isOpened():
            raise InputError("no MP4 can be written there; leave --draw out")

    def add(self, photo, seconds):
        """Show `photo` from `seconds` after the start: a camera's frames come as they come."""
        while self.frames <= round(seconds * self.rate):
            self.writer.write(photo)
            self.frames += 1

    def finish(self):
        """Close the file; an `InputError` says where it is not whole."""
        with quiet_stderr():
            self.writer.release()
            if cv2.VideoCapture(self.path).get(cv2.CAP_PROP_FRAME_COUNT) != self.frames:
                raise InputError("the drawn video could not be written in full; free some space and run again")


def judge_video(source, name, recogniser, drawing, output):
    """Judge frame after frame of a video file, or of a camera (`source` is its number) until Ctrl-C.

    Args:
        drawing: the path of the video to write, or None.

    Raises:
        InputError: it cannot be opened, holds no frame or ends too early, or `drawing` cannot be written.
    """
    camera = isinstance(source, int)
    for path in (source, drawing):
        try:
            str(path).encode()
        except UnicodeEncodeError:  # OpenCV would end the whole process
            raise InputError(f"{path}: the name is no UTF-8; rename it") from None
    if not camera and not Path(source).is_file():
        raise InputError(f"{source}: not found")
    with quiet_stderr():
        video = cv2.VideoCapture(source)
    rate = video.get(cv2.CAP_PROP_FPS)
    rate = rate if 0.1 <= rate <= 240 else 30
    expected = video.get(cv2.CAP_PROP_FRAME_COUNT) if Path(name).suffix.lower() in COUNTED else 0
    tracker, film, frame, before, stopped = Tracker(), None, 0, 0, False
    with contextlib.ExitStack() as stack:
        stack.callback(video.release)
        unfinished = stack.enter_context(replacing(drawing)) if drawing else None
        began = time.monotonic()
        try:
            while (photo := video.read()[1]) is not None:
                seconds = time.monotonic() - began if camera else frame / rate
                faces = tracker.follow(recogniser.judge([recogniser.find(photo, SEARCHED)])[0], seconds - before)
                described = output.add(Item(name, frame, round(seconds, 3), faces))
                if drawing:
                    film = film or Film(unfinished, rate, (photo.shape[1], photo.shape[0]))
                    film.add(draw_faces(photo, described), seconds)
                frame, before = frame + 1, seconds
        except KeyboardInterrupt:
            if not camera:
                raise
            stopped = True
        if not frame:
            remedy = "name another by --camera" if camera else f"give one of {', '.join(VIDEO_SUFFIXES)}"
            raise InputError(f"{name}: no video that can be read; {remedy}")
        if film:
            film.finish()
    if camera and not stopped:
        raise InputError(f"{name}: sends no more pictures")
    if frame < 0.9 * expected:
        raise InputError(f"{name}: damaged, ends after {frame:,} of {expected:,.0f} frames")


def draw_photo(photo, faces):
    """As `draw_faces`, of a photo: a small one is enlarged, and a single face that fills it has its bars beside it."""
    factor = math.ceil(SMALLEST_DRAWN / min(photo.shape[:2]))
    if factor > 1 and factor * max(photo.shape) <= LARGEST_ENLARGED:
        photo = cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        faces = [{**face, "box": [factor * pixels for pixels in face["box"]]} for face in faces]
    return draw_faces(photo, faces, widen=len(faces) == 1)


def draw_faces(photo, faces, widen=False):
    """A copy of a photo with a box around each face, its emotion above, and seven bars below or beside it.

    Where no place is free for its bars, a face has none.

    Args:
        photo: uint8 (height, width, 3), blue, green, red.
        faces: dicts of `Recogniser.describe`.
        widen: make the picture wider where no place is free.
    """
    drawn, taken = photo.copy(), [Box(*face["box"]) for face in faces]
    for face in faces:
        left, top, width, height = face["box"]
        row, line = measure_text(width)
        colour = UNCERTAIN if face["uncertain"] else CERTAIN
        cv2.rectangle(drawn, (left, top), (left + width, top + height), colour, line)
        label = "uncertain" if face["uncertain"] else f"{face['emotion']} {face['confidence']:.0%}"
        taken.append(write(drawn, label, left, max(0, top - row - line), row, colour))
    for face in faces:
        row, line = measure_text(face["box"][2])
        wide, high = max(face["box"][2], 6 * row), 7 * row
        place = find_place(drawn.shape, face["box"], wide, high, row, line, taken)
        if not place and widen:
            place = drawn.shape[1] + line, 0
            missing = max(0, high - drawn.shape[0])
            drawn = cv2.copyMakeBorder(drawn, 0, missing, 0, wide + line, cv2.BORDER_CONSTANT, value=BACKGROUND)
        if not place:
            continue
        left, top = place
        taken.append(Box(left, top, wide, high))
        for emotion, share in face["probabilities"].items():
            colour = CERTAIN if emotion == face["emotion"] and not face["uncertain"] else UNCERTAIN
            write(drawn, emotion, left, top, row, BACKGROUND, wide, share, colour)
            top += row
    return drawn


def measure_text(width):
    """The height of a row of text and the thickness of lines, in pixels, for a face `width` pixels wide."""
    return max(14, width // 10), max(2, width // 80)


def find_place(shape, box, wide, high, row, line, taken):
    """(left, top) where a face's bars fit below its box, beside or above it, clear of the `Box`es in `taken`, or None.

    Args:
        shape: of the picture.
        box: left, top, width and height of the face.
        wide, high: of the bars.
        row, line: as `measure_text` has them.
    """
    left, top, width, height = box
    places = [
        (left, top + height + line),
        (left + width + line, top),
        (left - wide - line, top),
        (left, top - row - 2 * line - high),
    ]
    for x, y in places:
        inside = min(x, y) >= 0 and x + wide <= shape[1] and y + high <= shape[0]
        if inside and not any(share_area(Box(x, y, wide, high), other) for other in taken):
            return x, y
    return None


def write(photo, text, left, top, height, background, width=None, share=0, bar=None):
    """Write white text on a background `width` pixels wide, by default as wide as the text, a bar behind it.

    Returns the `Box` that it covers.
    """
    scale, thickness = height / 34, max(1, height // 20)
    (length, above), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    width = width or length + height // 2
    left = max(0, min(left, photo.shape[1] - width))
    cv2.rectangle(photo, (left, top), (left + width, top + height - 1), background, cv2.FILLED)
    if share:
        cv2.rectangle(photo, (left, top), (left + round(share * width), top + height - 1), bar, cv2.FILLED)
    place = left + height // 4, top + (height + above - below) // 2  # room for the tail of a g
    cv2.putText(photo, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), thickness, cv2.LINE_AA)
    return Box(left, top, width, height)


def show_progress(files, shown):
    """Yield `files`, and where it is `shown` draw on stderr a bar of how many are done, and how long the rest takes."""
    began = time.monotonic()
    for done, file in enumerate(files):
        if shown:
            bar = "#" * (30 * done // len(files))
            left = (time.monotonic() - began) / done * (len(files) - done) if done else 0
            rest = f", {left // 60:.0f}:{left % 60:02.0f} left" if done else ""
            line = f"[{bar:.<30}] {done:,} of {len(files):,} files{rest}"
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
        yield file
    if shown:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="photos, videos, folders of them")
    parser.add_argument(
        "--model",
        default=DEFAULT,
        metavar="NAME",
        help="baseline, vgg19, resnet18, each also with .int8, or a file (%(default)s)",
    )
    parser.add_argument("--face", action="store_true", help="each picture is one cropped face: search for none")
    parser.add_argument(
        "--threshold", type=float, default=THRESHOLD, help="less confidence is `uncertain` (%(default)s)"
    )
    parser.add_argument("--camera", type=int, metavar="N", help="judge what camera N sees, until Ctrl-C")
    parser.add_argument("--draw", type=Path, metavar="DIR", help="write each picture or video there, faces marked")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON object per photo or frame")
    form.add_argument(
        "--csv", type=Path, metavar="FILE", help="write a row per face, and one of each picture without, and print none"
    )
    args = parser.parse_args()
    if bool(args.paths) == (args.camera is not None):
        parser.error("give photos, videos or folders, or --camera, and not both")
    if not 0 <= args.threshold <= 1:
        parser.error(f"--threshold is {args.threshold}, expected 0 to 1")
    if args.camera is not None and not 0 <= args.camera < 1000:
        parser.error(f"--camera is {args.camera}, expected the number of a camera, from 0")
    return args


def main():
    args = parse_arguments()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it without a word
    sys.stdout.reconfigure(errors="backslashreplace")  # for names that are no Unicode
    files, problems = list_files(args.paths, args.draw)
    count = len(files) + len(problems)
    drawings = name_drawings(files, args.draw) if args.draw else {}
    if args.csv:
        check_table(args.csv, files, args.model)
    recogniser = Recogniser(args.model, whole=args.face)
    if recogniser.warning:
        print(f"warning: {recogniser.warning}", file=sys.stderr)
    with contextlib.ExitStack() as stack:
        table = None
        if args.csv:
            unfinished = stack.enter_context(replacing(os.path.realpath(args.csv)))
            table = stack.enter_context(open(unfinished, "w", encoding="utf-8", errors="backslashreplace", newline=""))
        output = Output(recogniser, args.threshold, args.json, table)
        if args.camera is not None:
            drawing = args.draw and args.draw / f"camera{args.camera}.mp4"
            judge_video(args.camera, f"camera {args.camera}", recogniser, drawing, output)
        photos = Photos(recogniser, drawings, output, problems)
        shown = sys.stderr.isatty() and (args.csv or not sys.stdout.isatty())  # else the answers are seen going by
        for file in show_progress(list(files), shown):
            try:
                if is_video(file):
                    photos.flush()
                    judge_video(str(file), str(file), recogniser, drawings.get(file), output)
                else:
                    photos.add(file)
            except InputError as error:
                problems.append(str(error))
            except OSError as error:
                if file not in drawings:
                    raise
                problems.append(explain(error))
        photos.flush()
    if problems:
        listed = "\n  ".join(problems)
        raise InputError(f"{len(problems):,} of {count:,} went wrong:\n  {listed}" if count > 1 else listed)


if __name__ == "__main__":
    catch(main)
