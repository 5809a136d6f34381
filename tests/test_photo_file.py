"""One ONNX file from a photo to its answers: it says what `predict` says, in Python and under Node."""

import json
import subprocess

import numpy as np
import onnx
import pytest
from browser import PHOTOS, install
from conftest import ROOT, write_network
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

import export_photo
from build_site import SITE
from fer_pipeline.answers.recognition import Recogniser
from fer_pipeline.exported.onnx import open_session, read_metadata
from fer_pipeline.inference.detection import FRAME_SIDE, PHOTO_SIDE
from fer_pipeline.inference.opencv import cv2
from fer_pipeline.inference.photo_file import build_photo
from fer_pipeline.inference.photos import read_photo

FILE = ROOT / "pretrained" / "photo.onnx"
GREY = (128, 128, 128)


def rotate(photo, angle):
    """A photo turned counterclockwise on a grey canvas that holds all of it."""
    height, width = photo.shape[:2]
    matrix, side = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1), int(np.hypot(height, width))
    matrix[:, 2] += (side - width) / 2, (side - height) / 2
    return cv2.warpAffine(photo, matrix, (side, side), borderValue=GREY)


def repeat(photo):
    """Nine faces, three in a row, of two sizes; two rows are alike, and one is mirrored."""
    row = np.hstack([cv2.resize(photo, (side, 300), interpolation=cv2.INTER_AREA) for side in (240, 300, 300)])
    return np.vstack([row, row, row[:, ::-1]])


SCENES = {
    "as it is": lambda photo: photo,
    "small": lambda photo: cv2.resize(photo, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA),
    "large": lambda photo: cv2.resize(photo, (2000, 2345)),
    "exactly twice as large": lambda photo: cv2.resize(photo, (2048, 1800)),
    "turned left": lambda photo: rotate(photo, 27),
    "turned right": lambda photo: rotate(photo, -41),
    "nine faces": repeat,
    "cut by the edge": lambda photo: photo[:, : photo.shape[1] // 2].copy(),
}


@pytest.fixture(scope="module")
def session():
    return open_session(str(FILE))


def ask(session, photo, side=PHOTO_SIDE):
    """{output: its value} for a photo as OpenCV has it."""
    names = [output.name for output in session.get_outputs()]
    pixels = np.ascontiguousarray(photo[:, :, ::-1])
    return dict(zip(names, session.run(names, {"photo": pixels, "longest_side": np.array(side)}), strict=True))


def compare(said, recogniser, photo, side=PHOTO_SIDE):
    """Compare the answers about a photo with the recogniser's, and return the number of faces."""
    faces = recogniser.recognise(photo, side)
    assert said["boxes"].shape == (len(faces), 4) and said["cut"].tolist() == [face.place.cut for face in faces]
    for place, face in enumerate(faces):
        assert said["boxes"][place] == pytest.approx(face.place.box, abs=1)
        assert said["scores"][place] == pytest.approx(face.place.score, abs=1e-3)
        assert said["roll"][place] == pytest.approx(face.place.roll, abs=1)
        assert said["probabilities"][place] == pytest.approx(face.probabilities, abs=0.02)
        if face.shares is None:
            assert "annotators" not in said
        else:
            assert said["annotators"][place] == pytest.approx(face.shares, abs=0.02)
    return len(faces)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.stem)
def test_it_says_what_predict_says(session, path, scene):
    photo = SCENES[scene](read_photo(path))
    faces = compare(ask(session, photo), Recogniser("pretrained/compact.int8"), photo)
    assert faces >= {"nine faces": 6, "cut by the edge": 0}.get(scene, 1)


def test_frames_are_searched_at_one_size(session):
    photo = read_photo(PHOTOS[0])
    assert compare(ask(session, photo, FRAME_SIDE), Recogniser("pretrained/compact.int8"), photo, FRAME_SIDE) == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (47, 47), (300, 2), (700, 900)])
def test_a_picture_without_a_face_has_no_answers(session, size):
    said = ask(session, np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))
    assert {name: value.shape for name, value in said.items()} == {
        "boxes": (0, 4),
        "roll": (0,),
        "cut": (0,),
        "scores": (0,),
        "probabilities": (0, 7),
        "annotators": (0, 8),
    }


@pytest.mark.parametrize(
    "photo, side",
    [
        (np.zeros((40, 40, 3), np.float32), np.array(320)),
        (np.zeros((40, 40), np.uint8), np.array(320)),
        (np.zeros((40, 40, 4), np.uint8), np.array(320)),
        (np.zeros((40, 40, 3), np.uint8), np.array(320.0)),
    ],
)
def test_other_inputs_are_refused(session, photo, side):
    with pytest.raises(InvalidArgument, match="photo|longest_side|input data type"):
        session.run(None, {"photo": photo, "longest_side": side})


@pytest.mark.parametrize(
    "classes, shape, size", [(("bored & tired", "calm"), (58, 58, 3), 64), (("calm", "glad", "sad"), (44, 44), 48)]
)
def test_any_exported_network_can_judge(tmp_path, classes, shape, size):
    """Also in colour, of other sizes, and with one head."""
    path = write_network(tmp_path / "x.onnx", 0, classes, shape, size=str(size))
    content, photo = build_photo(path), read_photo(PHOTOS[0])
    assert compare(ask(open_session(content), photo), Recogniser(str(path)), photo) == 1


def test_the_stage_makes_the_released_file(run_stage, monkeypatch, tmp_path):
    """The same bytes whatever Python's hashes are, that network's metadata, at most 3.2 MB, operators of ONNX alone."""
    network, made = ROOT / "pretrained" / "compact.int8.onnx", tmp_path / "photo.onnx"
    for seed in ("2", "3", "5"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        made.unlink(missing_ok=True)
        assert run_stage("export_photo", "--model", network, "--out", made).returncode == 0
        assert made.read_bytes() == FILE.read_bytes()
    assert read_metadata(FILE) == read_metadata(network) and FILE.stat().st_size <= 3.2e6
    model = onnx.load(FILE)
    onnx.checker.check_model(model, full_check=True)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 20)] and not model.functions


def test_the_stage_refuses_what_is_no_network(call_stage, photo_file, tmp_path):
    out = tmp_path / "photo.onnx"
    refused = call_stage(export_photo, "--model", photo_file, "--out", out)
    assert refused.returncode == 1 and "not an ONNX file" in refused.stderr
    refused = call_stage(export_photo, "--model", FILE, "--out", out)
    assert refused.returncode == 1 and "not a network of stages/export.py" in refused.stderr
    assert not [*tmp_path.iterdir()]
    refused = call_stage(export_photo, "--model", photo_file, "--out", photo_file)
    assert refused.returncode == 1 and "--model and --out name the same file" in refused.stderr


IN_NODE = """
const ort = require("onnxruntime-web"), fs = require("fs");
const [file, pixels, height, width] = process.argv.slice(1);
ort.env.wasm.numThreads = 1;
ort.InferenceSession.create(fs.readFileSync(file)).then(async (session) => {
  const photo = new ort.Tensor("uint8", new Uint8Array(fs.readFileSync(pixels)), [+height, +width, 3]);
  const said = await session.run({photo, longest_side: new ort.Tensor("int64", [1024n], [])});
  const plain = ([name, value]) => [name, {dims: value.dims, data: Array.from(value.data, Number)}];
  console.log(JSON.stringify(Object.fromEntries(Object.entries(said).map(plain))));
});
"""


def test_a_browsers_runtime_says_the_same(tmp_path):
    """onnxruntime-web, in WebAssembly, under Node."""
    install()
    photo = read_photo(PHOTOS[0])
    (tmp_path / "pixels").write_bytes(photo[:, :, ::-1].tobytes())
    command = ["node", "-e", IN_NODE, "--", FILE, tmp_path / "pixels", *map(str, photo.shape[:2])]
    said = json.loads(subprocess.check_output(command, cwd=SITE, timeout=300, text=True))
    values = {name: np.array(value["data"]).reshape(value["dims"]) for name, value in said.items()}
    assert compare(values, Recogniser("pretrained/compact.int8"), photo) == 1
