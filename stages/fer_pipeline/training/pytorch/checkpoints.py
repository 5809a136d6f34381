"""The state of a PyTorch training: written whole or not at all, and found again after a stop."""

from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from fer_pipeline.core.files import write_files
from fer_pipeline.training.common.checkpoints import resume


def save(folder: Path, name: str, state: dict[str, Any]) -> None:
    """Write `<name>.ckpt`."""
    content = BytesIO()
    torch.save(state, content)
    write_files({folder / f"{name}.ckpt": content.getbuffer()})


def load(folder: Path, name: str) -> dict[str, Any]:
    """What `save` wrote, with all tensors on the CPU."""
    state: dict[str, Any] = torch.load(folder / f"{name}.ckpt", map_location="cpu", weights_only=True)
    return state


def find_last(folder: Path) -> dict[str, Any] | None:
    """The state to go on from, or None; a damaged one is reported on stderr and ignored."""

    def read(_: Path) -> tuple[dict[str, Any], int]:
        state = load(folder, "last")
        return state, len(state["history"])

    return resume(folder / "last.ckpt", read, folder / "best.ckpt")
