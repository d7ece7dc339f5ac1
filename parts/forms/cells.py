"""Convert the text of cells to numbers and back: missing marks, percent, currencies, dates.

A *style* is a plain dict that says how a column writes its numbers. It is inferred once, from the
training rows, and used in both directions. {} stands for plain text.
"""

import re

import numpy as np

from parts.errors import UserError

# Marks of a missing cell, beside the empty cell; upper and lower case are equal.
MISSING = ("na", "n/a", "#n/a", "<na>", "nan", "-nan", "null", "none", "nil", "-", "--", "?", ".")
NESTED = "\x00"  # first letter of the text of a list or structure; such columns have no kind
MOSTLY = 0.95  # share of observed cells that must be numbers in a column of numbers
MAX_DECIMALS = 12  # most decimals of a style; with more a float's shortest text is written
N_STYLED = 2000  # distinct cells from which the style of a column is inferred
DATES = (
    *("%Y-%m-%d", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%Y-%m"),
    *("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"),
    *("%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%f", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"),
    *("%d.%m.%Y %H:%M", "%d %b %Y", "%b %d, %Y", "%d-%b-%Y", "%Y-%m-%dT%H:%M:%SZ"),
    *("%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p"),
    *(
        "%Y-%m-%d %H:%M:%SZ",
        "%Y-%m-%d %H:%M:%S.%fZ",
        "%d-%b-%y",
        "%d/%m/%y",
        "%m/%d/%y",
        "%Y-%m-%dT%H:%M:%S.%fZ",
        "%Y-%m-%dT%H:%M:%S+00:00",
    ),
)
SEPARATORS = (  # (thousands, decimal); \u00a0 and \u202f are spaces that do not break
    *((",", "."), ("", ","), (".", ","), ("'", "."), (" ", "."), (" ", ",")),
    *(("\u00a0", "."), ("\u00a0", ","), ("\u202f", "."), ("\u202f", ",")),
)


def is_text(series):
    return series.dtype.kind not in "biuf"


def missing(series):
    """True where a cell is empty or a mark of a missing one, [N]."""
    if not is_text(series):
        return series.isna().to_numpy()
    plain = series.str.strip().str.lower()
    return plain.isin(("", *MISSING)).to_numpy(bool)


def style_of(series):
    """The style of a column and its numbers [N]; ({}, None) for a column of text.

    A column counts as numbers where at least MOSTLY of its observed cells are numbers.
    """
    seen = ~missing(series)
    if not is_text(series):
        return {"decimals": None}, series.to_numpy(np.float64)
    cells = series[seen].str.strip()
    if not len(cells) or cells.str.fullmatch(r"[+-]?0\d+").any():  # 007 is an identifier
        return {}, None
    counts = cells.value_counts().iloc[:N_STYLED]
    sample, weights = counts.index.to_series(), counts.to_numpy() / counts.sum()
    for style in _candidates(sample, weights):
        if weights[~np.isnan(numbers(sample, style))].sum() >= MOSTLY:
            values = numbers(series, style)
            read = ~np.isnan(values[seen])
            if read.mean() >= MOSTLY:
                return _with_decimals(style, cells[read].drop_duplicates()), values
    return {}, None


def _candidates(sample, weights):
    """Yield styles that may fit the distinct cells, the plainest first; `weights` sum to 1."""
    yield {}
    signs = sample.str.extract(r"^[+-]?([$€£¥]\s*)?.*?(\s*[%$€£¥])?$")
    affixes = {
        key: signs[i].mode().iloc[0]
        for i, key in enumerate(("prefix", "suffix"))
        if signs[i].notna().any()
    }
    if affixes:
        yield affixes
    bare = _bare(sample, affixes)
    for thousands, decimal in SEPARATORS:
        whole = rf"\d{{1,3}}(?:{re.escape(thousands)}\d{{3}})+" if thousands else r"\d+"
        pattern = rf"[+-]?(?:{whole}|\d+)(?:{re.escape(decimal)}\d*)?"
        if weights[bare.str.fullmatch(pattern)].sum() >= MOSTLY:
            yield affixes | {"thousands": thousands, "decimal": decimal}
    if weights[sample.str.contains(r"\d", regex=True)].sum() >= MOSTLY:
        read = {form: weights[~np.isnan(numbers(sample, {"date": form}))].sum() for form in DATES}
        best = max(read, key=read.get)  # days after the 12th distinguish day from month
        if read[best] >= MOSTLY:
            yield {"date": best}


def _bare(text, style):
    """Cells without the currency or percent sign of their column, and without blanks."""
    if prefix := style.get("prefix", "").strip():
        text = text.str.replace(prefix, "", n=1, regex=False)
    if suffix := style.get("suffix", "").strip():
        text = text.str.removesuffix(suffix)
    text = text.str.strip()
    if text.str.contains(r"^[+-]\s", regex=True).any():  # replacing is slow, and seldom needed
        text = text.str.replace(r"^([+-])\s+", r"\1", regex=True)
    return text


def numbers(series, style):
    """The cells as float64 [N], NaN where a cell is not a number; dates are days since 1970."""
    import pandas as pd

    if not is_text(series):
        return series.to_numpy(np.float64)
    text = series.str.strip()
    if form := style.get("date"):
        times = pd.to_datetime(text, format=form, errors="coerce")
        times = times.dt.tz_localize(None) if times.dt.tz is not None else times
        micro = times.to_numpy("datetime64[us]")  # nanoseconds would overflow in the year 2262
        return np.where(np.isnat(micro), np.nan, micro.astype(np.int64) / 86_400e6)
    text = _bare(text, style)
    if thousands := style.get("thousands"):
        text = text.str.replace(thousands, "", regex=False)
    if style.get("decimal", ".") != ".":
        text = text.str.replace(style["decimal"], ".", regex=False)
    values = pd.to_numeric(text, errors="coerce").to_numpy(np.float64, na_value=np.nan).copy()
    hexadecimal = text.str.contains("[xX_]", regex=True).to_numpy(bool)
    values[hexadecimal | missing(series)] = np.nan
    return values


def _with_decimals(style, sample):
    """Add the number of decimals of the cells to a style; None if cells have exponents."""
    if "date" in style:
        return style
    bare = _bare(sample, style)
    if bare.str.startswith("+").any():
        style = style | {"plus": True}
    if bare.str.contains("[eE]", regex=True).any():
        return style | {"decimals": None}
    point = re.escape(style.get("decimal", "."))
    lengths = bare.str.extract(rf"{point}(\d+)$")[0].str.len().fillna(0)
    most = int(lengths.max())
    return style | {"decimals": most if most <= MAX_DECIMALS else None}


def texts(values, style, whole=False, exact=False):
    """Numbers as cells in the style of their column; with `whole` they are rounded first.

    If the style has no number of decimals, cells get the seven digits of a float32, or with
    `exact` all digits.
    """
    import pandas as pd

    values = np.asarray(values, np.float64)
    if form := style.get("date"):
        timed = ("%H" in form or "%I" in form) and not whole
        days = values if timed else np.round(values)
        days = np.clip(days, *DAYS)
        times = pd.DatetimeIndex(np.round(days * 86_400e6).astype("datetime64[us]"))
        return list(times.strftime(form))
    values = np.round(values) if whole else values
    decimals = style.get("decimals")
    return [_text(value, decimals, style, exact or whole) for value in values.tolist()]


def _text(value, decimals, style, exact):
    if decimals is None:
        text = repr(value).removesuffix(".0") if exact else f"{value:.7g}"
    else:
        text = f"{value:,.{decimals}f}" if style.get("thousands") else f"{value:.{decimals}f}"
        if float(text.replace(",", "")) == 0:
            text = text.removeprefix("-")
    if style.get("thousands") or style.get("decimal", ".") != ".":
        marks = {",": style.get("thousands", ""), ".": style["decimal"]}
        text = "".join(marks.get(letter, letter) for letter in text)
    sign = "-" if text.startswith("-") else "+" if style.get("plus") and value > 0 else ""
    return f"{sign}{style.get('prefix', '')}{text.removeprefix('-')}{style.get('suffix', '')}"


# First and last day that every date format can write, in the years 1 and 9999.
DAYS = (-719_162, 2_932_896)


def labels_of(table, name):
    """The 0/1 labels in a column of a DataFrame, float64 [N], NaN where a label is missing."""
    if name not in table:
        raise UserError(f"--labels {name}: the columns are {', '.join(map(str, table))[:200]}")
    labels = numbers(table[name], {})
    text = np.isnan(labels) & ~missing(table[name])
    if text.any() or set(np.unique(labels[~np.isnan(labels)])) != {0.0, 1.0}:
        shown = table[name].astype(str).unique()[:4].tolist()
        raise UserError(f"--labels {name}: it holds {shown}, expected 0 and 1, each at least once")
    return labels
