"""The words and tables of report.html, made from the plain values that a run's files hold.

Each function turns the facts of a run, by name of their file, into one Section; every fact may be
missing, because a run holds only what commands have written into it.
"""

import math
from typing import NamedTuple

from parts.plots.words import counted, listed, name_in_words, percent, short

UNDERSTOOD = "as asked", "tells the time", "tells the group"  # why columns are not modelled
MOST_ROWS = 200  # rows of a table of columns
CLEARLY = 2  # standard errors by which a difference is clear
LARGE = 10.0  # nats beyond which a factor says no more than they do
FAR_NEARER = 0.1  # share of rows by which generated rows look like copies
BASELINES = {"gaussian": "one Gaussian", "diagonal": "independent columns"}


class Table(NamedTuple):
    """A table, whose rows start with a header; the columns numbered `numbers` hold numbers."""

    caption: str
    head: list
    rows: list
    numbers: tuple = ()
    more: int = 0  # rows that are left out


class Section(NamedTuple):
    """A part of the page; `gist` is its one sentence for the beginning of the page."""

    title: str
    sentences: list
    tables: list = []
    notes: list = []
    gist: str = ""


def table(caption, head, rows, numbers=()):
    """The Table of at most MOST_ROWS of these rows."""
    rows = list(rows)
    return Table(caption, head, rows[:MOST_ROWS], numbers, max(0, len(rows) - MOST_ROWS))


# The data


def data_section(facts):
    """What the data are, and how each column was read."""
    train, about = facts["train"], facts["about"]
    columns = about["columns"]
    ignored = [name for name, kind, _ in columns if kind == "ignore"]
    given = [name for name, kind, _ in columns if kind == "given"]
    n_train = facts["config"]["source"]["n_train"]
    said = f"{about['data']}: {about['shape']}{counted(about['n_modelled'], 'column')}"
    said += f" that the model learned from {counted(n_train, *about['learned'])}"
    sentences = [f"{said}.", *about["reading"]]
    if "n_rows" in train:
        parts = zip(("held out for choices", "for tests"), train["n_rows"][1:], strict=True)
        others = [f"{counted(n, *about['learned'])} {what}" for what, n in parts if n]
        sentences.append(f"Not trained on: {' and '.join(others) or 'none'}.")
        if train["holes"]:
            sentences.append(f"Empty: {percent(train['holes'])} of the cells.")
    if given:
        sentences.append(f"Given to the model, and not modelled: {listed(given)}.")
    if ignored:
        sentences.append(f"Kept in files, but not modelled: {listed(ignored)}.")
    if about["relations"]:
        sentences.append("Always true in the training rows: " + "; ".join(about["relations"]) + ".")
    known = train.get("columns", {})
    rows = [
        [
            name,
            {"ignore": "ignored"}.get(kind, kind),
            words,
            known.get(name, {}).get("values", ""),
            percent(known[name]["empty"]) if name in known else "",
        ]
        for name, kind, words in columns
    ]
    head = ["Column", "Kind", "Read as", "In the training rows", "Empty"]
    tables = [table("How each column was read", head, rows, (4,))] if rows else []
    return Section("What the data are", sentences, tables, gist=sentences[0])


def notes_section(facts):
    """All notes of all commands, each once, and the columns that were left out unasked."""
    notes = {}
    for verb in ("train", "detect", "impute", "generate", "continue", "evaluate"):
        for note in facts[verb].get("notes", []):
            notes.setdefault(note[:1].upper() + note[1:], verb)
    left = [
        f"Column {name_in_words(name)} is not modelled: {words}."
        for name, kind, words in facts["about"]["columns"]
        if kind == "ignore" and words not in UNDERSTOOD
    ]
    found = [*left[:MOST_ROWS], *notes]
    if found:
        sentences = ["What the program left out, could not read, or warns of:"]
    elif facts["train"]:
        sentences = ["Nothing: all cells were read, and no command had a warning."]
    else:
        sentences = ["This run was made by a version that kept no notes; train again to see them."]
    gist = f"{counted(len(found), 'note')} on what was not understood, or needs care." * bool(found)
    return Section("What was not understood", sentences, notes=found, gist=gist)


# Training and test rows


def training_section(facts):
    asked = facts["config"]["training"]
    sentences = [f"{facts['train']['model']}."] if "model" in facts["train"] else []
    sentences.append(f"It was trained for up to {counted(asked['epochs'], 'epoch')}.")
    return Section("Training", sentences)


def evaluation_section(facts):
    """The metrics of test rows in words, beside their baselines."""
    m, (row, rows) = facts["metrics"], facts["about"]["learned"]
    if not m:
        return None
    names = facts["evaluate"].get("baselines", BASELINES)
    others = {names[key]: m.get(f"baseline_log_px_{key}") for key in names}
    others = {name: value for name, value in others.items() if value is not None}
    sentences = [
        *errors_in_words(m, rows),
        f"A test {row} has log p(x) = {with_error(m)} nats; higher is likelier.",
        *[density_in_words(m, name, value, row) for name, value in others.items()],
    ]
    unit = m.get("units", {}).get("test_mse", "the data's units, squared")
    values = [
        ["Mean squared error of a rebuilt cell", short(m["test_mse"]), f"lower is better; {unit}"],
        ["of the training mean", short(m["baseline_mse_mean"]), "baseline"],
        ["of PCA", short(m["baseline_mse_pca"]), "baseline"],
        [f"log p(x), nats a {row}", with_error(m), "higher is better"],
        *[[f"of {name}", short(value), "baseline"] for name, value in others.items()],
        ["ELBO, nats", short(m["elbo"]), "a lower bound of log p(x)"],
        ["KL(q(z|x) || p(z)), nats", short(m["kl"]), f"what the model stores of a {row}"],
        ["Effective samples", short(m["ess"]), f"of {m['n_samples']}; few: log p(x) is too low"],
    ]
    values = [value for value in values if value[1] != "—"]
    caption = f"Measured on {counted(m['n_test'], 'test ' + row, 'test ' + rows)}"
    caption += f", after epoch {m['epoch']}"
    tables = [table(caption, ["Measure", "Value", "What it is"], values, (1,))]
    title = f"How well the model describes {rows} it has not seen"
    return Section(title, sentences, tables, gist=sentences[0])


def errors_in_words(m, rows):
    """Sentences on the error of rebuilt rows beside that of the training mean and of PCA."""
    mse, guess, pca = m["test_mse"], m["baseline_mse_mean"], m["baseline_mse_pca"]
    said = f"Test {rows} are rebuilt with a mean squared error of {short(mse)} a cell; a guess "
    said += f"of the training mean has {short(guess)}"
    if guess:
        gone = 1 - mse / guess
        said += f": {percent(abs(gone))} {'less' if gone >= 0 else 'more'}"
    if pca is None:
        return [f"{said}."]
    than = "less than" if mse < pca else "not less than"
    return [f"{said}.", f"That is {than} the {short(pca)} of PCA with as many numbers a row."]


def with_error(m):
    """log p(x) and its standard error."""
    error = m["log_px_se"]
    return short(m["log_px"]) + ("" if error is None else f" ± {short(error, 2)}")


def density_in_words(m, name, other, row):
    """By how much test rows are likelier to the model than to the baseline `name`."""
    apart, error = m["log_px"] - other, m["log_px_se"]
    way = "likelier" if apart >= 0 else "less likely"
    times = f", a factor of {short(math.exp(abs(apart)))}" if abs(apart) < LARGE else ""
    unclear = error is not None and abs(apart) <= CLEARLY * error
    return (
        f"The baseline of {name} has {short(other)}: to the model a test {row} is "
        f"{short(abs(apart))} nats {way}{times}{': no clear difference' if unclear else ''}."
    )


# Odd rows


def detection_section(facts):
    """The oddest rows and why; the scores against labels, where there were any."""
    told, about = facts["detect"], facts["about"]
    measured = facts["detection"] if told.get("labels") or not told else {}
    sentences, tables, gist = [], [], ""
    if told:
        n = f"{told['n_flagged']:,} of {counted(told['n_rows'], about['row'], about['rows'])}"
        sentences.append(f"{n} of {told['file']} are flagged as odd{threshold_in_words(told)}.")
        first, gist = told["oddest"][0], sentences[0]
        gist += f" The oddest is {about['row']} {first['row']}"
        gist += f": {first['why']}." if first["why"] else "."
        why = any(row["why"] for row in told["oddest"])
        head = ["Rank", about["row"].capitalize(), "Score", "Flagged", *["Why"] * why]
        rows = [
            [
                str(rank),
                str(row["row"]),
                short(row["score"]),
                "yes" if row["flagged"] else "no",
                *[row["why"] or "no single cell stands out"] * why,
            ]
            for rank, row in enumerate(told["oddest"], start=1)
        ]
        caption = f"The oddest {about['rows']}, and what was expected instead"
        caption = caption if why else f"The oddest {about['rows']}"
        if "events" in told:
            said, found = events_in_words(told)
            sentences.append(said)
            tables += found
            gist = f"{sentences[0]} {said}"
        else:
            tables.append(table(caption, head, rows, (1, 2)))
    detectors = {name: found for name, found in measured.items() if "auroc" in found}
    if detectors:
        (ours, found), *others = detectors.items()
        best = max(others, key=lambda other: other[1]["auroc"][0], default=None)
        said = "Against the labels an odd row scores higher than another one in "
        said += f"{percent(found['auroc'][0])} of pairs (AUROC)"
        if best:
            said += f"; the best other detector, {best[0]}, in {percent(best[1]['auroc'][0])}"
        sentences.append(f"{said}.")
        if "events" in measured:
            counts = measured["events"]
            sentences.append(
                f"Of {counted(counts['labelled'], 'labelled event')} {counts['found']} were found, "
                f"and {counts['false']} of {counted(counts['events'], 'event')} overlap no label."
            )
        rows = [
            [name, *[interval(found[key]) for key in ("auroc", "ap")]]
            for name, found in detectors.items()
        ]
        head = ["Detector", "AUROC, %", "Average precision, %"]
        if "vus_pr" in found:
            head.append("VUS-PR, %")
            for row, each in zip(rows, detectors.values(), strict=True):
                row.append(f"{100 * each['vus_pr']:.1f}")
        caption = "Scores against the labels, with 95 % bootstrap intervals"
        tables.append(table(caption, head, rows, tuple(range(1, len(head)))))
    if not sentences and not facts["drawn"]["scores"]:
        return None
    return Section(f"Odd {about['rows']}", sentences, tables, gist=gist)


def events_in_words(told):
    """A sentence on the events of a series, and a list of their Table; none without events."""
    found, n = told["events"], told["n_events"]
    if not found:
        return "No event was found: no flagged row, and so no run of them.", []
    best = found[0]
    grouped = any(event["group"] for event in found)
    said = f"They make {counted(n, 'event')}, runs of flagged rows; the largest lasts "
    said += f"from {best['start']} to {best['end']}"
    said += f" in {best['group']}" if grouped else ""
    said += f": {best['why']}." if best["why"] else "."
    head = ["From", "To", *["Group"] * grouped, "Rows", "Score", "Columns by their share", "Why"]
    rows = [
        [
            event["start"],
            event["end"],
            *[event["group"]] * grouped,
            f"{event['rows']:,}",
            short(event["score"]),
            event["columns"] or "—",
            event["why"] or "no single cell stands out",
        ]
        for event in found
    ]
    caption = f"The largest of {counted(n, 'event')}, and what was expected at the oddest step"
    numbers = (2 + grouped, 3 + grouped)
    return said, [Table(caption, head, rows, numbers, n - len(rows))]


def threshold_in_words(told):
    if told["threshold"] is None:
        return ": there are too few rows for a threshold"
    said = f", by a score above {short(told['threshold'])}"
    if told.get("means"):
        return f"{said}, {told['means']}"
    if told.get("by_tail"):  # of older runs
        return f"{said}, which {percent(told['share'])} of ordinary ones would exceed"
    if told["what"] == "scored":
        return f"{said}: the oddest {percent(told['share'])} were asked for"
    return f"{said}, which {percent(told['share'])} of ordinary ones exceed ({told['what']} rows)"


def interval(found):
    if found[1] is None:  # too few events
        return f"{100 * found[0]:.1f}"
    value, low, high = (100 * part for part in found)
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


# Filled cells


def imputation_section(facts):
    """What was filled and how sure it is; the errors on cells that were hidden on purpose."""
    told, about = facts["impute"], facts["about"]
    sentences, tables, gist = [], [], ""
    if told:
        rows = (
            f"{told['n_filled_rows']:,} of {counted(told['n_rows'], about['row'], about['rows'])}"
        )
        sentences.append(
            f"{told['n_filled']:,} empty {about['cells']} in {rows} of {told['file']} were filled."
        )
        gist = sentences[0]
        if told["n_left"]:
            sentences.append(f"{counted(told['n_left'], 'cell')} stay empty.")
        if told["columns"]:
            sentences.append(
                "How sure a typical fill is: the chance of its category, or ± half of the interval "
                "that holds a number with 90 %. Beside it stands a guess that knows only the "
                "column, not the other cells of the row."
            )
            cells = [[c["name"], f"{c['n']:,}", c["sure"], c["guess"]] for c in told["columns"]]
            head = ["Column", "Filled", "How sure", "A guess"]
            caption = f"Filled cells by column; how sure, by {counted(told['n_looked_at'], 'row')}"
            tables.append(table(caption, head, cells, (1, 2, 3)))
    checks = [(facts["imputation"], hidden_cells), (facts["quadrants"], hidden_quarters)]
    checks += [(each, hidden_cells) for each in facts["windows"].get("patterns", {}).values()]
    measured = []
    for result, in_words in checks:
        if result:
            said, found = in_words(result)
            if not told.get("checked", True):
                sentences.append("What follows was measured by an earlier use of impute.py.")
            sentences.append(said)
            gist = gist if measured else f"{gist} {said}".strip()
            measured.append(found)
    tables += measured
    if not sentences and not tables and not facts["drawn"]["imputed"]:
        return None
    return Section(f"Empty {about['cells']}", sentences, tables, gist=gist)


def hidden_cells(result):
    """A sentence on the mean error of hidden cells beside the best other method, and the Table."""
    error = result["error"]
    (ours, own), *others = error.items()
    best, theirs = min(others, key=lambda other: other[1])
    apart, se = result.get("difference", {}).get(best, (own - theirs, 0.0))
    if abs(apart) <= CLEARLY * se:
        verdict = "no clear difference"
    else:
        verdict = "the model errs less" if apart < 0 else f"{best} errs less"
    what = f", {result['what']}," if "what" in result else ""
    cells = f"{counted(result['n_hidden'], 'cell')}{what}"
    said = (
        f"On {cells} that were hidden on purpose, fills have a mean error of {short(own)}, and the "
        f"best other method, {best}, {short(theirs)}: {verdict}."
    )
    rows = [
        [name, *[short(entry["error"][k]) for k in error], percent(entry.get("coverage"))]
        for name, entry in [*result["columns"].items(), ("mean of all columns", result)]
    ]
    head = ["Column", *error, f"Inside {percent(result['interval'])} interval"]
    unit = result.get(
        "unit",
        "root mean square over standard deviation of numbers, share of wrong categories, distance "
        "of ordered levels",
    )
    caption = f"Errors on hidden cells{what.rstrip(',')}: {unit}; lower is better"
    return said, table(caption, head, rows, tuple(range(1, len(head))))


def hidden_quarters(result):
    """A sentence on the errors on the hidden half of pictures, and the Table of all quarters."""
    quarters = result["quarters"]
    names = list(next(iter(quarters.values()))["mse"])
    rows = [
        [
            f"{seen} of 4",
            f"{short(entry['log_px_hidden'])} ± {short(entry['log_px_hidden_se'], 2)}",
            *[short(entry["mse"][name]) for name in names],
        ]
        for seen, entry in quarters.items()
    ]
    head = ["Quarters seen", "log p(hidden | seen), nats", *[f"{name}: error" for name in names]]
    caption = (
        f"Hidden quarters of {counted(result['n_rows'], 'test picture')}: mean squared error of a "
        "hidden pixel; lower is better"
    )
    half = ", ".join(f"{name} {short(value)}" for name, value in quarters["2"]["mse"].items())
    said = (
        f"Where half of a test picture is hidden, a pixel is filled with a squared error of {half}."
    )
    return said, table(caption, head, rows, tuple(range(1, len(head))))


# Generated rows


def generation_section(facts):
    """How near generated rows are to real ones, beside how near real ones are to each other."""
    told, about, result = facts["generate"], facts["about"], facts["generation"]
    sentences, tables, gist = [], [], ""
    if told:
        said = f"{counted(told['n'], *about['learned'])} were drawn into {told['file']}"
        said += f", all with {told['given']}" if told["given"] else ""
        sentences.append(f"{said}.")
        sentences += told["relations"]
        if told["given"] and result:
            sentences.append("What follows compares an earlier draw, without anything given.")
    if judged := result.get("told_apart"):
        near = abs(judged["auroc"] - 0.5) <= CLEARLY * judged["error"]
        verdict = "cannot tell them apart" if near else "can tell some of them apart"
        gist = (
            f"A classifier of generated and real {about['rows']} reaches an AUROC of "
            f"{short(judged['auroc'])} ± {short(judged['error'], 2)} (0.5 is chance): it {verdict}."
        )
        sentences.append(gist)
    if "nearer" in result:
        sentences.append(copies_in_words(result, about["row"], about["rows"]))
        gist = gist or sentences[-1]
    if "worst_pair" in result:
        first, second = map(name_in_words, result["worst_pair"])
        sentences.append(
            f"The two columns whose joint values are farthest off are {first} and {second}: "
            f"{percent(result['worst_pair_distance'])} of the rows, where real rows differ from "
            f"each other by {percent(result['worst_pair_distance_real'])}."
        )
    if "correlation_error" in result:
        sentences.append(
            f"Rank correlations are off by {short(result['correlation_error'])} on average; by "
            f"{short(result['correlation_error_real'])} between halves of the real rows, and by "
            f"{short(result['correlation_error_independent'])} if columns were independent."
        )
    if "autocorrelation" in result.get("generated", {}):
        said, found = windows_compared(result)
        sentences.append(said)
        tables.append(found)
        gist = gist or said
    elif "columns" in result:
        real = result["columns_real"]
        rows = [[k, percent(v), percent(real.get(k))] for k, v in result["columns"].items()]
        rows.append(
            [
                "mean of all columns",
                percent(result["columns_mean"]),
                percent(result["columns_real_mean"]),
            ]
        )
        head = ["Column", "Generated and real", "Two halves of the real"]
        caption = "Share of the rows by which the values of a column differ; lower is better"
        tables.append(table(caption, head, rows, (1, 2)))
    if not sentences and not facts["drawn"]["generated"]:
        return None
    title = f"Generated {about['learned'][1]}"
    return Section(title, sentences, tables, gist=gist or (sentences or [""])[0])


def windows_compared(result):
    """A sentence on how far generated windows of a series are from real ones, and the Table."""
    names, new, held = result["columns"], result["generated"], result.get("held", {})
    parts = {"values": "values", "autocorrelation": "autocorrelations"}
    far = {key: int(max(range(len(names)), key=new[key].__getitem__)) for key in parts}
    said = [
        f"{words} by {short(new[key][far[key]])}"
        + (f" in {name_in_words(names[far[key]])}" if len(names) > 1 else "")
        + (f" (held-out windows: {short(held[key][far[key]])})" if held else "")
        for key, words in parts.items()
    ]
    said = f"Generated windows differ from real ones at most: {'; '.join(said)}."
    head = ["Column", "Values", *["held out"] * bool(held), "Autocorrelation"]
    head += ["held out"] * bool(held)
    rows = [
        [
            name,
            *[short(each[key][j]) for key in parts for each in (new, *[held] * bool(held))],
        ]
        for j, name in enumerate(names)
    ]
    caption = (
        f"Distance of {counted(result['n_generated'], 'generated window')} from training windows: "
        "the largest difference of the shares of values below a number, and of autocorrelations; "
        "beside it that of held-out windows"
    )
    return said, table(caption, head, rows, tuple(range(1, len(head))))


def continuation_section(facts):
    """What a long drawn series, or what follows the end of the file, holds."""
    told = facts["continue"]
    if not told and not facts["drawn"]["continued"]:
        return None
    sentences = []
    if told:
        groups = f" of each of {counted(told['n_groups'], 'group')}" * (told["n_groups"] > 1)
        said = f"{counted(told['n_steps'], 'step')}{groups}, every {told['every']} from "
        said += f"{told['start']} to {told['end']}, were drawn into {told['file']}"
        if told["after"]:
            said += f": what may follow the end of the file, by {counted(told['n_draws'], 'draw')}"
        sentences.append(f"{said}.")
        sentences.append(
            "Windows are joined: each one is drawn given the last half of what stands before it."
        )
    return Section("What may come next", sentences, gist=(sentences or [""])[0])


def copies_in_words(result, row, rows):
    near, held = result["nearer"], result.get("nearer_real")
    said = (
        f"{percent(near)} of generated {rows} lie nearer to a training {row} than that lies to its "
        "nearest other"
    )
    if held is None:
        return f"{said}; far more than half would be copies."
    verdict = "some may be copies" if near > held + FAR_NEARER else "no sign of copies"
    return f"{said}; of held-out real {rows} {percent(held)}: {verdict}."


# File of a run, of which figures are drawn, or a part of all runs -> its section.
SECTIONS = {
    "data": data_section,
    "notes": notes_section,
    "log": training_section,
    "evaluation": evaluation_section,
    "scores": detection_section,
    "imputed": imputation_section,
    "generated": generation_section,
    "continued": continuation_section,
}
