"""How long requests to `apps/serve.py` take, one after the other and 50 at once.

    python benchmarks/load.py [NAME]                a network of `apps/predict.py --list`; by default the server's

The photo is the one that comes with matplotlib: 512x600 pixels, one face. Each answer is checked.
"""

import argparse
import json
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from matplotlib.cbook import get_sample_data

SERVER = Path(__file__).parents[1] / "apps" / "serve.py"
REQUESTS = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", metavar="NAME")
    name = parser.parse_args().name
    photo = Path(get_sample_data("grace_hopper.jpg", asfileobj=False)).read_bytes()
    command = [sys.executable, SERVER, "--port", "0", *(["--model", name] if name else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = server.stdout.readline().split()[0]

            def ask(_: int) -> tuple[str, int, float]:
                began = time.perf_counter()
                with urllib.request.urlopen(f"{address}/api/faces", photo) as response:
                    answer = json.load(response)
                return answer["model"], len(answer["faces"]), time.perf_counter() - began

            ask(0)
            for workers in (1, REQUESTS):
                began = time.perf_counter()
                with ThreadPoolExecutor(workers) as pool:
                    answers = list(pool.map(ask, range(REQUESTS)))
                rate = REQUESTS / (time.perf_counter() - began)
                right = sum(faces == 1 for _, faces, _ in answers)
                median, late = 1000 * np.percentile([seconds for *_, seconds in answers], [50, 95])
                print(
                    f"{answers[0][0]}, {workers} at once: {right} of {REQUESTS} answered, in {median:.0f} ms (median), "
                    f"95 % in {late:.0f} ms, {rate:.0f} per second"
                )
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
