"""How the code is laid out: which room imports which, what each stage depends on, and where networks are named."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from itertools import chain

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

import list_plots

PACKAGE = ROOT / "stages" / "fer_pipeline"
ROOMS = (
    *(
        "core",
        "running",
        "sample",
        "params",
        "faces",
        "raw",
        "networks",
        "training",
        "predictions",
        "metrics",
        "figures",
    ),
    *("exported", "report"),
)
"""Each imports only those to its left."""
BESIDE = {"exported": ("core", "running", "faces"), "inference": ("core", "running", "faces", "exported")}
"""Rooms that run where nothing is trained, and the ones that they may import."""
NOBODYS = ("params", "running")
"""Rooms that change no output, so that no stage depends on them."""
PARAMS = YAML(typ="safe").load(ROOT / "params.yaml")
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
FER = sorted(PACKAGE.rglob("*.py"))
CODE = sorted(path for folder in ("stages", "apps", "tools") for path in (ROOT / folder).rglob("*.py"))
TEMPLATES = sorted(path for folder in ("stages", "apps", "tools") for path in (ROOT / folder).rglob("*.html*"))
NAMES_NETWORKS = {PACKAGE / "metrics" / "paper.py"}
"""What the paper reports, by network."""
HEAVY = ("torch", "tensorflow", "keras", "h5py")
LIGHT = [
    f"fer_pipeline.{room}.{path.stem}"
    for room in ("core", "running", "params")
    for path in (PACKAGE / room).glob("[!_]*.py")
]
LIGHT += ["fer_pipeline.faces.fer2013", *(f"fer_pipeline.networks.{name}" for name in PARAMS["networks"])]


def name_module(path):
    """The module that a file of stages/ is, as an import names it."""
    return ".".join(path.relative_to(ROOT / "stages").with_suffix("").parts).removesuffix(".__init__")


def list_imports(tree):
    """The modules that code imports anywhere: pairs of a dotted name, and the names taken from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here"
            yield node.module, tuple(alias.name for alias in node.names)
        elif isinstance(node, ast.JoinedStr) and ast.unparse(node)[2:].startswith("fer_pipeline."):  # for import_module
            yield ast.unparse(node)[2:].partition(".{")[0], ()


def list_rooms(text):
    """The rooms that code imports."""
    for module, names in list_imports(ast.parse(text)):
        if module == "fer_pipeline":
            yield from names
        elif module.startswith("fer_pipeline."):
            yield module.split(".")[1]


def make_graph():
    """{module of fer: modules of fer that it imports}; what is found by a network's name is left out."""
    modules = {name_module(path): path for path in FER}
    graph = {}
    for module, path in modules.items():
        imports = list(list_imports(ast.parse(path.read_text())))
        taken = {f"{imported}.{name}" for imported, names in imports for name in names}
        graph[module] = ({imported for imported, _ in imports} | taken) & modules.keys()
    return graph


def is_docstring(node):
    """Whether a node is a string that stands alone: documentation of what is around it."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def list_words(tree):
    """Pairs of line number and text: every string and every name in code, without docstrings."""
    documentation = {id(node.value) for node in ast.walk(tree) if is_docstring(node)}
    for node in ast.walk(tree):
        if id(node) in documentation:
            continue
        for value in vars(node).values():
            if isinstance(value, str):
                yield getattr(node, "lineno", 0), value


def find_names(text, names):
    """The `names` that occur in `text` as whole words, whatever their case; an underscore ends a word."""
    return [name for name in names if re.search(rf"(?<![a-z0-9]){name}(?![a-z0-9])", text, re.IGNORECASE)]


def list_untyped(tree):
    """Line and name of public functions and methods in which an argument or the result has no type."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    for node in (*tree.body, *(member for cls in classes for member in cls.body)):
        if not isinstance(node, ast.FunctionDef) or (node.name.startswith("_") and node.name != "__init__"):
            continue
        of = node.args
        arguments = [*of.posonlyargs, *of.args, *of.kwonlyargs, *filter(None, (of.vararg, of.kwarg))]
        untyped = [argument.arg for argument in arguments if not argument.annotation]
        if {*untyped} - {"self", "cls"} or not node.returns:
            yield f"{node.lineno}: {node.name}"


@pytest.mark.parametrize("room", [*dict.fromkeys([*ROOMS, *BESIDE])])
def test_rooms_import_downwards_only(room):
    allowed = {room, *(BESIDE[room] if room in BESIDE else ROOMS[: ROOMS.index(room)])}
    files = [path for path in FER if path.relative_to(PACKAGE).parts[0] == room]
    assert files
    for path in files:
        assert not {*list_rooms(path.read_text())} - allowed, f"{path.relative_to(ROOT)} imports upwards"


def test_every_file_of_the_package_lies_in_a_room():
    rooms = {path.relative_to(PACKAGE).parts[0] for path in FER}
    assert rooms == {"__init__.py", *ROOMS, *BESIDE}


@pytest.mark.parametrize(
    ("text", "rooms"),
    [
        ("import os\nfrom fer_pipeline.raw import table", {"raw"}),
        ("def f():\n  import fer_pipeline.metrics.paper", {"metrics"}),
        ("from fer_pipeline import training", {"training"}),
        ("import_module(f'fer_pipeline.networks.{name}')", {"networks"}),
        ("'''A docstring on fer_pipeline.metrics.'''", set()),
    ],
)
def test_an_import_is_found_wherever_it_stands(text, rooms):
    assert {*list_rooms(text)} == rooms


def test_no_two_modules_import_each_other():
    graph = make_graph()
    assert (
        "fer_pipeline.core.errors" in graph["fer_pipeline.faces.faces"]
        and "fer_pipeline.raw.table" in graph["fer_pipeline.raw.source"]
    )
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_the_package_imports_no_stage_no_app_and_no_tool():
    scripts = {path.stem for folder in ("stages", "apps", "tools") for path in (ROOT / folder).glob("*.py")}
    assert {"prepare", "predict", "release"} <= scripts
    for path in FER:
        imported = {module.partition(".")[0] for module, _ in list_imports(ast.parse(path.read_text()))}
        assert not imported & scripts, path.relative_to(ROOT)


def test_light_modules_load_nothing_heavy():
    """A network's title, the seven classes and the frame of a stage are there before any framework has loaded."""
    code = (
        "import sys; from importlib import import_module\n"
        f"for name in {LIGHT}:\n"
        "    import_module(name)\n"
        f"    found = [heavy for heavy in {HEAVY} if heavy in sys.modules]\n"
        "    if found: sys.exit(f'{name} loads {found}')\n"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "stages", capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


PAPERS_FIGURES = ROOT / "stages" / "fer_pipeline" / "metrics" / "paper.py"
"""Names the paper's networks, for what the paper reports of them."""


def test_only_its_own_file_names_a_network():
    """Whatever else is said of a network follows from params.yaml and that file; tests and docs may name it."""
    names = list(PARAMS["networks"])
    found = []
    for path in CODE:
        if path.parent != PACKAGE / "networks" and path not in NAMES_NETWORKS:
            words = list_words(ast.parse(path.read_text()))
            found += [
                f"{path.relative_to(ROOT)}:{line}: {word!r:.60}" for line, word in words if find_names(word, names)
            ]
    for path in TEMPLATES:
        lines = enumerate(path.read_text().splitlines(), 1)
        found += [f"{path.relative_to(ROOT)}:{number}" for number, line in lines if find_names(line, names)]
    assert not found, "\n".join(found)


def test_names_are_found_in_strings_and_identifiers_and_not_in_documentation():
    text = '''"""On vgg19."""
def train_vgg19(vgg19_size):  # vgg19
    """Trains vgg19."""
    size: int = 1
    """Of vgg19."""
    return "VGG19", f"models/vgg19.{size}", x.vgg19, dict(vgg19=1), "vgg190"
'''
    lines = [line for line, word in list_words(ast.parse(text)) if find_names(word, ["vgg19"])]
    assert sorted(lines) == [2, 2, 6, 6, 6, 6]


def test_every_public_function_of_the_package_has_types():
    found = [f"{path.relative_to(ROOT)}:{line}" for path in FER for line in list_untyped(ast.parse(path.read_text()))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "untyped"),
    [
        ("def f(a: int, *, b: int = 1, **more: int) -> None: ...", False),
        ("def f(a: int): ...", True),
        ("def f(a, b: int) -> None: ...", True),
        ("def f(*a) -> None: ...", True),
        ("class C:\n  def f(self, a: int) -> None: ...", False),
        ("class C:\n  def f(self, a) -> None: ...", True),
        ("class C:\n  def __init__(self, a): ...", True),
        ("def _f(a): ...", False),
    ],
)
def test_a_missing_type_is_found(text, untyped):
    assert bool([*list_untyped(ast.parse(text))]) is untyped


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_a_page_has_at_most_150_lines(page):
    assert len((ROOT / page).read_text().splitlines()) <= 150


def list_files(script, networks):
    """The files of the package that a stage's script imports for some networks, directly or through others.

    In `import_module(f"fer_pipeline.networks.{...}")` the braces stand for each network, or for each of their
    frameworks where they hold a word with `framework`.
    """
    frameworks = {read_framework(name) for name in networks}
    found, waiting = set(), [script]
    while waiting:
        tree = ast.parse(waiting.pop().read_text())
        plain = ((module, names) for module, names in list_imports(tree) if names or "{" not in module)
        modules = {one for module, names in plain for one in (module, *(f"{module}.{name}" for name in names))}
        for node in ast.walk(tree):
            pattern = ast.unparse(node)[2:-1] if isinstance(node, ast.JoinedStr) else ""
            choices = frameworks if "framework" in pattern.lower() else networks
            modules |= {re.sub(r"\{[^}]*\}", choice, pattern) for choice in choices}
        paths = {
            ROOT / "stages" / f"{module.replace('.', '/')}.py"
            for module in modules
            if module.startswith("fer_pipeline.")
        }
        new = {path for path in paths if path.is_file()} - found
        found |= new
        waiting += new
    return found


def read_framework(name):
    """The framework of a network, as its file states it."""
    return re.search(r'^FRAMEWORK = "(\w+)"', (PACKAGE / "networks" / f"{name}.py").read_text(), re.MULTILINE).group(1)


def list_deps(stage):
    """The paths of a stage's deps, the script's first; and the networks that it is about."""
    body = STAGES[stage].get("do", STAGES[stage])
    name = stage.removeprefix("train_")
    script = ROOT / re.search(r"python (stages/\w+\.py)", body["cmd"]).group(1)
    networks = [name] if name in PARAMS["networks"] else [*PARAMS["networks"]]
    deps = [dep.replace("${key}", name) for dep in body["deps"] for name in (networks if "${key}" in dep else [""])]
    return script, networks, [ROOT / dep for dep in deps]


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_imports_lies_in_a_room_that_it_depends_on(stage):
    script, networks, deps = list_deps(stage)
    assert script in deps
    files = {path for path in list_files(script, networks) if path.relative_to(PACKAGE).parts[0] not in NOBODYS}
    missing = [path.relative_to(ROOT) for path in files if not {path, *path.parents} & {*deps}]
    assert not missing, f"{stage} imports what lies in no room of its own"
    needless = [
        dep.relative_to(ROOT)
        for dep in deps
        if PACKAGE in dep.parents and not any({path, *path.parents} & {dep} for path in files)
    ]
    assert not needless, f"{stage} imports nothing of a room that it depends on"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_whole_rooms(stage):
    """On folders, and on single files only in networks/; on no room that changes no output."""
    for dep in list_deps(stage)[2]:
        if PACKAGE in dep.parents:
            assert dep.is_dir() or dep.parent == PACKAGE / "networks"
            assert dep.relative_to(PACKAGE).parts[0] not in NOBODYS


def test_few_lines_retrain_every_network():
    trainings = [list_deps(stage)[2] for stage in STAGES if stage.startswith("train_")]
    shared = set.intersection(*(set(deps) for deps in trainings))
    files = chain.from_iterable(
        dep.rglob("*.py") if dep.is_dir() else [dep] for dep in shared if PACKAGE in dep.parents
    )
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
        "report": {f"metrics/train/{name}.json", f"metrics/{name}.json", f"plots/{name}/test"},
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


@pytest.mark.parametrize("folder", ["apps", "tools", "benchmarks"])
def test_scripts_import_the_package_of_their_own_checkout(folder, tmp_path):
    """Whichever environment runs them: here another package of the name comes first on Python's path."""
    (tmp_path / "fer_pipeline").mkdir()
    (tmp_path / "fer_pipeline" / "__init__.py").write_text("raise SystemExit('the wrong package')")
    code = "import checkout, fer_pipeline; print(fer_pipeline.__file__)"
    environment = {"PYTHONPATH": f"{ROOT / folder}:{tmp_path}", "PATH": ""}
    process = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert process.stdout.strip() == str(PACKAGE / "__init__.py"), process.stderr
    for script in (ROOT / folder).glob("[!_]*.py"):
        text = script.read_text()
        assert ("import checkout" in text) == ("from fer_pipeline" in text), script.name


def test_the_pipeline_is_short():
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 350
