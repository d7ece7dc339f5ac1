"""Count the modules of this repository that a command loads, and their lines.

    python benchmarks/modules.py                                    # of this checkout
    python benchmarks/modules.py --repository DIR --as before       # of another one, such as
                                                                    # git worktree add DIR 0745562

Each command runs at a tiny size in a folder of its own; packages' `__init__.py` are not counted.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from parts.console.flags import Parser
from parts.console.script import run_script
from parts.files import write_json
from parts.forms.tables.example import survey

RESULTS = ROOT / "benchmarks/results"
COUNTED_COMMANDS = {
    "python detect.py file.csv": ("detect", "file.csv"),
    "python train.py": ("train", "--epochs", "1"),
}
# Prints the modules that main() has loaded from the repository, and their lines.
CHILD = """
import contextlib, importlib, io, json, sys
from pathlib import Path
repository, name, *arguments = sys.argv[1:]
sys.path.insert(0, repository)
sys.argv = [name, *arguments]
with contextlib.redirect_stdout(io.StringIO()):
    importlib.import_module(name).main()
files = {Path(m.__file__) for m in list(sys.modules.values()) if getattr(m, "__file__", None)}
ours = [f for f in files if Path(repository) in f.parents and f.name != "__init__.py"]
print(json.dumps([len(ours), sum(len(f.read_text().splitlines()) for f in ours)]))
"""


def loaded(repository, name, *arguments):
    """The numbers of modules and lines that a command of the repository loads."""
    with tempfile.TemporaryDirectory() as folder:
        survey().head(300).to_csv(Path(folder) / "file.csv", index=False)
        command = [sys.executable, "-c", CHILD, str(repository), name, *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    modules, lines = json.loads(done.stdout.splitlines()[-1])
    return {"modules": modules, "lines": lines}


def main(argv=None):
    parser = Parser(prog="benchmarks/modules.py", description=__doc__.splitlines()[0])
    parser.add_argument("--repository", default=ROOT, type=Path, help="a checkout (default: this)")
    parser.add_argument("--as", dest="column", choices=("before", "after"), default="after")
    args = parser.parse_args(argv)
    path = RESULTS / "modules.json"
    result = json.loads(path.read_text()) if path.exists() else {}
    counted = {
        c: loaded(args.repository.resolve(), *words) for c, words in COUNTED_COMMANDS.items()
    }
    command = "python benchmarks/modules.py"
    write_json(path, result | {"command": command, args.column: counted})
    print(json.dumps(counted, indent=2))


if __name__ == "__main__":
    run_script(main)
