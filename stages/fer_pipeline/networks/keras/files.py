"""models/<name>.keras: equal weights are written as equal bytes; errors of reading are plain sentences."""

import json
import re
import tempfile
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.faces import Facts
from fer_pipeline.networks.keras.framework import keras
from fer_pipeline.networks.network import TRAINED
from fer_pipeline.running.quiet import quiet_stderr


def pack_network(network: keras.Model, origin: Mapping[str, Any] | None = None) -> bytes:
    """The bytes of a .keras file, with what made it; equal input gives equal bytes, because DVC compares bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.keras"
        network.save(path)
        return normalize(path.read_bytes(), {TRAINED: origin} if origin else {})


def normalize(archive: bytes, added: Mapping[str, Any]) -> bytes:
    """The bytes of a .keras file with `added` metadata, times of 1980, the zip format's zero, and ids from 0."""
    with zipfile.ZipFile(BytesIO(archive)) as file:
        members = {name: file.read(name) for name in sorted(file.namelist())}
    metadata = json.loads(members["metadata.json"])
    members["metadata.json"] = json.dumps({**metadata, "date_saved": "1980-01-01@00:00:00", **added}).encode()
    numbers: dict[bytes, int] = {}
    members["config.json"] = re.sub(  # the ids are memory addresses
        rb'(?<="shared_object_id": )\d+',
        lambda address: b"%d" % numbers.setdefault(address[0], len(numbers)),
        members["config.json"],
    )
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, member in members.items():
            file.writestr(zipfile.ZipInfo(name), member)
    return content.getvalue()


def load_network(path: str | Path, name: str, facts: Facts) -> keras.Model:
    """The trained network `name` in a .keras file; InputError if it is missing, damaged, or not for such data."""
    remedy = f"train it anew with `dvc repro -f -s train_{name}`"
    if not Path(path).is_file():
        raise InputError(f"{path}: not found; run `dvc repro`")
    try:
        with quiet_stderr():
            network = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises nearly everything on a damaged file
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: damaged, or no Keras file ({reason}); {remedy}") from None
    found = tuple(getattr(network, shape, "no one shape") for shape in ("input_shape", "output_shape"))
    pixels, classes, voted = (None, facts.size, facts.size, facts.channels), len(facts.classes), len(facts.voted)
    if found not in [(pixels, (None, count)) for count in (classes, classes + voted)]:
        expected = f"{pixels} and (None, {classes}), or with votes (None, {classes + voted})"
        raise InputError(f"{path}: takes {found[0]} and gives {found[1]}, expected {expected}; {remedy}")
    return network
