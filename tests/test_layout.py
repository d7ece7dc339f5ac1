"""The house as it was drawn: who may import whom, sizes, no dead flags, nothing unsafe."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPTS = ("train", "evaluate", "plot_results", "data", "detect", "impute", "generate", "tune")
TOP_LEVEL = {f"{name}.py" for name in (*SCRIPTS, "vae")}

# Module -> our modules it may import. Imports point downward only; no part knows a script.
VERB = {"parts.cli", "parts.errors", "parts.runs"}  # what every verb that works on a run needs
MAY_IMPORT = {
    "train": {"parts", "data", "vae", "parts.kinds", "parts.likelihoods", "parts.models",
              "parts.presets", "parts.settings", "parts.training"} | VERB,
    "evaluate": {"parts", "data", "vae", "parts.conditions", "parts.disentanglement",
                 "parts.figures", "parts.models", "parts.pictures", "parts.pixels", "parts.tables",
                 "parts.walks"} | VERB,
    "detect": {"parts", "data", "train", "vae", "parts.baselines", "parts.cells",
               "parts.conditions", "parts.explanations", "parts.files", "parts.gallery",
               "parts.hidden_cells", "parts.images", "parts.models", "parts.pictures",
               "parts.tables"} | VERB,
    "impute": {"parts", "data", "train", "vae", "parts.arrays", "parts.conditions",
               "parts.figures", "parts.files", "parts.gallery", "parts.hidden_cells",
               "parts.images", "parts.models", "parts.pictures", "parts.quadrants",
               "parts.tables"} | VERB,
    "generate": {"parts", "parts.arrays", "parts.batches", "parts.closeness", "parts.conditions",
                 "parts.figures", "parts.files", "parts.gallery", "parts.marginals", "parts.models",
                 "parts.pictures", "parts.tables"} | VERB,
    "tune": {"parts", "data", "train", "vae", "parts.distributions", "parts.figures",
             "parts.likelihoods", "parts.models", "parts.presets", "parts.search",
             "parts.settings", "parts.tables", "parts.workers"} | VERB,
    "plot_results": {"parts.figures", "parts.gallery", "parts.pictures"} | VERB,
    "data": {"parts.cli", "parts.conditions", "parts.errors", "parts.example", "parts.files",
             "parts.images", "parts.kinds", "parts.pictures", "parts.sources",
             "parts.tables"},
    "vae": {"parts.batches", "parts.distributions", "parts.likelihoods", "parts.networks",
            "parts.objectives", "parts.priors"},
    "parts": set(),
    "parts.arrays": {"parts.errors", "parts.runs"},
    "parts.baselines": set(),
    "parts.batches": set(),
    "parts.cells": set(),
    "parts.cli": {"parts.errors"},
    "parts.closeness": {"parts.tables"},
    "parts.marginals": {"parts.runs"},
    "parts.codes": set(),
    "parts.conditions": {"parts.cells", "parts.errors", "parts.kinds", "parts.tables"},
    "parts.discrete": {"parts.distributions", "parts.errors"},
    "parts.disentanglement": {"parts.errors"},
    "parts.distributions": {"parts.batches", "parts.errors"},
    "parts.errors": set(),
    "parts.example": set(),
    "parts.figures": set(),
    "parts.fidelity": set(),
    "parts.flows": set(),
    "parts.files": {"parts.arrays", "parts.errors", "parts.parquet", "parts.runs"},
    "parts.gallery": {"parts.figures", "parts.pictures", "parts.runs"},
    "parts.explanations": {"parts.cells"},
    "parts.hidden_cells": {"parts.baselines", "parts.tables"},
    "parts.images": {"parts.arrays", "parts.conditions", "parts.errors", "parts.files",
                     "parts.pictures", "parts.sources", "parts.tables"},
    "parts.kinds": {"parts.cells", "parts.errors", "parts.parquet", "parts.tables"},
    "parts.likelihoods": {"parts.discrete", "parts.distributions", "parts.pixels",
                          "parts.tables"},
    "parts.models": {"parts.conditions", "parts.errors", "parts.flows", "parts.likelihoods",
                     "parts.priors", "parts.tables", "parts.vaegan", "parts.vqvae", "vae"},
    "parts.networks": {"parts.errors"},
    "parts.objectives": {"parts.distributions"},
    "parts.optim": set(),
    "parts.parquet": set(),
    "parts.pixels": {"parts.distributions", "parts.errors"},
    "parts.pictures": set(),
    "parts.presets": set(),
    "parts.priors": {"parts.distributions"},
    "parts.quadrants": {"parts.batches"},
    "parts.runs": {"parts.errors", "parts.pictures"},
    "parts.search": {"parts.errors"},
    "parts.settings": {"parts.cli", "parts.flows", "parts.likelihoods", "parts.models",
                       "parts.networks", "parts.objectives", "parts.presets", "parts.priors",
                       "parts.training"},
    "parts.sources": {"parts.errors", "parts.sprites"},
    "parts.sprites": {"parts.errors"},
    "parts.tables": {"parts.cells", "parts.errors"},
    "parts.training": {"parts.errors", "parts.optim", "parts.runs"},
    "parts.vaegan": {"parts.batches", "parts.distributions", "parts.likelihoods", "parts.networks",
                     "vae"},
    "parts.vqvae": {"parts.batches", "parts.codes", "parts.errors", "vae"},
    "parts.walks": {"parts.batches"},
    "parts.workers": {"parts.errors"},
}  # fmt: skip
# Heavy packages that a module must not load before it needs them: start-up is most of a short run.
HEAVY = {"matplotlib", "optuna", "pandas", "PIL", "pyarrow", "sklearn", "scipy", "sqlalchemy"}
NOT_AT_START = {
    **dict.fromkeys(("train", "evaluate", "detect", "impute", "generate", "tune"), HEAVY),
    "data": {"torch", "vae"} | HEAVY,
    "plot_results": {"torch", "vae", "data"} | HEAVY,
}
MAY_PRINT = {"parts.cli", "parts.runs"}  # of the parts
# Of the parts; kinds reads the file of --columns, and cli opens what an ended pipe is sent to.
MAY_OPEN = {"parts.arrays", "parts.cli", "parts.files", "parts.images", "parts.kinds", "parts.runs"}
MAX_FILE, MAX_FUNCTION = 350, 60


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
    """Every module imported anywhere in it, functions included; `from a import b` is a.b or a."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return found


def ours(tree):
    return {n for n in imports(tree) if n in SOURCES or n.split(".")[0] in ("benchmarks", "tests")}


def calls(tree, name):
    """The calls of `name`, such as print or torch.load."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [node for node in nodes if ast.unparse(node.func) == name]


# The layout


def test_the_fixed_names_exist():
    for name in (*TOP_LEVEL, "README.md", "requirements.txt"):
        assert (REPOSITORY / name).is_file(), name
    assert (REPOSITORY / "tests").is_dir()


def test_nothing_else_is_at_the_top():
    assert {path.name for path in REPOSITORY.glob("*.py")} == TOP_LEVEL


def test_the_table_names_every_module():
    assert set(MAY_IMPORT) == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downward(module):
    beyond = ours(MODULES[module]) - MAY_IMPORT.get(module, set())
    assert not beyond, f"{module} imports {sorted(beyond)}"


def test_the_table_points_downward():
    """Models and their list know the VAE, none a script; two scripts are imported; no circles."""
    knows = {m: MAY_IMPORT[m] & {*SCRIPTS, "vae"} for m in MAY_IMPORT if m.startswith("parts")}
    models = dict.fromkeys(("parts.models", "parts.vaegan", "parts.vqvae"), {"vae"})
    assert {m: names for m, names in knows.items() if names} == models
    assert set().union(*MAY_IMPORT.values()) & set(SCRIPTS) == {"data", "train"}
    left = {module: set(allowed) for module, allowed in MAY_IMPORT.items()}
    while lowest := {module for module, allowed in left.items() if not allowed}:
        left = {m: allowed - lowest for m, allowed in left.items() if m not in lowest}
    assert left == {}


def test_the_table_holds_no_import_that_is_not_there():
    unused = {m: sorted(allowed - ours(MODULES[m])) for m, allowed in MAY_IMPORT.items()}
    assert {module: names for module, names in unused.items() if names} == {}


@pytest.mark.parametrize("module", NOT_AT_START)
def test_importing_does_nothing(tmp_path, module):
    """No output, no file, no parsing of arguments, and none of the heavy packages."""
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


@pytest.mark.parametrize("module", SCRIPTS)
def test_a_script_runs_only_under_its_guard(module):
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign)
    *body, guard = MODULES[module].body
    assert ast.unparse(guard) == "if __name__ == '__main__':\n    run_script(main)"
    docstring, *body = body
    assert ast.get_docstring(MODULES[module])
    assert {type(node).__name__ for node in body if not isinstance(node, allowed)} == set()
    (main,) = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == "main"]
    assert ast.unparse(main.args) == "argv=None"


# Sizes


@pytest.mark.parametrize("module", SOURCES)
def test_files_are_short(module):
    path = REPOSITORY / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE


@pytest.mark.parametrize("module", SOURCES)
def test_functions_are_short(module):
    functions = [n for n in ast.walk(SOURCES[module]) if isinstance(n, ast.FunctionDef)]
    lengths = {f.name: f.end_lineno - f.lineno + 1 for f in functions}
    assert {name: n for name, n in lengths.items() if n > MAX_FUNCTION} == {}


# Habits


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("parts")])
def test_parts_do_not_print(module):
    assert module in MAY_PRINT or not calls(MODULES[module], "print")


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("parts")])
def test_only_some_parts_open_files(module):
    names = {ast.unparse(n.func).split(".")[-1] for n in ast.walk(MODULES[module])
             if isinstance(n, ast.Call)}  # fmt: skip
    opened = names & {"open", "fdopen", "read_text", "read_bytes", "write_text", "write_bytes"}
    assert bool(opened) == (module in MAY_OPEN)


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
    assert len(seeds) <= (module == "parts.runs")  # fixed_randomness, which restores the state


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


def names_read(tree):
    """Flags that the code reads: args.name, config["name"], pop("name"), for key in ("name", ...).

    A tuple may have a name of its own, and a likelihood's `options` are what `from_config`
    reads. Not counted are places that only define or list: add_argument, dict literals, sets.
    """
    found, tuples = set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            tuples |= {ast.unparse(target): node.value for target in node.targets}
        elif isinstance(node, ast.ClassDef):
            for line in node.body:
                if isinstance(line, ast.Assign) and "options" in map(ast.unparse, line.targets):
                    found |= text_constants(line.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            found |= {node.attr} if ast.unparse(node.value) == "args" else set()
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
    flags = {action.dest for action in parser_of(script)._actions} - {"help"}
    assert len(flags) > 2
    read = set().union(*map(names_read, MODULES.values()))
    assert flags - read == set()
