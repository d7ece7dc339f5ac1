"""The names of columns: whether a line is the header of a table, or a row, or units."""

import re
from collections import Counter

from parts.errors import UserError
from parts.forms import cells

N_JUDGED = 200  # rows beneath a line, and columns, by which it is judged
MOSTLY = 0.9  # share of a column's cells that are numbers in a column of numbers
MOST_REMARKS = 5  # lines below a table
FEW = 8  # rows beneath a line of units
N_SHOWN = 40  # letters of a line that a message shows
LONGEST_NUMBER, LONGEST_UNIT = 40, 15  # letters
YEARS = (1800, 2200)
TOTAL = re.compile(  # how a line of sums or means begins
    r"(?i:(grand |sub-?)?totals?|sums?|summen?|gesamt\w*|insgesamt|zwischensumme|total\w*|somme|"
    r"moyenne|suma|promedio|somma|mean|average|avg|mittelwert|durchschnitt|count|anzahl|overall)\b"
)
NUMBER = re.compile(r"[-+]?(?:\d[\d.,' ]*|[.,]\d+)(?:[eE][-+]?\d+)?%?")


def judge(header, below):
    """What a line seems to be: "words" or "names" for columns, "numbers" for such, or a "row".

    `below` are the rows beneath, as lists of cells. A line is a row where its cells are like those
    beneath: numbers in columns of numbers, text that is found again. There are "words" where a
    word stands above numbers, which is certain.
    """
    numbers, inside, found, new = [], 0, 0, 0
    plain = [name.strip() for name in header]
    if plain[plain[0] == "" :] == [str(j) for j in range(len(plain) - (plain[0] == ""))]:
        return "names"  # as pandas names the columns of an array
    for name, seen in observed(header, below):
        if not name or not seen:
            continue
        values = [value for value in map(number, seen) if value is not None]
        if len(values) >= MOSTLY * len(seen):
            if (value := number(name)) is None:
                return "words"
            numbers.append(value)
            inside += min(values) <= value <= max(values)
        elif name in seen or (any(map(str.isdigit, name)) and form(name) == usual(map(form, seen))):
            found += 1
        else:
            new += 1
    if not numbers:
        return "row" if found > 1 and found >= new else "names"
    if found:
        return "row"
    steps = {b - a for a, b in zip(numbers, numbers[1:], strict=False)}
    whole = all(value == int(value) for value in numbers)
    series = whole and len(numbers) > 2 and len(steps) == 1 and steps != {0}
    years = whole and all(YEARS[0] <= value <= YEARS[1] for value in numbers)
    rising = len(numbers) > 2 and min(steps) > 0
    apart = inside <= 0.2 * len(numbers)
    if series or (apart and (rising or (years and len(set(numbers)) == len(numbers)))):
        return "numbers"
    return "row"


def is_units(line, below):
    """Whether a line beneath the header is one of units, such as `kg`, and no row.

    Then it holds short words above two columns of numbers or more, and nothing else above numbers.
    """
    units = []
    for cell, seen in observed(line, below) if len(below) >= FEW else ():
        n = sum(number(each) is not None for each in seen)
        if seen and n >= MOSTLY * len(seen):
            units.append(cell)
    words = [unit for unit in units if unit]
    return len(words) > 1 and all(
        number(unit) is None and len(unit) <= LONGEST_UNIT for unit in words
    )


def are_names(line, below):
    """Whether a line below a title holds a name for each column, and no cell that is found again.

    `below` are the rows beneath, as lists of cells. Where a word stands above numbers, some columns
    may lack a name.
    """
    seems = judge(line, below)
    names = [name.strip() for name in line]
    again = any(name in seen for name, seen in observed(line, below))
    return seems == "words" or (
        seems != "row" and all(names) and len(set(names)) == len(names) and not again
    )


def is_title(cells):
    """Whether a line holds at most half of its cells, as titles in spreadsheets do."""
    return len(cells) > 2 and 2 * sum(map(bool, map(str.strip, cells))) <= len(cells)


def is_remark(cells, above):
    """Whether a line below a table is no row: it is a sum, or holds few cells, as a source does.

    `above` are the last rows. A sum says so in its first cell, by a word that no row has there; a
    remark holds at most half as many cells as the rows, of which none has so few.
    """
    filled = [j for j, cell in enumerate(cells) if cell.strip()]
    if not filled or not above:
        return True
    first = filled[0]
    is_sum = TOTAL.match(cells[first].strip())
    if is_sum and not any(TOTAL.match(row[first].strip()) for row in above):
        return True
    return 2 * len(filled) <= min(sum(map(bool, map(str.strip, row))) for row in above)


def observed(line, below):
    """For each column the cell in a line and those beneath; what is missing is "", or left out."""
    import pandas as pd

    rows = [line[:N_JUDGED], *(row[:N_JUDGED] for row in below[:N_JUDGED])]
    width = min(map(len, rows))
    flat = pd.Series([cell for row in rows for cell in row[:width]], dtype="str").str.strip()
    flat = flat.where(~cells.missing(flat), "").tolist()
    columns = [flat[j::width] for j in range(width)]
    return [(column[0], [cell for cell in column[1:] if cell]) for column in columns]


def number(text):
    """The number that a cell holds, None if it holds none; separators may stand for anything."""
    if len(text) > LONGEST_NUMBER or not NUMBER.fullmatch(text):
        return None
    plain = text.rstrip("%").replace("'", "").replace(" ", "")
    try:
        return float(plain.replace(",", "."))
    except ValueError:  # several separators
        return float(re.sub("[.,]", "", plain))


def form(text):
    """A cell with its digits as 0 and its letters as a: dates and codes of one form are equal."""
    return re.sub("[^\\W\\d_]+", "a", re.sub(r"\d+", "0", text))


def usual(values):
    return Counter(values).most_common(1)[0][0]


def notes_on(seems, shown, path):
    """Notes on what a first line seems to be; UserError if that is a row."""
    shown = shown[:N_SHOWN]
    if seems == "row":
        raise UserError(
            f"{path}: its first line is {shown!r}, which looks like a row and not like the "
            "columns' names; --no-header takes it as a row, else put a line of names above it"
        )
    if seems == "numbers":
        return [
            f"{path}: the columns' names are taken to be {shown!r}; --no-header takes that line as "
            "a row"
        ]
    return []


def names_of(header):
    """Different names for the columns of a header, and notes for the user.

    A column without a name is called by its number, and of equal names the second becomes `name.2`.
    """
    names, taken, renamed = [], {name.strip() for name in header}, []
    seen = set()
    for i, name in enumerate(header):
        name = name.strip() or f"unnamed {i + 1}"
        if name in seen:
            k = 2
            while f"{name}.{k}" in taken | seen:
                k += 1
            renamed.append((name, f"{name}.{k}"))
            name = f"{name}.{k}"
        seen.add(name)
        names.append(name)
    notes = []
    if renamed:
        old, new = renamed[0]
        more = f", and so are {len(renamed) - 1} more" if len(renamed) > 1 else ""
        notes.append(f"the second column named {old!r} is called {new!r} here{more}")
    return names, notes


def numbered(n):
    """Names of n columns without a header, as those of an array."""
    return [f"c{i}" for i in range(n)]


def is_numbered(header):
    """Whether a line holds the names that columns without a header get: c0, c1, ..."""
    return [name.strip() for name in header[:2]] == numbered(min(2, len(header)))
