"""Add an anomaly score to each row of a table, and say which cells are odd; or score pictures.

python detect.py orders.csv                          # fits on the file; writes orders.scored.csv
python detect.py orders.csv --run 0001               # by a run that is trained already
python detect.py survey.csv --labels odd             # also measures the scores by labels
python detect.py odd.npz --run 0001                  # pictures; writes a sheet of the oddest
"""

# First: from here on Ctrl-C is handled, while packages are imported.
from parts.console.script import run_script

# isort: split
import contextlib
import math

import numpy as np

from parts.console.fitting import form_for, messages_for, open_file, open_run
from parts.console.flags import Parser, add_device_flags, add_file_flags, add_kind_flags
from parts.console.notes import notes_kept
from parts.console.progress import progress_bar
from parts.errors import UserError
from parts.files import shown_path
from parts.forms import conditions
from parts.forms.cells import column_of_labels, labels_of
from parts.lazy import member
from parts.options import open_fraction
from parts.randomness import fixed_randomness
from parts.tasks.score import (
    SCORERS,
    UNSURE_ESS,
    compare,
    ranks,
    rows_needed,
)
from parts.words import counted

COLUMNS = ("anomaly_score", "anomaly_nats", "is_anomaly", "anomaly_rank", "anomaly_why")
N_EXPLAINED = 50  # rows with the highest scores that get an `anomaly_why`, beside flagged ones
N_EXPLAINED_AT_A_TIME = 1000
MOST_UNSURE = 0.1  # share of rows with few effective samples beyond which a note says so
FAR_SHARE, FAR_DEVIATIONS = 2.0, 4.0  # times the asked share, and standard deviations beyond it
N_PRINTED, N_TOLD = 10, 20  # rows that are printed, and that a run keeps for its report


def make_parser():
    parser = Parser(
        prog="detect.py",
        description="Score the rows of a table by how odd they are. anomaly_nats is -log p of the "
        "cells that a row has; anomaly_score is the same for a row without holes, and for a row "
        "with holes it is the score of an equally odd row without any: the same quantile of what "
        "rows with these cells usually get.",
    )
    add_file_flags(parser, "scored")
    parser.add_argument(
        "--contamination",
        type=open_fraction,
        metavar="SHARE",
        help="share of the rows that are flagged: of this file, where the run is fitted to it "
        "(default: 0.1); of fresh rows like the run's, where the run was trained on rows that are "
        "in order (default: 0.01); of ordinary rows of a series, of which those in events are "
        "flagged (default: so many that an ordinary series has about one false event in 30 "
        "periods, such as days)",
    )
    parser.add_argument(
        "--labels",
        metavar="COLUMN[=VALUE]",
        help="answers to measure by, never shown to the model: rows with VALUE are odd; without "
        "one those with 1, true or yes, or with the rarer of two values",
    )
    parser.add_argument(
        "--online",
        action="store_true",
        help="score each row of a series by what is before it only, as when it arrives",
    )
    add_kind_flags(parser)
    add_device_flags(parser)
    return parser


def refuse_own_labels(run, name):
    """Raise UserError if the run was trained on the column that --labels names."""
    codec = run.config().codec
    if name in conditions.names(codec.columns):
        raise UserError(f"--labels {name}: run {run.name} takes it as given")
    if name in [column.name for column in codec.modelled]:
        raise UserError(f"--labels {name}: run {run.name} was trained on that column")


def explanations_of(form, scorer, source, encoded, held, scores, flagged, seed):
    """Explain the rows with the highest scores in words; "" for all other rows."""
    why = np.full(len(scores), "", dtype=object)
    typical = scorer.typical_surprise(held)
    explained = np.flatnonzero((ranks(scores) <= N_EXPLAINED) | flagged)
    explained = explained if encoded.layout else in_order_of_cells(encoded, explained)
    for start in range(0, len(explained), N_EXPLAINED_AT_A_TIME):
        some = explained[start : start + N_EXPLAINED_AT_A_TIME]
        with fixed_randomness(seed):
            why[some] = form.explain(scorer, source, encoded, some, typical)
    return why.astype(str)


def in_order_of_cells(encoded, rows):
    """The numbers of some rows in the order of what these hold, whatever their order in the file.

    Rows that are explained together share their random draws.
    """
    parts = [part[rows] for part in encoded[:3] if part is not None]
    keys = [row.tobytes() for row in np.hstack(parts).astype(np.float32)]
    return rows[sorted(range(len(rows)), key=keys.__getitem__)]


def reference_of(scorer, fitted, scores, form, is_own):
    """The rows by which the threshold is set, as a Reference, their scores, and what they are.

    They are held-out rows. If the run was trained on rows in question, held-out rows hold as many
    odd ones as others do: then they are the scored rows if the file is the run's own, else a sample
    of the run's rows.
    """
    if fitted.in_question:
        if is_own:
            return fitted.train, scores, "scored"
        return fitted.train, scorer.of_reference(fitted.train), "training"
    if len(fitted.held.x):
        return fitted.held, scorer.of_reference(fitted.held), "held-out"
    print(f"Note: the run held no {form.rows} out, so the threshold is set by training {form.rows}")
    return fitted.train, scorer.of_reference(fitted.train), "training"


def shown(nats):
    """A score with two decimals, or with few digits where it is large."""
    return f"{nats:.2f}" if abs(nats) < 1e6 else f"{nats:.3g}"


def report(form, scores, held, threshold, means, share, beyond, rank, why, what, unit):
    """Print the threshold and the rows with the highest scores; `means` says what it means."""
    n_beyond, n_held = beyond.sum(), len(held)
    if means and not math.isinf(threshold):
        print(
            f"Threshold: {shown(threshold)}, {means}; {n_beyond} of {len(scores)} {form.rows} lie "
            "beyond it"
        )
    elif math.isinf(threshold):
        needed = rows_needed(share)
        certain = f"; {n_beyond} flagged for a cell that cannot be" if n_beyond else ""
        print(
            f"Threshold: none. {n_held} {what} {form.rows} cannot tell the oddest "
            f"{100 * share:.3g} % of fresh {form.rows} from others, {needed} could: give more "
            f"{form.rows}, or a larger --contamination{certain}"
        )
        n_above = (scores > held.max(initial=-math.inf)).sum() if n_held else 0
        if n_above:
            print(
                f"{n_above} of {len(scores)} {form.rows} score above all of these {n_held}, "
                "whether flagged or not: look at the first ones"
            )
    elif what == "scored":
        print(
            f"Threshold: {shown(threshold)} nats, beyond which lie the oddest {100 * share:.3g} % "
            f"of the {form.rows} (--contamination {share:g}): {n_beyond} of {len(scores)}"
            + ("" if n_beyond else f"; too few {form.rows}, or too many with one score")
        )
    else:
        print(
            f"Threshold: {shown(threshold)} nats, exceeded by {(held > threshold).sum()} of "
            f"{n_held} {what} {form.rows}; {n_beyond} of {len(scores)} {form.rows} lie beyond it"
        )
    print(f"The {min(N_PRINTED, len(scores))} oddest {form.rows}:")
    for row in np.argsort(rank)[:N_PRINTED]:
        number = row + form.first_row
        print(f"  {form.row} {number:<7} {shown(scores[row]):>9} {unit}  {why[row]}".rstrip())


def facts(form, args, scores, threshold, means, share, flagged, rank, why, what):
    """What a run keeps of the scores for its report; the oddest rows with their reasons."""
    rows = [
        {
            "row": int(row) + form.first_row,
            "score": float(scores[row]),
            "flagged": bool(flagged[row]),
            "why": str(why[row]),
        }
        for row in np.argsort(rank)[:N_TOLD]
    ]
    return {
        "file": shown_path(args.file),
        "labels": args.labels,
        "n_rows": len(scores),
        "n_flagged": int(flagged.sum()),
        "threshold": None if math.isinf(threshold) else float(threshold),
        "share": share,
        "means": means,
        "what": what,
        "oddest": rows,
    }


def note_on_holes(form, scorer, encoded):
    """A list with a sentence where the run has too few rows to tell what is usual for rows with
    holes: fewer than columns.
    """
    n_holes, n_columns = int((encoded.mask <= 0).any(1).sum()), encoded.mask.shape[1]
    n = scorer.n_reference
    if not n_holes or n >= n_columns:
        return []
    return [
        f"{n} of the run's {form.rows} tell little of what is usual for {form.rows} with holes "
        f"among {n_columns} columns: the scores of {counted(n_holes, form.row, form.rows)} with "
        "holes are rough; compare them with each other"
    ]


def notes_on_scores(form, scored, beyond, share, what):
    """Sentences on scores that are not to be trusted, and on too many rows beyond the threshold."""
    notes, n = [], len(beyond)
    if n_without := int(np.isnan(scored.score).sum()):
        have = counted(n_without, f"{form.row} has", f"{form.rows} have")
        notes.append(f"{have} no score: too little around them is known")
    unsure = (scored.ess < UNSURE_ESS).sum()
    if unsure > MOST_UNSURE * n:
        notes.append(
            f"the scores of {unsure} of {n} {form.rows} rest on fewer than {UNSURE_ESS:g} "
            "effective samples and may be too high; a larger --n-samples makes them surer"
        )
    if what != "scored" and share is not None and is_far_from(share, beyond.sum(), n):
        notes.append(
            f"{beyond.sum()} of {n} {form.rows} lie beyond the threshold, and "
            f"{share * n:.3g} were to be expected of {form.rows} like the run's "
            f"(--contamination {share:g}): these {form.rows} are unlike those, or the run has "
            f"learned too few {form.rows}"
        )
    return notes


def is_far_from(share, n_beyond, n):
    """Whether more than FAR_SHARE times the share of n rows lie beyond, and not by chance."""
    sd = math.sqrt(n * share * (1 - share))
    return n_beyond > FAR_SHARE * share * n and n_beyond > share * n + FAR_DEVIATIONS * sd + 1


def main(argv=None):
    with contextlib.ExitStack() as locks:
        detect(make_parser().parse_args(argv), locks)


def detect(args, locks):
    """Score the rows of a file, and write the scores; `locks` keep the run from being replaced."""
    form = form_for(args)
    outputs = form.score_outputs(args.file, args.out, args.overwrite)
    locks.enter_context(messages_for(outputs))
    notes = locks.enter_context(notes_kept())
    run, source = open_file(args, "detect", form)
    form.refuse_scoring(source, COLUMNS)
    online = form.online(args.online)
    if run is not None and args.labels is not None:
        refuse_own_labels(run, column_of_labels(source.table(), args.labels))
    labels = None if args.labels is None else labels_of(source.table(), args.labels)
    ignored = [] if labels is None else [labels.name]
    if labels is not None and labels.said:
        print(labels.said)
    run, fitted, encoded = open_run(args, "detect", form, run, source, locks, ignored, 0.0)
    scorer = member(SCORERS, form.scores)(fitted, args.n_samples, args.seed, **online)
    with progress_bar(len(encoded.x), 0) as bar:
        scored = scorer.scored(encoded, bar.update)
    scores = scored.score
    config = run.config()
    # With an end of training, rows that were not trained on are scored as well.
    is_own = config.fingerprint == source.fingerprint and not config.asked.data.train_until
    held, held_scores, what = reference_of(scorer, fitted, scores, form, is_own)
    share = args.contamination or scorer.shares[fitted.in_question]
    threshold, means = scorer.threshold(held_scores, share, what, encoded, held)
    certain = np.zeros(len(scores), bool)
    for strange in encoded.strange:
        certain[strange.rows] |= strange.certain
    beyond, rank = (scores > threshold) | certain & math.isinf(threshold), ranks(scores)
    flagged = form.flagged(scorer, source, encoded, scores, beyond)
    columns = scores.round(4), scored.nats.round(4), flagged.astype(int), rank
    found = dict(zip(COLUMNS, columns, strict=False))
    why = [""] * len(scores)
    if form.explains:
        found[COLUMNS[-1]] = why = explanations_of(
            form, scorer, source, encoded, held, scores, flagged, args.seed
        )
    lines = form.write_scores(source, fitted.codec, found, outputs, fitted)
    outcome = threshold, means, share
    report(form, scores, held_scores, *outcome, beyond, rank, why, what, scorer.unit)
    for note in (
        *notes_on_scores(form, scored, scores > threshold, share, what),
        *note_on_holes(form, scorer, encoded),
    ):
        print(f"Note: {note}")
    told = facts(form, args, scores, *outcome, flagged, rank, why, what)
    held_scores = held_scores[:0] if what == "scored" else held_scores
    kept = {"scores": scores, "held": held_scores, "threshold": np.array(threshold)}
    kept |= {"unit": np.array(scorer.unit)}
    kept |= {"of": np.array(form.rows), "form": np.array(form.name), "what": np.array(what)}
    if labels is not None:
        from parts.measure import baselines

        same_file = config.fingerprint == source.fingerprint
        results, who = compare(labels.odd, scores, scorer, encoded, fitted, same_file)
        print(baselines.comparison_table(results, int((labels.odd == 1).sum()), who))
        if counts := form.events_by_labels(source, labels.odd):
            print(
                f"Events found: {counts['found']} of {counts['labelled']} labelled ones; "
                f"{counts['false']} of {counts['events']} events overlap no label"
            )
            results["events"] = counts
        run.save_result(run.path / "detection.json", results)
        kept["labels"] = labels.odd
    run.save_result(run.scores, kept | form.scored_arrays(source, fitted.codec, rank, fitted))
    told |= form.scored_facts(source, fitted.codec)
    run.keep("detect", told | {"notes": notes})
    print("\n".join(lines))
    print(f"Score other {form.files} with: python detect.py FILE {run.flags(args.runs_dir)}")


if __name__ == "__main__":
    run_script(main)
