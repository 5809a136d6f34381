"""Make one ONNX file that takes a photo, finds its faces and judges them by an exported network.

Reads   models/export/<name>.int8.onnx
Writes  models/export/photo/<name>.onnx; docs/photo-file.md describes its inputs and outputs.
Alone   python stages/export_photo.py --model models/export/compact.int8.onnx --out models/export/photo/compact.onnx
"""

import argparse
from pathlib import Path

from fer_pipeline.core.files import write_files
from fer_pipeline.inference.photo_file import build_photo
from fer_pipeline.running.paths import check_distinct
from fer_pipeline.running.stage import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="ONNX file, from stages/export.py")
    parser.add_argument("--out", type=Path, required=True, help="ONNX file to write")
    args = parser.parse_args()
    check_distinct({"--model": args.model, "--out": args.out})
    content = build_photo(args.model)
    write_files({args.out: content})
    print(f"{args.out.name}: {len(content):,} bytes")


if __name__ == "__main__":
    run(main)
