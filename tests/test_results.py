"""The kept runs: the tables in the pages show what results/ holds."""

import base64
import hashlib
import json
import re
import shutil
import textwrap

import numpy as np
import pandas as pd
import pytest
from answers import draw_rows, make_splits
from conftest import ROOT, put, refuse

import collect
import rescore
from fer_pipeline.core.errors import InputError
from fer_pipeline.core.record import Record
from fer_pipeline.exported.record import Exports
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.figures.comparison import draw_all_wrong, draw_contradicted
from fer_pipeline.figures.data import draw_varied, plot_data
from fer_pipeline.figures.network import draw_confusion, draw_grad_cam, draw_mistakes
from fer_pipeline.figures.stress import draw_damages
from fer_pipeline.figures.style import shows_faces, to_png
from fer_pipeline.metrics.comparison import Comparison
from fer_pipeline.metrics.evaluation import Scores
from fer_pipeline.metrics.scores import Summary, apply_mcnemar
from fer_pipeline.raw.record import Data
from fer_pipeline.stress.record import Stress
from fer_pipeline.training.common.run import Training
from kept import ROWS_FILE, read_run
from origin import Origin, find_differences, find_origin
from pages import set_table
from timing import read_timing

KEPT = sorted(path.parent for path in (ROOT / "results").glob("*/run.json"))
BEST = ROOT / "results" / "fer2013-best"
SEEDS = {"mean": 0.1234, "lowest": 0.2345, "highest": 0.3456, "vote.accuracy": 0.4567, "vote.accuracy_unseen": 0.5678}
SAID = "Over the seeds 2013, 2014 and 2015, Compact averages 12.34% (from 23.45% to 34.56%); the soft vote of these networks has 45.67%"
NAMES = ("baseline", "vgg19", "resnet18", "compact")
FACTS = {
    "profile": "cpu", "split": "official", "seed": 2013, "minutes": 61.7,
    "hardware": {"cpu": "AMD EPYC", "cores": 2},
    "networks": {name: {"hardware": "AMD EPYC", "versions": {"python": "3.11.7"}} for name in NAMES},
}  # fmt: skip


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: folder.name)
def test_the_pages_say_what_the_run_gave(folder):
    pages = collect.set_tables(folder)
    assert {"README.md", "results/README.md"} & pages.keys()
    for page, text in pages.items():
        assert text == (ROOT / page).read_text(), page


def test_a_run_is_set_beside_the_published_ones():
    assert any(f"<!-- results {folder.name} -->\n" in (ROOT / "docs/benchmark.md").read_text() for folder in KEPT)


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: folder.name)
def test_a_kept_run_is_made_of_records(folder):
    """Also its times, which are in metrics/timing.json alone."""
    metrics = folder / "metrics"
    names = Comparison.read(metrics / "compare.json", "compare").table7
    kinds: dict[str, type[Record]] = {
        "data": Data,
        "compare": Comparison,
        "export": Exports,
        "summary/ensemble": Summary,
    }
    kinds |= {f"summary/{name}": Summary for name in names} | {f"train/{name}": Training for name in names}
    kinds |= dict.fromkeys(names, Scores)
    if (metrics / "stress").exists():  # earlier runs have none
        kinds |= {f"stress/{name}": Stress for name in names}
    for file, kind in kinds.items():
        record = kind.read(metrics / f"{file}.json", "")
        kept = record.model_dump(mode="json", exclude_unset=True)  # a newer key, None by default, is not in it
        assert kept == json.loads((metrics / f"{file}.json").read_bytes())
    files = {str(path.relative_to(metrics).with_suffix("")) for path in metrics.rglob("*.json")}
    assert files == {*kinds, "timing"}
    timing = read_timing(metrics / "timing.json", names)
    assert None not in [*timing.training.values(), *timing.prediction.values(), timing.exports]


WITH_FACES = {
    f"{one}.png" for one in ("faces", "augmented", "mistakes", "gradcam", "all_wrong", "contradicted", "damages")
}
IMAGE = r'<img src="data:image/png;base64,([^"]+)"'


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: folder.name)
def test_a_kept_run_shows_no_face(folder):
    """Its report has pictures of plots/ alone, and sentences in place of those of faces; no link is dead."""
    pictures = {path: path.read_bytes() for path in folder.rglob("*.png")}
    large = {path.name for path, content in pictures.items() if len(content) > 20_000}  # the others are sentences
    assert not WITH_FACES & large and not any(map(shows_faces, pictures.values())) and not [*folder.rglob("*.jp*g")]
    report, alone = (folder / "report.html").read_text(), len([*(folder / "metrics" / "train").iterdir()]) == 1
    shown = [base64.b64decode(image) for image in re.findall(IMAGE, report)]
    voted = json.loads((folder / "metrics" / "data.json").read_text())["votes_md5"] is not None
    fewest, fewest_left_out = ((9, 6) if voted else (7, 4)) if alone else (15, 7)
    assert len(shown) == report.count("<img") > fewest and {*shown} <= {*pictures.values()}
    assert report.count(collect.LEFT_OUT) >= fewest_left_out
    for page in folder.glob("*.html"):
        assert all((folder / link).exists() for link in re.findall(r'href="([^"#]+)', page.read_text())), page


def test_pictures_of_faces_are_told_from_others():
    """By what `to_png` writes into the file; the report that is kept has a sentence in their place."""
    rows, faces = draw_rows(300, 1), np.zeros((300, 48, 48), np.uint8)
    splits = make_splits({split: np.arange(14) % 7 for split in ("train", "val", "test")})
    wrong = {"index": 0, "actual": "sad", "vgg19": "happy", "compact": "happy", "same": True, "confidence": 0.9}
    said = {"index_in_test": 0, "actual": "sad", "predicted": "happy", "said": "happy 9"}
    crop = (faces[0], np.ones((48, 48), np.float32), 1)
    with_faces = {
        "augmented": draw_varied({"as they are": faces[:7], "VGG19": faces[:7]}, CLASSES),
        "mistakes": draw_mistakes(faces, rows, "VGG19"),
        "gradcam": draw_grad_cam({"correct": [crop] * 7, "incorrect": [None] * 7}, CLASSES, "VGG19"),
        "all_wrong": draw_all_wrong(pd.DataFrame([wrong]), faces, ["vgg19", "compact"]),
        "contradicted": draw_contradicted(pd.DataFrame([said]), faces, ten=True),
        "damages": draw_damages({"noise": faces[:5], "blur": faces[:5]}, range(1, 6)),
    }
    drawn = {f"{name}.png": to_png(figure) for name, figure in with_faces.items()}
    drawn |= {name: one for name, one in plot_data(splits, CLASSES).items() if name.endswith(".png")}
    drawn["confusion.png"] = to_png(draw_confusion(rows, "VGG19"))
    assert {name for name, picture in drawn.items() if shows_faces(picture)} == WITH_FACES
    embedded = [
        f'<img src="data:image/png;base64,{base64.b64encode(one).decode()}" alt="x"> {name}'
        for name, one in drawn.items()
    ]
    kept = collect.leave_faces_out("\n".join(embedded))
    lines = [
        f"{collect.LEFT_OUT if name in WITH_FACES else image[: -len(name) - 1]} {name}"
        for name, image in zip(drawn, embedded, strict=True)
    ]
    assert kept == "\n".join(lines)


@pytest.fixture
def folder(tmp_path):
    """A kept run with the metrics of fer2013-best."""
    folder = tmp_path / "results" / "here"
    shutil.copytree(BEST / "metrics", folder / "metrics")
    shutil.copyfile(BEST / "dvc.lock", folder / "dvc.lock")
    (folder / "run.json").write_text(json.dumps(FACTS))
    return folder


def make_text(folder, page="README.md"):
    """What the tool writes into a page about a run, on one line: where its sentences are wrapped does not count."""
    return collect.make_table(folder, page).replace("\n", " ")


def rewrite(folder, values):
    """Change the values of sources such as 'metrics/vgg19.json: accuracy' in the files of a folder."""
    for source, value in values.items():
        file = source.split(": ")[0]
        content = put({file: json.loads((folder / file).read_text())}, {source: value})
        (folder / file).write_text(json.dumps(content[file]))


SHOWN = {
    "metrics/vgg19.json: accuracy": (0.1234, "12.34%"),
    "metrics/baseline.json: accuracy_ci95": ([0.4321, 0.5], "43.21% to 50.00%"),
    "metrics/resnet18.json: val_accuracy": (0.6543, "65.43%"),
    "metrics/export.json: networks.vgg19.int8.accuracy": (0.4567, "| 45.67% |"),
    "metrics/export.json: networks.vgg19.int8.bytes": (98_760_000, "| 98.8 |"),
    "metrics/timing.json: score_exports.networks.vgg19.int8.latency_ms.threads_2.median": (76.54, "| 76.5 |"),
    "run.json: seed": (77, "seed 77."),
    "run.json: networks.resnet18.minutes": (92.4, "| 65.43% | 92 |"),
}


def test_every_number_of_the_table_is_the_runs(folder):
    """Change a number in the JSON, and the table changes there."""
    before = make_text(folder)
    assert "| VGG19 | " in before and "| 72.11% |" in before and "| 70.31% |" not in before
    assert "the times of its stages add up to 62 minutes. Trained by an unknown commit." in before
    assert "[here](results/here/) has all results." in before
    assert "[here](here/)" in make_text(folder, "results/README.md")
    assert all(len(line) <= 120 for line in collect.make_table(folder, "README.md").split("\n") if line[:1] != "|")
    for source, (value, shown) in SHOWN.items():
        rewrite(folder, {source: value})
        assert shown not in before and shown in make_text(folder), source


@pytest.mark.parametrize(
    ("vgg19", "resnet18", "said"),
    [
        ("NVIDIA H200", "NVIDIA H200", ", but trained VGG19 and ResNet18 on NVIDIA H200"),
        ("NVIDIA H100", "NVIDIA H200", ", but trained VGG19 on NVIDIA H100 and ResNet18 on NVIDIA H200"),
        ("AMD EPYC", "AMD EPYC", ""),
    ],
)
def test_networks_that_were_trained_elsewhere_say_so(vgg19, resnet18, said, folder):
    rewrite(folder, {"run.json: networks.vgg19.hardware": vgg19, "run.json: networks.resnet18.hardware": resnet18})
    assert f"2 cores of AMD EPYC{said}; the times" in make_text(folder)


VERSIONS = {"python": "3.11.7", "torch": "2.14.1"}
ONE = Origin(hardware="AMD EPYC", versions=VERSIONS, commit="a" * 40, clean=True, minutes=2.0)
KERAS = ONE.model_copy(update={"versions": {"python": "3.11.7", "keras": "3.15.1"}})
FROM_CACHE = ONE.model_copy(update=dict.fromkeys(("commit", "clean", "minutes")))
GPU = ONE.model_copy(update={"hardware": "NVIDIA H200", "versions": VERSIONS | {"torch": "2.11.0"}, "commit": "b" * 40})
UNLIKE = [
    (KERAS, []),
    (FROM_CACHE, []),
    (GPU, ["hardware AMD EPYC (vgg19), NVIDIA H200 (compact)", "torch 2.14.1 (vgg19), 2.11.0 (compact)", f"commit {'a' * 40} (vgg19), {'b' * 40} (compact)"]),
    (ONE.model_copy(update={"clean": False}), ["tree clean (vgg19), changed (compact)"]),
    (Origin(), ["hardware AMD EPYC (vgg19), unknown (compact)", "python 3.11.7 (vgg19), unknown (compact)"]),
]  # fmt: skip


@pytest.mark.parametrize(("other", "differences"), UNLIKE)
def test_what_differs_between_trainings(other, differences):
    assert find_differences({"vgg19": ONE, "compact": other}) == differences
    assert find_differences({"vgg19": other, "compact": other}) == []


def test_the_table_tells_how_the_networks_were_trained(folder):
    """Once if all were trained alike; else each its own."""

    def tell(**others):
        origins = dict.fromkeys(NAMES, ONE) | others
        facts = FACTS | {"networks": {name: one.model_dump() for name, one in origins.items()}}
        (folder / "run.json").write_text(json.dumps(facts))
        return make_text(folder)

    changed = ONE.model_copy(update={"clean": False})
    said = tell(
        **dict.fromkeys(("vgg19", "resnet18", "compact"), changed), baseline=KERAS.model_copy(update={"clean": False})
    )
    assert "Trained by commit aaaaaaaaaa and changes that were not committed. [here](" in said
    assert "| val | minutes of training | " in said and "| 72.11% | 70.69% to 73.64% | 70.19% | 2 | " in said
    said = tell(vgg19=GPU)
    assert "| val | trained on |" in said and "minutes of training" not in said
    assert "| 70.19% | NVIDIA H200 in 2 minutes, python 3.11.7, torch 2.11.0, commit bbbbbbbbbb |" in said
    assert "but trained VGG19 on NVIDIA H200;" in said and "Trained by" not in said
    assert "| 70.19% | AMD EPYC, python 3.11.7, torch 2.14.1, an unknown commit |" in tell(vgg19=FROM_CACHE)
    kept = {name: ONE.model_copy(update={"predictions": f"predictions/{name}.csv.gz"}) for name in NAMES}
    assert "nobody can check its scores" in said and "nobody" not in tell(**kept)


def test_times_count_for_the_model_that_they_belong_to(tmp_path):
    """What is in a model's file is known of any model, the rest only if the entry has the file's MD5."""
    model, timing, made = tmp_path / "x.safetensors", tmp_path / "timing.json", {"hardware": "GPU", "seed": 7}
    header = json.dumps({"__metadata__": {"trained": json.dumps(made)}}).encode()
    model.write_bytes(len(header).to_bytes(8, "little") + header)
    digest, part = hashlib.md5(model.read_bytes()).hexdigest(), {"start": "then", "commit": "a", "clean": True}
    for md5, known in ((digest, part | {"minutes": 1.5}), ("0" * 32, {}), (None, {})):
        entry = {"seconds": 90.0, "images_per_second": 1.0, "hardware": "GPU", "md5": md5, **part}
        timing.write_text(json.dumps({"train_compact": entry}))
        times = read_timing(timing, ["compact"], {"compact": str(model)}).training["compact"]
        assert find_origin(model, times) == Origin(**made, **known)
        assert read_timing(timing, ["compact"]).training["compact"].seconds == 90


def test_a_table_has_its_place(folder):
    readme = "one\n<!-- results here -->\nold\n<!-- end of results -->\ntwo\n<!-- end of results -->\n"
    new = "one\n<!-- results here -->\nnew\n<!-- end of results -->\ntwo\n<!-- end of results -->\n"
    here, a = "<!-- results here -->", "<!-- results a -->"
    assert set_table(readme, here, collect.CLOSING, "new", "x.md") == new
    assert set_table(f"{a}\n{collect.CLOSING}", a, collect.CLOSING, "x", "x.md").split("\n")[1] == "x"
    with pytest.raises(InputError, match="no place for the run"):
        collect.set_tables(folder)
    for unclosed in ("<!-- results a -->\ntext\n" + readme, "<!-- results a -->\ntext"):
        with pytest.raises(InputError, match=r"x\.md: no line .* before the next comment"):
            set_table(unclosed, a, collect.CLOSING, "new", "x.md")


def test_seconds_are_those_of_the_last_success():
    log = [
        "2026-01-01T10:00:00+00:00,5.0,0,python stages/a.py --in 'x y'",
        "2026-01-01T11:00:00+00:00,7.5,0,python stages/a.py --in 'x y'",
        "2026-01-01T12:00:00+00:00,9.0,1,python stages/a.py --in 'x y'",
    ]
    commands = {"a": 'python stages/a.py --in "x y"', "b": "python stages/b.py"}
    assert collect.read_seconds(log, commands) == {"a": 7.5, "b": None}


def test_further_seeds_are_named_below_the_table(folder, capsys):
    """As long as they belong to this run; a run that is kept once more keeps them."""
    shutil.copyfile(BEST / "seeds.json", folder / "seeds.json")
    rewrite(folder, {f"seeds.json: {key}": value for key, value in SEEDS.items()})
    assert SAID in make_text(folder)
    row = collect.make_table(folder, "docs/benchmark.md").split("\n")[-1]
    assert row.startswith("| Soft vote of Compact under 3 seeds | 45.67 | ") and "| 56.78 | PrivateTest |" in row

    again = shutil.copytree(folder, folder.with_name("again"), ignore=shutil.ignore_patterns("seeds.json"))
    said = {"compact-2014.csv.gz": True, "compact-2015_single_crop.csv.gz": True, "compact-2016.csv.gz": False}
    (folder / "predictions").mkdir()
    for name in said:
        (folder / "predictions" / name).write_bytes(b"x")
    collect.keep_seeds(folder, again)
    assert (again / "seeds.json").read_bytes() == (folder / "seeds.json").read_bytes() and not capsys.readouterr().out
    assert {name: (again / "predictions" / name).exists() for name in said} == said
    rewrite(again, {"metrics/compact.json: accuracy": 0.5})
    assert "seeds" not in make_text(again)
    (again / "seeds.json").unlink()
    collect.keep_seeds(folder, again)
    assert not (again / "seeds.json").exists() and "left out, as it belongs to another run" in capsys.readouterr().out
    (folder / "seeds.json").write_text("{}")
    with pytest.raises(InputError, match=r"seeds\.json: not as tools/seeds\.py writes it"):
        collect.make_table(folder, "README.md")


def test_a_run_without_times_has_dashes(folder):
    (folder / "metrics/timing.json").unlink()
    lines = collect.make_table(folder, "README.md").split("\n")
    assert lines[2].endswith("| – |") and lines[-1].endswith("| – | – |")


def test_the_benchmark_states_what_a_run_on_own_faces_saw(folder):
    """The size of what a network sees follows that of the faces; their splits have no names of the challenge."""
    before = make_text(folder, "docs/benchmark.md")
    rewrite(folder, {"metrics/data.json: size": 96, "run.json: split": "made"})
    after = make_text(folder, "docs/benchmark.md")
    assert "| PrivateTest | PublicTest | 2.0 M | 44 |" in before
    assert "| its test faces | its val faces | 2.0 M | 88 |" in after


def test_networks_are_those_of_the_run(folder):
    """Whatever params.yaml lists today. With the paper's split its figures stand beside, a dash where it has none."""
    rewrite(folder, {"run.json: split": "paper"})
    rewrite(folder, {f"metrics/compare.json: table7.vgg19.{key}": None for key in ("paper", "difference_points")})
    for name, key in (("compare", "table7"), ("export", "networks")):
        path = folder / f"metrics/{name}.json"
        content = json.loads(path.read_text())
        del content[key]["baseline"]
        path.write_text(json.dumps(content))
    table = collect.make_table(folder, "README.md")
    assert "Baseline" not in table
    assert [line.split(" | ")[4] for line in table.split("\n")[2:4]] == ["–", "71.60%"]


def test_a_network_of_ones_own_is_compared_as_the_page_says(tmp_path, monkeypatch, capsys):
    """Here Compact of fer2013-cpu, beside that of fer2013-photos."""
    page = (ROOT / "docs/evidence.md").read_text().partition("## Comparing a network of your own")[2]
    code = re.search("(?:    .*\n)+", page)[0]
    runs = (read_run(ROOT / "results" / name) for name in ("fer2013-photos", "fer2013-cpu"))
    rows = [run.read(["compact"])["compact"][""]["test"] for run in runs]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").symlink_to(ROOT / "results")
    pd.DataFrame({"predicted": np.array(CLASSES)[rows[1].predicted]}).to_csv("mine.csv")
    exec(textwrap.dedent(code), {})
    p_value = apply_mcnemar(*(one.correct for one in rows))[2]
    assert capsys.readouterr().out == f"70.69%, p = {p_value:.2g}\n" and 0 < p_value < 1


@pytest.mark.parametrize(
    "folder", [folder for folder in KEPT if (folder / ROWS_FILE).exists()], ids=lambda one: one.name
)
def test_a_kept_run_has_the_scores_of_its_predictions(folder):
    for file, kept, found in rescore.score_again(read_run(folder)):
        assert not [*rescore.list_differences(kept, found)], file


DAMAGES = {
    "seeds.json": (
        lambda content: content.replace(b"0.719142", b"0.99", 1),
        "the first accuracy is not that of the run",
    ),
    "run.json": (lambda content: content[:99], "damaged"),
    "predictions/rows.csv.gz": (lambda content: content[:9999], "damaged"),
    "predictions/compact.csv.gz": (lambda content: b"version https://git-lfs", "damaged"),
}


@pytest.mark.parametrize("file", DAMAGES)
def test_a_damaged_kept_run_is_one_sentence(file, tmp_path):
    folder = tmp_path / "results" / "fer2013-photos"
    shutil.copytree(ROOT / "results" / "fer2013-photos", folder)
    damage, said = DAMAGES[file]
    (folder / file).write_bytes(damage((folder / file).read_bytes()))
    assert refuse(lambda: [*rescore.score_again(read_run(folder))]) == f"{folder}/{file}: {said}; `git checkout` it"
