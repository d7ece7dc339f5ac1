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

from parts.console.flags import Parser
from parts.console.script import run_script
from parts.errors import UserError
from parts.files import write_atomic

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


def variants(result):
    header = ["variant", "flags", "what it changes", "source", "use it when", "samples"]
    header += ["log p(x), nats", "KL"]
    rows = []
    for row in result["rows"]:
        figures = [
            f"![{row['name']}](benchmarks/results/{row['picture']})",
            value(row["log_px"], 2),
            value(row["kl"], 1),
            value(row["active_units"], 1),
        ]
        flags = f"`{row['flags']}`" if row["flags"] else ""
        cells = [row["name"], flags, row["changes"], row["source"], row["use"]]
        rows.append([*cells, *figures, value(row["train_seconds"], 0)])
    table = markdown([*header, "active units", "s"], rows)
    return f"All with `{result['base']}`.\n\n{table}"


def samples(result):
    """Of each model: mean ± s.d. over seeds."""
    keys = {"inception_score": 2, "told_apart": 3, "precision": 3, "recall": 3, "log_px": 2,
            "mse": 3, "seconds": 0}  # fmt: skip
    header = ["pictures of", "inception score", "told apart from real", "precision", "recall"]
    rows = []
    for name, found in result["models"].items():
        pairs = [found.get(key) for key in keys]
        cells = [
            "—" if pair is None else f"{pair[0]:.{digits}f} ± {pair[1]:.{digits}f}"
            for pair, digits in zip(pairs, keys.values(), strict=True)
        ]
        rows.append([name, *cells])
    return markdown([*header, "log p(x), nats", "test MSE", "s"], rows)


def given(result):
    """Shares of pictures that a classifier takes for what was asked, in per cent."""
    keys = ("default", "default_worst", "drawn", "real")
    rows = []
    for row in result["rows"]:
        shares = [{k: 100 * v for k, v in row[key].items()} for key in keys]
        cells = [value(share, 1) for share in shares]
        rows.append([row["name"], f"`{row['flags']}`", *cells, value(row["seconds"], 0)])
    header = ["pictures", "flags of train.py", "agree", "of the worst digit", "`--pixels drawn`"]
    return markdown([*header, "real test pictures", "s"], rows)


def density(result):
    """Of each setting: ± the standard error over pictures, or the s.d. over seeds where several."""
    header = ["flags of train.py", "seeds", "test log p(x), nats", "samples", "epochs"]
    rows = [
        [
            f"`{row['flags']}`",
            str(row["seeds"]),
            f"{row['log_px']:.2f} ± {row['log_px_sd'] or row['log_px_se']:.2f}",
            str(row["n_samples"]),
            str(row["epochs"]),
            f"{row['train_seconds']:.0f}",
            f"{row['rows_per_second']:,.0f}",
            "—" if row["share_of_limit"] is None else f"{row['share_of_limit']:.0%}",
            f"{row['evaluate_seconds']:.0f}",
        ]
        for row in result["rows"].values()
    ]
    return markdown([*header, "trained, s", "rows/s", "of the limit", "evaluated, s"], rows)


def tuning(result):
    """The search's own scores, and those of the default and of what it found from new seeds."""
    header = ["data", "trials (pruned)", "CPU s", "search: default, best", "train, s"]
    header += ["held out: default, found", "test: default, found", "better by", "`best.json`"]
    table, settings = [], []
    for row in (row for task in sorted(result["tasks"]) for row in result["tasks"][task]):
        cells = [row["name"], "", "", ""]
        if ran := row["search"]:
            trials = f"{ran['complete'] + ran['pruned']} ({ran['pruned']})"
            scores = f"{ran['default']:.2f}, {ran['best']:.2f}"
            cells[1:] = [trials, f"{ran['cpu_seconds']:.0f}", scores]
            settings.append(f"- {row['name']}: {ran['settings']}")
        for key, digits in (("cpu_seconds", 0), ("held_out", 2), ("test", 2)):
            both = (value(row[who].get(key), digits) for who in ("default", "found"))
            cells.append(", ".join(both))
        own = f"{row['best_json']['test']:.2f}" if ran else ""
        table.append([*cells, f"{row['gain']:.2f} ± {row['gain_se']:.2f}", own])
    return "\n".join([markdown(header, table), "", "Found:", "", *settings])


def speed(result):
    header = ["network", "batch", "rows/s", "÷ lean", "÷ bare", "÷ DataLoader", "÷ pythae"]
    header += ["÷ PyOD", "÷ other threads"]
    names = ("lean", "bare", "dataloader", "pythae", "pyod", "other_threads")
    rows = []
    for row in result["training"]:
        ratios = [row["ratio"].get(name) for name in names]
        cells = ["—" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
        ours = f"{row['rows_per_second']['ours']:,}"
        rows.append([row["network"], row["batch_size"], ours, *cells])
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


def survey(result):
    """The walk: each command, its seconds, and the first lines of what it wrote."""
    blocks = []
    for step in result["steps"]:
        lines = [line if len(line) <= 110 else f"{line[:107]}..." for line in step["lines"]]
        head = f"{step['command']}  # {step['seconds']:.0f} s; {step['file']}:"
        blocks.append("\n".join(["```", head, *lines, "```"]))
    over = result["over_seeds"]
    names = list(over["auroc"])
    detection = [
        [name, value(over["auroc"][name], 1), value(over["ap"][name], 1)] for name in names
    ]
    imputation = [[name, value(error, 3)] for name, error in over["error"].items()]
    first = result["seed_0"]
    auroc, close = first["detection"][names[0]]["auroc"], first["generation"]
    text = (
        f"Mean ± s.d. over {result['seeds']} seeds. Twenty odd rows are few: the first seed's "
        f"AUROC has a 95 % bootstrap interval of {100 * auroc[1]:.1f} to {100 * auroc[2]:.1f}. "
        f"Of the 90 % intervals {value(over['coverage'], 1)} % held the hidden number: they are "
        f"wider than need be. Generated columns lie {value(over['columns'], 3)} from the real ones "
        f"(two halves of the real rows: {close['columns_real_mean']:.3f}), their correlations "
        f"{value(over['correlations'], 3)} ({close['correlation_error_real']:.3f}; independent "
        f"columns {close['correlation_error_independent']:.3f}), and {value(over['nearer'], 1)} % "
        "of the generated rows are nearer to a training row than training rows are to each other "
        f"(of held-out rows {100 * close['nearer_real']:.1f} %)."
    )
    return "\n\n".join(
        [
            *blocks,
            markdown(["finding the 20 planted rows", "AUROC", "average precision"], detection),
            markdown(["filling hidden cells", "mean error of the columns"], imputation),
            text,
        ]
    )


def real_tables(result):
    """AUROC per labelled table, and errors of hidden cells per table with its baselines."""
    methods = list(result["mean_auroc"])
    rows = [
        [
            row["name"],
            f"{row['rows']:,} x {row['columns']}",
            *(f"{row['auroc'][method]:.1f}" for method in methods),
            f"{row['seconds']:.0f}",
        ]
        for row in result["detection"]
    ]
    mean = [f"{result['mean_auroc'][method]:.1f}" for method in methods]
    seconds = sum(row["seconds"] for row in result["detection"])
    rows.append(["mean", "", *mean, f"{seconds:.0f} in all"])
    detection = markdown(["table", "size", *methods, "s"], rows)
    imputers = list(result["imputation"][0]["error"])
    rows = [
        [
            row["name"],
            str(row["columns"]),
            *(f"{row['error'][method]:.3f}" for method in imputers),
            f"{100 * row['coverage']:.1f} %",
            f"{row['columns_distance'][0]:.3f} ({row['columns_distance'][1]:.3f})",
            f"{row['seconds']:.0f} + {row['generate_seconds']:.0f}",
        ]
        for row in result["imputation"]
    ]
    header = ["table", "columns", *imputers, "90 % interval holds", "generated: distance", "s"]
    return f"{detection}\n\n{markdown(header, rows)}"


def detection(result):
    """AUROC per labelled table and method, with spread over splits, and seconds of a split."""
    methods = list(result["mean"])
    rows = [
        [
            row["name"],
            f"{row['rows']:,} x {row['columns']}",
            *(pair(row["auroc"][m]) for m in methods),
        ]
        for row in result["tables"]
    ]
    rows.append(["**mean**", "", *(f"**{pair(result['mean'][m])}**" for m in methods)])
    ahead = [f"{sum(above(row['auroc'], m) for row in result['tables'])}" for m in methods[1:]]
    rows.append(["tables on which the VAE is better", "", "", *ahead])
    seconds = [row["seconds"] for row in result["tables"]]
    took = [f"{sum(s[m] for s in seconds):.0f}" if m in seconds[0] else "" for m in methods]
    rows.append(["seconds, all tables", "", *took])
    return markdown(["table", "trained on", *methods], rows)


def pair(entry):
    """[mean, s.d.] of an AUROC in per cent."""
    return value({"mean": entry[0], "sd": entry[1]}, 1)


def above(auroc, method):
    return auroc["VAE"][0] > auroc[method][0]


def imputation(result):
    """Errors per table and method with spread over masks, coverage, and seconds."""
    methods = list(result["miwae"][0]["error"])
    rows = []
    for found in [*result["miwae"], *result["adult"]]:
        covered, ratio = found["coverage"], found.get("median_seconds_ratio")
        rows.append(
            [
                found["name"],
                *(value(found["error"].get(method), 3) for method in methods),
                f"{100 * covered['mean']:.1f} %",
                f"{found['median_seconds']['VAE']:.0f}",
                "—" if ratio is None else f"{ratio:.2f}",
            ]
        )
    return markdown(["table", *methods, "90 % interval holds", "s", "÷ ExtraTrees"], rows)


def generation(result):
    """What a classifier learns from generated rows, and how near these are to real ones."""
    rows = []
    for method, found in sorted(result["methods"].items(), key=lambda item: "real" not in item[0]):
        near = (value(found[name], 3) for name in ("dcr_median", "dcr_p5", "columns"))
        fit = found.get("fit_seconds")
        took = "—" if fit is None else f"{fit['mean']:.0f} + {found['sample_seconds']['mean']:.0f}"
        rows.append([method, value(found["auroc"], 1), *near, value(found["copies"], 2), took])
    header = ["trained on", "AUROC on real rows", "distance to the closest training row, median",
              "its 5 % quantile", "columns: distance", "copies, %", "s"]  # fmt: skip
    return markdown(header, rows)


TABLES = {
    "survey": ("survey.json", survey),
    "detection": ("detection.json", detection),
    "imputation": ("imputation.json", imputation),
    "generation": ("generation.json", generation),
    "real_tables": ("real_tables.json", real_tables),
    "commands": ("quality.json", commands),
    "quality": ("quality.json", quality),
    "speed": ("speed.json", speed),
    "variants": ("variants.json", variants),
    "samples": ("samples.json", samples),
    "given": ("given.json", given),
    "density": ("density.json", density),
    "tuning": ("tuning.json", tuning),
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
