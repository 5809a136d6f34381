"""How the code is laid out: which room imports which, where networks are named, and what every public function says."""

import ast
import re
import shutil
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

import deps
from fer_pipeline.core.errors import InputError

ROOMS = ("core", "data", "networks", "training", "evidence")
"""Each imports only those to its left."""
BESIDE = {"inference": ("core", "data")}
"""A room that runs where nothing is trained, and the ones that it may import."""
PARAMS = YAML(typ="safe").load(ROOT / "params.yaml")
FER = sorted((ROOT / "stages" / "fer").rglob("*.py"))
CODE = sorted(path for folder in ("stages", "apps", "tools") for path in (ROOT / folder).rglob("*.py"))
TEMPLATES = sorted(path for folder in ("stages", "apps", "tools") for path in (ROOT / folder).rglob("*.html*"))
HEAVY = ("torch", "tensorflow", "keras", "h5py")
LIGHT = [f"fer_pipeline.core.{path.stem}" for path in FER if path.parent.name == "core" and path.stem != "__init__"]
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
        elif isinstance(node, ast.JoinedStr) and ast.unparse(node)[2:].startswith("fer."):  # for import_module
            yield ast.unparse(node)[2:].partition(".{")[0], ()


def list_rooms(text):
    """The rooms that code imports."""
    for module, names in list_imports(ast.parse(text)):
        if module == "fer":
            yield from names
        elif module.startswith("fer."):
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


@pytest.mark.parametrize("room", [*ROOMS, *BESIDE])
def test_rooms_import_downwards_only(room):
    allowed = {room, *(BESIDE[room] if room in BESIDE else ROOMS[: ROOMS.index(room)])}
    files = [path for path in FER if path.relative_to(ROOT / "stages" / "fer").parts[0] == room]
    assert files
    for path in files:
        assert not {*list_rooms(path.read_text())} - allowed, f"{path.relative_to(ROOT)} imports upwards"


def test_every_file_of_fer_lies_in_a_room():
    rooms = {path.relative_to(ROOT / "stages" / "fer").parts[0] for path in FER}
    assert rooms == {"__init__.py", *ROOMS, *BESIDE}


@pytest.mark.parametrize(
    ("text", "rooms"),
    [
        ("import os\nfrom fer_pipeline.raw import table", {"data"}),
        ("def f():\n  import fer_pipeline.metrics.paper", {"evidence"}),
        ("from fer import training", {"training"}),
        ("import_module(f'fer_pipeline.networks.{name}')", {"networks"}),
        ("'''A docstring on fer_pipeline.metrics.'''", set()),
    ],
)
def test_an_import_is_found_wherever_it_stands(text, rooms):
    assert {*list_rooms(text)} == rooms


def test_no_two_modules_import_each_other():
    graph = make_graph()
    assert (
        "fer_pipeline.core.files" in graph["fer_pipeline.faces.faces"]
        and "fer_pipeline.raw.table" in graph["fer_pipeline.raw.source"]
    )
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_fer_imports_no_stage_no_app_and_no_tool():
    scripts = {path.stem for folder in ("stages", "apps", "tools") for path in (ROOT / folder).glob("*.py")}
    assert {"prepare", "predict", "deps"} <= scripts
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
        if path.parent != ROOT / "stages" / "fer_pipeline" / "networks" and path != PAPERS_FIGURES:
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


def test_every_public_function_of_fer_has_types():
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


def test_the_pipeline_names_the_files_that_stages_import():
    process = subprocess.run([sys.executable, "tools/deps.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, f"{process.stderr}`make deps` writes the deps, plots and artifacts of dvc.yaml"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("\nartifacts:", "\nowner: me\nartifacts:", "owner would be lost"),
        ("  train_vgg19:", "  train_vgg:", "no stage train_vgg19"),
        ("\nstages:", "\nstage:", "has no stages"),
        ("\nstages:", "\nstages: [", "no YAML"),
    ],
)
def test_a_pipeline_that_cannot_be_brought_up_to_date_is_refused(old, new, sentence):
    text = (ROOT / "dvc.yaml").read_text()
    assert text.count(old) == 1
    with pytest.raises(InputError, match=sentence):
        deps.write_pipeline(text.replace(old, new), PARAMS)


def test_an_import_more_is_a_dep_more(tmp_path, monkeypatch):
    """In a file that two stages read, inside a function."""
    shutil.copytree(ROOT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(deps, "ROOT", tmp_path)
    pipeline = (ROOT / "dvc.yaml").read_text()
    before = deps.write_pipeline(pipeline, PARAMS)
    assert deps.write_pipeline(before, PARAMS) == before
    with open(tmp_path / "stages" / "fer" / "data" / "table.py", "a") as file:
        file.write("\ndef f():\n    from fer_pipeline.core import quiet\n")
    after = YAML(typ="safe").load(deps.write_pipeline(before, PARAMS))["stages"]
    before = YAML(typ="safe").load(before)["stages"]
    added = {stage: {*after[stage]["deps"]} - {*before[stage]["deps"]} for stage in after if "deps" in after[stage]}
    assert {stage: files for stage, files in added.items() if files} == {
        "prepare": {"stages/fer_pipeline/running/quiet.py"}
    }
