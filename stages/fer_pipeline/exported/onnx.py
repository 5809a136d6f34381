"""Exported networks: files of `stages/export.py`, read and run with onnxruntime and NumPy alone.

Their metadata say what is needed to use them; docs/use.md explains each key.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fer_pipeline.core.errors import InputError
from fer_pipeline.running.hardware import count_cores

BATCH = 64
INPUT, OUTPUT, VOTES, ANSWER = "pixels", "logits", "votes", "probabilities"
"""Names in the graph. A network with a second head has `VOTES`; `ANSWER` is the probabilities of the K classes: the
softmax of one head's logits after division by `answers_temperature`."""
MAJORITY, LABELS = "the annotators' majority", "the data set's labels"
"""What an answer is compared with, to say how often it is right."""
DEFAULT_SIZE = 48
"""Pixels of a face for files that lack `size`: older ones, all trained on FER-2013."""
DRAWN = "drawn faces"
"""`trained_on` of a network of the embedded sample."""
REMEDY = "run `dvc repro -f -s export`"


class OnnxModel(NamedTuple):
    """An exported network, ready to run on a CPU."""

    session: Any
    """`onnxruntime.InferenceSession`; onnxruntime has no type hints."""
    name: str
    """The file's name without `.onnx`: '<network>.int8'."""
    classes: tuple[str, ...]
    crop: int
    shape: tuple[int, ...]
    """That of a face: (size, size), in colour (size, size, 3)."""
    temperature: float
    metadata: dict[str, str]

    def predict(self, faces: NDArray[np.uint8]) -> NDArray[np.float64]:
        """First head's calibrated probabilities float64 (N, K) of faces uint8 (N, *shape): mean of crop and mirror."""
        return to_probabilities(self.compute(faces, OUTPUT)[OUTPUT], self.temperature)

    def answer(self, faces: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """The answer about faces uint8 (N, *shape), by the head that agrees best with annotators.

        It is the calibrated probability of each class, float64 (N, K), and the share of annotators expected to choose
        each class of `vote_classes`, float64 (N, V), or None if the network has one head.
        """
        if not self.has_votes:
            return self.compute(faces, ANSWER)[ANSWER], None
        said = self.compute(faces, ANSWER, VOTES)
        return said[ANSWER], to_probabilities(said[VOTES], float(self.metadata["votes_temperature"]))

    @property
    def colour(self) -> bool:
        """Whether faces are RGB instead of grey."""
        return len(self.shape) == 3

    @property
    def has_votes(self) -> bool:
        """Whether the network has a second head."""
        return "votes_temperature" in self.metadata

    def compute(self, faces: NDArray[np.uint8], *outputs: str) -> dict[str, NDArray[np.float64]]:
        """{output: float64 (N, K), or (N, V) for `VOTES`} of faces uint8 (N, *shape).

        An `InputError` says that they have another shape, or the network fails or gives values that are not finite.
        """
        if faces.shape[1:] != self.shape:
            raise InputError(f"{self.name}: takes faces {self.shape}, the data have {faces.shape[1:]}; {REMEDY}")
        batches = (to_pixels(faces[start : start + BATCH], self.crop) for start in range(0, len(faces), BATCH))
        try:
            parts = [self.session.run([*outputs], {INPUT: pixels}) for pixels in batches]
        except Exception as error:  # see `load_exported`
            raise InputError(f"{self.name}: fails ({' '.join(str(error).split())[:200]}); {REMEDY}") from None
        if not all(np.isfinite(values).all() for part in parts for values in part):
            raise InputError(f"{self.name}: gives values that are not finite; {REMEDY}")
        widths = {value.name: value.shape[1] for value in self.session.get_outputs()}
        columns = zip([np.empty((0, widths[output])) for output in outputs], *parts, strict=True)
        return {output: np.concatenate(values) for output, values in zip(outputs, columns, strict=True)}


def to_probabilities(logits: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """The softmax of logits (N, K) that are divided by the temperature."""
    scaled = logits / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def to_pixels(faces: NDArray[np.uint8], crop: int) -> NDArray[np.float32]:
    """The input of an exported network: the centre of faces uint8 (N, S, S, ...) as float32 (N, crop, crop, ...)."""
    border = (faces.shape[1] - crop) // 2
    return faces[:, border : border + crop, border : border + crop].astype(np.float32)


def open_session(model: str | bytes, threads: int | None = None, optimise: bool = True) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU for a path or for the bytes of a file.

    Without `threads` it takes every core. Without `optimise` it opens faster and runs slower. Between layers the
    threads spin for at most 0.05 ms, then sleep: waking them for each layer costs a small network a fifth of its time,
    spinning longer slows down OpenCV.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or count_cores()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.spin_duration_us", "50")
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata of an exported network, unchecked, in 10 ms for 20 MB; empty if the file cannot be read."""
    try:
        return dict(open_session(str(path), threads=1, optimise=False).get_modelmeta().custom_metadata_map)
    except Exception:  # `load_exported` says what is wrong with the file, once it is chosen
        return {}


def read_names(metadata: dict[str, str], key: str = "classes") -> tuple[str, ...]:
    """A list of different names in the metadata, each printable; empty if the metadata have no such list."""
    try:
        names = json.loads(metadata.get(key, "[]"))
    except (ValueError, RecursionError):
        names = None
    valid = isinstance(names, list) and all(isinstance(name, str) and name.isprintable() for name in names)
    return (*names,) if valid and len({*names}) == len(names) else ()


def read_accuracy(metadata: dict[str, str]) -> float:
    """The first head's accuracy on val by the data set's labels, in [0, 1]; 0 if the metadata have no valid one."""
    return to_share(metadata.get("val_accuracy")) or 0.0


def read_answers_accuracy(metadata: dict[str, str]) -> tuple[float | None, str]:
    """How often the head that answers is right on val, in [0, 1], and what counts as right: `MAJORITY` or `LABELS`.

    With votes, only val faces with a majority for one of the classes count. None if the metadata lack it.
    """
    answers = metadata.get("answers", OUTPUT)
    try:
        return to_share(json.loads(metadata["val_agreement"])[answers]), MAJORITY
    except (KeyError, TypeError, ValueError):
        return to_share(metadata.get("val_accuracy")) if answers == OUTPUT else None, LABELS


def to_share(value: Any) -> float | None:
    """A value of the metadata as a number; None if it is not one in [0, 1]."""
    try:
        share = float(value)
    except (TypeError, ValueError):
        return None
    return share if 0 <= share <= 1 else None


def load_exported(path: str | Path, threads: int | None = None) -> OnnxModel:
    """The network in a file of `stages/export.py`; `threads` as in `open_session`.

    An `InputError` says that the file is missing, damaged, of another kind, or gives no probabilities for two faces.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: not found; run `dvc repro export` (or `dvc pull`, if a remote has it)")
    try:
        session = open_session(str(path), threads)
        metadata = session.get_modelmeta().custom_metadata_map
    except Exception as error:  # onnxruntime raises a dozen classes without a public base
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not an ONNX file, or damaged ({reason}); run `dvc repro export`") from None
    try:
        classes, voted = (read_names(metadata, key) for key in ("classes", "vote_classes"))
        crop, temperature = int(metadata["crop"]), float(metadata["temperature"])
        size = int(metadata.get("size", DEFAULT_SIZE))
        values = [*session.get_inputs(), *session.get_outputs()]
        shapes, temperatures = {value.name: value.shape[1:] for value in values}, [temperature]
        colour = (3,) * (len(shapes.get(INPUT, ())) == 3)
        expected = {INPUT: [crop, crop, *colour], OUTPUT: [len(classes)], ANSWER: [len(classes)]}
        if VOTES in shapes:
            expected[VOTES] = [len(voted)]
            temperatures.append(float(metadata["votes_temperature"]))
        valid = (
            shapes == expected
            and {value.type for value in values} == {"tensor(float)"}
            and len(classes) > 1
            and (VOTES not in shapes or voted[: len(classes)] == classes)
            and 0 < crop <= size <= 2 * crop  # as `networks.network` has it
            and all(0 < one < math.inf for one in temperatures)
        )
    except (KeyError, ValueError, TypeError):
        valid = False
    if not valid:
        raise InputError(f"{path}: not a network of stages/export.py; give models/export/<name>.onnx")
    shape = (size, size, *colour)
    model = OnnxModel(session, path.name.removesuffix(".onnx"), classes, crop, shape, temperature, metadata)
    black, noise = np.zeros(shape), np.arange(math.prod(shape)).reshape(shape)
    probabilities, _ = model.answer(np.stack([black, noise]).astype(np.uint8))
    if probabilities.shape != (2, len(classes)) or abs(probabilities.sum(axis=1) - 1).max() > 0.01:
        raise InputError(f"{path}: gives no probabilities; {REMEDY}")
    return model
