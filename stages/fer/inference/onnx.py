"""An exported network as everyone uses it who only asks what a face shows: onnxruntime and NumPy, nothing else.

The file carries what it takes to use it as metadata: `architecture`, `classes`, `crop` (height and width in pixels that
the network sees of the middle of a face), `normalisation`, `temperature` (of its softmax, fitted on val), `trained_on`
(the data set's file name), `precision`, and how it came about (see `stages/export.py`).
"""

import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from fer.core.hardware import count_cores
from fer.core.stage import InputError
from fer.data.fer2013 import SIZE

BATCH = 64
INPUT, OUTPUT = "pixels", "logits"
EMOTIONS = 7


class OnnxModel(NamedTuple):
    """An exported network, ready to run on a CPU."""

    session: onnxruntime.InferenceSession
    name: str
    """The file's name without `.onnx`: 'resnet18.int8'."""
    classes: tuple[str, ...]
    crop: int
    temperature: float
    metadata: dict[str, str]

    def predict(self, faces):
        """Calibrated class probabilities float64 (N, 7) of faces uint8 (N, 48, 48), grey; by the centre crop."""
        logits = self.compute_logits(faces) / self.temperature
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def compute_logits(self, faces):
        """What the network itself says, float64 (N, 7), of faces uint8 (N, 48, 48); softmax makes probabilities."""
        pixels = to_pixels(faces, self.crop)
        starts = range(0, len(pixels), BATCH)
        parts = [self.session.run([OUTPUT], {INPUT: pixels[start : start + BATCH]})[0] for start in starts]
        return np.concatenate([np.empty((0, len(self.classes))), *parts])


def to_pixels(faces, crop):
    """What an exported network takes: the middle of faces uint8 (N, 48, 48) as float32 (N, crop, crop), 0..255."""
    border = (SIZE - crop) // 2
    return faces[:, border : border + crop, border : border + crop].astype(np.float32)


def open_session(model, threads=None):
    """onnxruntime's session for a path or for bytes, on the CPU; `threads` None takes every core.

    Its threads wait without spinning: in a video another library works between two faces.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or count_cores()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def load_model(path, threads=None):
    """The network in a file of `stages/export.py`.

    Raises:
        InputError: the file is missing, damaged, no ONNX file, or none that `stages/export.py` wrote.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: not found; run `dvc repro export` (or `dvc pull`, where a remote has it)")
    try:
        session = open_session(str(path), threads)
    except Exception as error:  # onnxruntime has a dozen kinds, which share no name in public
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: no ONNX file, or damaged ({reason}); run `dvc repro -f export`") from None
    metadata = session.get_modelmeta().custom_metadata_map
    try:
        classes = tuple(json.loads(metadata["classes"]))
        crop, temperature = int(metadata["crop"]), float(metadata["temperature"])
        inputs, outputs = session.get_inputs(), session.get_outputs()
        shapes = [(value.name, value.type, value.shape[1:]) for value in (*inputs, *outputs)]
        known = (
            shapes == [(INPUT, "tensor(float)", [crop, crop]), (OUTPUT, "tensor(float)", [EMOTIONS])]
            and len(set(map(str, classes))) == EMOTIONS
            and 0 < crop <= SIZE
            and 0 < temperature < math.inf
        )
    except (KeyError, ValueError, TypeError):
        known = False
    if not known:
        raise InputError(f"{path}: not exported by this pipeline; give a file of models/export/")
    return OnnxModel(session, path.name.removesuffix(".onnx"), classes, crop, temperature, metadata)
