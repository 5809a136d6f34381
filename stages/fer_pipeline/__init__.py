"""Facial expression recognition: the rooms of the pipeline, and `Faces` for other programs."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fer_pipeline.answers.library import Answer as Answer
    from fer_pipeline.answers.library import Faces as Faces


def __getattr__(name: str) -> Any:
    """`Faces` and `Answer`, which load OpenCV and onnxruntime only where they are used."""
    if name in ("Answer", "Faces"):
        from fer_pipeline.answers import library

        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
