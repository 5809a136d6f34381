"""Make one ONNX file that takes a photo, finds its faces and judges them by an exported network.

    PYTHONHASHSEED=0 python tools/photo.py <network>.int8.onnx photo.onnx      # the same bytes each time

docs/photo-file.md describes its inputs and outputs. `make release` makes pretrained/photo.onnx in the same way.
"""

import argparse
from pathlib import Path

import checkout
from fer_pipeline.core.files import write_files
from fer_pipeline.inference.photo_file import build_photo
from fer_pipeline.running.stage import catch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path, help="a file of pretrained/ or models/export/")
    parser.add_argument("out", type=Path, help="the file to write")
    args = parser.parse_args()
    content = build_photo(args.network)
    write_files({args.out: content})
    print(f"-> {args.out}: {len(content):,} bytes")


if __name__ == "__main__":
    catch(main)
