"""Time series: rows of a table in the order of their stamps, in groups, on a grid of equal steps.

A window of L steps and D columns of numbers is a row of the model. N rows of a file, S slots of its
grid, n windows, C numbers of the calendar.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from parts import memory
from parts.errors import UserError
from parts.files import STANDARD
from parts.forms import conditions, units
from parts.forms.base import Codec, Encoded, Split, random_rows
from parts.forms.series import calendar, counters, events, grid, shown, states, steps, times
from parts.forms.tables import encoding, kinds, relations, table_files
from parts.forms.tables.form import Tables, TableSource, dialect_of, source_types
from parts.options import from_plain
from parts.plots import words
from parts.words import counted

# Shortest and longest window of two periods, the length without a period, and most cells.
FILLED, SCORED = (16, 128, 32, 600), (64, 192, 192, 768)
SERIES_PRESETS = {"impute": "series-impute"}
MOST_CELLS = 2**26  # of the windows that training sees
FAR_SPANS = 1000  # of 98 % of a column's values, beyond which one does not count for its scale
FARTHEST = 30.0  # model units from 0, beyond which a cell tells nothing of others
RISING = "row numbers", "an identifier: "  # reasons for which a counter is taken for no number
WINDOWS_PER_CELL = 10  # that are filled
FEWEST_HOLES = 0.05  # share of missing cells from which windows to be scored are shrunk
FEWEST_VALUES = 3  # of a column that is modelled; one with fewer is a state


@dataclass
class Layout:
    """A series on its grid: columns of the file [D modelled ones among them], cells of slots."""

    clock: times.Clock
    groups: list  # the names of the columns that tell groups
    grid: grid.Grid
    part: np.ndarray  # of each slot [S]: grid.TRAIN, VAL, TEST or APART
    columns: list
    length: int
    x: np.ndarray  # [S, D] in model units, 0 where missing
    mask: np.ndarray  # [S, D] bool
    read: np.ndarray  # what counters read in the user's units [S, counters], NaN where missing
    calendar: list
    strange: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    states: np.ndarray | None = None  # numbers of the states at each slot [S, K]

    @cached_property
    def y(self):
        """What windows that begin at each slot are told, as Given."""
        found = calendar.features(self.grid.seconds, self.calendar)
        return states.Given(found, self.states, self.grid.segment, self.length)

    @property
    def observed(self):
        return self.mask.any(1)

    @cached_property
    def seen(self):
        """The observed cells that others can be told from, [S, D]: none that is far out."""
        return self.mask & (np.abs(self.x) <= FARTHEST)

    def starts(self, part=None, stride=1, empty=False):
        """First slots of windows, of one part of the slots, or over all of them; with `empty` also
        of those with rows that hold nothing.
        """
        parts = None if part is None else self.part
        observed = self.grid.filled if empty else self.observed
        found = grid.starts(self.grid, self.length, stride, parts, observed)
        return found if part is None else found[self.part[found] == part]

    def to_user(self, x):
        """Cells of slots [S, D] in model units as numbers in the user's units."""
        columns = units.modelled(self.columns)
        values = in_user(x, columns)
        for i, j in enumerate(counters.of(columns)):
            values[:, j] = counters.summed(values[:, j], self.read[:, i], self.grid.segment)
        return values

    def windows(self, starts, x=None, mask=None):
        """The windows that begin at `starts` [n] as x, y and mask, float32; of other x and mask
        [S, D] where they are given.
        """
        x, mask = self.x if x is None else x, self.mask if mask is None else mask
        found, mask = (
            grid.windows_at(cells, starts, self.length).astype(np.float32) for cells in (x, mask)
        )
        return found, self.y[starts], mask

    def segments(self, part=None):
        """First slots and ends of the stretches of one part, or of all, a list of pairs."""
        parts = np.zeros_like(self.part) if part is None else self.part
        block = np.cumsum(
            (np.diff(self.grid.segment, prepend=-1) != 0) | (np.diff(parts, prepend=-9) != 0)
        )
        first = np.flatnonzero(np.diff(block, prepend=-1))
        end = np.append(first[1:], len(block))
        return [(a, b) for a, b in zip(first, end, strict=True) if part in (None, self.part[a])]


@dataclass(frozen=True)
class SeriesCodec(Codec):
    """The codec of a series; `shape` is (L, D), and `columns` are those of the file.

    x has the D modelled columns at each step of a window, and y the calendar at its first step and
    the states at each of its steps.
    """

    conditions = ()  # of rows: the states are those of steps

    clock: times.Clock = None
    groups: list = field(default_factory=list)
    step: steps.Step = None
    calendar: list = field(default_factory=list)
    ends: list = field(default_factory=list)  # first and last stamp, in seconds
    shrinkage: list = field(default_factory=list)  # ridge and apart, see likelihoods/windows.py

    @cached_property
    def measured(self):
        """The D modelled columns."""
        return units.modelled(self.columns)

    @cached_property
    def modelled(self):
        return self.measured * self.shape[0]

    @cached_property
    def of_rows(self):
        """The Codec of single rows of the file, whose states are columns like the others."""
        columns = [replace(column, condition=False) for column in self.columns]
        shape = (len(units.modelled(columns)),)
        return Codec(self.form, columns, shape, self.relations, self.dialect)

    @cached_property
    def numbers_of_rows(self):
        """The places of the D modelled columns among those of `of_rows`, [D]."""
        return np.flatnonzero([not column.condition for column in self.kept])

    @cached_property
    def states_of_rows(self):
        """The places of the states among the columns of `of_rows`."""
        return np.flatnonzero([column.condition for column in self.kept])

    @property
    def kept(self):
        """The columns that are not ignored."""
        return [column for column in self.columns if column.kind != "ignore"]

    @cached_property
    def states(self):
        """The columns that are given at each step."""
        return conditions.condition_columns(self.columns)

    @property
    def may_be_given(self):
        return self.states

    @property
    def state_dim(self):
        return sum(conditions.sizes(self.states))

    @property
    def y_dim(self):
        return len(calendar.names(self.calendar)) + self.shape[0] * self.state_dim

    def to_dict(self):
        own = {"clock": self.clock.to_dict(), "groups": self.groups}
        own |= {"calendar": self.calendar, "ends": self.ends, "shrinkage": self.shrinkage}
        return super().to_dict() | own | {"step": vars(self.step)}

    @classmethod
    def from_dict(cls, plain):
        read = Codec.from_dict(plain)
        clock, step = from_plain(times.Clock, plain["clock"]), from_plain(steps.Step, plain["step"])
        own = clock, plain["groups"], step, plain["calendar"], plain["ends"]
        own = *own, plain.get("shrinkage", [])
        return cls(read.form, read.columns, read.shape, read.relations, read.dialect, *own)


@dataclass
class SeriesSource(TableSource):
    """The table of a file, the options by which it is a series, and its Layout once it is known."""

    config: object = None
    known: tuple | None = field(default=None, repr=False)  # a codec, and the Layout by it
    expected: object = field(default=None, repr=False)  # an Expected, once rows are explained
    events: list | None = field(default=None, repr=False)  # once rows are scored
    slot_scores: np.ndarray | None = field(default=None, repr=False)  # [S], NaN where none is
    n_test = shape = mask = copies = None

    @cached_property
    def layout(self):
        """The Layout that is found in the file."""
        return lay_out(self, self.config)

    def layout_for(self, codec, config):
        """The Layout by a run's codec."""
        if self.known is None or self.known[0] != codec:
            self.known = codec, lay_out(self, config, codec)
        return self.known[1]


def lay_out(source, config, codec=None):
    """The Layout of a SeriesSource; with the clock, step, columns and window of a run's `codec`."""
    frame = source.file.frame
    clock, names, found = clock_of(frame, config, codec)
    codes, labels = times.groups_of(frame, names)
    seconds = clock.read(frame, codes)
    step = codec.step if codec else step_of(config, clock, seconds, codes)
    length = codec.shape[0] if codec else window_given(config, step)
    longest = length or grid.LONGEST
    laid = grid.lay(seconds, codes, step, longest, least=length or grid.SHORTEST)
    if config.step and len(np.unique(laid.segment)) > max(1, laid.filled.sum() / 2):
        raise UserError(
            f"--step {config.step}: most rows lie more than {longest} such steps apart; give a "
            "longer one"
        )
    notes = [*found, *laid.notes]
    fractions = config.test_fraction or 0.0, config.val_fraction or 0.0
    until = config.train_until and seconds_of(clock, config.train_until, "--train-until")
    if codec:
        columns = codec.columns
    else:
        part = parts_of(laid, length or grid.FEWEST_SLOTS, fractions, until)
        trained = (part[laid.slot] == grid.TRAIN) & (laid.slot >= 0)
        rows = np.flatnonzero(trained)
        times_of = seconds[rows], None if codes is None else codes[rows], step
        columns = fit_columns(source, frame.iloc[rows], config, clock, names, times_of)
    x, mask, strange, own = encoding.encode(frame, columns, np.float64)
    notes += own
    own = states.encode(frame, columns)
    notes += own.notes
    cells, there, read = slots_of(laid, x, mask, columns)
    if not length:
        limits = SCORED if config.long_windows else FILLED
        length = grid.window_of(cells, there, laid.segment, *limits[:3])
        n_each = max(1, x.shape[1])
        length = min(length, max(8, limits[3] // n_each), room_of(laid, fractions, until))
        if not config.long_windows:  # or the covariance of the windows would rest on too few
            length = min(length, int(laid.filled.sum()) // (WINDOWS_PER_CELL * n_each))
        length = max(length, grid.FEWEST_SLOTS)
        laid = grid.lay(seconds, codes, step, length, least=length)
        cells, there, read = slots_of(laid, x, mask, columns)
    part = parts_of(laid, length, fractions, until)
    if not codec:
        limit = (SCORED if config.long_windows else FILLED)[3] // length
        known = own, laid, (cells, there), part == grid.TRAIN, limit
        columns = states.chosen(columns, config.kinds, *known)
    known = laid.seconds[part == grid.TRAIN]
    spans = codec.calendar if codec else calendar_of(config, known, step, clock)
    shown = clock, names, laid, part, columns, length, cells, there, read, spans
    return Layout(*shown, strange, notes, own.at_slots(laid, columns))


def slots_of(laid, x, mask, columns):
    """Cells of rows [N, D] as cells and mask of slots [S, D], and what counters read there."""
    x, mask = laid.gather(x, mask)
    x, mask, read = counters.to_steps(x, mask > 0, laid.segment, units.modelled(columns))
    return x.astype(np.float32), mask, read


def parts_of(laid, length, fractions, until):
    """The part of each slot, [S]; where `until` is given the slots behind it are for tests."""
    if until is None:
        return grid.parts_of(laid, length, *fractions)
    later = laid.seconds > until
    if later.all():
        raise UserError("--train-until: all rows of the series are later, expected some before it")
    part = np.full(len(laid), grid.TEST)
    part[~later] = grid.parts_of(laid.take(~later), length, 0.0, fractions[1])
    return part


def room_of(laid, fractions, until):
    """The most steps of a window that the held-out parts of the longest group have room for."""
    n = int(np.bincount(laid.group[laid.filled]).max())
    shares = fractions[1:] if until is not None else fractions
    return min([n, *(int(n * share) for share in shares if share > 0)])


def clock_of(frame, config, codec):
    """The Clock of a series, the names of its group columns, and sentences on what was found."""
    if codec:
        missing = [n for n in (*codec.clock.names, *codec.groups) if n not in frame]
        if missing:
            raise UserError(f"no column is named {missing[0]!r}, which tells the time or the group")
        return codec.clock, codec.groups, []
    groups = named(config.group, frame)
    if config.time is None:
        found = times.find(frame, groups or None)
        if found is None:
            raise UserError("no column tells the time plainly; name it by --time")
        note = f"read as {found.words} (--table: as rows without order)"
        return found.clock, list(found.groups), [note]
    codes, _ = times.groups_of(frame, groups)
    return times.given(frame, named(config.time, frame), codes), groups, []


def named(option, frame):
    """The names of columns in an option such as "year,month" or several of these; the name of a
    column may hold a comma.
    """
    found = ([text] if text in frame else text.split(",") for text in option or ())
    return [name.strip() for names in found for name in names]


def step_of(config, clock, seconds, codes):
    if config.step is None:
        return steps.step_of(seconds, codes, clock.calendar, clock.timed)
    step = steps.parse_step(config.step, clock.calendar, clock.timed)
    return steps.placed(step, seconds)


def window_given(config, step):
    """The steps of --window, 0 where it is not given."""
    if config.window is None:
        return 0
    length = steps.n_slots(config.window, step, "--window")
    if length < 2:
        raise UserError(f"--window {config.window}: {length} step, expected at least 2 of {step}")
    return length


def calendar_of(config, seconds, step, clock):
    return calendar.fit(seconds, step, clock.periods) if clock.periods else []


def fit_columns(source, frame, config, clock, groups, times_of):
    """The Columns of all of the file's columns, fitted to training rows; numbers are scaled as they
    are, by mean and standard deviation. `times_of` rows are their seconds, groups and Step.
    """
    own = [*clock.names, *groups]
    left = frame.drop(columns=own)
    wanted = {name: kind for name, kind in config.kinds.items() if name not in own}
    marks = config.missing or (), config.keep or ()
    fitted = {column.name: column for column in kinds.fit(left, wanted, *marks)}

    def column_of(name, fewest):
        """The column of a name; a number with fewer values than `fewest` is a state."""
        column, asked = fitted[name], name in wanted
        if column.why.startswith(RISING):  # a counter may look like row numbers
            real = kinds.fit(left[[name]], {name: "real"}, *marks)[0]
            changes = counters.steps_of(real.read(left[name])[0], *times_of)
            if counters.is_counter(*changes) and counters.tells(changes[0]):
                column = real
        if not asked and are_numbers(column.levels, fewest):
            column = kinds.fit(left[[name]], {name: "real"}, *marks)[0]
        column = measured(column, left[name], None if asked else times_of, fewest)
        if column is None:  # a number of few values
            column = kinds.fit(left[[name]], {name: "categorical"}, *marks)[0]
        return states.of(column, left[name], times_of, asked) if column.levels else column

    for fewest in (FEWEST_VALUES, 2):  # where all are states, those of numbers are modelled
        found = []
        for name in frame.columns:
            if name in own:
                why = "tells the time" if name in clock.names else "tells the group"
                found.append(units.Column(name, kind="ignore", why=why))
            else:
                found.append(column_of(name, fewest))
        if units.modelled(found):
            break
    found += [column for column in fitted.values() if column.name not in frame.columns]
    if stored := source_types(source):
        found = [replace(c, stored=stored.get(c.name, {})) for c in found]
    if not units.modelled(found):
        raise UserError(
            f"{source.path} has no column of numbers that change beside {', '.join(own)}: there "
            "is nothing to model"
        )
    return found


def are_numbers(levels, fewest):
    """Whether the levels of a category are numbers, and enough of them to be measured."""
    import pandas as pd

    if len(levels) < fewest:
        return False
    return bool(pd.to_numeric(pd.Series(levels), errors="coerce").notna().all())


def measured(column, series, times_of=None, fewest=FEWEST_VALUES):
    """The column as one of a series: a number in standard deviations, or a category as it is; None
    for a number of fewer values than `fewest`. With the `times_of` its rows a counter is known.
    """
    if column.kind == "ignore" or column.levels:
        return column
    values, _ = replace(column, below=None, above=None).read(series)
    changes = None if times_of is None else counters.steps_of(values, *times_of)
    values = values[~np.isnan(values)]
    if len(np.unique(values)) < fewest:
        return None
    curve = "linear"
    if changes is not None and counters.is_counter(*changes):
        curve, values = counters.CURVE, changes[0][changes[0] >= 0]
        column = replace(column, low=0.0, high=None)
        if not counters.tells(values):
            return replace(column, kind="ignore", why="it rises by equal steps")
    near = near_others(values)
    scale = {"shift": float(near.mean()), "scale": float(near.std())}
    return replace(column, kind="real", curve=curve, offset=0.0, below=None, above=None, **scale)


def near_others(values):
    """The values [n] without those far beyond 98 % of them, such as one spike of 1e12."""
    low, high = np.quantile(values, [0.01, 0.99])
    reach = FAR_SPANS * (high - low)
    return values if reach == 0 else values[(values >= low - reach) & (values <= high + reach)]


class Series(Tables):
    """Rows in the order of their stamps; windows of them are the model's rows."""

    name = "series"
    codec = SeriesCodec
    columns_may_be_given = False
    scores = fills = "windows"
    learned = "window", "windows"
    check = "windows"
    compares = "series"

    def recognises(self, path, config=None):
        """Whether `path` holds a series by the given options, or plainly is one."""
        if config is None or config.table or not super().recognises(path):
            return False
        if config.time is not None:
            return True
        try:
            source = super().read(path, config)
        except UserError:
            return False  # reading the table reports what is wrong
        frame = source.file.frame
        return times.find(frame, named(config.group, frame) or None) is not None

    def read(self, path, config=None, holes=False):
        return SeriesSource(table_files.read(path, config), config=config)

    def default_likelihood(self, path):
        return "windows"

    def settings_of(self, verb, path):
        if verb == "detect":
            return {"likelihood": "factors", "preset": "series-detect"}
        return {"likelihood": "windows", "preset": SERIES_PRESETS.get(verb, "series")}

    def split(self, source, config):
        """Row numbers of three parts, by time."""
        source.config = config
        layout = source.layout
        slot = layout.grid.slot
        part = np.where(slot >= 0, layout.part[slot], grid.APART)
        return [np.flatnonzero(part == which) for which in (grid.TRAIN, grid.VAL, grid.TEST)]

    def fit(self, source, rows, config):
        layout = source.layout
        shape = layout.length, len(units.modelled(layout.columns))
        seconds = layout.grid.seconds
        ends = [float(seconds.min()), float(seconds.max())]
        own = layout.clock, layout.groups, layout.grid.step, layout.calendar, ends
        own = *own, self.shrinkage_of(layout, config)
        codec = self.codec(self.name, layout.columns, shape, [], dialect_of(source), *own)
        source.known = codec, layout
        return codec

    def shrinkage_of(self, layout, config):
        """How the covariance of training windows is shrunk, [ridge, apart]; [] as usual."""
        starts = layout.starts(grid.TRAIN)
        few = layout.seen.mean() < 1 - FEWEST_HOLES
        if len(starts) < 2 or config.long_windows and not few:  # a Gaussian without T
            return []
        from parts.forms.series import completion  # needs torch, which figures do without

        return list(completion.best_shrinkage(*to_complete(layout, starts), config.split_seed))

    def encode(self, source, codec, parts, config):
        layout = source.layout_for(codec, config)
        starts = layout.starts(grid.TRAIN)
        if len(starts) < 2:
            raise UserError(
                f"{config.data} has {counted(len(starts), 'window')} of "
                f"{counted(layout.length, 'step')} to train on, "
                "expected at least 2: give more rows, or a shorter --window"
            )
        n_each = len(codec.measured) + codec.state_dim
        most = max(2, MOST_CELLS // (layout.length * n_each))
        x = layout.x
        if not layout.seen.all():
            from parts.forms.series import completion  # needs torch, which figures do without

            options = to_complete(layout, starts)
            x = completion.complete(*options, config.split_seed, codec.shrinkage)
        some = np.sort(starts[random_rows(len(starts), most)])
        found = [split_of(layout, some, x, layout.seen)]
        for which in (grid.VAL, grid.TEST):
            found.append(split_of(layout, layout.starts(which, layout.length)))
        return found, [*source.notes, *layout.notes]

    def encode_for(self, source, codec, config, y_train=None):
        layout = source.layout_for(codec, config)
        notes = [*source.file.notes, *layout.notes]
        mask = layout.mask.astype(np.float32)
        return Encoded(layout.x * mask, mask, layout.y, layout.strange, notes, None, layout)

    # Score

    def score_outputs(self, path, out, overwrite):
        (out,) = super().score_outputs(path, out, overwrite)
        if str(out) == STANDARD:
            return [out]
        of_events = out.with_name(f"{out.name.split('.')[0]}.events.csv")
        table_files.refuse_output(of_events, overwrite, path, text=True)
        return [out, of_events]

    def online(self, asked):
        return {"online": asked}

    def flagged(self, scorer, source, encoded, scores, beyond):
        """The rows of events; of rows that are scored as they arrive, all that lie `beyond`."""
        layout, columns = encoded.layout, scorer.columns
        source.expected = events.Expected(*scorer.expected(layout, beyond))
        source.events = events.found(layout, columns, source.expected, scores, beyond)
        source.slot_scores = events.of_slots(layout, scores)
        return beyond if scorer.online else events.of_rows(source.events, layout.grid.slot) > 0

    def explain(self, scorer, source, encoded, chosen, typical):
        layout, expected = encoded.layout, source.expected
        slots = layout.grid.slot[chosen]
        deviations = expected.deviations(layout.x, layout.mask)
        known = scorer.columns, layout.x, expected
        return [events.why(*known, slot, deviations) if slot >= 0 else "" for slot in slots]

    def write_scores(self, source, codec, scored, outputs, fitted):
        layout, frame, found = source.known[1], source.file.frame, source.events
        scored = scored | {"anomaly_event": events.of_rows(found, layout.grid.slot)}
        scored = {name: events.blank(cells) for name, cells in scored.items()}
        table_files.write(frame.assign(**scored), outputs[0], source.file, codec.columns)
        lines = [*events.in_words(found, layout, codec.clock), f"Wrote {outputs[0]}"]
        if len(outputs) > 1:
            table = events.table(found, layout, codec, frame)
            table_files.write(table, outputs[1], table_files.File(outputs[1], table.iloc[:0]))
            lines.append(f"Wrote {outputs[1]}: {counted(len(found), 'event')}")
        return lines

    def scored_arrays(self, source, codec, rank, fitted):
        return shown.of_scores(source, codec)

    def scored_facts(self, source, codec):
        return shown.told_events(source, codec)

    def events_by_labels(self, source, labels):
        return events.by_labels(source.events, source.known[1].grid, labels)

    # Fill

    def with_missing_rows(self, source, codec, config):
        """The source with a row for each stamp that is missing between two of its group."""
        if codec is None:
            layout = source.layout
            clock, names, step = layout.clock, layout.groups, layout.grid.step
        else:
            clock, names, step = codec.clock, codec.groups, codec.step
        frame = source.file.frame
        codes, _ = times.groups_of(frame, names)
        laid = grid.lay(clock.read(frame, codes), codes, step, len(frame) * grid.MOST_SLOTS)
        frame, n_added = with_slots(frame, laid, clock, names)
        if not n_added:
            source.file.notes.append("no row is missing")
            return source
        as_written = {"header": source.file.as_written.get("header", ())}
        as_written["stored"] = table_files.stored_as(source.file)
        as_written["dialect"] = dialect_of(source)
        source = SeriesSource(
            replace(source.file, frame=frame, as_written=as_written), config=config
        )
        source.file.notes.append(f"{grid.counted(n_added, 'row')} added for missing stamps")
        return source

    def check_filling(self, source, codec, interval):
        super().check_filling(source, codec.of_rows, interval)

    def holes(self, source, codec):
        return super().holes(source, codec.of_rows)

    def n_left_empty(self, source, codec):
        return super().n_left_empty(source, codec.of_rows)

    def notes_on_filling(self, encoded, codec, fitted):
        return []

    def write_filled(self, source, codec, *filled):
        return super().write_filled(source, codec.of_rows, *filled)

    def fills_in_words(self, codec, n_filled, sure):
        return super().fills_in_words(codec.of_rows, n_filled, sure)

    def filled_arrays(self, source, codec, holes, todo, filled, fitted):
        own = codec.numbers_of_rows
        bounds = None if filled.bounds is None else filled.bounds[..., own]
        filled = filled._replace(values=filled.values[:, own], bounds=bounds)
        filled = filled._replace(draws=filled.draws[..., own])
        return shown.of_fills(source, codec, holes[:, own], todo, filled)

    def refuse_filling(self, source, outputs, statistic, interval):
        super().refuse_filling(source, outputs, statistic, interval)
        if statistic != "mean":
            raise UserError(
                f"--statistic {statistic} goes with tables: series are filled by the mean"
            )

    # Generate

    default_samples = "generated.csv"

    def write_samples(self, x, mask, y, codec, given, outputs, fitted):
        """Write windows one below the other, with the numbers of the window and of the step."""
        length = codec.shape[0]
        columns = codec.measured
        values = counters.cumulated(in_user(x.reshape(len(x), length, -1), columns), columns)
        rows = values.reshape(len(x) * length, -1)
        series = [str(i + 1) for i in range(len(x)) for _ in range(length)]
        step = [str(i + 1) for _ in range(len(x)) for i in range(length)]
        frame = frame_of_cells(codec.measured, rows)
        if codec.state_dim:
            told = y[:, -length * codec.state_dim :].reshape(len(rows), -1)
            frame = frame.assign(**states.cells_of(told, codec.states))
            frame = frame[[c.name for c in codec.columns if c.name in frame]]
        for name, cells in (("step", step), ("series", series)):
            while name in frame:
                name = f"{name} of window"
            frame.insert(0, name, cells)
        write_like(frame, outputs[0], codec)
        n = counted(len(x), "window")
        of = f"{n} of {counted(length, 'step')}, {counted(len(rows), 'row')}"
        return [f"Wrote {outputs[0]}: {of}"]

    def stretches(self, codec, config, length, start, future):
        """The Stretches to be drawn: one of a length, or what follows the end of each group."""
        if future is not None:
            if length is not None or start is not None:
                raise UserError("--future follows the end of the data: give no --length or --start")
            return self.futures(codec, config, self.steps_to_draw(future, "--future", codec))
        if length is None:
            raise UserError("--start goes with --length")
        first = codec.ends[0]
        if start is not None:
            first = seconds_of(codec.clock, start, "--start")
        n_slots = self.steps_to_draw(length, "--length", codec)
        seconds = following(codec.step, first, np.arange(n_slots))
        return [Stretch(seconds, calendar.features(seconds, codec.calendar), None, [])]

    def steps_to_draw(self, length, flag, codec):
        """The number of steps that a `flag` asks for; UserError for more than fit into memory."""
        n_slots = steps.n_slots(length, codec.step, flag)
        each = self.bytes_per_cell * len(codec.columns)
        memory.refuse_beyond_memory(f"{flag} {length}", n_slots, each, "steps")
        return n_slots

    def futures(self, codec, config, n_slots):
        source = self.read(config.data, config)
        layout = source.layout_for(codec, config)
        found = []
        for number in np.unique(layout.grid.group):
            slots = np.flatnonzero(layout.grid.group == number)
            known = slots[layout.observed[slots]]
            if not len(known):
                group = layout.grid.slot == slots[0]
                cells = [str(source.file.frame[name][group].iloc[0]) for name in codec.groups]
                raise UserError(
                    f"{config.data}: group {', '.join(cells)} has no cell from which --future "
                    "could go on: leave its rows out"
                )
            segment = layout.grid.segment[slots] == layout.grid.segment[known[-1]]
            past = slots[segment & (slots <= known[-1])][-codec.shape[0] :]
            last = layout.grid.seconds[past[-1]]
            seconds = following(codec.step, last, np.arange(1, n_slots + 1))
            known = layout.x[past], layout.mask[past], layout.y.calendar[past]
            row = int(np.flatnonzero(layout.grid.slot == past[-1])[0])
            cells = [str(source.file.frame[name].iloc[row]) for name in codec.groups]
            y = calendar.features(seconds, codec.calendar)
            before = np.full(len(codec.measured), np.nan)
            for i, j in enumerate(counters.of(codec.measured)):
                read = layout.read[past, i]
                before[j] = read[~np.isnan(read)][-1] if (~np.isnan(read)).any() else np.nan
            ago = layout.grid.seconds[past], before, layout.y.states[past]
            found.append(Stretch(seconds, y, known, cells, *ago))
        return found

    def write_stretches(self, codec, stretches, drawn, told, outputs):
        """Write drawn stretches [M, S, D] and their states; of several draws the median, the bounds
        of 90 %, and the most frequent state.
        """
        import pandas as pd

        frames = []
        for each, x, steps_told in zip(stretches, drawn, told, strict=True):
            times_of = codec.clock.write(each.seconds)
            groups = dict(zip(codec.groups, each.group, strict=False))
            frame = pd.DataFrame(groups | times_of, index=range(len(each.seconds)), dtype="str")
            values = in_user(x, codec.measured)
            values = counters.cumulated(values, codec.measured, each.before)
            parts = {"": values[0]} if len(x) == 1 else quantiles(values)
            for j, column in enumerate(codec.measured):
                for word, cells in parts.items():
                    frame[column.name + word] = column.text_of(cells[:, j])
            if steps_told is not None:
                n_past = 0 if each.past is None else len(each.past[0])
                shares = steps_told[:, n_past : n_past + len(frame)].mean(0)
                frame = frame.assign(**states.cells_of(shares, codec.states))
            frames.append(frame)
        frame = pd.concat(frames, ignore_index=True)
        names = [column.name for column in codec.columns]
        order = [name for name in frame if name in names]
        frame = frame[sorted(order, key=names.index) + [n for n in frame if n not in names]]
        write_like(frame, outputs[0], codec)
        of = f" in {len(frames)} groups" if len(frames) > 1 else ""
        return [f"Wrote {outputs[0]}: {counted(len(frame), 'row')}{of}, every {codec.step}"]

    def stretch_arrays(self, codec, stretches, drawn):
        first, last = stretches[0].seconds[[0, -1]]
        start, end = (
            " ".join(part[0] for part in codec.clock.write([s]).values()) for s in (first, last)
        )
        told = {"start": start, "end": end, "n_steps": len(stretches[0].seconds)}
        told |= {"n_groups": len(stretches), "n_draws": len(drawn[0])}
        told |= {"after": stretches[0].past is not None, "every": str(codec.step)}
        return shown.of_stretches(codec, stretches, drawn), told

    # Describe

    def describe_run(self, codec):
        return "a series"

    def describe_size(self, codec, n):
        """Words for the numbers n of training, held-out and test windows."""
        n_steps, n_columns = codec.shape
        columns = counted(n_columns, "column")
        return (
            f"{columns}, every {codec.step}; windows of {n_steps} steps: {n[0]} train, "
            f"{n[1]} held out, {n[2]} test"
        )

    def describe_ranges(self, data, source, rows):
        return super().describe_ranges(replace(data, codec=data.codec.of_rows), source, rows)

    def describe(self, codec):
        return [*kinds.describe(codec.columns), *relations.describe(codec.relations)]

    def describe_reading(self, codec):
        """Sentences on the step, the stamps, the groups, the windows and the gaps."""
        first, last = (
            " ".join(part[0] for part in codec.clock.write([end]).values()) for end in codec.ends
        )
        by = words.listed(codec.clock.names)
        said = [f"A row every {codec.step}, from {first} to {last}, by the time in {by}."]
        inside = ""
        if codec.groups:
            by, inside = words.listed(codec.groups), " lies in one group, and"
            said.append(f"Rows with the same {by} are a group, which is a series of its own.")
        length, n_columns = codec.shape
        said.append(
            f"The model learned windows of {length} steps ({step_in_words(codec.step, length)}) of "
            f"{words.counted(n_columns, 'column')}. A window{inside} crosses no gap that is longer "
            "than itself; a gap is a run of missing rows."
        )
        if codec.calendar:
            known = [f"the {calendar.NAMES[span['period']]}" for span in codec.calendar]
            said.append(f"The model is told {words.listed(known)} of each window.")
        return said

    # Figures

    def figures(self):
        from parts.forms.series.figures import SERIES_FIGURES

        return SERIES_FIGURES

    def figure_arrays(self, data, figures):
        found = super().figure_arrays(data, figures) | shown.about_time(data.codec)
        found["measured"] = np.array([column.name for column in data.codec.measured], dtype=str)
        found["window_time"] = shown.on_axis(data.codec.clock, data.test.when[:, 1])
        found["window_group"] = data.test.when[:, 0]
        if "path" in figures:
            moments = figures["path_when"]
            found["path_time"] = shown.on_axis(data.codec.clock, moments[:, 1])
            found["path_hour"] = shown.local(data.codec.clock, moments[:, 1]) / 3600 % 24
        return found

    def point_arrays(self, data, n, columns):
        return shown.points(data.codec, data.test.when[:n])


def period_of(codec, x, mask, segment):
    """The period of a series in slots and in words: the shortest of the calendar, or else that of
    the autocorrelation of cells x, mask [S, D], or else a window.
    """
    if codec.calendar:
        name = codec.calendar[0]["period"]
        return max(1, round(calendar.PERIODS[name] / codec.step.usual)), f"{name}s"
    lag = grid.period_of(x, mask, segment)
    n, what = (codec.shape[0], "windows") if lag is None else (lag, "periods")
    return n, f"{what} of {n} steps"


def to_complete(layout, starts):
    """What parts/forms/series/completion.py takes of the training windows at `starts`."""
    segments = layout.segments(grid.TRAIN)
    return layout.x, layout.seen, layout.y, segments, starts, layout.length


def step_in_words(step, n):
    """The length of n steps in words."""
    return str(replace(step, seconds=n * step.seconds, months=n * step.months, offset=0.0))


class Stretch(NamedTuple):
    """Slots to be drawn: their seconds [S] and calendar [S, C]; x, mask and y of those before them,
    or None; the cells of the group's columns; the seconds of the slots before them; what counters
    read before, [D]; and the states of the slots before them.
    """

    seconds: np.ndarray
    y: np.ndarray
    past: tuple | None
    group: list
    past_seconds: np.ndarray | None = None
    before: np.ndarray | None = None
    states: np.ndarray | None = None


def with_slots(frame, laid, clock, groups):
    """The DataFrame with a row for each slot without one, beside the rows of its group; and the
    number of added rows.
    """
    import pandas as pd

    empty = np.flatnonzero(~laid.filled)
    if not len(empty):
        return frame, 0
    rows = np.flatnonzero(laid.slot >= 0)
    last = np.full(len(laid), -1)
    last[laid.slot[rows]] = rows  # the last row of each slot
    before = np.maximum.accumulate(np.where(last >= 0, np.arange(len(laid)), -1))[empty]
    change = np.diff(laid.slot[rows])
    backwards = (change < 0).sum() > (change > 0).sum()
    if backwards:  # from the newest to the oldest: a new row stands above the one before it
        first = np.full(len(laid), -1)
        first[laid.slot[rows[::-1]]] = rows[::-1]
        place = first[before] - 0.5 - 0.4 * (empty - before) / len(laid)
    else:
        place = last[before] + 0.5 + 0.4 * (empty - before) / len(laid)
    added = pd.DataFrame("", index=place, columns=frame.columns, dtype="str")
    for name, kind in frame.dtypes.items():
        if kind.kind == "f":
            added[name] = np.nan
    for name, cells in clock.write(laid.seconds[empty]).items():
        added[name] = cells
    for name in groups:
        added[name] = frame[name].to_numpy()[last[before]]
    whole = pd.concat([frame, added]).sort_index(kind="stable").reset_index(drop=True)
    return whole, len(empty)


def in_user(x, columns):
    """Cells [..., D] in model units as numbers in the user's units, within a column's bounds."""
    return np.stack([column.to_user(x[..., j]) for j, column in enumerate(columns)], -1)


def quantiles(x):
    """The median and the bounds of 90 % of draws [M, S, D], by the endings of their columns."""
    low, middle, high = np.quantile(x, [0.05, 0.5, 0.95], axis=0)
    return {"": middle, "_low": low, "_high": high}


def seconds_of(clock, text, flag):
    """The seconds of a stamp that the user gives with a flag, in the style of the file."""
    import pandas as pd

    words = text.split(" ") if len(clock.names) > 1 else [text]
    cells = dict(zip(clock.names, [[word] for word in words], strict=False))
    if len(cells) == len(clock.names):
        seconds = clock.read(pd.DataFrame(cells, dtype="str"))
        if np.isfinite(seconds[0]):
            return float(seconds[0])
    shown = " ".join(part[0] for part in clock.write(np.array([0.0])).values())
    raise UserError(f"{flag} {text}: expected a time as the file writes it, such as {shown!r}")


def following(step, first, numbers):
    """The seconds of slots so many steps behind the stamp `first`."""
    number, origin = step.numbers(np.array([first]), np.zeros(1, np.int64))
    return step.times(number[0] + numbers, origin[np.zeros(len(numbers), np.int64)])


def frame_of_cells(columns, x):
    """A DataFrame of text of cells x [n, D] in the user's units."""
    import pandas as pd

    cells = {column.name: column.text_of(x[:, j]) for j, column in enumerate(columns)}
    return pd.DataFrame(cells, dtype="str")


def write_like(frame, path, codec):
    """Write generated rows to a path, a text file as the run's own is written."""
    as_written = {"dialect": codec.dialect}
    like = table_files.File(path, frame.iloc[:0], as_written=as_written)
    table_files.write(frame, path, like, codec.columns)


def split_of(layout, starts, cells=None, mask=None):
    """The windows at `starts` as a Split, of other cells and another mask where they are given."""
    x, y, mask = layout.windows(starts, cells, mask)
    whole = Split(x, y if y.shape[1] else None, None if mask.all() else mask)
    return whole._replace(when=shown.when(layout, starts))


SERIES = Series()
