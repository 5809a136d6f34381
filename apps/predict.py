"""Recognise the expressions of faces in photos, videos or a camera's stream.

    python apps/predict.py photo.jpg holiday/ clip.mp4 --csv faces.csv --draw marked/
    python apps/predict.py clip.mp4 --summary clip          # clip.csv, clip.png: how much of each emotion
    python apps/predict.py --camera 0
    python apps/predict.py --list                           # the networks, and how often each is right

It prints a line per face: file, box, emotion, calibrated confidence, and how many of ten annotators would likely choose
that emotion. `uncertain: sad  57%` is below the threshold. Folders are searched with all their subfolders. Files that
cannot be read are listed at the end, and the exit code is then 1. Pillow is needed for AVIF alone, tqdm for a progress
bar alone.
"""

import signal

if __name__ == "__main__":  # until main() runs, Ctrl-C would show a traceback of the imports
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import contextlib
import csv
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

if __package__ == "fer_pipeline.apps":  # installed by pip
    from fer_pipeline.apps import checkout  # type: ignore[import-not-found]
else:
    import checkout
from fer_pipeline.answers import recognition
from fer_pipeline.answers.drawing import draw_faces, draw_photo
from fer_pipeline.answers.recognition import PREFIX, THRESHOLD, Description, Recogniser, tell_answer
from fer_pipeline.answers.summary import EmotionSummary, draw, to_csv
from fer_pipeline.answers.tracking import Tracker
from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import replacing, write_files
from fer_pipeline.inference.detection import FRAME_SIDE, LEAST_SCORE
from fer_pipeline.inference.opencv import cv2
from fer_pipeline.inference.photos import (
    SUFFIXES,
    Photo,
    check_video_name,
    open_video,
    read_frames,
    read_photo,
    walk_files,
)
from fer_pipeline.running.quiet import no_stderr
from fer_pipeline.running.stage import catch, explain

VIDEO_SUFFIXES = (".3gp", ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
COUNTED_SUFFIXES = (".avi", ".m4v", ".mov", ".mp4")
"""Formats of video whose header gives the number of frames."""
COLUMNS = (
    *("file", "frame", "seconds", "face", "left", "top", "width", "height"),
    *("roll", "cut", "emotion", "confidence", "uncertain", "annotators"),
)
"""Columns of the table; the classes follow."""


class Output:
    """Prints the faces of photos and frames as lines or JSON Lines, or writes them as CSV."""

    def __init__(
        self, classes: tuple[str, ...], as_json: bool, table: TextIO | None, sum_up: bool, least: int, largest: bool
    ) -> None:
        """Print, or write CSV into the open file `table`; with `sum_up`, fill `summaries`: {source: its summary}.

        Faces whose box has less than `least` pixels on its longer side are left out, with `largest` all but the first.
        """
        self.classes, self.as_json, self.least, self.largest = classes, as_json, least, largest
        self.summaries: dict[str, EmotionSummary] | None = {} if sum_up else None
        self.judged = 0  # photos and frames
        self.table = table and csv.DictWriter(table, [*COLUMNS, *classes], extrasaction="ignore", lineterminator="\n")
        if self.table:
            self.table.writeheader()

    def write(
        self, file: str, faces: list[Description], frame: int | None = None, seconds: float = 0.0, length: float = 1.0
    ) -> list[Description]:
        """Write the faces of a photo, or those of a `frame` (from 0) that a video shows at `seconds` for `length`.

        Returns those that are not left out.
        """
        video = frame is not None
        self.judged += 1
        faces = faces[:1] if self.largest else faces
        small = [face for face in faces if max(face["box"][2:]) < self.least]
        faces = [face for face in faces if face not in small]
        if self.summaries is not None:
            name = file if video else "photos"
            summary = self.summaries.setdefault(name, EmotionSummary(name, self.classes, video))
            summary.add(faces, seconds, length, len(small))
        place = {"file": file, "frame": frame, "seconds": seconds} if video else {"file": file}
        if self.table:
            for number, face in enumerate(faces, 1):
                box = dict(zip(("left", "top", "width", "height"), face["box"], strict=True))
                known = {"face": face.get("number", number), **face, **face["probabilities"]}
                self.table.writerow(place | box | known)
            if not faces:
                self.table.writerow(place)
        elif self.as_json:
            print(json.dumps(place | {"faces": faces}, ensure_ascii=False), flush=True)
        else:
            name = f"{file} {seconds:.2f} s" if video else file
            for number, face in enumerate(faces, 1):
                left, top, width, height = face["box"]
                label = f"  face {face.get('number', number)}" if video or len(faces) > 1 else ""
                people = "" if face["annotators"] is None else f"  {face['annotators']} of 10 annotators"
                where = f"{width}x{height} at {left},{top}{', cut by the edge' if face['cut'] else ''}"
                print(f"{name}{label}  {where}  {'  '.join(tell_answer(face))}{people}", flush=True)
            if not faces and not video:
                print(f"{name}  no face {f'of {self.least} pixels or more' if small else 'found'}", flush=True)
        return faces


def list_files(paths: Iterable[Path]) -> tuple[dict[Path, Path], list[str]]:
    """{file to judge: its path within the folder that was given}, and a sentence for each path that cannot be searched.

    The files are those in `paths`, and every picture and video in the folders in `paths`, except hidden ones.
    """
    files: dict[Path, Path] = {}
    problems: list[str] = []
    for path in paths:
        if not os.path.isdir(path):  # noqa: PTH112 (`Path.is_dir` raises if a name is too long)
            files.setdefault(path, Path(path.name))
            continue
        known = len(problems)
        found = walk_files(path, lambda error: problems.append(explain(error)))
        judged = sorted(file for file in found if file.suffix.lower() in SUFFIXES + VIDEO_SUFFIXES)
        if not judged and len(problems) == known:
            problems.append(f"{path}: no pictures or videos in this folder")
        files |= {file: file.relative_to(path) for file in judged if file not in files}
    return files, problems


def name_drawings(files: Mapping[Path, Path], folder: Path) -> dict[Path, Path]:
    """{file: the path of its drawing in `folder`}; a name that another takes gets a number.

    An `InputError` says that `folder` is a file, or has a file of such a name.
    """
    if os.path.isfile(folder):  # noqa: PTH113 (as in `list_files`)
        raise InputError(f"--draw {folder}: it is a file; name a folder")
    placed: dict[Path, Path] = {}  # {drawing: file}
    for file, name in files.items():
        kind = file.suffix.lower()
        suffix = ".mp4" if kind in VIDEO_SUFFIXES else ".jpg" if kind in (".jpg", ".jpeg") else ".png"
        ends = itertools.chain([""], map("_{}".format, itertools.count(2)))
        places = (folder / name.with_name(f"{name.stem}{end}{suffix}") for end in ends)
        placed[next(place for place in places if place not in placed)] = file
    if taken := next((place for place in placed if os.path.lexists(place)), None):
        raise InputError(f"--draw {folder}: {taken} exists; remove it, or name another folder")
    return {file: place for place, file in placed.items()}


def encode(picture: Photo, path: Path) -> bytes:
    """A picture as the bytes of a file; `InputError` if the format of `path` cannot hold so many pixels."""
    with no_stderr():
        done, content = cv2.imencode(path.suffix, picture)
    if not done:
        height, width = picture.shape[:2]
        raise InputError(f"{path}: {width}x{height} pixels are too many for this format; scale the picture down")
    return content.tobytes()


def judge_photo(file: Path, recogniser: Recogniser, drawing: Path | None, output: Output) -> None:
    """Judge the faces of a photo; write `drawing` if given."""
    photo = read_photo(file)
    faces = output.write(str(file), [recogniser.describe(face) for face in recogniser.recognise(photo)])
    if drawing:
        write_files({drawing: encode(draw_photo(photo, faces), drawing)})


class Film:
    """A video file that is being written, as MPEG-4 with a constant frame rate."""

    def __init__(self, path: Path, rate: float, size: tuple[int, int], source: str) -> None:
        """Open `path`, an .mp4 of `source`; `rate` in frames per second, `size` (width, height) in pixels."""
        self.path, self.rate, self.frames, self.source = str(path.absolute()), round(rate, 2), 0, source
        self.last: Photo | None = None
        with no_stderr():  # MPEG-4 holds no finer rates, and FFmpeg takes a relative path with a colon for an address
            self.writer = cv2.VideoWriter(self.path, cv2.VideoWriter.fourcc(*"mp4v"), self.rate, size)
        if not self.writer.isOpened():
            raise InputError(f"{source}: no MP4 can be written in the folder of --draw; name another, or leave it out")

    def write_frame(self, photo: Photo, seconds: float) -> None:
        """Repeat the last frame until `seconds`, then show `photo`: the frames may come at irregular times."""
        place = round(seconds * self.rate)
        while self.frames <= place:
            self.writer.write(photo if self.last is None or self.frames == place else self.last)
            self.frames += 1
        self.last = photo

    def finish(self) -> None:
        """Close the file; an `InputError` says if it is incomplete."""
        with no_stderr():
            self.writer.release()
            if cv2.VideoCapture(self.path).get(cv2.CAP_PROP_FRAME_COUNT) != self.frames:
                raise InputError(f"{self.source}: the drawn video is incomplete; free some space and run again")


def watch_camera(video: Any) -> Iterator[tuple[float, float, Photo]]:
    """(seconds since the start, seconds since the frame before, frame) of each frame of a camera."""
    began, before = time.monotonic(), 0.0
    while (photo := video.read()[1]) is not None:
        seconds = time.monotonic() - began
        yield seconds, seconds - before, photo
        before = seconds


def judge_video(source: Path | int, recogniser: Recogniser, drawing: Path | None, output: Output) -> None:
    """Judge the frames of a video file, or those of the camera number `source` until Ctrl-C; write `drawing` if given.

    An `InputError` says that the video cannot be opened or ends too early, or that `drawing` cannot be written.
    """
    camera = isinstance(source, int)
    name = f"camera {source}" if camera else str(source)
    check_video_name(str(drawing))
    if not camera and not os.path.isfile(source):  # noqa: PTH113 (as in `list_files`)
        raise InputError(f"{source}: not found")
    video, rate = open_video(source)
    expected = video.get(cv2.CAP_PROP_FRAME_COUNT) if Path(name).suffix.lower() in COUNTED_SUFFIXES else 0
    film: Film | None = None
    tracker, frame, before, stopped = Tracker(), 0, 0.0, False
    with contextlib.ExitStack() as stack:
        stack.callback(video.release)
        unfinished = stack.enter_context(replacing(drawing)) if drawing else None
        frames = watch_camera(video) if camera else read_frames(video, rate)
        with contextlib.suppress(*[KeyboardInterrupt] * camera):
            for seconds, length, photo in frames:
                faces = tracker.follow(recogniser.recognise(photo, FRAME_SIDE), seconds - before)
                described = [recogniser.describe(face) for face in faces]
                described = output.write(name, described, frame, round(seconds, 3), length)
                if unfinished:
                    film = film or Film(unfinished, rate, (photo.shape[1], photo.shape[0]), name)
                    film.write_frame(draw_faces(photo, described), seconds)
                frame, before = frame + 1, seconds
            stopped = True
        if not frame:
            if camera:
                raise InputError(f"{name} shows nothing; name another with --camera")
            raise InputError(f"{name} is not a readable video or is damaged; use one of {', '.join(VIDEO_SUFFIXES)}")
        if film:
            film.finish()
    if camera and stopped:
        raise InputError(f"{name} stopped sending frames; connect it again")
    if frame < 0.9 * expected:
        raise InputError(f"{name} is damaged and ends after {frame:,} of {expected:,.0f} frames; copy it again")


def list_problems(problems: list[str], count: int) -> InputError:
    """The error that says what was wrong with some of `count` files."""
    head = f"{len(problems):,} of {count:,} files could not be processed:\n  " if count > 1 else ""
    return InputError(head + "\n  ".join(problems))


def name_place(text: str) -> Path:
    """A path of the command line."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    return Path(text)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=name_place, metavar="PATH", help="photos, videos, folders of them")
    parser.add_argument("--camera", type=int, metavar="N", help="judge the frames of camera N until Ctrl-C")
    parser.add_argument("--list", action="store_true", help="print the networks, and how often each is right")
    model = "name of a network, or path of an .onnx file; without it, the (default) of --list; "
    parser.add_argument("--model", metavar="NAME", help=(model + recognition.tell_models()).replace("%", "%%"))
    parser.add_argument("--face", action="store_true", help="treat each picture as one cropped face; skip detection")
    below = "confidence below which a face is `uncertain` (%(default)s), in hundredths"
    parser.add_argument("--threshold", type=float, default=THRESHOLD, help=below)
    score = "leave out faces that the detector scores lower (%(default)s; above 0, at most 1)"
    parser.add_argument("--detector-score", type=float, default=LEAST_SCORE, metavar="SCORE", help=score)
    small = "leave out faces whose box has fewer pixels on its longer side; --summary counts them as too small"
    parser.add_argument("--min-size", type=int, default=0, metavar="PIXELS", help=small)
    parser.add_argument("--largest", action="store_true", help="only the largest face of each photo or frame")
    copies = "write copies of the files into DIR, faces marked; it never replaces a file"
    parser.add_argument("--draw", type=name_place, metavar="DIR", help=copies)
    amounts = "write how much of each emotion each video and all photos together show: NAME.csv, and NAME.png (the "
    amounts += "first 100)"
    parser.add_argument("--summary", type=Path, metavar="NAME", help=amounts)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON object per photo or frame")
    rows = "write a row per face, and one per picture without faces; print nothing"
    form.add_argument("--csv", type=Path, metavar="FILE", help=rows)
    args = parser.parse_intermixed_args()
    if bool(args.paths) + (args.camera is not None) + args.list != 1:
        parser.error("give photos, videos or folders, or --camera, or --list")
    if args.summary and not args.summary.name:
        parser.error("--summary names no file: give the NAME of NAME.csv and NAME.png")
    if not (0 <= args.threshold <= 1 and math.isclose(100 * args.threshold, round(100 * args.threshold))):
        parser.error(f"--threshold is {args.threshold}, expected 0 to 1 in hundredths, as percentages are whole")
    if not 0 < args.detector_score <= 1:
        parser.error(f"--detector-score is {args.detector_score}, expected more than 0, at most 1")
    if args.camera is not None and not 0 <= args.camera < 1000:
        parser.error(f"--camera is {args.camera}, expected the number of a camera, from 0")
    return args


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    args = parse_arguments()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it silently
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for file names that are not valid Unicode
    if args.list:
        print(*recognition.tabulate_models(), sep="\n")
        return
    files, problems = list_files(args.paths)
    count = len(files) + len(problems)
    camera = Path(f"camera{args.camera}.mp4")
    seen = files if args.camera is None else {camera: camera}
    drawings = name_drawings(seen, args.draw) if args.draw else {}
    model = args.model or recognition.choose_model()
    summary_files = [args.summary.with_name(f"{args.summary.name}.{end}") for end in ("csv", "png") if args.summary]
    used = {os.path.realpath(path) for path in (*files, *drawings.values(), recognition.find_model(model))}
    for option, path in [("--csv", args.csv)] * bool(args.csv) + [("--summary", path) for path in summary_files]:
        if str(path).startswith(("/dev/", "/proc/")):
            raise InputError(f"{option} {path}: not a place for a file; leave {option} out to print")
        if os.path.realpath(path) in used:
            raise InputError(f"{option} {path}: would overwrite a file that is needed; name another file")
        if path.suffix.lower() in SUFFIXES + VIDEO_SUFFIXES and option == "--csv":
            raise InputError(f"--csv {path}: a picture or video; name the table to write, as in --csv faces.csv")
        used.add(os.path.realpath(path))
    recogniser = Recogniser(model, args.face, args.threshold, args.detector_score)
    if recogniser.warning:
        print(f"warning: {recogniser.warning}", file=sys.stderr)
    elif not args.model and not model.startswith(PREFIX):
        print(f"{model} answers, the best of your own networks on val; --model names another", file=sys.stderr)
    with contextlib.ExitStack() as stack:
        table = None
        if args.csv:
            unfinished = stack.enter_context(replacing(os.path.realpath(args.csv)))
            table = stack.enter_context(open(unfinished, "w", encoding="utf-8", errors="backslashreplace", newline=""))
        output = Output(recogniser.model.classes, args.json, table, bool(args.summary), args.min_size, args.largest)
        shown: Iterable[Path] = seen
        if files and sys.stderr.isatty() and (args.csv or not sys.stdout.isatty()):  # else answers show it
            with contextlib.suppress(ImportError):
                from tqdm import tqdm

                shown = tqdm([*files], unit="file", leave=False)
        for file in shown:
            try:
                if file.suffix.lower() in VIDEO_SUFFIXES:
                    judge_video(file if files else args.camera, recogniser, drawings.get(file), output)
                else:
                    judge_photo(file, recogniser, drawings.get(file), output)
            except (InputError, OSError) as error:
                if isinstance(error, OSError) and file not in drawings:
                    raise
                problems.append(explain(error) if isinstance(error, OSError) else str(error))
        if problems and not output.judged:  # before a table of an earlier run is replaced
            raise list_problems(problems, count)
    if output.summaries:
        known = [*output.summaries.values()]
        picture = encode(draw(known), summary_files[1])
        write_files(dict(zip(summary_files, (to_csv(known).encode(), picture), strict=True)))
    if problems:
        raise list_problems(problems, count)


def run() -> None:
    """The command: `main`, whose errors are one sentence."""
    try:
        catch(main)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is left to do


if __name__ == "__main__":
    run()
