"""How the code is laid out: which room imports which, what each stage depends on, and where networks are named."""

import ast
import re
import subprocess
import sys
from itertools import chain

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

import list_plots
from fer_pipeline.networks.network import find_network

PACKAGE = ROOT / "stages" / "fer_pipeline"
ROOMS = ("core", "running", "sample", "params", "faces", "raw", "networks")
ROOMS += ("training", "predictions", "metrics", "stress", "figures", "exported", "report")
"""Each imports only those to its left."""
BESIDE = {"exported": ("core", "running", "faces"), "inference": ("core", "running", "faces", "exported")}
BESIDE["answers"] = (*BESIDE["inference"], "inference")
"""Rooms that run where nothing is trained, and the ones that they may import."""
NOBODYS = ("params", "running")
"""Rooms that change no result, so that no stage depends on them."""
PARAMS = YAML(typ="safe").load(ROOT / "params.yaml")
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
FER = sorted(PACKAGE.rglob("*.py"))
MODULES = {".".join(path.relative_to(ROOT / "stages").with_suffix("").parts): path for path in FER}
MODULES = {name.removesuffix(".__init__"): path for name, path in MODULES.items()}
CODE = sorted(path for folder in ("stages", "apps", "tools") for path in (ROOT / folder).rglob("*.py"))
FILES = (path for folder in ("stages", "apps", "tools") for path in (ROOT / folder).rglob("*"))
TEMPLATES = sorted(path for path in FILES if path.suffix in (".html", ".j2"))
PAPERS_FIGURES = PACKAGE / "metrics" / "paper.py"
"""Names the paper's networks, for what the paper reports of them."""
HEAVY = ("torch", "tensorflow", "keras", "h5py")
LIGHT = [
    f"fer_pipeline.{room}.{path.stem}"
    for room in ("core", "running", "params")
    for path in (PACKAGE / room).glob("[!_]*.py")
]
LIGHT += ["fer_pipeline.faces.fer2013", *(f"fer_pipeline.networks.{name}" for name in PARAMS["networks"])]


def find_imports(path, networks=()):
    """What a file imports anywhere in it: modules, and the names taken from them.

    In `import_module(f"fer_pipeline.networks.{...}")` the braces stand for each of `networks`, or for each of their
    frameworks where they hold a word with `framework`.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.JoinedStr):
            pattern = ast.unparse(node)[2:-1]
            framework = "framework" in pattern.lower()
            choices = {find_network(name).FRAMEWORK if framework else name for name in networks}
            found |= {re.sub(r"\{[^}]*\}", choice, pattern) for choice in choices}
    return found


def find_files(path, networks=()):
    """The files of the package that a file imports."""
    return {MODULES[name] for name in find_imports(path, networks) & MODULES.keys()}


def get_room(path):
    return path.relative_to(PACKAGE).parts[0]


def list_words(tree):
    """Every string and every name in code, without docstrings."""
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Constant) and id(node) in documentation):
            yield from (value for value in vars(node).values() if isinstance(value, str))


@pytest.mark.parametrize("room", [*dict.fromkeys([*ROOMS, *BESIDE])])
def test_rooms_import_downwards_only(room):
    allowed = {room, *(BESIDE[room] if room in BESIDE else ROOMS[: ROOMS.index(room)])}
    files = [path for path in FER if get_room(path) == room]
    assert files
    for path in files:
        assert {*map(get_room, find_files(path, PARAMS["networks"]))} <= allowed, f"{path} imports upwards"


def test_every_file_of_the_package_lies_in_a_room():
    assert {*map(get_room, FER)} == {"__init__.py", *ROOMS, *BESIDE}


def test_the_package_imports_no_stage_no_app_and_no_tool():
    scripts = {path.stem for folder in ("stages", "apps", "tools") for path in (ROOT / folder).glob("*.py")}
    assert {"prepare", "predict", "release"} <= scripts
    for path in FER:
        assert not {name.partition(".")[0] for name in find_imports(path)} & scripts, path


def test_light_modules_load_nothing_heavy():
    """A network's title, the seven classes and the frame of a stage are there before any framework has loaded."""
    code = f"import sys, {', '.join(LIGHT)}; print(*(name for name in {HEAVY} if name in sys.modules))"
    loaded = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT / "stages", text=True)
    assert loaded.split() == []


def test_only_its_own_file_names_a_network():
    """Whatever else is said of a network follows from params.yaml and that file; tests and docs may name it."""
    names = re.compile(rf"(?<![a-z0-9])({'|'.join(PARAMS['networks'])})(?![a-z0-9])", re.IGNORECASE)
    texts = {path: [path.read_text()] for path in TEMPLATES} | {
        path: list_words(ast.parse(path.read_text())) for path in CODE if path.parent != PACKAGE / "networks"
    }
    assert {path for path, words in texts.items() if any(map(names.search, words))} == {PAPERS_FIGURES}


PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


@pytest.mark.parametrize(("file", "limit"), [("dvc.yaml", 350), *((page, 150) for page in PAGES)])
def test_what_people_read_is_short(file, limit):
    assert len((ROOT / file).read_text().splitlines()) <= limit


def list_files(script, networks):
    """The files of the package that a stage's script imports for some networks, directly or through others."""
    found, waiting = set(), [script]
    while waiting:
        new = find_files(waiting.pop(), networks) - found
        found |= new
        waiting += new
    return found


def list_deps(stage):
    """The paths of a stage's deps, the script's first; and the networks that it is about."""
    body = STAGES[stage].get("do", STAGES[stage])
    name = stage.removeprefix("train_")
    script = ROOT / re.search(r"python (stages/\w+\.py)", body["cmd"]).group(1)
    networks = [name] if name in PARAMS["networks"] else [*PARAMS["networks"]]
    deps = [dep.replace("${key}", name) for dep in body["deps"] for name in (networks if "${key}" in dep else [""])]
    return script, networks, [ROOT / dep for dep in deps]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_rooms_that_it_imports(stage):
    """On all of them and no others; on folders, or on single files in networks/; on no room that changes no output."""
    script, networks, deps = list_deps(stage)
    assert script in deps
    deps = {dep for dep in deps if PACKAGE in dep.parents}
    assert all(dep.is_dir() or dep.parent == PACKAGE / "networks" for dep in deps)
    assert not {*map(get_room, deps)} & {*NOBODYS}
    files = {path for path in list_files(script, networks) if get_room(path) not in NOBODYS}
    found = [{path, *path.parents} & deps for path in files]
    assert all(found), "an import lies in no room that the stage depends on"
    assert set().union(*found) == deps, "the stage imports nothing of a room that it depends on"


def test_few_lines_retrain_every_network():
    trainings = [list_deps(stage)[2] for stage in STAGES if stage.startswith("train_")]
    shared = set.intersection(*(set(deps) for deps in trainings))
    shared = {dep for dep in shared if PACKAGE in dep.parents}
    files = chain.from_iterable(dep.rglob("*.py") if dep.is_dir() else [dep] for dep in shared)
    assert sum(len(path.read_text().splitlines()) for path in files) <= 900


@pytest.mark.parametrize("name", PARAMS["networks"])
def test_the_pipeline_has_all_of_each_network(name):
    """What dvc.yaml lists by hand, as DVC has no loop there."""
    pipeline = YAML(typ="safe").load(ROOT / "dvc.yaml")
    model = PARAMS["networks"][name]
    expected = {
        "compare": {f"data/predictions/{name}.csv", f"metrics/{name}.json"},
        "score_exports": {f"models/export/{name}.onnx", f"models/export/{name}.int8.onnx"},
        "score_external": {f"${{networks.{name}}}"},
        "draw_stress": {f"metrics/stress/{name}.json"},
        "report": {
            *(f"metrics/{folder}{name}.json" for folder in ("", "train/", "stress/")),
            f"plots/{name}/test",
        },
    }
    assert f"train_{name}" in STAGES
    for stage, deps in expected.items():
        assert deps <= {*STAGES[stage].get("do", STAGES[stage])["deps"]}, f"{stage}: deps of {name}"
    artifacts = {
        name: model,
        f"{name}-onnx": f"models/export/{name}.onnx",
        f"{name}-onnx-int8": f"models/export/{name}.int8.onnx",
    }
    assert {key: pipeline["artifacts"][key]["path"] for key in artifacts} == artifacts


def test_the_list_of_plots_is_current(monkeypatch, tmp_path):
    monkeypatch.setattr(list_plots, "OUTPUT", tmp_path / "dvc.yaml")
    list_plots.main()
    assert (tmp_path / "dvc.yaml").read_text() == (ROOT / "plots" / "dvc.yaml").read_text(), "run `make plots`"


def test_make_alone_lists_the_targets():
    """It installs nothing; each target that is for people says what it does."""
    printed = subprocess.check_output(["make", "--no-print-directory"], cwd=ROOT, text=True)
    targets = re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE).group(1).split()
    assert {line.split()[1] for line in printed.splitlines() if len(line.split()) > 2} == {*targets} - {"url", "use"}


@pytest.mark.parametrize("folder", ["apps", "tools", "benchmarks"])
def test_scripts_import_the_package_of_their_own_checkout(folder, tmp_path):
    """Whichever environment runs them: here another package of the name comes first on Python's path."""
    (tmp_path / "fer_pipeline").mkdir()
    (tmp_path / "fer_pipeline" / "__init__.py").write_text("raise SystemExit('the wrong package')")
    code = "import checkout, fer_pipeline; print(fer_pipeline.__file__)"
    environment = {"PYTHONPATH": f"{ROOT / folder}:{tmp_path}", "PATH": ""}
    options = {"env": environment, "cwd": tmp_path, "capture_output": True, "text": True}
    process = subprocess.run([sys.executable, "-c", code], **options)
    assert process.stdout.strip() == str(PACKAGE / "__init__.py"), process.stderr
    for script in (ROOT / folder).glob("[!_]*.py"):
        text = script.read_text()
        assert ("import checkout" in text) == ("from fer_pipeline" in text), script.name
