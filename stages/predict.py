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
import sys
import time
from pathlib import Path
from typing import NamedTuple

from fer.photos import SUFFIXES, cv2, read_photo
from fer.quiet import quiet_stderr
from fer.recognition import DEFAULT, THRESHOLD, Face, Recogniser
from fer.stage import InputError, catch, replacing

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
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
            for number, face in enumerate(described):
                known = [face["emotion"], face["confidence"], face["uncertain"], *face["probabilities"].values()]
                self.table.writerow([item.file, item.frame, item.seconds, number, *face["box"], *known])
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

    def __init__(self, seconds_per_frame):
        self.keep = math.exp(-seconds_per_frame / MEMORY)
        self.patience = PATIENCE / seconds_per_frame
        self.tracks = []  # [Face as last smoothed, frames since it was seen]

    def follow(self, faces):
        """`faces` of the next frame, each with its probabilities averaged with those it had before."""
        free = [[last, missed + 1] for last, missed in self.tracks if missed < self.patience]
        smoothed = []
        for face in faces:
            nearest = max(free, key=lambda track: share_area(track[0].box, face.box), default=None)
            if nearest and share_area(nearest[0].box, face.box) >= OVERLAP:
                free = [track for track in free if track is not nearest]
                blend = self.keep * nearest[0].probabilities + (1 - self.keep) * face.probabilities
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


def list_files(paths):
    """[(file, its name below what was given)]: files as they are, and of folders every picture and video.

    Raises:
        InputError: nothing there, or a folder without any.
    """
    files = []
    for path in map(Path, paths):
        if path.is_dir():
            found = [
                file
                for file in sorted(path.rglob("*"))
                if file.suffix.lower() in SUFFIXES + VIDEO_SUFFIXES and not file.name.startswith(".")
            ]
            if not found:
                raise InputError(f"{path}: no pictures or videos in this folder")
            files += [(file, file.relative_to(path)) for file in found]
        else:
            files.append((path, Path(path.name)))
    return files


def name_drawings(files, folder):
    """{file: the path of its drawing below `folder`}; files of one name are numbered.

    Raises:
        InputError: a drawing would take the place of its picture.
    """
    taken, drawings = set(), {}
    for file, name in files:
        suffix = ".mp4" if is_video(file) else ".jpg" if file.suffix.lower() in (".jpg", ".jpeg") else ".png"
        place, number = name.with_suffix(suffix), 1
        while place in taken:
            number += 1
            place = name.with_name(f"{name.stem}_{number}{suffix}")
        taken.add(place)
        drawings[file] = folder / place
    originals = {file.resolve() for file, _ in files}
    for drawing in drawings.values():
        if drawing.resolve() in originals:
            raise InputError(f"--draw {folder}: would overwrite {drawing}; name another folder")
    return drawings


def is_video(file):
    return file.suffix.lower() in VIDEO_SUFFIXES


class Photos:
    """Judges photos, the faces of many at once."""

    def __init__(self, recogniser, drawings, output):
        """`drawings` is {file: path of its drawing}, empty where nothing is drawn."""
        self.recogniser, self.drawings, self.output = recogniser, drawings, output
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
        judged = self.recogniser.judge([found for *_, found in self.waiting])
        for (file, photo, _), faces in zip(self.waiting, judged, strict=True):
            described = self.output.add(Item(str(file), None, None, faces))
            if self.drawings:
                drawn = draw_faces(photo, described)
                with replacing(self.drawings[file]) as unfinished:
                    unfinished.write_bytes(cv2.imencode(unfinished.suffix, drawn)[1])
        self.waiting, self.pixels = [], 0


def judge_video(source, name, recogniser, drawing, output):
    """Judge frame after frame of a video file, or of a camera (`source` is its number) until Ctrl-C.

    Args:
        drawing: the path of the video to write, or None.

    Raises:
        InputError: it cannot be opened, or holds no frame.
    """
    camera = isinstance(source, int)
    if not camera and not Path(source).is_file():
        raise InputError(f"{source}: not found")
    with quiet_stderr():
        video = cv2.VideoCapture(source)
    rate = video.get(cv2.CAP_PROP_FPS)
    rate = rate if 1 <= rate <= 240 else 30
    tracker, writer, frame = Tracker(1 / rate), None, 0
    with contextlib.ExitStack() as stack:
        stack.callback(video.release)
        unfinished = stack.enter_context(replacing(drawing)) if drawing else None
        with contextlib.suppress(KeyboardInterrupt) if camera else contextlib.nullcontext():
            while (photo := video.read()[1]) is not None:
                faces = tracker.follow(recogniser.judge([recogniser.find(photo, SEARCHED)])[0])
                described = output.add(Item(name, frame, round(frame / rate, 3), faces))
                frame += 1
                if drawing:
                    if writer is None:
                        size = photo.shape[1], photo.shape[0]
                        writer = cv2.VideoWriter(str(unfinished), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
                        stack.callback(writer.release)
                        if not writer.isOpened():
                            raise InputError(f"{drawing}: this OpenCV cannot write MP4; leave --draw out")
                    writer.write(draw_faces(photo, described))
        if not frame:
            remedy = "name another by --camera" if camera else f"give one of {', '.join(VIDEO_SUFFIXES)}"
            raise InputError(f"{name}: no video that can be read; {remedy}")


def draw_faces(photo, faces):
    """A copy of a photo with a box around each face, its emotion above, and seven bars below or beside it.

    Args:
        photo: uint8 (height, width, 3), blue, green, red.
        faces: dicts of `Recogniser.describe`.
    """
    drawn = photo.copy()
    for face in faces:
        left, top, width, height = face["box"]
        row, line = max(14, width // 10), max(2, width // 80)
        cv2.rectangle(drawn, (left, top), (left + width, top + height), CERTAIN, line)
        label = "uncertain" if face["uncertain"] else f"{face['emotion']} {face['confidence']:.0%}"
        write(drawn, label, left, max(0, top - row - line), row, CERTAIN)
        left, top, wide = place_bars(drawn.shape, face["box"], row, line)
        for emotion, share in face["probabilities"].items():
            colour = CERTAIN if emotion == face["emotion"] and not face["uncertain"] else UNCERTAIN
            write(drawn, emotion, left, top, row, BACKGROUND, wide, share, colour)
            top += row
    return drawn


def place_bars(shape, box, row, line):
    """Left, top and width of a face's seven bars: below its box, beside or above it, wherever the picture has room."""
    left, top, width, height = box
    wide, high = max(width, 6 * row), 7 * row
    places = [
        (left, top + height + line),
        (left + width + line, top),
        (left - wide - line, top),
        (left, top - row - 2 * line - high),
    ]
    for x, y in places:
        if min(x, y) >= 0 and x + wide <= shape[1] and y + high <= shape[0]:
            return x, y, wide
    return max(0, min(left, shape[1] - wide)), max(0, shape[0] - high), wide


def write(photo, text, left, top, height, background, width=None, share=0, bar=None):
    """Write white text on a background `width` pixels wide, by default as wide as the text, a bar behind it."""
    scale, thickness = height / 34, max(1, height // 20)
    (length, above), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    width = width or length + height // 2
    left = max(0, min(left, photo.shape[1] - width))
    cv2.rectangle(photo, (left, top), (left + width, top + height - 1), background, cv2.FILLED)
    if share:
        cv2.rectangle(photo, (left, top), (left + round(share * width), top + height - 1), bar, cv2.FILLED)
    place = left + height // 4, top + (height + above - below) // 2  # room for the tail of a g
    cv2.putText(photo, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), thickness, cv2.LINE_AA)


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
        "--model", default=DEFAULT, metavar="NAME", help="baseline, vgg19, resnet18, each also with .int8"
    )
    parser.add_argument("--face", action="store_true", help="each picture is one cropped face: search for none")
    parser.add_argument(
        "--threshold", type=float, default=THRESHOLD, help="less confidence is `uncertain` (%(default)s)"
    )
    parser.add_argument("--camera", type=int, metavar="N", help="judge what camera N sees, until Ctrl-C")
    parser.add_argument("--draw", type=Path, metavar="DIR", help="write each picture or video there, faces marked")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON object per photo or frame")
    form.add_argument("--csv", type=Path, metavar="FILE", help="write a row per face")
    args = parser.parse_args()
    if bool(args.paths) == (args.camera is not None):
        parser.error("give photos, videos or folders, or --camera, and not both")
    if not 0 <= args.threshold <= 1:
        parser.error(f"--threshold is {args.threshold}, expected 0 to 1")
    return args


def main():
    args = parse_arguments()
    sys.stdout.reconfigure(errors="backslashreplace")  # for names that are no Unicode
    files = list_files(args.paths)
    drawings = name_drawings(files, args.draw) if args.draw else {}
    recogniser = Recogniser(args.model, whole=args.face)
    if recogniser.warning:
        print(f"warning: {recogniser.warning}", file=sys.stderr)
    problems = []
    with contextlib.ExitStack() as stack:
        table = None
        if args.csv:
            unfinished = stack.enter_context(replacing(args.csv))
            table = stack.enter_context(open(unfinished, "w", encoding="utf-8", errors="backslashreplace", newline=""))
        output = Output(recogniser, args.threshold, args.json, table)
        if args.camera is not None:
            drawing = args.draw and args.draw / f"camera{args.camera}.mp4"
            judge_video(args.camera, f"camera {args.camera}", recogniser, drawing, output)
        photos = Photos(recogniser, drawings, output)
        shown = sys.stderr.isatty() and (args.csv or not sys.stdout.isatty())  # else the answers are seen going by
        for file in show_progress([file for file, _ in files], shown):
            try:
                if is_video(file):
                    photos.flush()
                    judge_video(str(file), str(file), recogniser, drawings.get(file), output)
                else:
                    photos.add(file)
            except InputError as error:
                problems.append(str(error))
        photos.flush()
    if problems:
        listed = "\n  ".join(problems)
        raise InputError(f"{len(problems):,} of {len(files):,} not judged:\n  {listed}" if files[1:] else listed)


if __name__ == "__main__":
    catch(main)
