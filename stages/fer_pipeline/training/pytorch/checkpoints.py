"""The state of a PyTorch training: written whole or not at all, and found again after a stop."""

from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import TorchCheckpointIO

from fer_pipeline.core.files import write_files
from fer_pipeline.training.common.checkpoints import resume


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file beside its path and renames it.

    Lightning itself writes to the system's temporary folder first: if that is on another disk, kill -9 can leave half a
    copy, and a full disk is reported under a wrong name.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = BytesIO()
        torch.save(checkpoint, content)
        write_files({path: content.getbuffer()})


def find_last(checkpoints: Path) -> Path | None:
    """The checkpoint to resume from, or None; a damaged one is reported on stderr and ignored."""

    def read(last: Path) -> tuple[Path, int]:
        return last, torch.load(last, map_location="cpu", weights_only=True)["epoch"] + 1

    return resume(checkpoints / "last.ckpt", read, checkpoints / "best.ckpt")


class MovableCheckpoint(ModelCheckpoint):
    """Goes on where the checkout was moved, although Lightning stores absolute paths."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(replace_text(state_dict, state_dict["dirpath"], str(self.dirpath)))


def replace_text(content: Any, old: str, new: str) -> Any:
    """`content` with `old` replaced by `new` in every string, also in the keys and values of nested dicts."""
    if isinstance(content, dict):
        return {replace_text(key, old, new): replace_text(value, old, new) for key, value in content.items()}
    return content.replace(old, new) if isinstance(content, str) else content
