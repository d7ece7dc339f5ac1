"""Infer the kinds of the columns of a table, and fit their scaling to the training cells."""

import re
import shlex
from dataclasses import replace

import numpy as np

from parts.errors import UserError
from parts.files import read_json
from parts.forms import cells
from parts.forms.tables import answers, declared
from parts.forms.tables.orders import known_order
from parts.forms.units import DISCRETE, KNEE, Column, modelled, standardize

KINDS = {
    "real": "numbers, dates, times of day, durations: Gaussian or Student-t",
    "positive": "numbers above 0, nearer to log-normal than to normal: log-normal",
    "count": "whole numbers from 0 to at most 100 with a median of at most 2: negative binomial",
    "binary": "two values: Bernoulli",
    "categorical": "text of few values, codes such as 200 and 404; whole numbers from 1 to at most "
    "16, each of them there, in 1000 cells or more: categorical",
    "ordinal": "words with a well-known order; few numbers with equal steps, in fewer cells: "
    "cumulative logits",
    "ignore": "identifiers, free text, constants: kept in outputs, never modelled",
}
NUMBERS = ("real", "positive", "count")  # kinds of columns of numbers
MAX_INFERRED_COUNT = 100  # largest cell of a column that is inferred to be a count
MAX_COUNT = 1_000_000  # largest cell of a column of counts
# Largest median of a column that is inferred to be a count. For larger counts a Gaussian is close,
# and its variance may be smaller than its mean, which a negative binomial cannot represent.
MAX_COUNT_MEDIAN = 2
# Codes 1, 2, 3, ... may be names without an order, such as occupations, and a category can say all
# that an order can. On few rows an order, which is often there, is worth more.
MAX_CODE, MAX_RANK, MANY_CELLS = 16, 10, 1000
PER_CODE = 10  # fewest cells for each different number of a column of codes, on average
CODE_CELLS, CODE_SHARE = 3, 0.01  # fewest cells of each of few numbers that are levels
# Whole numbers with three digits or more, of which few between the smallest and the largest occur,
# are codes such as 200 and 404. Amounts are rather multiples of ROUND.
MAX_SPARSE, SPARSE, ROUND = 30, 0.2, 5
MAX_LEVELS = 100  # most levels of text that is inferred to be a category
N_HINTED = 20_000  # cells of free text of which one looks at the shape
FEW_CELLS = 10  # fewest among which one odd cell is an accident
ALMOST = 0.8  # share of numbers in a column of text from which it is said
NEARLY_ALL = 0.9  # share of different cells in a column of identifiers
MIN_ROWS = 50  # fewest rows from which row numbers are recognised
IDENTIFIER = re.compile(
    r"(?i:(^|[\W_])(id|uuid|guid|key|ref|reference|phone|tel|telephone|mobile|fax|iban|isbn|ean|"
    r"ssn|account|ticket|barcode)$|\w[\W_](no|nr|num|number)\.?$|\w(nummer|nr\.?)$|"
    r"(^|[\W_])(num[ée]ro|n[úu]mero)([\W_]|$)|^(index|idx)$|^unnamed)|"
    r"[a-z](I[Dd]|No|Nr|Num|Ref)$"
)
# Names of columns whose numbers are names of things.
CODE = re.compile(
    r"(?i:(^|[\W_])(code|store|shop|branch|site|station|zone|region|district|dept|department|"
    r"warehouse|terminal|gate|channel|cluster|category|class|type|grade|level|zip|zipcode|"
    r"postcode|postal|plz|fips|icd|id)([\W_]|$))|[a-z](Code|Id|ID|Type|Class)$"
)
NAMED_ID = re.compile(r"(?i:(^|[\W_])(id|uuid|guid|key)$|^(index|idx)$|^unnamed)|[a-z]I[Dd]$")
POSTAL = re.compile(r"(?i:(^|[\W_])(zip|zipcode|zip_code|postcode|postal|plz|fips)([\W_]|$))")
WEEKDAY = re.compile(r"(?i:week_?day|day_?of_?week|(^|[\W_])(dow|wday)([\W_]|$))")
SMALLEST_LEVEL = 0.5  # of the mean number of cells: a count's largest values are rarer
# From here on float64 does not hold every whole number; and more than any identifier has.
LONG_NUMBER, MAX_DIGITS = 2.0**53, 1e20
LONG_DIGITS = 9  # fewest of the numbers that are identifiers for their length
# A spike is a value at an end of a column, SPIKE_STEPS times as far from its nearest neighbour as
# the SPIKE_NEAR next ones are from theirs. It has at least SPIKE_CELLS and SPIKE_SHARE of cells, in
# a column of at least SPIKE_VALUES different ones; what most cells hold has to look like a mark.
SPIKE_STEPS, SPIKE_NEAR, SPIKE_CELLS, SPIKE_SHARE, SPIKE_VALUES = 3, 10, 3, 0.002, 20
MOST_SPIKES = 2
# In a column of these, and of cells that are empty, an empty cell says no; both are no accidents.
TICKS = {"x", "[x]", "(x)", "✓", "✔", "☑", "☒", "✗", "✘", "checked", "ticked", "selected"}
TICKS |= {"yes", "y", "true", "ja", "j", "oui", "sí", "si", "sim", "wahr"}
CHECKED_SHARE = 0.02
MOST_WORDS = 2  # different words among numbers that are marks of missing cells
# Numbers that programs write where nothing was measured, beside rows of nines and negative numbers;
# as days, 0 is 1970-01-01 and -25567 is 1900-01-01.
FILLERS = (0.0, -25567.0, 32767.0, -32768.0, 65535.0, 2.0**31 - 1, -(2.0**31), 1e10, 1e20, 1e30)
YEAR = re.compile(r"(?i:year|jahr|année|año|date|time)")
YEARS = (1500, 2100)  # numbers under such a name that are no row numbers though they rise
END_SHARE, END_CELLS = 0.01, 5  # of cells at the largest value, which is then an upper bound


def fit(frame, specs=None, missing=(), keep=()):
    """Fit the Columns of a table to its training rows; `specs` maps names to a kind or a dict.

    `missing` and `keep` are marks of missing cells and of cells that are none, MARK or NAME=MARK.
    """
    specs = dict(specs or {})
    if unknown := sorted(set(specs) - set(frame.columns)):
        names = ", ".join(map(str, frame.columns[:20]))
        raise UserError(f"a kind is given for {unknown[0]!r}, but the columns are {names}")
    marks, asked = marks_of(frame, specs, missing, keep)
    hints = hints_of(frame, marks)
    columns = []
    for name in frame.columns:
        spec = specs.get(name)
        several = None
        if spec is None:
            several = several_answers(name, frame[name], marks[name] or cells.MISSING)
        if several is not None:
            made = answers.columns_of(name, *several, marks[name], len(frame))
            columns += [replace(column, asked=asked[name]) for column in made]
        else:
            columns.append(fit_column(name, frame[name], spec, marks[name], hints, asked[name]))
    if all(column.kind == "ignore" for column in columns):
        reasons = "; ".join(f"{c.name!r}: {c.why}" for c in columns[:3])
        raise UserError(
            f"no column is left to model ({reasons}); set kinds by --kind NAME=KIND, "
            f"one of {', '.join(KINDS)}"
        )
    return columns


def several_answers(name, series, marks):
    """The separator and the answers of a column with several in a cell, or None; see answers.py."""
    several = answers.find(series, marks)
    if several is None:
        return None
    reading = cells.reading_of(series, str(name), marks)  # 1,5 may be a number
    return None if reading is not None and reading.share >= cells.MOSTLY else several


# Marks of missing cells


def marks_of(frame, specs, missing=(), keep=()):
    """The marks of missing cells of each column, and those of which the user says what they are:
    two dicts of lists in lower case, in the first None for the usual marks.

    Levels that the user gives are cells. NA, None and nil are answers of a column of text with few
    of them, unless a column of numbers shows that the file marks missing cells so.
    """
    own = declared.marks_given(frame.columns, missing, keep)
    words = {name: set(map(str.lower, cells.counts(frame[name], cells.WORDS))) for name in frame}
    # A word in a column of numbers marks missing cells, there and in the other columns.
    kept_words = {name: holds_words(frame[name]) if words[name] else None for name in frame}
    marking = set().union(*(words[name] for name in frame if kept_words[name] == "numbers"))
    found, asked = {}, {}
    for name in frame.columns:
        added, kept = own[name]
        spec = specs.get(name)
        if isinstance(spec, dict):
            kept = kept | {str(level).strip().lower() for level in spec.get("levels") or ()}
        asked[name] = sorted(added | kept)
        if kept_words[name] == "answers":
            kept = kept | (words[name] - marking - added)
        marks = [mark for mark in cells.MISSING if mark not in kept - added]
        marks += sorted(added - set(marks))
        found[name] = None if marks == list(cells.MISSING) else marks
    return found, asked


def holds_words(series):
    """What a column of text is beside its marks: "numbers", "answers" for few words, or ""."""
    reading = cells.reading_of(series)
    if reading is not None and reading.share >= cells.MOSTLY:
        return "numbers"
    others = series[~cells.missing(series)].str.strip()
    few = 1 <= others.nunique() <= min(MAX_LEVELS, len(others) / 5)
    return "answers" if few else ""


def hints_of(frame, marks):
    """What the columns of a table tell about those that can be read in two ways."""
    told = [
        cells.hints_of(frame[name], str(name), marks[name] or cells.MISSING)
        for name in frame
        if cells.is_text(frame[name]) and cells.may_tell(frame[name])
    ]
    years = [hints.last_year for hints in told if hints.last_year]
    orders = {hints.day_first for hints in told} - {None}
    return cells.Hints(
        any(hints.commas for hints in told),
        orders.pop() if len(orders) == 1 else None,
        max(years, default=None),
    )


# The kind of a column


def fit_column(name, series, spec=None, marks=None, hints=cells.NO_HINTS, asked=()):
    """Fit one Column to its training cells; `spec` is a kind, a dict or None.

    `marks` are those of missing cells in lower case, None for the usual ones, and `asked` those of
    which the user says what they are.
    """
    spec = spec if isinstance(spec, dict) else {"kind": spec}
    kind, levels = spec.get("kind"), spec.get("levels")
    if kind == "ignore":
        return Column(name, kind="ignore", why="as asked")
    blank = Column(name, kind="ignore", marks=marks, asked=list(asked))
    gone = blank.missing(series)
    is_cell = blank.empty_is_cell or is_check_box(series, gone, kind, blank)
    if is_cell and cells.is_text(series):
        series = series.fillna("")
        gone = gone & ~cells.missing(series, ())
    if levels is not None and kind not in DISCRETE:
        raise UserError(f"column {name!r}: levels are for {', '.join(DISCRETE)}, not {kind!r}")
    nested = cells.is_text(series) and series.str.startswith(cells.NESTED).any()
    if gone.all() or nested:
        why = "nested values" if nested else "empty"
        if kind:
            raise UserError(f"column {name!r} is {why}, so it cannot be {kind!r}")
        return replace(blank, why=why)
    reading = cells.reading_of(series, str(name), blank.own_marks, hints)
    if is_cell:
        if kind in NUMBERS or is_many_numbers(reading):
            raise UserError(
                f"--keep {name}=: the column holds numbers, and an empty cell is none; expected "
                "a column of few answers"
            )
        reading = None
    elif reading is not None and "duration" in reading.style:
        reading = replace(reading, style=reading.style | {"example": example_of(reading, series)})
    seen = series[~gone]
    n_seen = len(seen)
    is_number = reading is not None and is_read(reading, series, n_seen, kind)
    if not is_number and reading is not None and kind is None:
        words = words_among_numbers(reading, series, gone)
        # Such as n.v. in one cell of ten: a mark of missing cells.
        if words and not set(words) & set(blank.asked):
            return fit_column(name, series, spec, [*blank.own_marks, *words], hints, asked)
    if is_number and kind is None and (reading.sides != 0).sum() > n_seen / 2:
        is_number = False  # such as <18, 18-65, >65: ranges
    may_be_codes = is_number and kind not in NUMBERS and not reading.style.get("decimals")
    if may_be_codes and are_codes(name, seen):
        is_number, reading = False, None
    column = replace(blank, n_seen=n_seen)
    if not is_number:
        return told_of_empty(fit_text(column, seen, kind, levels, reading), gone)
    values = reading.values
    known = values[~np.isnan(values)]
    column = replace(column, style=reading.style, n_unread=n_seen - len(known))
    found, counts = np.unique(known, return_counts=True)
    spikes = [] if kind in DISCRETE else spikes_of(found, counts)
    if len(found) == 1 and column.n_unread and kind not in NUMBERS:  # 0_no beside 1_yes
        return fit_text(replace(blank, n_seen=n_seen), seen, kind, levels, None)
    usual = ~np.isin(found, spikes)
    shares = [[float(v), float(counts[found == v][0] / n_seen)] for v in spikes]
    found, counts = found[usual], counts[usual]
    known = known[~np.isin(known, spikes)] if spikes else known
    whole = bool((found == np.round(found)).all())
    column = replace(column, spikes=shares, whole=whole, **limits_of(reading))
    column = replace(column, style=column.style | texts_of_limits(column, reading, series))
    if kind is None:
        kind, why = infer(str(name), values[~gone], found, counts, column)
        if kind == "ignore":
            constant = [str(seen.iloc[0]).strip()] if len(found) == 1 else []
            return told_of_empty(replace(column, kind="ignore", why=why, levels=constant), gone)
    if kind in DISCRETE and (reading.sides != 0).any():  # 10+ is a level beside 10
        return fit_text(replace(blank, n_seen=n_seen), seen, spec.get("kind"), levels, reading)
    if kind in DISCRETE:
        spelled = spellings(seen, column, found)
        return _categorical_column(replace(column, kind=kind), levels, found, spelled)
    if kind == "count":
        column = replace(column, below=None, above=None)
    return _scaled_column(replace(column, kind=kind), known)


def is_read(reading, series, n_seen, kind):
    """Whether enough of a column's `n_seen` cells are read as numbers: one odd cell drops none."""
    if not cells.is_text(series):
        return reading.share > 0
    if kind in NUMBERS:
        return reading.share >= cells.AT_LEAST
    one_odd = n_seen >= FEW_CELLS and reading.share * n_seen > n_seen - 1.5
    return one_odd or reading.share >= cells.MOSTLY


def words_among_numbers(reading, series, gone):
    """The words, in lower case, that stand in all cells of a column which are no numbers, a list.

    It is empty unless most cells are numbers, of which there are many, and the words are few and
    hold no digit: then they mark missing cells.
    """
    values = reading.values[~np.isnan(reading.values)]
    if reading.share < cells.AT_LEAST or len(np.unique(values)) <= MAX_RANK:
        return []
    unread = series[np.isnan(reading.values) & ~gone].str.strip().str.lower().value_counts()
    words = unread.index.tolist()
    if len(words) > MOST_WORDS or unread.min() < CODE_CELLS:
        return []
    # Spreadsheets write #DIV/0!, and 3+ is no mark.
    return [] if any(re.search(r"^[^#].*\d|^\d", word) for word in words) else words


def is_many_numbers(reading):
    """Whether a reading of a column takes most cells for numbers, of which there are many."""
    if reading is None or reading.share < cells.MOSTLY:
        return False
    return len(np.unique(reading.values[~np.isnan(reading.values)])) > MAX_RANK


def is_check_box(series, gone, kind, column):
    """Whether an empty cell of a column says no: the others hold a tick, such as x.

    Where the user says that a column of one value is binary, any value is a tick.
    """
    if "" in column.asked or not cells.is_text(series) or kind not in (None, "binary"):
        return False
    ticks = series[~gone].str.strip().unique()
    is_tick = len(ticks) == 1 and (kind == "binary" or ticks[0].lower() in TICKS)
    return bool(is_tick and (kind == "binary" or are_both_common(~gone)))


def are_both_common(filled):
    """Whether neither the cells that are filled, True in [N], nor the others are accidents."""
    fewest = max(CODE_CELLS, CHECKED_SHARE * len(filled))
    return min(filled.sum(), (~filled).sum()) >= fewest


def told_of_empty(column, gone):
    """The Column; where it has one value and many empty cells, its reason says what to do if an
    empty cell says no.
    """
    if column.why != "constant" or not are_both_common(~gone):
        return column
    flag = shlex.quote(f"{column.name}=")
    why = f"always {column.levels[0]!r} or empty; if empty says no: --keep {flag}"
    return replace(column, why=why)


def example_of(reading, series):
    """A cell that a reading of a column takes for a number."""
    return str(series.iloc[int(np.flatnonzero(~np.isnan(reading.values))[0])]).strip()


def limits_of(reading):
    """The limit below which and that above which most censored cells of a column lie."""
    found = {}
    for name, side in (("below", -1), ("above", 1)):
        values, counts = np.unique(reading.values[reading.sides == side], return_counts=True)
        if len(values):
            found[name] = float(values[counts.argmax()])
    return found


def texts_of_limits(column, reading, series):
    """How a column writes cells beyond its limits, as part of its style."""
    found = {}
    for name, side, limit in (("below", -1, column.below), ("above", 1, column.above)):
        if limit is not None:
            at = np.flatnonzero((reading.sides == side) & (reading.values == limit))[0]
            found[name] = str(series.iloc[at]).strip()
    return found


def fit_text(column, seen, kind, levels, reading):
    """Fit a Column to its cells `seen` of text; `reading` of numbers has not enough of them."""
    name, n_seen = column.name, len(seen)
    text = seen.str.strip() if cells.is_text(seen) else seen.astype("str")
    found = text.unique().astype(object)
    found = np.sort(found) if len(found) <= 10 * MAX_LEVELS else found  # more are no levels
    almost = ""
    if reading is not None and may_be_numbers(name, reading):
        like = replace(column, style=reading.style).describe_cells()
        almost = f"{100 * reading.share:.0f} % look like {like}: --kind {name}=real"
    few = min(MAX_LEVELS, max(5, n_seen / 2))  # levels, beyond which text is none
    shape = ""
    if kind in (None, *NUMBERS) and not levels and len(found) > (2 if kind else min(few, MAX_RANK)):
        shape = hint_of(text)
    told = [shape, almost if reading is not None and reading.share >= ALMOST else ""]
    almost = "; ".join(filter(None, [shape, almost]))
    if levels is None and kind in (None, "ordinal") and (order := known_order(found)):
        levels, beside = order
        shares = [[str(level), float((text == level).mean())] for level in beside]
        column, kind = replace(column, spikes=shares), "ordinal"
    if kind is None:
        if len(found) == 1:
            return replace(column, why="constant", levels=[str(found[0])])
        if len(found) == 2:
            kind = "binary"
        elif len(found) > NEARLY_ALL * n_seen:
            different = "every cell" if len(found) == n_seen else "nearly every cell"
            why = almost or f"an identifier or free text: {different} is different"
            return replace(column, why=why)
        elif len(found) > few:
            return replace(column, why=almost or f"free text or too many categories: {len(found)}")
        else:
            kind = "categorical"
            column = replace(column, why="; ".join(filter(None, told)))
    if kind in DISCRETE:
        return _categorical_column(replace(column, kind=kind), levels, found)
    shown = f"; {almost}" if almost else ""
    raise UserError(
        f"column {name!r} holds text such as {str(found[0])[:40]!r}, so it cannot be {kind!r}; "
        f"expected categorical, binary, ordinal or ignore{shown}"
    )


def may_be_numbers(name, reading):
    """Whether to say that text looks like numbers: many do, and they are no names of things."""
    if reading.share < cells.AT_LEAST or IDENTIFIER.search(str(name)) or CODE.search(str(name)):
        return False
    values = reading.values[~np.isnan(reading.values)]
    return len(np.unique(values)) > MAX_RANK


def hint_of(text):
    """What most cells of a column of text look like that is no number, and what to do with it."""
    some = text if len(text) <= N_HINTED else text.sample(N_HINTED, random_state=0)
    counts = some.value_counts()
    return cells.hint_of(counts.index.tolist(), counts.tolist())


def are_codes(name, seen):
    """Whether digits are the names of things: they begin with 0 and have one length, as 01067 has.

    Where their lengths differ, a twentieth of them must begin with 0: one such cell is a number.
    Phone numbers begin with +.
    """
    if not cells.is_text(seen):
        return False
    if cells.share_of(seen, r"^\d{2,}$") < cells.MOSTLY:
        return cells.share_of(seen, r"^\+\d[\d ()/-]{6,}$") >= cells.MOSTLY
    if POSTAL.search(str(name)) and cells.share_of(seen, r"^\d?\d?$") == 0:
        return True
    zeros = cells.share_of(seen, r"^0\d+$")
    if not 0 < zeros < 0.05:
        return zeros > 0
    text = seen.str.strip()
    return text[text.str.isdecimal()].str.len().nunique() == 1


def infer(name, cells_of_rows, found, counts, column):
    """The kind of a column of numbers, and the reason if it is ignored; KINDS lists the rules.

    `cells_of_rows` are its numbers in the order of the rows, NaN for what is none; `found` are the
    different ones that are no spikes, and `counts` their cells.
    """
    n, k = counts.sum(), len(found)
    if k == 1:
        return "ignore", "constant"
    if k == 2:
        return "binary", ""
    if column.is_moment:
        return "real", ""
    low, high = found[0], found[-1]
    if column.whole:
        if why := identifier(name, cells_of_rows, k, n, low, high):
            return "ignore", why
        if kind := code_kind(name, found, counts):
            return kind, ""
        median = np.median(np.repeat(found, counts))
        if low == 0 and high <= MAX_INFERRED_COUNT and median <= MAX_COUNT_MEDIAN:
            return "count", ""
    if are_levels(found, counts) and not (column.whole and not has_gaps(found)):
        return ("categorical" if n >= MANY_CELLS else "ordinal"), ""
    if low > 0:
        values = np.repeat(found, counts)
        logs, unit = np.log(values), values / high
        gain = np.log(unit.std() + 1e-300) + np.log(high) - np.log(logs.std() + 1e-300)
        if gain - logs.mean() > 0.05:  # nats per cell by which log-normal is likelier than normal
            return "positive", ""
    return "real", ""


def identifier(name, values, k, n, low, high):
    """Why whole numbers, of which k of n differ, are no magnitudes; "" if nothing says so."""
    known = values[~np.isnan(values)]
    are_years = YEARS[0] <= low and high <= YEARS[1] and YEAR.search(name)
    rises = len(known) >= MIN_ROWS and bool((np.diff(known) > 0).all())
    if are_years:
        return ""
    if k == n >= MIN_ROWS and high - low < 1.5 * n:
        return "an identifier: numbered without gaps"
    if rises and high - low < 20 * n:
        return "row numbers: they rise from row to row"
    different = k > 20 and k >= NEARLY_ALL * n
    if LONG_NUMBER <= max(abs(low), abs(high)) < MAX_DIGITS:
        return "an identifier: longer numbers than measures have"
    if different and len(known) >= MIN_ROWS and are_long(known):
        return "an identifier: long numbers of one length, nearly all different"
    if different and IDENTIFIER.search(name):
        return "an identifier: nearly every cell is different, and its name"
    return "an identifier" if k > MAX_LEVELS and NAMED_ID.search(name) else ""


def are_long(values):
    """Whether whole numbers have one length, of LONG_DIGITS digits or more, as phone numbers have.

    Amounts often end in 0, and times lie in a narrow range, as phone numbers of one country do.
    """
    if values.min() <= 0:
        return False
    n_digits = np.floor(np.log10(values)) + 1
    if n_digits.min() < LONG_DIGITS or np.ptp(n_digits) > 0:
        return False
    are_spread = n_digits.min() > LONG_DIGITS + 1 or np.ptp(values) > 0.05 * values.min()
    return bool(are_spread and (values % 10 == 0).mean() < 0.3)


def code_kind(name, found, counts):
    """The kind of whole numbers that are names of things or ranks, or None."""
    n, k = counts.sum(), len(found)
    low, high = found[0], found[-1]
    ranks = low == 1 and 3 <= high == k <= MAX_CODE and not die_out(counts)
    if ranks or is_week(name, found, counts):
        if n >= MANY_CELLS:
            return "categorical"
        return "ordinal" if high <= MAX_RANK else None
    named = CODE.search(name) and 3 <= k <= MAX_LEVELS
    sparse = low >= 100 and k <= MAX_SPARSE and k < SPARSE * (high - low)
    if n >= PER_CODE * k and (named or (sparse and (found % ROUND != 0).any())):
        return "categorical"
    return None


def die_out(counts):
    """Whether numbers 1, 2, 3, ... are amounts, such as 11 pieces: 1 is usual, and the last rare.

    There may well be 12 pieces in another file.
    """
    rare = max(CODE_CELLS, CODE_SHARE * counts.sum())
    return counts.argmax() == 0 and counts[-1] < rare


def is_week(name, found, counts):
    """Whether numbers 0, 1, 2, ... are codes such as weekdays, and no counts.

    The largest values of a count are rare ones.
    """
    k = len(found)
    if found[0] != 0 or found[-1] != k - 1 or not 3 <= k <= MAX_CODE:
        return False
    return bool(WEEKDAY.search(name)) or counts[-1] >= SMALLEST_LEVEL * counts.mean()


def has_gaps(found):
    """Whether some whole numbers between the smallest and the largest one are not there."""
    return found[-1] - found[0] >= len(found)


def are_levels(found, counts):
    """Whether numbers are few and each occurs often, as doses or half stars do."""
    n, k = counts.sum(), len(found)
    often = counts.min() >= max(CODE_CELLS, CODE_SHARE * n)
    return k <= MAX_RANK and n >= PER_CODE * k and bool(often)


def spikes_of(found, counts):
    """The values, at most MOST_SPIKES, that stand far outside the others and occur often, a list.

    `found` are the different numbers of a column in order, and `counts` their cells. -999 among
    temperatures is a spike: it rather means that nothing was measured.
    """
    spikes = []
    for _ in range(MOST_SPIKES):
        ends = [end for end in (0, len(found) - 1) if is_spike(found, counts, end)]
        if not ends:
            break
        worst = max(ends, key=lambda end: counts[end])
        spikes.append(float(found[worst]))
        found, counts = np.delete(found, worst), np.delete(counts, worst)
    return spikes


def is_mark_of_few(value, others):
    """Whether a number beside a few other whole ones is no rank: 99 or -1 beside 1 to 5."""
    if len(others) < 3 or (others != np.round(others)).any():
        return False
    if re.fullmatch("99+", f"{value:.10g}"):
        return bool(value - others.max() > 2 * np.ptp(others))
    return bool(re.fullmatch("-(1|9+)", f"{value:.10g}") and others.min() >= 1)


def is_spike(found, counts, end):
    """Whether the different value at an end, 0 or the last one, is a spike."""
    n, value = counts.sum(), found[end]
    if counts[end] < max(SPIKE_CELLS, SPIKE_SHARE * n):
        return False
    if len(found) < SPIKE_VALUES:
        return is_mark_of_few(value, np.delete(found, end))
    is_most = counts[end] > n / 2
    found, counts = np.delete(found, end), np.delete(counts, end)
    total = np.cumsum(counts)
    quarter, three_quarters = found[np.searchsorted(total, total[-1] * np.array([0.25, 0.75]))]
    sigma = (three_quarters - quarter) / 1.349
    near = found[::-1][:SPIKE_NEAR] if end else found[:SPIKE_NEAR]
    gap = abs(near[0] - value)
    if gap <= SPIKE_STEPS * np.abs(np.diff(near)).max():
        return False
    # A sign that no other number has, or a row of nines, need not lie far outside.
    if value < 0 <= found.min() or re.fullmatch(r"-?99+(\.9*)?", f"{value:.10g}"):
        return True
    if is_most:  # what most cells hold is what is usual, unless it is such a mark
        return False
    return bool(gap >= sigma) if value in FILLERS else bool(gap > np.ptp(found))


def spellings(series, column, found):
    """How most cells write each of the different numbers of a column, a list."""
    import pandas as pd

    if not cells.is_text(series):
        return cells.texts(found, column.style, column.whole, exact=True)
    counts = series.str.strip().value_counts()
    texts = pd.Series(counts.index, dtype="str")
    values = cells.numbers(texts, column.style, column.own_marks)
    first = dict(zip(values[::-1].tolist(), texts[::-1], strict=True))
    return [first[value] for value in found.tolist()]


def _categorical_column(column, levels, found, spelled=None):
    """The Column with its levels: text, or the numbers `found` with what cells write for them."""
    name, kind, is_text = column.name, column.kind, spelled is None
    seen = list(map(str, found)) if is_text else spelled
    if levels is not None:
        levels = [str(level).strip() for level in levels]
        if not is_text:
            levels = _as_written(column, levels, dict(zip(found, seen, strict=True)))
        if len(set(levels)) != len(levels) or len(levels) < 2:
            raise UserError(
                f"column {name!r}: levels {levels}, expected two or more, all different"
            )
    elif kind == "ordinal" and is_text:
        raise UserError(
            f"column {name!r}: the order of {', '.join(map(str, found[:4]))} is not known; give it "
            f'by --columns FILE with {{"{name}": {{"kind": "ordinal", "levels": [...]}}}}'
        )
    else:
        levels = seen
    if len(levels) < 2:
        raise UserError(
            f"column {name!r} holds nothing but {levels[0]!r}, so it cannot be {kind!r}"
        )
    if not set(seen) & set(levels):
        shown = ", ".join(sorted(seen)[:4])
        raise UserError(f"column {name!r} holds {shown}, and none of the levels {levels}")
    if kind == "binary" and len(levels) != 2:
        raise UserError(f"column {name!r} has {len(levels)} values, expected 2 of a binary column")
    if len(levels) > 10 * MAX_LEVELS:
        raise UserError(f"column {name!r} has {len(levels)} levels, expected {10 * MAX_LEVELS}")
    return replace(column, levels=levels, style={} if is_text else column.style)


def _as_written(column, levels, seen):
    """A user's levels of a column of numbers as its cells spell them; `seen`: number -> cell."""
    import pandas as pd

    style = column.style
    values = cells.numbers(pd.Series(levels, dtype="str"), style, column.own_marks)
    if np.isnan(values).any():  # NaN would match every cell that is not a number, and holes
        wrong = levels[int(np.isnan(values).argmax())]
        raise UserError(
            f"column {column.name!r} holds numbers, and its level {wrong!r} is none: leave it out"
        )
    unseen = cells.texts(values, style | {"decimals": None}, exact=True)
    return [seen.get(value, text) for value, text in zip(values, unseen, strict=True)]


def _scaled_column(column, values):
    """The Column with the scaling of its kind, fitted to its numbers."""
    name, kind, low = column.name, column.kind, values.min()
    if kind in ("count", "positive") and low < 0:
        raise UserError(f"column {name!r} holds {low:g}, expected no negative cell of {kind!r}")
    if kind == "count":
        if not column.whole or values.max() > MAX_COUNT:
            raise UserError(
                f"column {name!r}: a count is a whole number up to {MAX_COUNT}; "
                "use real or positive"
            )
        logs = np.log1p(values)
        fitted = {"centre": float(logs.mean()), "spread": float(max(logs.std(), 0.1)), "low": 0.0}
        return replace(column, **fitted)
    fitted = {"low": 0.0} if low >= 0 and not column.is_date else {}
    fitted |= {} if column.is_moment else ends_of(values, column)
    if kind == "positive":
        above = values[values > 0]
        if not len(above):
            raise UserError(f"column {name!r} is 0 throughout, expected some cells above 0")
        fitted |= {"curve": "log", "offset": 0.0 if low > 0 else float(above.min() / 2)}
    else:
        fitted |= {"curve": "asinh"} | _centre_and_spread(values)
    column = replace(column, **fitted)
    curved = column.to_model(values)
    around = _centre_and_spread(curved)
    reach = KNEE * around["spread"]  # an outlier must not decide the unit
    near = np.clip(curved, around["centre"] - reach, around["centre"] + reach)
    scaled = standardize(near[:, None], [name])[0]
    return replace(column, shift=scaled.shift, scale=scaled.scale)


def ends_of(values, column):
    """The bounds at which the numbers of a column end, as they often lie on them: `low`, `high`.

    Percentages end at 100, where none is above it.
    """
    low, high = values.min(), values.max()
    least = max(END_CELLS, END_SHARE * len(values))
    found = {}
    if high > low and (values == low).sum() >= least:
        found["low"] = float(low)
    percent = column.style.get("suffix", "").strip() == "%" and 1 < high <= 100
    if percent or (high > low and (values == high).sum() >= least):
        found["high"] = 100.0 if percent else float(high)
    return found


def _centre_and_spread(values):
    """The median, and 1.4826 times the median distance of different cells from it.

    For a Gaussian the spread is sigma. A minority of outliers does not move it, and it is not 0
    even if most cells are equal.
    """
    centre = np.median(values)
    power = np.frexp(np.abs(values).max())[1]  # scales the values, so that no difference overflows
    distance = np.abs(np.ldexp(values, -power) - np.ldexp(centre, -power))
    apart = distance[distance > 0]
    spread = np.ldexp(1.4826 * np.median(apart), power) if len(apart) else 1.0
    return {"centre": float(centre), "spread": float(max(spread, 1e-300))}


def describe(columns, most=40):
    """Lines on the kind of each column; the last line lists the ignored columns."""
    read = modelled(columns)
    width = max(len(column.name) for column in read[:most])
    lines = [f"  {c.name:<{width}}  {c.kind:<11}  {c.describe()}" for c in read[:most]]
    if len(read) > most:
        lines.append(f"  and {len(read) - most} more")
    if ignored := [f"{c.name} ({c.why})" for c in columns if c.kind == "ignore"]:
        lines.append("Kept but not modelled: " + ", ".join(ignored))
    return lines


def requested_kinds(columns, kind):
    """Map names of columns to a kind or dict, from --columns and from --kind, which wins."""
    specs = {} if columns is None else read_json(columns)
    if not isinstance(specs, dict):
        raise UserError(f"--columns {columns}: expected an object that maps names to kinds")
    for name, spec in (specs := specs | dict(kind or [])).items():
        spec = spec if isinstance(spec, dict) else {"kind": spec}
        found, levels = spec.get("kind", spec), spec.get("levels", [])
        if not isinstance(found, str) or found not in KINDS or set(spec) - {"kind", "levels"}:
            raise UserError(f"kind of {name!r} is {found!r}, expected one of {', '.join(KINDS)}")
        if not isinstance(levels, list) or any(isinstance(one, list | dict) for one in levels):
            raise UserError(f"levels of {name!r} are {levels!r}, expected a list of cells")
    return specs
