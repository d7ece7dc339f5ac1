"""A table -> the same with an anomaly score per row, and what is odd about it. Pictures too.

python detect.py orders.csv                          # fits on the file; writes orders.scored.csv
python detect.py orders.csv --run 0001               # by a run trained before
python detect.py survey.csv --labels odd             # and measures itself against known answers
python detect.py odd.npz --run 0001                  # pictures, and a sheet of the oddest
"""

import parts  # noqa: F401  first: before torch is loaded

# isort: split

from pathlib import Path

import numpy as np
import torch

from data import add_kind_flags, form_of
from parts import files, randomness
from parts.console.devices import choose_device, choose_threads
from parts.console.flags import Parser, add_device_flags, add_file_flags, open_fraction
from parts.console.progress import progress_bar
from parts.console.script import run_script
from parts.errors import UserError
from parts.forms import conditions
from parts.forms.pictures import picture_files, shapes, sheets
from parts.forms.tables import cells, encoding, explanations, table_files
from parts.measure import baselines
from parts.measure.hidden_cells import N_DRAWS, find_rows
from parts.model.build import load_model
from train import run_of
from vae import Batch

IMPOSSIBLE = 100.0  # nats for a cell outside its column's support, such as a negative count
EXPLAINED = (1000, 10_000)  # least and most of the highest scores with an `anomaly_why`
N_SCORE = 20  # samples behind a score, or a fifth of --n-samples if that is more
FEW, MORE = 2.0, 5  # effective samples below which a row is scored again, by so many times more
N_EXEMPLARS = 1000  # rows of the run whose q(z|x) together are the prior of a score
N_TYPICAL = 300  # held-out rows that say how surprising a column's cells usually are
N_ROWS_AT_A_TIME = 8192
N_EXPLAINED_AT_A_TIME = 1000
TOP = 10  # rows printed
SHOWN, ACROSS = 40, 8  # pictures of a sheet, and of its rows


class Scorer:
    """A run's model with the noise, the columns and the rows its scores depend on.

    Rows are (x, mask) [N, D] and, of a run with conditions, y [N, C]: all is then given y.

    p(z) of a score is the aggregated posterior of these rows, not N(0, I), see
    model/aggregated.py. A row that is among them is scored by the others.
    """

    def __init__(self, model, columns, rows, n_samples=100, seed=0):
        self.model, self.columns = model, encoding.modelled(columns)
        self.device = next(model.parameters()).device
        n_score = max(N_SCORE, n_samples // 5)
        self.eps, self.few, self.more = (
            model.grid(n, seed).to(self.device) for n in (n_samples, n_score, MORE * n_score)
        )
        self.rows = tuple(part[:N_EXEMPLARS] for part in rows)
        self.prior = model.aggregated(*self.batch(*self.rows))

    def batch(self, x, mask, y=None):
        return Batch(*[torch.as_tensor(a, dtype=torch.float32, device=self.device)
                       if a is not None else None for a in (x, y, mask)])  # fmt: skip

    def __call__(self, x, mask, y=None, bar=None):
        """-log p(observed cells) of rows [N, D], nats: see `Column.log_det` for its units.

        Each row's score depends on the row alone; rows on which few samples agree get more of them.
        """
        seen = with_y(x, mask, y), with_y(*self.rows)
        own = find_rows(*seen[0], *seen[1]) if len(self.rows[0]) > 1 else None
        scores, ess = self.quick(x, mask, self.few, self.prior, own, y, bar)
        few = np.flatnonzero(ess < FEW)
        own, y = (None if part is None else part[few] for part in (own, y))
        scores[few] = self.quick(x[few], mask[few], self.more, self.prior, own, y)[0]
        return scores

    def scores_of(self, rows, bar=None):
        """The same of a file's `encoding.Rows`, impossible cells counted."""
        return self(rows.x, rows.mask, rows.y, bar) + IMPOSSIBLE * rows.impossible.sum(1)

    def beyond_entropy(self, x, mask, y=None, bar=None):
        """The same less the entropy of pictures whose grey is the rate of a 1, nats [N].

        An upper bound on KL(the picture's own pixels || p). Without it a picture is odd for being
        grey. No pixels are drawn for it; where all are 0 or 1 it is -log p(x) as it stands.
        """
        entropy = self.model.likelihood.entropy(torch.from_numpy(x)).double().numpy()
        return self(x, mask, y, bar) - entropy

    def quick(self, x, mask, eps, prior=None, own=None, y=None, bar=None):
        """The same by the noise `eps`, and the effective sample sizes; prior None: N(0, I)."""
        scores, ess = np.empty(len(x)), np.empty(len(x))
        for start in range(0, len(x), N_ROWS_AT_A_TIME):
            rows = slice(start, start + N_ROWS_AT_A_TIME)
            batch = self.batch(x[rows], mask[rows], None if y is None else y[rows])
            number = None if own is None else torch.from_numpy(own[rows]).to(self.device)
            found = self.model.importance(*batch, eps=eps, prior=prior, own=number)
            curve = encoding.log_det(x[rows], self.columns, mask[rows], user=False)
            scores[rows] = -(found.log_px.double().cpu().numpy() + curve)
            ess[rows] = found.ess.cpu().numpy()
            if bar is not None:
                bar.update(len(batch.x))
        return scores, ess

    def surprise(self, x, mask, y=None):
        """-log p(cell | the row's other cells) of the model itself, with p(z) = N(0, I): nats
        [n, D], NaN where the cell is missing.
        """
        scores, _ = self.quick(x, mask, self.few, y=y)
        surprise = np.full(x.shape, np.nan)
        for j in range(x.shape[1]):
            without = mask.copy()
            without[:, j] = 0
            others, _ = self.quick(x, without, self.few, y=y)
            surprise[:, j] = np.where(mask[:, j] > 0, scores - others, np.nan)
        return surprise

    def expected(self, x, mask, column, y=None):
        """A column's cells given the others of their rows, model units: what to expect of them [n],
        and draws [M, n].
        """
        mask = mask.copy()
        mask[:, column] = 0
        batch = self.batch(x, mask, y)
        filled = self.model.impute(batch.x, batch.mask, batch.y, draws=N_DRAWS, eps=self.eps)
        return filled.mean[:, column].cpu().numpy(), filled.draws[..., column].cpu().numpy()


def with_y(x, mask, y=None):
    """Rows with their conditions as further cells: equal are rows that are equal in both."""
    if y is None:
        return x, mask
    return np.hstack([x, y]), np.hstack([mask, np.ones_like(y)])


def compare(labels, scores, scorer, rows, train):
    """AUROC and average precision of our score and of the usual detectors', as a dict.

    To these the conditions are columns like the others.
    """
    known = ~np.isnan(labels)
    ours = [part[known] for part in (rows.x, rows.mask, rows.y) if part is not None]
    x, reference = (embed(scorer, *part) for part in (ours, train))
    others = baselines.detectors(reference, x)
    scores = {"VAE (this run)": scores[known]} | others
    return {name: baselines.ranking(labels[known], score) for name, score in scores.items()}


@torch.no_grad()
def embed(scorer, x, mask, y=None):
    """Rows as numbers of like size, the conditions behind them."""
    batch = scorer.batch(x, mask, y)
    found = scorer.model.likelihood.embed(batch.x, batch.mask).cpu().numpy()
    return found if y is None else np.hstack([found, y])


def read_labels(file, name):
    """The 0/1 labels of a column, NaN where there is none."""
    if name not in file.frame:
        raise UserError(f"--labels {name}: the columns are {', '.join(map(str, file.frame))[:200]}")
    labels = cells.numbers(file.frame[name], {})
    found = set(np.unique(labels[~np.isnan(labels)]))
    text = np.isnan(labels) & ~cells.missing(file.frame[name])
    if text.any() or found != {0.0, 1.0}:
        shown = file.frame[name].astype(str).unique()[:4].tolist()
        raise UserError(f"--labels {name}: it holds {shown}, expected 0 and 1, each at least once")
    return labels


def make_parser():
    parser = Parser(prog="detect.py", description="Score the rows of a table by how odd they are.")
    add_file_flags(parser, "scored")
    parser.add_argument(
        "--contamination",
        type=open_fraction,
        default=0.01,
        help="share of held-out rows that the threshold flags (default: 0.01)",
    )
    parser.add_argument(
        "--labels", metavar="COLUMN", help="0/1 answers to measure by; never shown to the model"
    )
    add_kind_flags(parser)
    add_device_flags(parser)
    return parser


def scorer_of(run, args):
    """The run's Scorer, all its columns, its training and its held-out rows, each (x, mask)
    or, with conditions, (x, mask, y).
    """
    model, checkpoint = load_model(run, choose_device(args.device))
    columns = [encoding.Column(**column) for column in checkpoint["config"]["columns"]]
    x_train, train_mask, x_held, held_mask = run.read_rows()
    y_train, y_held = run.read_y()
    train, held = (x_train, train_mask.astype(np.float32)), (x_held, held_mask.astype(np.float32))
    if y_train is not None:
        train, held = (*train, y_train), (*held, y_held)
    known = [np.vstack(pair) for pair in zip(train, held, strict=True)]
    return Scorer(model, columns, known, args.n_samples, args.seed), columns, train, held


def main(argv=None):
    args = make_parser().parse_args(argv)
    if form_of(args.file) == "pictures":
        return score_pictures(args)
    file = table_files.read(args.file)
    ending = ".csv" if args.file.endswith((".npy", ".npz")) else None
    out = args.out or table_files.output_of(args.file, "scored", ending)
    table_files.refuse_output(out, args.overwrite, args.file, text=True)
    for name in COLUMNS:
        if name in file.frame:
            raise UserError(f"{args.file} has a column named {name!r} already; rename it")
    labels = None if args.labels is None else read_labels(file, args.labels)
    run = run_of(args, [] if args.labels is None else [(args.labels, "ignore")])
    scorer, columns, train, held_out = scorer_of(run, args)
    if args.labels in [column.name for column in columns if column.kind != "ignore"]:
        raise UserError(f"--labels {args.labels}: run {run.name} was trained on that column")
    torch.set_num_threads(choose_threads(args.threads, 2**30))
    rows = conditions.read_rows(file, columns, run.read_y()[0])
    for note in rows.notes:
        print(f"Note: {note}")
    if not len(held_out[0]):
        print("Note: the run held no rows out, so the threshold is set by training rows")
        held_out = train

    with progress_bar(len(rows.x), 0) as bar:
        scores = scorer.scores_of(rows, bar)
    held = scorer(*held_out)
    threshold = float(np.quantile(held, 1 - args.contamination))
    flagged, rank = scores > threshold, ranks(scores)
    few = slice(N_TYPICAL)
    typical = scorer.surprise(*(part[few] for part in held_out))
    typical = np.nan_to_num(np.nanmedian(np.vstack([typical, np.zeros_like(typical[:1])]), 0))
    n_explained = max(EXPLAINED[0], min(flagged.sum(), EXPLAINED[1]))
    explained = np.flatnonzero(rank <= n_explained)
    why = np.full(len(scores), "", dtype=object)
    for start in range(0, len(explained), N_EXPLAINED_AT_A_TIME):
        some = explained[start : start + N_EXPLAINED_AT_A_TIME]
        with randomness.fixed_randomness(args.seed):
            why[some] = explanations.explain(scorer, rows, some, typical)

    frame = file.frame.assign(
        anomaly_score=scores.round(4), is_anomaly=flagged.astype(int), anomaly_rank=rank,
        anomaly_why=why.astype(str),
    )  # fmt: skip
    table_files.write(encoding.as_held(frame, columns, file, out), out, file)
    report(scores, threshold, rank, why, held)
    conclude(run, scorer, rows, train, (scores, held, threshold), labels, "rows")
    print(f"Wrote {out}")
    print(f"Score other files with: python detect.py FILE {run.flags(args.runs_dir)}")


def ranks(scores):
    """1 for the highest."""
    rank = np.empty(len(scores), int)
    rank[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return rank


def conclude(run, scorer, rows, train, found, labels, what):
    """Say how the scores (also held-out ones, threshold) of `what` compare, and keep them."""
    scores, held, threshold = found
    kept = {"scores": scores, "held": held, "threshold": np.array(threshold), "of": np.array(what)}
    if labels is not None:
        results = compare(labels, scores, scorer, rows, train)
        print(baselines.comparison_table(results, int((labels == 1).sum()), len(train[0])))
        files.write_json(run.path / "detection.json", results)
        kept["labels"] = labels
    files.write_atomic(run.scores, lambda f: np.savez_compressed(f, **kept))


def score_pictures(args):
    """A line for each picture of a folder or an array, and a sheet of the oddest ones."""
    import pandas as pd

    out = Path(args.out or table_files.output_of(args.file.rstrip("/"), "scored", ".csv"))
    table_files.refuse_output(out, args.overwrite, args.file, text=True)
    sheet = out.with_suffix(".png")
    table_files.refuse_existing(sheet, args.overwrite)
    run = run_of(args)
    scorer, columns, train, held_out = scorer_of(run, args)
    torch.set_num_threads(choose_threads(args.threads, 2**30))
    config = run.config()
    if args.labels in conditions.names(columns):
        raise UserError(f"--labels {args.labels}: run {run.name} takes it as given")
    found = picture_files.of_run(args.file, config, columns, run.read_y()[0])
    scorer.model.likelihood.check(found.x, [column.name for column in scorer.columns])
    for note in found.notes:
        print(f"Note: {note}")
    frame = pd.DataFrame({"index": np.arange(len(found.x))})
    if Path(args.file).is_dir():
        frame = frame.assign(file=[path.as_posix() for path in picture_files.listed(args.file)])
    frame = frame if found.labels is None else frame.assign(label=found.labels)
    labels = None if args.labels is None else read_labels(table_files.File(out, frame), args.labels)
    if not len(held_out[0]):
        print("Note: the run held no pictures out, so the threshold is set by training pictures")
        held_out = train
    with progress_bar(len(found.x), 0) as bar:
        scores = scorer.beyond_entropy(found.x, found.mask, found.y, bar)
    held = scorer.beyond_entropy(*held_out)
    threshold, rank = float(np.quantile(held, 1 - args.contamination)), ranks(scores)
    flagged = (scores > threshold).astype(int)
    found_of = (scores.round(4), flagged, rank)
    frame = frame.assign(**dict(zip(COLUMNS, found_of, strict=False)))
    table_files.write(frame, out, table_files.File(out, frame.iloc[:0]))
    report(scores, threshold, rank, [""] * len(scores), held, what="picture", first=0)
    conclude(run, scorer, found, train, (scores, held, threshold), labels, "pictures")
    odd = found.x[np.argsort(rank)][:SHOWN]
    x_train, x = (encoding.to_user(a, scorer.columns) for a in (train[0], odd))
    shown = sheets.as_colour(x, config["shape"], shapes.grey_map(x_train))
    sheets.write(sheet, sheets.rows_of(shown, min(ACROSS, len(shown))))
    print(f"Wrote {out}", f"Wrote {sheet}: the oddest, row by row", sep="\n")
    print(f"Score other pictures with: python detect.py FILE {run.flags(args.runs_dir)}")


COLUMNS = ("anomaly_score", "is_anomaly", "anomaly_rank", "anomaly_why")


def report(scores, threshold, rank, why, held, what="row", first=1):
    print(
        f"Threshold: {threshold:.2f} nats, exceeded by {(held > threshold).sum()} of {len(held)} "
        f"held-out {what}s; {(scores > threshold).sum()} of {len(scores)} {what}s lie beyond it"
    )
    print(f"The {min(TOP, len(scores))} oddest {what}s:")
    for row in np.argsort(rank)[:TOP]:
        print(f"  {what} {row + first:<7} {scores[row]:9.2f} nats  {why[row]}".rstrip())


if __name__ == "__main__":
    run_script(main)
