"""Infer the kinds of the columns of a table, and fit their scaling to the training cells."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from parts.errors import UserError
from parts.forms import cells
from parts.forms.units import DISCRETE, KNEE, Column, check_finite, modelled, standardize

KINDS = {
    "real": "numbers and dates: Gaussian or Student-t",
    "positive": "numbers above 0, nearer to log-normal than to normal: log-normal",
    "count": "whole numbers from 0 to at most 100 with a median of at most 2: negative binomial",
    "binary": "two values: Bernoulli",
    "categorical": "text of few values; whole numbers from 1 to at most 16, each of them there, in "
    "1000 cells or more: categorical",
    "ordinal": "whole numbers from 1 to at most 10, each of them there, in fewer cells: cumulative "
    "logits",
    "ignore": "identifiers, free text, constants: kept in outputs, never modelled",
}
MAX_INFERRED_COUNT = 100  # largest cell of a column that is inferred to be a count
MAX_COUNT = 1_000_000  # largest cell of a column of counts
# Largest median of a column that is inferred to be a count. For larger counts a Gaussian is close,
# and its variance may be smaller than its mean, which a negative binomial cannot represent.
MAX_COUNT_MEDIAN = 2
# Codes 1, 2, 3, ... may be names without an order, such as occupations, and a category can say all
# that an order can. On few rows an order, which is often there, is worth more.
MAX_CODE, MAX_RANK, MANY_CELLS = 16, 10, 1000
MAX_LEVELS = 100  # most levels of text that is inferred to be a category
IDENTIFIER = re.compile(
    r"(?i:(^|[\W_])(id|uuid|guid|key)$|^(index|idx)$)|[a-z]I[Dd]$|^unnamed \d+$"
)


def fit(frame, specs=None):
    """Fit the Columns of a table to its training rows; `specs` maps names to a kind or a dict."""
    specs = dict(specs or {})
    if unknown := sorted(set(specs) - set(frame.columns)):
        names = ", ".join(map(str, frame.columns[:20]))
        raise UserError(f"a kind is given for {unknown[0]!r}, but the columns are {names}")
    columns = [fit_column(name, frame[name], specs.get(name)) for name in frame.columns]
    if all(column.kind == "ignore" for column in columns):
        reasons = "; ".join(f"{c.name!r}: {c.why}" for c in columns[:3])
        raise UserError(
            f"no column is left to model ({reasons}); set kinds by --kind NAME=KIND, "
            f"one of {', '.join(KINDS)}"
        )
    return columns


def fit_column(name, series, spec=None):
    """Fit one Column to its training cells; `spec` is a kind, a dict or None."""
    spec = spec if isinstance(spec, dict) else {"kind": spec}
    kind, levels = spec.get("kind"), spec.get("levels")
    if kind == "ignore":
        return Column(name, kind="ignore", why="as asked")
    gone = cells.missing(series)
    if levels is not None and kind not in DISCRETE:
        raise UserError(f"column {name!r}: levels are for {', '.join(DISCRETE)}, not {kind!r}")
    nested = cells.is_text(series) and series.str.startswith(cells.NESTED).any()
    if gone.all() or nested:
        why = "nested values" if nested else "empty"
        if kind:
            raise UserError(f"column {name!r} is {why}, so it cannot be {kind!r}")
        return Column(name, kind="ignore", why=why)
    style, values = cells.style_of(series)
    seen = series[~gone]
    if values is not None:
        check_finite(values, name, series.index)
        values = values[~np.isnan(values)]
        found = np.unique(values)
    else:
        found = np.sort(seen.str.strip().unique().astype(object))
    whole = values is not None and bool((values == np.round(values)).all())
    if kind is None:
        kind, why = infer(name, values, found, whole, style, len(seen))
        if kind == "ignore":
            constant = seen.iloc[:1].astype(str).tolist() if len(found) == 1 else []
            return Column(name, kind="ignore", why=why, levels=constant)
    if kind in DISCRETE:
        return _categorical_column(name, kind, levels, found, style, whole, values is None)
    if values is None:
        raise UserError(
            f"column {name!r} holds text such as {str(found[0])[:40]!r}, so it cannot be {kind!r}; "
            "expected categorical, binary, ordinal or ignore"
        )
    return _scaled_column(Column(name, kind=kind, style=style, whole=whole), values)


def infer(name, values, found, whole, style, n_seen):
    """The kind of a column, and the reason if it is ignored; KINDS lists the rules."""
    if len(found) == 1:
        return "ignore", "constant"
    if len(found) == 2:
        return "binary", ""
    if values is None:
        if len(found) == n_seen:
            return "ignore", "an identifier or free text: every cell is different"
        if len(found) > min(MAX_LEVELS, max(5, n_seen / 2)):
            return "ignore", f"free text or too many categories: {len(found)}"
        return "categorical", ""
    if "date" in style:
        return "real", ""
    low, high = found[0], found[-1]
    if whole:
        dense = len(found) == len(values) >= 50 and high - low < 1.5 * len(values)
        if dense or (len(found) > 20 and IDENTIFIER.search(name)):
            return "ignore", "an identifier" + (": numbered without gaps" if dense else "")
        if low == 1 and 3 <= high == len(found) <= MAX_CODE:
            if n_seen >= MANY_CELLS:
                return "categorical", ""
            if high <= MAX_RANK:
                return "ordinal", ""
        if low == 0 and high <= MAX_INFERRED_COUNT and np.median(values) <= MAX_COUNT_MEDIAN:
            return "count", ""
    if low > 0:
        logs, unit = np.log(values), values / high
        gain = np.log(unit.std() + 1e-300) + np.log(high) - np.log(logs.std() + 1e-300)
        if gain - logs.mean() > 0.05:  # nats per cell by which log-normal is likelier than normal
            return "positive", ""
    return "real", ""


def _categorical_column(name, kind, levels, found, style, whole, is_text):
    """A Column of categories, whose levels are compared as numbers or as text."""
    seen = list(map(str, found)) if is_text else cells.texts(found, style, whole, exact=True)
    if levels is not None:
        levels = [str(level).strip() for level in levels]
        if not is_text:
            levels = _as_written(name, levels, dict(zip(found, seen, strict=True)), style)
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
    return Column(name, kind=kind, levels=levels, style={} if is_text else style, whole=whole)


def _as_written(name, levels, seen, style):
    """A user's levels of a column of numbers as its cells spell them; `seen`: number -> cell."""
    import pandas as pd

    values = cells.numbers(pd.Series(levels, dtype="str"), style)
    if np.isnan(values).any():  # NaN would match every cell that is not a number, and holes
        wrong = levels[int(np.isnan(values).argmax())]
        raise UserError(
            f"column {name!r} holds numbers, and its level {wrong!r} is none: leave it out"
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
    fitted = {"low": 0.0} if low >= 0 and "date" not in column.style else {}
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
    specs = {}
    if columns is not None:
        try:
            specs = json.loads(Path(columns).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"--columns {columns}: not a readable JSON file: {error}") from None
    if not isinstance(specs, dict):
        raise UserError(f"--columns {columns}: expected an object that maps names to kinds")
    for name, spec in (specs := specs | dict(kind or [])).items():
        spec = spec if isinstance(spec, dict) else {"kind": spec}
        if spec.get("kind") not in KINDS or set(spec) - {"kind", "levels"}:
            raise UserError(
                f"kind of {name!r} is {spec.get('kind', spec)!r}, "
                f"expected one of {', '.join(KINDS)}"
            )
        if not isinstance(spec.get("levels", []), list):
            raise UserError(f"levels of {name!r} are {spec['levels']!r}, expected a list")
    return specs
