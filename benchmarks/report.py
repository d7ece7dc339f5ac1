"""Write the tables of README.md and docs/*.md from the JSON files of the benchmarks.

python benchmarks/report.py            # rewrites the tables between the markers
python benchmarks/report.py --check    # exit code 2 if a page is stale

Two lines on a page mark where a table goes: `<!-- results:begin NAME -->`, with a key of TABLES as
NAME, and `<!-- results:end -->`. Each NAME stands on exactly one page.
"""

import json
import os
import re
import sys
from functools import partial
from pathlib import Path
from statistics import fmean, stdev

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
    """Format mean ± s.d. over seeds."""
    if entry is None:
        return "—"
    if not entry["sd"]:
        return f"{entry['mean']:.{digits}f}"
    return f"{entry['mean']:.{digits}f} ± {entry['sd']:.{digits}f}"


def start(result):
    """The two lines for a new machine, with their seconds."""
    lines = []
    for row in result["rows"]:
        install, total = row["seconds"][0], sum(row["seconds"])
        cores = f"on {result['cores']} cores"
        lines += [f"# {total:.0f} s {cores}, of which pip took {install:.0f} s", row["line"], ""]
    return "\n".join(["```", *lines[:-1], "```"])


def shown(lines, patterns):
    """The lines that match each pattern, cut at the end of the match; at least one of each."""
    found = []
    for pattern in patterns:
        matches = [match for line in lines if (match := re.match(pattern, line))]
        assert matches, pattern
        found += [m[0] if m.end() == len(m.string) else f"{m[0]} ..." for m in matches]
    return found


def commands(quality, printed):
    """The three basic commands with their seconds and some of the lines that they print."""
    patterns = {
        "train.py": (r"Data: .*", r"Epoch .*?, Loss: [-.\d]+", r"Run: .*"),
        "evaluate.py": (
            r"Test MSE: .*",
            r"  log p\(x\) +\S+ ± \S+",
            r"  MSE, training mean +\S+ +baseline",
            r"  MSE, PCA +\S+ +baseline",
            r"  log p\(x\), one Gaussian +\S+ +baseline",
            r"Note: (Test MSE lies above PCA's|A baseline describes .* better)",
        ),
        "plot_results.py": (r"Wrote .*training_curves.png", r"Wrote .*reconstructions.png"),
    }
    lines = []
    for script, wanted in patterns.items():
        head = f"python {script:<16} # {quality['process_seconds'][script]:.0f} s"
        lines += [head, *shown(printed["lines"][f"python {script}"], wanted)]
    return "\n".join(["```", *lines, "```"])


def output(result, command, first=8, last=4, width=300):
    """A command with the first and the last of the lines that it prints."""
    lines = [s if len(s) <= width else f"{s[: width - 3]}..." for s in result["lines"][command]]
    if len(lines) > first + last + 1:
        lines = [*lines[:first], "...", *lines[len(lines) - last :]]
    return "\n".join(["```", command, *lines, "```"])


def without(line, column):
    """A line of a CSV file without one of its columns, before which no cell holds a comma."""
    cells = line.split(",")
    return ",".join(cells[:column] + cells[column + 1 :])


def middle_cut(line, n_first=3, n_last=4, width=100):
    """A line of a CSV file without its middle columns, and not longer than `width`."""
    cells = line.split(",", n_first)
    line = ",".join([*cells[:n_first], "...", *cells[n_first].rsplit(",", n_last)[1:]])
    return line if len(line) <= width else f"{line[: width - 3]}..."


def example(result):
    """The verbs on the example: each command, and two lines of the file that it writes."""
    steps = {step["file"]: step for step in result["steps"]}
    blocks = []
    for name, row in (("survey.scored.csv", 1), ("survey.imputed.csv", 2), ("new.csv", 1)):
        step = steps[name]
        lines = [step["lines"][0], step["lines"][row]]
        if name == "survey.scored.csv":
            left_out = lines[0].split(",").index("anomaly_nats")  # the README has plain words
            lines = [middle_cut(without(line, left_out)) for line in lines]
        head = f"{step['command']}  # {step['seconds']:.0f} s"
        blocks.append("\n".join([head, *lines]))
    make = steps["survey.csv"]
    text = f"{make['command']}  # {make['seconds']:.0f} s"
    return "\n".join(["```", text, "", "\n\n".join(blocks), "```"])


def comparison(detection, imputation, generation, quality, of_series):
    """One table: our figure, that of the best other method, and where the other is better."""
    rows = [["task", "here", "best other", "here against the best other"], ["---"] * 4]

    for trained_on in ("normal rows", "all rows"):
        group = group_of(detection, trained_on, "DIR")
        name = best_other(group)
        ours, theirs = (pair(group["mean"][method]) for method in (VAE, name))
        task = f"odd rows, trained on {trained_on}; AUROC, %, {len(group['tables'])} tables"
        won, lost = won_and_lost(group["tables"], name)
        count = f"ahead on {len(won)}, behind on {len(lost)}"
        rows.append([task, ours, f"{name} {theirs}", f"{lead(group['tables'], name)}; {count}"])

    tables = {row["name"]: row["error"] for row in imputation["miwae"]}
    tables = {name: {m: e["mean"] for m, e in row.items() if e} for name, row in tables.items()}
    name, lost, difference = best_filler(tables)
    ours, theirs = (fmean(row[method] for row in tables.values()) for method in (VAE, name))
    other = f"{FULL_NAMES.get(name, name)} {theirs:.3f}"
    task = f"half of the cells empty: error, {len(tables)} tables"
    rows.append([task, f"{ours:.3f}", other, f"{difference}; {behind_on(lost)}"])

    adult = {m: e for m, e in imputation["adult"][0]["error"].items() if e}
    name = min(set(adult) - {"VAE"}, key=lambda method: adult[method]["mean"])
    gap = f"{adult['VAE']['mean'] - adult[name]['mean']:+.3f}, one repetition"
    task = "a fifth of the cells empty: error, Adult"
    other = f"{FULL_NAMES.get(name, name)} {value(adult[name], 3)}"
    rows.append([task, value(adult["VAE"], 3), other, gap])

    made = generation["tables"][0]["methods"]
    ours, theirs = made["preset generate"], made["TVAE"]
    task = "made rows told from real ones; AUROC (0.5: not at all), Adult"
    told = against(ours["told_apart"], theirs["told_apart"], "TVAE", 3, higher=False)
    rows.append([task, *told])
    rows[-1][-1] += f"; real rows {value(made['real rows']['told_apart'], 3)}"
    task = "a classifier learns from made rows; AUROC, %, Adult"
    rows.append([task, *against(ours["auroc"], theirs["auroc"], "TVAE", 1, higher=True)])
    rows[-1][-1] += f"; from real rows {value(made['real rows']['auroc'], 1)}"

    odd, filled = (of_series["parts"][part] for part in ("detection", "ett"))
    task = f"odd stretches, {len(odd['sets'])} series; VUS-PR"
    rows.append([task, *beside_others(odd["mean"], "VUS-PR", higher=True)])
    (half,) = [row for name, row in filled["sets"].items() if name.startswith("50% of the cells")]
    task = "half of the cells empty, a series: error, ETTh1"
    rows.append([task, *beside_others(half, "MAE", higher=False)])

    default = quality["rows"][0]
    task = "how likely are test rows, `python train.py`: log p(x)"
    gaussian = default["baseline_log_px_gaussian"]
    rows.append([task, *against(default["log_px"], gaussian, "one Gaussian", 2, higher=True)])
    task = "error of rebuilt rows, `python train.py`: MSE"
    pca = default["baseline_mse_pca"]
    rows.append([task, *against(default["test_mse"], pca, "PCA", 3, higher=False)])

    methods = (VAE, "PyOD's VAE")
    first = group_of(detection, "normal rows", "DIR")["tables"]
    seconds = [sum(row["seconds"][m] for row in first) for m in methods]
    ours, theirs = ({"mean": total, "sd": None} for total in seconds)
    task = "seconds, the tables of the first line"
    rows.append([task, *against(ours, theirs, methods[1], 0, higher=False)])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


FULL_NAMES = {"as missForest": "a forest, as missForest", "boosting": "gradient boosting"}


def against(ours, theirs, name, digits, higher):
    """The last three cells of a row of `comparison`; `higher` says which figure is better."""
    ahead = (ours["mean"] > theirs["mean"]) == higher
    cells = [value(ours, digits), f"{name} {value(theirs, digits)}"]
    return [*cells, "ahead" if ahead else "behind"]


def beside_others(methods, figure, higher):
    """`against` the best of the other methods of a set."""
    figures = {method: row[figure] for method, row in methods.items()}
    others = sorted(set(figures) - {VAE}, key=lambda method: figures[method]["mean"])
    name = others[-1 if higher else 0]
    return against(figures[VAE], figures[name], name, 3, higher)


def behind_on(tables):
    return f"behind on {', '.join(tables)}" if tables else "behind on none"


def best_filler(tables):
    """The other method of the smallest mean error, the tables on which it is better, and our lead.

    The mean difference of errors has its standard error over tables.
    """
    common = set.intersection(*(set(row) for row in tables.values())) - {VAE}
    order = [method for method in next(iter(tables.values())) if method in common]
    name = min(order, key=lambda method: fmean(row[method] for row in tables.values()))
    ahead = [t for t, row in tables.items() if row[name] < row[VAE]]
    gaps = [row[VAE] - row[name] for row in tables.values()]
    return name, ahead, mean_with_error(gaps, 3)


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
    """A table of the variants: flags, change, source, use."""
    header = ["variant", "flags of train.py", "what it changes", "source", "use it when"]
    rows = []
    for row in result["rows"]:
        flags = f"`{row['flags']}`" if row["flags"] else "none"
        rows.append([row["name"], flags, row["changes"], row["source"], row["use"]])
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def variant_results(result):
    """A table of the results of each variant on digits, with generated pictures."""
    rows = []
    for row in result["rows"]:
        figures = [
            f"![{row['name']}](benchmarks/results/{row['picture']})",
            value(row["log_px"], 2),
            value(row["kl"], 1),
            value(row["active_units"], 1),
        ]
        rows.append([row["name"], *figures, value(row["train_seconds"], 0)])
    table = markdown(["variant", "samples", "log p(x), nats", "KL", "active units", "s"], rows)
    return f"All with `{result['base']}`.\n\n{table}"


def samples(result):
    """Scores of the samples of each model, mean ± s.d. over seeds."""
    keys = {"inception_score": 2, "told_apart": 3, "precision": 3, "recall": 3}
    keys |= {"log_px": 2, "mse": 3, "seconds": 0}
    header = ["pictures of", "inception score", "told from real pictures", "precision", "recall"]
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
    """Per cent of pictures that a classifier assigns to the label that was given."""
    keys = ("default", "default_worst", "drawn", "real")
    rows = []
    for row in result["rows"]:
        shares = [{k: 100 * v for k, v in row[key].items()} for key in keys]
        cells = [value(share, 1) for share in shares]
        rows.append([row["name"], f"`{row['flags']}`", *cells, value(row["seconds"], 0)])
    header = ["pictures", "flags of train.py", "agree", "of the worst digit", "`--pixels drawn`"]
    return markdown([*header, "real test pictures", "s"], rows)


def density(result):
    """Test log p(x) of each setting ± standard error over pictures, or s.d. over several seeds."""
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
    """The scores of the search, and those of the default and the found settings on new seeds."""
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
    """Detection, imputation and generation on the example table."""
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
            markdown(["finding the 20 planted rows", "AUROC", "average precision"], detection),
            markdown(["filling hidden cells", "mean error of the columns"], imputation),
            text,
        ]
    )


def real_tables(result):
    """Errors of hidden cells per table with its baselines, and how close generated columns are."""
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
    return markdown(header, rows)


def detection(trained_on, source, result):
    """AUROC per labelled table and method, with spread over seeds, and seconds of a seed.

    The last lines compare the VAE with each other method: on how many tables the difference is
    larger than both standard deviations together, and the mean difference with its standard error.
    """
    group = group_of(result, trained_on, source)
    tables = group["tables"]
    methods = [m for m in group["mean"] if m not in ("PCA error, our columns", OUR_DISTANCE)]
    rows = [
        [
            f"{row['name']}, {100 * row['odd']:.0f} %",
            f"{row['rows']:,} x {row['columns']}",
            *(pair(row["auroc"][m]) for m in methods),
        ]
        for row in tables
    ]
    rows.append(["**mean**", "", *(f"**{pair(group['mean'][m])}**" for m in methods)])
    counts = [[len(part) for part in won_and_lost(tables, m)] for m in methods[1:]]
    rows.append(["VAE ahead, behind", "", "", *(f"{won}, {lost}" for won, lost in counts)])
    rows.append(["its lead", "", "", *(lead(tables, m) for m in methods[1:])])
    seconds = [row["seconds"] for row in tables]
    took = [f"{sum(s[m] for s in seconds):.0f}" if m in seconds[0] else "" for m in methods]
    rows.append(["seconds, all tables", "", *took])
    return markdown(["table, odd rows", "trained on", *methods], rows)


VAE, OUR_DISTANCE = "VAE", "distance to the mean, our columns"


def group_of(result, trained_on, source):
    """The measurements of detection.json by protocol and source of the tables."""
    wanted = {"trained_on": trained_on, "source": source}
    return next(g for g in result["groups"] if wanted.items() <= g.items())


def best_other(group):
    """The method of the highest mean AUROC, without the VAE and what is given our columns."""
    others = [m for m in group["mean"] if m != VAE and not m.endswith("our columns")]
    return max(others, key=lambda method: group["mean"][method][0])


def won_and_lost(tables, method):
    """Tables on which the VAE is better, and worse, by more than both standard deviations."""
    gaps = {}
    for row in tables:
        (ours, sd), (theirs, other_sd) = row["auroc"][VAE], row["auroc"][method]
        gaps[row["name"]] = (ours - theirs, sd + other_sd)
    won = [name for name, (gap, spread) in gaps.items() if gap > spread]
    lost = [name for name, (gap, spread) in gaps.items() if -gap > spread]
    return won, lost


def lead(tables, method):
    """The mean difference of AUROC from a method, and its standard error over tables."""
    return mean_with_error([row["auroc"][VAE][0] - row["auroc"][method][0] for row in tables], 1)


def pair(entry):
    """Format [mean, s.d.] of an AUROC in per cent."""
    return value({"mean": entry[0], "sd": entry[1]}, 1)


def mean_with_error(gaps, digits):
    error = stdev(gaps) / len(gaps) ** 0.5
    return f"{fmean(gaps):+.{digits}f} ± {error:.{digits}f}"


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
    """Classifiers of generated rows, and their distance to real rows, for each table."""
    rows = []
    for table in result["tables"]:
        rows.append([f"**{table['table']}**", *[""] * 7])
        for method, found in table["methods"].items():
            near = (value(found[name], 3) for name in ("dcr_median", "dcr_p5", "columns"))
            fit = found.get("fit_seconds")
            sample = found.get("sample_seconds")
            took = "—" if fit is None else f"{fit['mean'] + sample['mean']:.0f}"
            auroc = value(found["auroc"], 1) if found["auroc"] else "—"
            told = value(found["told_apart"], 3)
            rows.append([method, told, auroc, *near, value(found["copies"], 2), took])
    header = ["rows", "told from held-out rows, AUROC", "trained on them: AUROC on real rows, %"]
    header += ["distance to the closest training row, median", "its 5 % quantile"]
    return markdown([*header, "columns: distance", "copies, %", "s"], rows)


def modules(result):
    """Modules and lines that a command loads, before and after the modules were sorted."""
    rows = []
    for command in result["after"]:
        before, after = (result[column][command] for column in ("before", "after"))
        counts = [found[what] for what in ("modules", "lines") for found in (before, after)]
        rows.append([f"`{command}`", *counts])
    header = ["command", "modules, before", "modules, after", "lines, before", "lines, after"]
    return markdown(header, rows)


def fuzz(result):
    """What the commands answered to broken files, by the kind of file."""
    named = {**result["rows"], "all": result["total"]}
    columns = ("inputs", "accepted", "refused", "faults", "hangs", "crashes", "leftovers")
    rows = [[kind, *(counts.get(name, 0) for name in columns)] for kind, counts in named.items()]
    peak = f"Peak of memory: {result['peak_mb']} MB; longest answer: {result['longest_seconds']} s."
    own = f"{result['own_processes']} of the inputs had a process of their own. "
    return f"{markdown(['broken', *columns], rows)}\n\n{own}{peak}"


def trimming(result):
    """How far a far cluster is from the other rows, trained on every row and trimmed."""
    rows = [
        [name, f"{value['mean']:.1f} ± {value['sd']:.1f}"]
        for name, value in result["nats_apart"].items()
    ]
    return markdown(["trained on", "odd rows beyond the median row, nats"], rows)


def near_copies(result):
    """What is drawn of two nearly equal columns, by the noise."""
    rows = [
        [
            name,
            f"{value(found['negative'], 1)} %",
            value(found["spread"], 2 if found["spread"]["mean"] < 10 else 0),
            value(found["nats"], 2),
        ]
        for name, found in result["noise"].items()
    ]
    header = ["fit with", "rides that end before they begin"]
    header += ["spread of the drawn durations ÷ real", "log p(x) of other rides, nats"]
    return markdown(header, rows)


def relations(result):
    """What the commands make of exact relations, with and without their being looked for."""
    names = ("as it is", "--relations off", "best other")
    rows = [
        [task, *(value(row.get(name), 2 if "minutes" in task else 1) for name in names)]
        for task, row in result["rows"].items()
    ]
    return markdown(["", "as it is", "`--relations off`", "best other"], rows)


def series(part, figures, result):
    """One part of series.json: a line for each method, or for each set and method if there are
    many figures; of many sets their mean.
    """
    found = result["parts"].get(part)
    if found is None:
        return "Not measured yet."
    sets, many = found["sets"], len(found["sets"]) > MOST_SETS
    methods = list(dict.fromkeys(method for row in sets.values() for method in row))
    shown = {"": found["mean"]} if many else sets
    if len(figures) > 2:
        header = ["windows of", "method", *figures]
        rows = [
            [name, method, *(value(row[method].get(f), digits) for f, digits in figures.items())]
            for name, row in shown.items()
            for method in row
        ]
    else:
        columns = [(name, figure) for name in shown for figure in figures]
        if len(figures) == 1:
            names = [name or figure for name, figure in columns]
        else:
            names = [figure if len(shown) == 1 else f"{name}: {figure}" for name, figure in columns]
        header = ["method", *names]
        rows = [
            [method, *(value(shown[n].get(method, {}).get(f), figures[f]) for n, f in columns)]
            for method in methods
        ]
        if "seconds" not in figures:
            header.append("s")
            for cells, method in zip(rows, methods, strict=True):
                cells.append(f"{found['mean'][method]['seconds']['mean']:.1f}")
    lines = [markdown(header, rows)]
    if many:
        lines.append(won_by(sets, methods, next(iter(figures))))
    if published := found.get("published"):
        best = sorted(published, key=published.get, reverse=True)[:N_PUBLISHED]
        best += [name for name in ("Donut", "OmniAnomaly") if name not in best]
        texts = ", ".join(f"{name} {published[name]:.3f}" for name in best if name in published)
        lines.append(f"Published for the same series by TSB-AD, mean VUS-PR: {texts}.")
    return "\n\n".join(lines)


MOST_SETS, N_PUBLISHED = 6, 4


def won_by(sets, methods, figure):
    """On how many sets each method has the highest figure."""
    best = [max(row, key=lambda method: row[method][figure]["mean"]) for row in sets.values()]
    counts = ", ".join(f"{method} {best.count(method)}" for method in methods if method in best)
    return f"Means over {len(sets)} sets; highest {figure} by set: {counts}."


def other_commit(result):
    """CPU seconds of commands beside those of an earlier commit."""
    rows = [
        [
            f"`{row['command']}`",
            *(f"{row['cpu_seconds'][name]:.1f}" for name in ("other", "this")),
            f"{row['ratio']:.2f} ({row['ratio_range'][0]:.2f} to {row['ratio_range'][1]:.2f})",
        ]
        for row in result["rows"]
    ]
    header = ["command", f"commit {result['other']}, CPU s", "now, CPU s", "ratio (range)"]
    return markdown(header, rows)


def page_output(command, **sizes):
    """An entry of TABLES that shows what a command prints."""
    return "printed.json", partial(output, command=command, **sizes)


MANY = ("detection", "imputation", "generation", "quality", "series")
GIVEN = '--given "job=nurse,age=40" --n 100 --out nurses.csv'
RANKED, FILLED = {"VUS-PR": 3, "AP": 3}, {"MAE": 3, "coverage": 3}
# Part of series.json -> the figures that are shown, and their digits.
SERIES = {
    "detection": RANKED,
    "nasa": RANKED,
    "asd": {"VUS-PR": 3},
    "smd": RANKED,
    "ett": FILLED,
    "air": FILLED,
    "physionet": FILLED,
    "density": {"nats per cell": 3, "standard error": 3},
    "generation": {
        "discriminative": 3,
        "discriminative, strong critic": 3,
        "discriminative, strong critic, other days": 3,
        "predictive": 3,
        "closest window": 2,
    },
    "time": {"seconds": 1},
    "irregular": RANKED,
}
# NAME of a marker -> the JSON files that its function is given, and the function.
TABLES = {
    "start": ("start.json", start),
    "commands": ("quality.json printed.json", commands),
    "example": ("survey.json", example),
    "comparison": (" ".join(f"{name}.json" for name in MANY), comparison),
    "print_data": page_output("python data.py --data survey.csv", first=17),
    "print_lab": page_output("python data.py --data lab.csv", first=17, last=6),
    "print_series_detect": page_output(
        "python detect.py sensors.csv --labels event", first=0, last=31
    ),
    "print_series_impute": page_output(
        "python impute.py sensors.csv --kind event=ignore --interval 0.9 --check", first=0, last=9
    ),
    "print_detect": page_output("python detect.py survey.csv --labels odd", first=0, last=21),
    "print_impute": page_output(
        "python impute.py survey.csv --kind odd=ignore --check", first=0, last=17
    ),
    "print_generate": page_output(
        "python generate.py survey.csv --kind odd=ignore --n 1000 --out new.csv", first=0, last=17
    ),
    "print_given": page_output(f"python generate.py --run survey {GIVEN}"),
    "print_evaluate": page_output("python evaluate.py --run survey", first=20),
    "print_tune": page_output(
        "python tune.py --data survey.csv --kind odd=ignore --trials 10", first=0, last=18
    ),
    "print_digits": page_output("python train.py --data digits --condition label --run labelled"),
    "print_digits_evaluated": page_output("python evaluate.py --run labelled", first=20),
    "print_sevens": page_output(
        "python generate.py --run labelled --given label=7 --n 100 --out sevens.npz", first=20
    ),
    "print_factors": page_output("python evaluate.py --run shapes --factors", first=0, last=12),
    "survey": ("survey.json", survey),
    "detection": ("detection.json", partial(detection, "normal rows", "DIR")),
    "detection_in_file": ("detection.json", partial(detection, "all rows", "DIR")),
    "detection_other": ("detection.json", partial(detection, "normal rows", "scikit-learn")),
    "detection_other_in_file": ("detection.json", partial(detection, "all rows", "scikit-learn")),
    "imputation": ("imputation.json", imputation),
    "generation": ("generation.json", generation),
    "real_tables": ("real_tables.json", real_tables),
    "quality": ("quality.json", quality),
    "speed": ("speed.json", speed),
    "variants": ("variants.json", variants),
    "variant_results": ("variants.json", variant_results),
    "samples": ("samples.json", samples),
    "given": ("given.json", given),
    "density": ("density.json", density),
    "tuning": ("tuning.json", tuning),
    "modules": ("modules.json", modules),
    "fuzz": ("fuzz.json", fuzz),
    "trimming": ("trimming.json", trimming),
    "near_copies": ("near_copies.json", near_copies),
    "relations": ("relations.json", relations),
    "against": ("against.json", other_commit),
    **{
        f"series_{part}": ("series.json", partial(series, part, figures))
        for part, figures in SERIES.items()
    },
}
MARKED = re.compile(r"<!-- results:begin (\w+) -->\n.*?<!-- results:end -->", re.DOTALL)


def pages():
    """README.md and the pages of docs/ that hold a marker."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [path for path in found if MARKED.search(path.read_text(encoding="utf-8"))]


def block(name, folder):
    """The text between the markers of a page in `folder`."""
    files, table = TABLES[name]
    results = [json.loads((RESULTS / file).read_text(encoding="utf-8")) for file in files.split()]
    sources = dict.fromkeys(result["command"] for result in results)
    written = f"Written by {' and '.join(f'`{source}`' for source in sources)}."
    if len(sources) > 2:
        written = "Written by `python benchmarks/report.py` from `benchmarks/results/`."
    relative = os.path.relpath(ROOT, folder)
    base = "" if relative == "." else f"{Path(relative).as_posix()}/"
    body = re.sub(r"(!\[[^\]]*\]\()(benchmarks/)", rf"\1{base}\2", table(*results))
    return f"{body}\n\n{written}"


def render(text, folder=ROOT):
    """Replace the text between the markers of a page by the tables."""

    def replace(match):
        if match[1] not in TABLES:
            raise UserError(f"results:begin {match[1]}: expected one of {', '.join(TABLES)}")
        body = block(match[1], folder)
        return f"<!-- results:begin {match[1]} -->\n{body}\n<!-- results:end -->"

    return MARKED.sub(replace, text)


def refuse_wrong_markers(texts):
    """Raise UserError unless each table is on exactly one page."""
    names = [name for text in texts for name in MARKED.findall(text)]
    for name in TABLES:
        if names.count(name) != 1:
            raise UserError(f"{name} stands {names.count(name)} times on the pages, expected once")


def main(argv=None):
    parser = Parser(
        prog="benchmarks/report.py", description="Write the result tables of the pages."
    )
    parser.add_argument("--check", action="store_true", help="only compare; write nothing")
    args = parser.parse_args(argv)
    texts = {path: path.read_text(encoding="utf-8") for path in pages()}
    refuse_wrong_markers(texts.values())
    for path, text in texts.items():
        rendered = render(text, path.parent)
        if rendered == text:
            continue
        if args.check:
            raise UserError(f"{path.relative_to(ROOT)} is stale: run python benchmarks/report.py")
        write_atomic(path, lambda file, page=rendered: file.write(page.encode()))


if __name__ == "__main__":
    run_script(main)
