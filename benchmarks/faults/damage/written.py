"""params.yaml, and what the stages write for one another: faces.h5, predictions, metrics, times, histories."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np

from faults.damage.case import Case, Place, Wrong, call, damage_file, damage_json, load, load_files
from faults.damage.networks import evaluate_arguments
from faults.damage.rows import command_prepare, read_plainly, read_rows
from faults.damage.ways import BYTES, TEXTS, Generator, set_odd

LAUGHS = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
HOSTILE_YAML = {
    "a billion laughs": f"a0: &a0 [x]\n{LAUGHS}",
    "a loop": "seed: &a [*a]\n",
    "a loop of dicts": "profiles: &a {x: *a}\n",
    "deep": "seed: " + "[" * 20_000,
    "code": "seed: !!python/object/apply:os.system ['false']\n",
    "a set": "networks: !!set {a, b}\n",
    "dates": "profile: 2020-01-01\nprofiles: {2020-01-01: {}}\n",
    "keys of lists": "? [1, 2]\n: 3\n",
    "two documents": "---\nseed: 1\n---\nseed: 2\n",
    "binary": "seed: !!binary aGVsbG8=\n",
}


def damage_params(rng: Generator, place: Place) -> Case:
    if (what := rng.random()) < 0.45:
        return damage_file(rng, place, "params/params.yaml", BYTES if rng.random() < 0.3 else TEXTS)
    from ruamel.yaml import YAML

    path = place.inputs / "params.yaml"
    content = YAML(typ="safe").load(place.sound / "params/params.yaml")
    if what < 0.6:
        how = str(rng.choice([*HOSTILE_YAML]))
        sound = (place.sound / "params/params.yaml").read_text()
        path.write_text(sound + HOSTILE_YAML[how] if rng.random() < 0.5 else HOSTILE_YAML[how])
        return Case(how, path)
    if what < 0.7:
        names = ["_x", "__base__", "model_config", "", "a b", "é", "copy", "1", "x" * 300]
        how, name = "a name", str(rng.choice(names))
        section = content[str(rng.choice(["profiles", "networks"]))]
        old = str(rng.choice([*section]))
        section[name] = section.pop(old)
        if old == content["profile"] and rng.random() < 0.5:
            content["profile"] = name
    else:
        how, content = "an odd value", set_odd(rng, content)
    path.write_text(json.dumps(content).replace("NaN", ".nan").replace("Infinity", ".inf"), errors="replace")
    return Case(how, path)


KEYS = ("seed", "dataset", "networks", "profile", "profiles.${profile}", "prepare", "compute", "evaluate", "other_sets")


def read_parameters(case: Case, place: Place) -> None:
    from fer_pipeline.params.read import read_params

    read_params(*KEYS, path=case.path)


def command_params(case: Case, place: Place) -> list[str]:
    path = place.project / "params.yaml"
    path.unlink(missing_ok=True)
    path.symlink_to(case.path)
    return command_prepare(Case("", place.sound / "tables/fer2013.csv"), place)


def damage_faces(rng: Generator, place: Place) -> Case:
    """Damaged bytes, or a sound HDF5 file that holds something else."""
    sound = place.sound / "faces/faces.h5"
    if rng.random() < 0.6:
        case = damage_file(rng, place, "faces/faces.h5", BYTES)
        rows = read_plainly((place.sound / "tables/fer2013.csv").read_bytes()) or []
        return case._replace(expected=sorted(rows, key=lambda row: row[1]))
    import h5py

    path = place.inputs / "faces.h5"
    shutil.copyfile(sound, path)
    with h5py.File(path, "a") as file:
        split = str(rng.choice(["train", "val", "test"]))
        key = str(rng.choice([*file[split]]))
        ways = ["attribute", "no attribute", "type", "shape", "values", "link", "lost", "empty", "huge", "group"]
        what = str(rng.choice(ways))
        if what == "attribute":
            odd = [1, np.nan, "x", b"\xff\xfe", np.zeros((2, 2)), ["a"] * 7, np.bytes_("angry"), h5py.Empty("f")]
            file.attrs[str(rng.choice([*file.attrs]))] = odd[rng.integers(len(odd))]
        elif what == "no attribute":
            del file.attrs[str(rng.choice([*file.attrs]))]
        else:
            old = file[split][key][()]
            del file[split][key]
            if what == "type":
                kinds = ["float64", "int64", "bool", "S3", "complex64", "float16", "uint16"]
                file[split][key] = old.astype(str(rng.choice(kinds)))
            elif what == "shape":
                file[split][key] = old[:-1] if rng.random() < 0.5 else old[..., np.newaxis]
            elif what == "values":
                file[split][key] = rng.integers(0, 256, old.shape).astype(old.dtype)
            elif what == "link":
                links = [h5py.SoftLink(f"/{split}/{key}"), h5py.ExternalLink("/etc/passwd", "/x")]
                file[split][key] = links[rng.integers(2)]
            elif what == "empty":
                file[split][key] = h5py.Empty(old.dtype)
            elif what == "group":
                file[split].create_group(key)
            elif what == "huge":
                count = int(rng.choice([10**6, 10**9, 2**62]))
                shapes = {key: old, **{name: rows[()] for name, rows in file[split].items()}}
                for name, rows in shapes.items():
                    file[split].pop(name, None)
                    shape = (count, *rows.shape[1:])
                    file[split].create_dataset(name, shape, rows.dtype, chunks=(1, *rows.shape[1:]))
    return Case(what, path)


def read_faces_file(case: Case, place: Place) -> None:
    found = read_rows(case.path)
    if case.expected is None:
        return
    if [image for *_, image in found] != [image for *_, image in case.expected]:
        raise Wrong("images are others than were written")


def compare_arguments(place: Place, data: Path, predictions: Path) -> list[str]:
    out = place.outputs
    return [
        *("stages/compare.py", "--data", str(data), "--predictions", str(predictions)),
        *("--metrics", str(place.sound / "compared"), "--report", f"{out}/compare.json"),
        *("--summary", f"{out}/ensemble.json", "--plots", f"{out}/plots"),
    ]


def command_faces(case: Case, place: Place) -> list[str]:
    return compare_arguments(place, case.path, place.sound / "predictions")


def damage_predictions(rng: Generator, place: Place) -> Case:
    shutil.copytree(place.sound / "predictions", place.inputs, dirs_exist_ok=True)
    (place.inputs / "compact.csv").unlink()
    case = damage_file(rng, place, "predictions/compact.csv", BYTES if rng.random() < 0.4 else TEXTS)
    if not case.path.is_file():
        return case
    try:
        rows = list(csv.DictReader(io.StringIO(case.path.read_bytes().decode(), newline="")))
        return case._replace(expected={(row["split"], int(row["index"])): row for row in rows})
    except (ValueError, KeyError, csv.Error, TypeError):
        return case


def read_predicted(case: Case, place: Place) -> None:
    from fer_pipeline.faces.faces import read_faces
    from fer_pipeline.faces.fer2013 import CLASSES
    from fer_pipeline.predictions.predictions import read_predictions

    faces = read_faces(place.sound / "faces/faces.h5")[0]
    found = read_predictions(case.path, faces)
    for split, one in found.items():
        for index, shares in enumerate(one.probabilities):
            row = (case.expected or {}).get((split, index))
            if row is None or [float(row[emotion]) for emotion in CLASSES] != shares.tolist():
                raise Wrong("probabilities are others than were written")


def command_compare(case: Case, place: Place) -> list[str]:
    return compare_arguments(place, place.sound / "faces/faces.h5", place.inputs)


def damage_metrics(rng: Generator, place: Place) -> Case:
    folder = place.inputs / "metrics"
    shutil.copytree(place.sound / "metrics", folder)
    path = folder / str(rng.choice([name for name in load_files(folder) if name.endswith(".json")]))
    how = damage_json(rng, place, path)
    return Case(f"{path.relative_to(folder)}: {how}", path)


def report_arguments(place: Place) -> list[str]:
    metrics, plots = place.inputs / "metrics", place.project / "plots"
    return ["--metrics", str(metrics), "--plots", str(plots), "--out", str(place.outputs / "report.html")]


def read_metrics(case: Case, place: Place) -> None:
    call("stages/report.py", report_arguments(place))


def command_report(case: Case, place: Place) -> list[str]:
    return ["stages/report.py", *report_arguments(place)]


def damage_timing(rng: Generator, place: Place) -> Case:
    path = place.inputs / "timing.json"
    shutil.copyfile(place.sound / "timing/timing.json", path)
    return Case(damage_json(rng, place, path), path)


def read_times(case: Case, place: Place) -> None:
    """As `make times` does, and as a stage that adds its own."""
    from fer_pipeline.predictions.record import EvaluationTimes
    from fer_pipeline.running.timing import record_times
    from timing import read_timing

    times = load("tools/times.py")
    tables = times.list_tables(read_timing(case.path, ["compact"]), {"compact": "Compact"})
    times.make_page(tables)
    list(times.print_tables(tables))
    mine = EvaluationTimes(latency_ms_batch1=1.0, images_per_second=1.0, hardware="x")
    record_times(case.path, "evaluate@compact", mine)
    if read_timing(case.path, ["compact"]).evaluation["compact"] != mine:
        raise Wrong("the times that were added are lost")


def command_times(case: Case, place: Place) -> list[str]:
    path = place.project / "metrics" / "timing.json"
    path.unlink(missing_ok=True)
    path.symlink_to(case.path)
    return ["tools/times.py"]


def damage_history(rng: Generator, place: Place) -> Case:
    return damage_file(rng, place, "history/history.csv", BYTES if rng.random() < 0.4 else TEXTS)


def read_curves(case: Case, place: Place) -> None:
    from fer_pipeline.figures.network import draw_curves
    from fer_pipeline.figures.style import to_png

    to_png(draw_curves(load("stages/evaluate.py").read_history(case.path), "Compact"))


def command_history(case: Case, place: Place) -> list[str]:
    return evaluate_arguments(place, "compact", place.sound / "models/compact.safetensors", case.path)
