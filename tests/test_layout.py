"""The folders of parts/: which may import which; no flag is dead, and nothing is unsafe."""

import argparse
import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from parts.forms import FORMS
from parts.lazy import member
from parts.model.config import MODELS
from tests.conftest import SCRIPTS

REPOSITORY = Path(__file__).resolve().parent.parent
FIXED = ("vae.py", "data.py", "train.py", "evaluate.py", "plot_results.py")

# Folder -> the folders from which it may import, beside its own. A script is "scripts".
LAYERS = {
    "ground": set(),
    "model": {"ground"},
    "plots": {"ground"},
    "forms": {"ground", "model", "plots"},
    "training": {"ground", "model", "forms"},
    "measure": {"ground", "model", "forms"},
    "tasks": {"ground", "model", "forms", "training", "measure"},
    "runs": {"ground", "model", "forms", "training", "tasks"},
    "console": {"ground", "model", "forms", "training", "tasks", "runs"},
    "scripts": {
        "ground",
        "model",
        "plots",
        "forms",
        "training",
        "measure",
        "tasks",
        "runs",
        "console",
    },
}
ELSEWHERE = {"vae": "model", "data": "forms"}  # top-level modules that belong to a folder

HEAVY = {"matplotlib", "optuna", "pandas", "PIL", "pyarrow", "sklearn", "scipy", "sqlalchemy"}
NOT_AT_START = {
    **dict.fromkeys(SCRIPTS, HEAVY),
    "data": {"torch", "vae"} | HEAVY,
    "plot_results": {"torch", "vae"} | HEAVY,
}
MAY_PRINT = {"console", "runs"}  # of the folders under parts


def module_name(path):
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {
    module_name(path): ast.parse(path.read_text(encoding="utf-8"))
    for path in [*REPOSITORY.glob("*.py"), *REPOSITORY.glob("parts/**/*.py")]
}
BENCHMARKS = {
    module_name(path): ast.parse(path.read_text(encoding="utf-8"))
    for path in REPOSITORY.glob("benchmarks/**/*.py")
}
SOURCES = MODULES | BENCHMARKS


def imports(tree):
    """Every module imported anywhere in it, functions included; `from a import b` is a.b or a.

    Text "module:name" is what `parts.lazy.member` imports.
    """
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and ":" in node.value:
            found |= {node.value.partition(":")[0]} & set(MODULES)
    return found


def ours(tree):
    return {n for n in imports(tree) if n in SOURCES or n.split(".")[0] in ("benchmarks", "tests")}


def calls(tree, name):
    """The calls of `name`, such as print or torch.load."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [node for node in nodes if ast.unparse(node.func) == name]


# The layout


def test_the_fixed_names_exist():
    for name in (*FIXED, "README.md", "requirements.txt"):
        assert (REPOSITORY / name).is_file(), name
    assert (REPOSITORY / "tests").is_dir()


def test_what_is_at_the_top_is_a_script_or_belongs_to_a_layer():
    assert {path.stem for path in REPOSITORY.glob("*.py")} <= {*SCRIPTS, *ELSEWHERE}


def without_main(tree):
    """The module without what it does as a script: data.py belongs to the forms and is one too."""
    body = [node for node in tree.body if getattr(node, "name", "") != "main"]
    return ast.Module([node for node in body if not isinstance(node, ast.If)], [])


def layer_of(module):
    folder = (REPOSITORY / "parts" / module.split(".")[1]).is_dir() if "." in module else False
    if module == "parts" or (module.startswith("parts.") and not folder):
        return "ground"  # the files of parts/ itself
    if module in ELSEWHERE:
        return ELSEWHERE[module]
    return module.split(".")[1] if module.startswith("parts.") else "scripts"


def test_the_folders_are_those_of_the_list():
    assert {layer_of(module) for module in MODULES} == set(LAYERS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downward(module):
    own = layer_of(module)
    allowed = LAYERS[own] | ({own} - {"scripts"})  # no script imports another
    tree = without_main(MODULES[module]) if module == "data" else MODULES[module]
    beyond = {name for name in ours(tree) if layer_of(name) not in allowed}
    assert not beyond, f"{module} ({own}) imports {sorted(beyond)}"


def test_the_list_points_downward():
    left = dict(LAYERS)
    while lowest := {layer for layer, allowed in left.items() if not allowed & set(left)}:
        left = {layer: allowed for layer, allowed in left.items() if layer not in lowest}
    assert left == {}


@pytest.mark.parametrize("module", NOT_AT_START)
def test_importing_does_nothing(tmp_path, module):
    """An import prints nothing, writes nothing, parses nothing and loads no heavy package."""
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & {NOT_AT_START[module]!r}))"
    result = subprocess.run(
        [sys.executable, "-c", code, "--nonsense"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "\n", "")
    assert list(tmp_path.iterdir()) == []


# What a table of numbers and text in a .csv file, and a plain VAE, do not use.
UNUSED = {
    "parts.forms.pictures",
    "parts.forms.tables.parquet",
    "parts.forms.tables.samples",
    "parts.measure.baselines",
    "parts.model.codebook",
    "parts.model.traversal",
    "parts.model.vaegan",
    "parts.model.vqvae",
}


@pytest.mark.parametrize(
    ("name", "args", "unused"),
    [
        ("detect", ["t.csv"], UNUSED),
        ("train", ["--n-rows", "30", "--latent-dim", "2"], UNUSED | {"parts.measure"}),
        ("train", ["--help"], UNUSED | {"parts.measure"}),
    ],
)
def test_a_command_loads_only_what_it_uses(tmp_path, name, args, unused):
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{i % 7}.5,{i % 3}x\n" for i in range(40)))
    code = (
        f"import contextlib, sys, {name}\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):\n"
        f"    {name}.main({args})\n"
        "print(*sys.modules)"
    )
    env = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    loaded = {module for module in done.stdout.split() if module.startswith("parts.")}
    assert len(loaded) > 10
    assert unused & loaded == set()


@pytest.mark.parametrize("registry", [FORMS, MODELS])
def test_each_member_of_a_lazy_registry_is_there(registry):
    for name in registry:
        assert registry[name].partition(":")[0] in MODULES
        assert member(registry, name) is member(registry, name)
    assert member({"a": registry}, "a") is registry  # what is no text stands for itself


@pytest.mark.parametrize("module", SCRIPTS)
def test_a_script_imports_first_what_handles_ctrl_c(module):
    first = MODULES[module].body[1]
    assert isinstance(first, ast.ImportFrom)
    assert first.module.split(".")[0] == "parts"


@pytest.mark.parametrize("module", SCRIPTS)
def test_a_script_runs_only_under_its_guard(module):
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign)
    *body, guard = MODULES[module].body
    assert ast.unparse(guard.test) == "__name__ == '__main__'"
    assert ast.unparse(guard.body[-1]) == "run_script(main)"
    docstring, *body = body
    assert ast.get_docstring(MODULES[module])
    assert {type(node).__name__ for node in body if not isinstance(node, allowed)} == set()
    (main,) = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == "main"]
    assert ast.unparse(main.args) == "argv=None"


# Habits


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("parts")])
def test_parts_do_not_print(module):
    assert layer_of(module) in MAY_PRINT or not calls(MODULES[module], "print")


@pytest.mark.parametrize("module", MODULES)
def test_libraries_name_no_flags(module):
    """A notebook has no flags; of what models are made of only the help of options names them."""
    libraries = ("vae", "parts.tasks.", "parts.measure.", "parts.model.")
    if module.startswith(libraries) and not module.endswith(".config"):
        words = " ".join(text_constants(MODULES[module])).split()
        assert not [word for word in words if word.startswith("--")]


def test_every_load_is_safe():
    loads = [node for tree in SOURCES.values() for node in calls(tree, "torch.load")]
    assert loads
    for node in loads:
        options = {k.arg: ast.unparse(k.value) for k in node.keywords}
        assert options.get("weights_only") == "True", ast.unparse(node)
    loads = [node for tree in SOURCES.values() for node in calls(tree, "np.load")]
    assert loads
    for node in loads:
        options = {k.arg: ast.unparse(k.value) for k in node.keywords}
        assert options.get("allow_pickle") == "False", ast.unparse(node)


@pytest.mark.parametrize("module", SOURCES)
def test_nothing_is_evaluated_or_unpickled(module):
    tree = SOURCES[module]
    assert not {"pickle", "joblib", "dill", "marshal", "shelve"} & imports(tree)
    for name in ("eval", "exec", "globals", "pd.read_pickle"):
        assert not calls(tree, name), name


@pytest.mark.parametrize("module", [m for m in MODULES if m not in SCRIPTS])
def test_libraries_do_not_seed(module):
    for name in ("np.random.seed", "random.seed"):
        assert not calls(MODULES[module], name)
    seeds = calls(MODULES[module], "torch.manual_seed")
    assert len(seeds) <= (
        module == "parts.randomness"
    )  # fixed_randomness, which restores the state


@pytest.mark.parametrize("module", SOURCES)
def test_no_error_is_swallowed(module):
    for node in ast.walk(SOURCES[module]):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: a bare except"
            empty = all(isinstance(n, ast.Pass) for n in node.body)
            assert not empty, f"line {node.lineno}: an error is dropped"


# Flags


def text_constants(node):
    return {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and type(n.value) is str}


def keywords_of(call):
    return {keyword.arg for keyword in getattr(call, "keywords", ())}


def names_read(tree):
    """Flags that the code reads: config.name, args["name"], pop("name"), for key in ("name", ...).

    A tuple may have a name of its own. `build_model` reads a likelihood's `options`, and the
    options `of` a model. Not counted are places that only define or list: add_argument, dict
    literals, sets.
    """
    found, tuples = set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            tuples |= {ast.unparse(target): node.value for target in node.targets}
        elif isinstance(node, ast.ClassDef):
            for line in node.body:
                if isinstance(line, ast.Assign) and "options" in map(ast.unparse, line.targets):
                    found |= text_constants(line.value)
                if isinstance(line, ast.AnnAssign) and "of" in keywords_of(line.value):
                    found.add(ast.unparse(line.target))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            found.add(node.attr)
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            found |= text_constants(node.slice)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in ("get", "pop"):
                found |= text_constants(node)
        elif isinstance(node, ast.comprehension):
            over = tuples.get(ast.unparse(node.iter), node.iter)
            found |= text_constants(over) if isinstance(over, ast.Tuple) else set()
    return found


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_flag_is_read_somewhere(parser_of, script):
    flags = {action.dest for action in parser_of(script)._actions} - {"help", argparse.SUPPRESS}
    assert len(flags) > 2
    read = set().union(*map(names_read, MODULES.values()))
    assert flags - read == set()
