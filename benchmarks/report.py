"""Write the README's tables from the JSON that the benchmarks left.

python benchmarks/report.py            # rewrites README.md between its markers
python benchmarks/report.py --check    # exit code 2 where the README is stale
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from parts.cli import Parser, run_script  # noqa: E402
from parts.errors import UserError  # noqa: E402
from parts.runs import write_atomic  # noqa: E402

RESULTS = ROOT / "benchmarks/results"


def markdown(header, rows):
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, cells)) + " |" for cells in lines)


def value(entry, digits):
    """mean ± s.d. over seeds."""
    if entry is None:
        return "—"
    if not entry["sd"]:
        return f"{entry['mean']:.{digits}f}"
    return f"{entry['mean']:.{digits}f} ± {entry['sd']:.{digits}f}"


def commands(result):
    """The README's first commands, with their seconds and what they print."""
    seconds, first = result["process_seconds"], result["rows"][0]["seed_0"]
    log_px = f"log p(x) {first['log_px']:.3f} ± {first['log_px_se']:.2f} nats"
    lines = {
        "train.py": f"Epoch [50/50], Loss: {first['loss']:.4f}, ...",
        "evaluate.py": f"Test MSE: {first['test_mse']:.4f}, {log_px}",
        "plot_results.py": "figures in runs/0001/figures/, the one above among them",
    }
    shown = [f"python {s:<16} # {seconds[s]:.0f} s: {text}" for s, text in lines.items()]
    return "\n".join(["```", "python -m pip install -r requirements.txt", *shown, "```"])


def quality(result):
    header = ["command", "test MSE", "mean / PCA", "log p(x), nats", "Gaussian / diagonal", "ELBO"]
    header += ["KL", "active units", "train, s"]
    rows = []
    for row in result["rows"]:
        baselines = {
            key: " / ".join(value(row[f"baseline_{key}_{name}"], digits) for name in names)
            for key, names, digits in (
                ("mse", ("mean", "pca"), 3),
                ("log_px", ("gaussian", "diagonal"), 2),
            )
        }
        cells = [value(row["test_mse"], 4), baselines["mse"], value(row["log_px"], 2)]
        cells += [baselines["log_px"], value(row["elbo"], 2), value(row["kl"], 2)]
        cells += [value(row["active_units"], 1), value(row["train_seconds"], 1)]
        rows.append([f"`{row['command']}`", *cells])
    return markdown(header, rows)


def speed(result):
    header = [
        "network",
        "batch",
        "rows/s",
        "÷ lean",
        "÷ bare",
        "÷ DataLoader",
        "÷ pythae",
        "÷ PyOD",
        "÷ other threads",
    ]
    names = ("lean", "bare", "dataloader", "pythae", "pyod", "other_threads")
    rows = []
    for row in result["training"]:
        ratios = [row["ratio"].get(name) for name in names]
        cells = ["—" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
        rows.append(
            [row["network"], row["batch_size"], f"{row['rows_per_second']['ours']:,}", *cells]
        )
    start, memory = result["start_up"], result["memory_mb_beyond_rows"]
    seconds = start["seconds"]
    sizes = ", ".join(f"{mb:.1f} MB at {int(n):,} rows" for n, mb in memory.items())
    text = (
        f"Whole `python train.py`: {seconds['train']} s, {start['ratio']:.2f} times its bare "
        f"imports ({seconds['imports']} s). Constructing `torch.optim.Adam` would add "
        f"{seconds['imports_and_adam'] - seconds['imports']:.2f} s. An epoch on 20 columns adds "
        f"to a process's peak memory, beyond the rows themselves: {sizes}."
    )
    return markdown(header, rows) + "\n\n" + text


TABLES = {
    "commands": ("quality.json", commands),
    "quality": ("quality.json", quality),
    "speed": ("speed.json", speed),
}


def render(readme):
    """The README with every block between results markers replaced by its table."""

    def replace(match):
        name = match[1]
        file, table = TABLES[name]
        result = json.loads((RESULTS / file).read_text())
        source = f"Written by `{result['command']}`, by way of `benchmarks/results/{file}`."
        body = f"{table(result)}\n\n{source}"
        return f"<!-- results:begin {name} -->\n{body}\n<!-- results:end -->"

    pattern = r"<!-- results:begin (\w+) -->\n.*?<!-- results:end -->"
    return re.sub(pattern, replace, readme, flags=re.DOTALL)


def main(argv=None):
    parser = Parser(prog="benchmarks/report.py", description="Write the README's result tables.")
    parser.add_argument("--check", action="store_true", help="only compare; write nothing")
    args = parser.parse_args(argv)
    path = ROOT / "README.md"
    readme = path.read_text()
    rendered = render(readme)
    if not args.check:
        write_atomic(path, lambda file: file.write(rendered.encode()))
    elif rendered != readme:
        raise UserError("README.md is stale: run python benchmarks/report.py")


if __name__ == "__main__":
    run_script(main)
