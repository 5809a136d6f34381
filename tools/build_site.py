"""Make the page that needs no server: a folder that any static host takes.

    make site                                                                  # build/site, with pretrained/photo.onnx
    python tools/build_site.py --network models/export/photo/compact.onnx      # with your own network

The page is the one of `make serve`; here the visitor's browser runs the network, by onnxruntime-web. The folder's files
name each other relatively, so it may lie at any address.
"""

import argparse
import gzip
import hashlib
import json
import subprocess
from pathlib import Path

import checkout
from fer_pipeline.answers.recognition import PREFIX, PRETRAINED, describe_model, warn
from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import ROOT, write_files
from fer_pipeline.exported.onnx import open_session, read_metadata
from fer_pipeline.inference.detection import WEIGHTS
from fer_pipeline.running.stage import catch

SITE = ROOT / "site"
RUNTIME = SITE / "node_modules" / "onnxruntime-web" / "dist"
FILES = {
    **{name: SITE / name for name in ("index.html", "page.css", "page.js", "worker.js")},
    "answer.js": SITE / "by_browser.js",
    "responsible-use.txt": ROOT / "docs" / "responsible-use.md",
    **{f"{name}.txt": WEIGHTS / name for name in ("LICENSE-yunet", "LICENSE-blazeface")},
    "ort.js": RUNTIME / "ort.wasm.bundle.min.mjs",  # some hosts give .mjs a type that browsers refuse
}
"""{name: what it is a copy of}."""


def describe(network: Path) -> dict[str, object]:
    """What the page says of a network, as `/api/models` says it."""
    metadata = read_metadata(network)
    end = ".int8" if metadata.get("precision") == "int8" else ""
    name = (PREFIX if network.parent.samefile(PRETRAINED) else "") + metadata.get("architecture", network.stem) + end
    return {**describe_model(str(network)), "name": name, "warning": warn(name, metadata.get("trained_on"))}


def read_photo_file(network: Path) -> bytes:
    """The bytes of a file that takes photos. Raises `InputError` for any other."""
    inputs = open_session(str(network)).get_inputs() if read_metadata(network) else []
    if "longest_side" not in [one.name for one in inputs]:
        raise InputError(f"{network}: not a file that takes photos; give one of models/export/photo/")
    return network.read_bytes()


def install() -> None:
    """Fetch onnxruntime-web as the lock file names it, unless it is there. Raises `InputError` if that fails."""
    lock, ready = SITE / "package-lock.json", SITE / "node_modules" / ".package-lock.json"
    if not ready.is_file() or ready.stat().st_mtime < lock.stat().st_mtime:
        command = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")
        try:
            subprocess.run(command, cwd=SITE, check=True)
        except (OSError, subprocess.CalledProcessError):
            raise InputError(f"npm did not install onnxruntime-web in {SITE}; it needs Node.js and npm") from None


def build(network: Path, folder: Path) -> int:
    """Write the page with a network into a folder; return its size in bytes."""
    photo, known = read_photo_file(network), describe(network)
    files = {name: path.read_bytes() for name, path in FILES.items()}
    files["photo.onnx"] = photo
    files["networks.json"] = json.dumps({"models": [known], "default": known["name"]}, indent=1).encode()
    runtime = (RUNTIME / "ort-wasm-simd-threaded.wasm").read_bytes()
    files["ort.wasm.gzip"] = gzip.compress(runtime, mtime=0)  # a quarter; not all hosts compress
    version = hashlib.sha256(b"".join(hashlib.sha256(files[name]).digest() for name in sorted(files))).hexdigest()
    kept = ["./", *sorted({*files} - {"index.html"})]  # "./" is that page; some hosts redirect its name
    head = f"const VERSION = {json.dumps(version[:16])};\nconst FILES = {json.dumps(kept)};\n"
    files["sw.js"] = head.encode() + (SITE / "sw.js").read_bytes()
    write_files({folder / name: content for name, content in files.items()})
    return sum(map(len, files.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    network = "a file of models/export/photo/ (%(default)s)"
    parser.add_argument("--network", type=Path, default=PRETRAINED / "photo.onnx", help=network)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", help="%(default)s")
    args = parser.parse_args()
    install()
    print(f"-> {args.out}: {build(args.network, args.out) / 1e6:.1f} MB; any static host takes it")


if __name__ == "__main__":
    catch(main)
