"""Relations between columns: which are found, with what confidence, and what keeps them."""

import dataclasses
import io
import json
import math

import numpy as np
import pandas as pd
import pytest

from parts.errors import UserError
from parts.forms.base import Codec
from parts.forms.config import relations_option
from parts.forms.tables import kinds, relation_search
from parts.forms.tables.relation_search import bound_on_share, find, is_rule
from parts.forms.tables.relations import Relation, parsed
from parts.forms.tables.rules import Rules
from parts.model.likelihoods.correlated import NOISES
from parts.runs import find_run
from parts.tasks.fill import Filler
from parts.tasks.score import Scorer

N = 400


def text(frame):
    """The cells as they are read from a file."""
    file = io.StringIO(frame.to_csv(index=False))
    return pd.read_csv(file, dtype=str, keep_default_na=False)


def found_in(frame, asked=None):
    frame = text(frame)
    columns = kinds.fit(frame)
    return find(frame, columns, asked), columns


def texts_of(frame, asked=None):
    return {relation.text for relation in found_in(frame, asked)[0]}


def shop(n=N, seed=0):
    """total = price * qty, gross = 1.19 * total, paid <= due, city -> land, gift note."""
    rng = np.random.default_rng(seed)
    price, qty = np.round(rng.lognormal(3, 0.8, n), 2), rng.integers(1, 7, n)
    start = np.datetime64("2021-01-01") + rng.integers(0, 700, n)
    city = rng.choice(["Bern", "Oslo", "Rome", "Turin", "Basel"], n)
    lands = {"Bern": "CH", "Basel": "CH", "Oslo": "NO", "Rome": "IT", "Turin": "IT"}
    gift = rng.choice(["no", "yes"], n, p=[0.7, 0.3])
    frame = {"price": price, "qty": qty, "total": np.round(price * qty, 2)}
    frame |= {"start": start, "days": rng.integers(2, 40, n), "city": city}
    frame["end"] = start + frame["days"]
    frame |= {"land": [lands[one] for one in city], "gift": gift}
    frame["wraps"] = np.where(gift == "no", np.nan, np.round(rng.gamma(2.0, 3.0, n), 1))
    return pd.DataFrame(frame)


SHOP = {
    "total = price * qty",
    "end = start + days",
    "city -> land",
    "wraps is empty exactly where gift = no",
}


# Found


def test_exactly_the_relations_of_a_table_are_found():
    assert texts_of(shop()) == SHOP


@pytest.mark.parametrize("n", [2000, 9000])  # more rows than the sample, and fewer
def test_all_rows_count_and_not_only_the_sample(n):
    found, _ = found_in(shop(n))
    by_text = {relation.text: relation for relation in found}
    assert set(by_text) == SHOP
    assert by_text["total = price * qty"].n == n
    assert by_text["city -> land"].n == n - 5  # the first row of each key shows nothing


def test_an_order_is_found_where_columns_overlap_and_strict_without_ties():
    rng = np.random.default_rng(0)
    low = np.round(rng.normal(0, 10, N), 1)
    far = np.round(rng.normal(500, 10, N), 1)  # always above: shuffled rows keep this too
    up = np.round(low + rng.gamma(2, 3, N), 1) + 0.1
    tied = np.where(rng.random(N) < 0.2, low, up + 1)
    assert texts_of(pd.DataFrame({"low": low, "far": far, "up": up})) == {"low < up"}
    assert texts_of(pd.DataFrame({"low": low, "tied": tied.round(1)})) == {"low <= tied"}


def zones(n=200):
    """One time in two zones, the clock of one with the other's zone, a later time, and one in
    an unknown zone."""
    rng = np.random.default_rng(0)
    utc = pd.Timestamp("2024-03-01") + pd.to_timedelta(rng.integers(0, 90 * 86_400, n), unit="s")
    later = utc + pd.to_timedelta(rng.integers(1, 3000, n), unit="s")
    local, two = "%Y-%m-%d %H:%M:%S", pd.Timedelta(hours=2)
    made = {"utc": utc.strftime(f"{local}Z"), "here": (utc + two).strftime(f"{local}+02:00")}
    made |= {"clock": utc.strftime(f"{local}+02:00"), "later": (later + two).strftime(local)}
    made["later"] += "+02:00"
    return pd.DataFrame(made | {"naive": (later + pd.Timedelta(days=1)).strftime(local)})


def test_times_of_several_zones_are_compared_as_instants():
    frame = zones().drop(columns="naive")
    of_clock = {"clock = utc - 0.08333", "clock < later"}
    assert texts_of(frame) == {"here = utc", "utc < later"} | of_clock
    assert texts_of(frame[["later", "clock"]]) == {"clock < later"}
    assert texts_of(zones()[["utc", "naive"]]) == set()  # in which zone is the second?


def test_times_in_full_hours_differ_by_hours():
    hours = np.random.default_rng(0).permutation(9000)[:N]
    one, two = (
        pd.Series(pd.Timestamp("2024-03-01") + pd.to_timedelta(hours + more, unit="h"))
        for more in (0, 1)
    )
    made = {"one": one.astype(str), "two": two.astype(str)}
    assert texts_of(pd.DataFrame(made)) == {"two = one + 0.04"}


def test_times_of_a_zone_are_written_in_it():
    frame = zones().drop(columns="naive")
    relations, columns = found_in(frame)
    rules = Rules(columns, relations)
    values = rules.values(text(frame))
    at = {name: j for j, name in enumerate(rules.names)}
    np.testing.assert_array_equal(values[:, at["here"]], values[:, at["utc"]])
    for j, (name, column) in enumerate(zip(rules.names, rules.columns, strict=True)):
        user = rules.to_units(values[:, j], j)
        assert column.text_of(user) == frame[name].tolist()
        again = rules.of_units(user[:, None], [name])[:, j]
        np.testing.assert_array_equal(again, values[:, j])


def test_a_chain_is_told_without_what_follows_from_it():
    rng = np.random.default_rng(1)
    a = rng.normal(0, 10, N).round(1)
    b = (a + rng.gamma(2, 2, N) + 0.1).round(1)
    c = (b + rng.gamma(2, 2, N) + 0.1).round(1)
    assert texts_of(pd.DataFrame({"a": a, "b": b, "c": c})) == {"a < b", "b < c"}


def test_a_sum_of_positive_columns_says_the_orders_too():
    rng = np.random.default_rng(2)
    net, tax = rng.gamma(2, 30, (2, N)).round(2)
    frame = pd.DataFrame({"net": net, "tax": tax, "gross": (net + tax).round(2)})
    assert texts_of(frame) == {"gross = net + tax"}


def test_fixed_numbers_are_the_shortest_that_fit():
    rng = np.random.default_rng(3)
    celsius, total = rng.normal(15, 8, N).round(2), rng.gamma(2, 40, N).round(2)
    frame = {"c": celsius, "f": (1.8 * celsius + 32).round(2)}
    frame |= {"total": total, "vat": (0.19 * total).round(2), "again": total}
    assert texts_of(pd.DataFrame(frame)) == {
        "f = 1.8 * c + 32",
        "vat = 0.19 * total",
        "again = total",
    }


def test_columns_that_are_empty_together_are_told_once():
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(rng.normal(size=(N, 4)).round(3), columns=list("abcd"))
    frame.loc[rng.random(N) < 0.3, ["a", "b", "c"]] = np.nan
    assert texts_of(frame) == {
        "b is empty exactly where a is empty",
        "c is empty exactly where a is empty",
    }


def independent(seed, n=2000):
    rng = np.random.default_rng(seed)
    frame = {}
    for j in range(5):
        frame[f"n{j}"] = rng.normal(50, 20, n).round(2)
        frame[f"s{j}"] = rng.lognormal(3, 1, n).round(1)
        frame[f"i{j}"] = rng.integers(1, 6, n)
        frame[f"k{j}"] = rng.choice(list("abcdefgh"), n)
        frame[f"y{j}"] = rng.choice(["no", "yes"], n, p=[0.9, 0.1])
        frame[f"h{j}"] = np.where(rng.random(n) < 0.2, np.nan, rng.poisson(9, n))
    return pd.DataFrame(frame)


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_found_between_thirty_independent_columns(seed):
    assert texts_of(independent(seed)) == set()


def test_a_smooth_tail_is_no_rule_with_exceptions():
    """In 98.6 % of the rows a < b, but as many lie just above the limit as below it."""
    rng = np.random.default_rng(5)
    a = rng.normal(0, 3, 4000)
    b = a + rng.normal(2.2, 1, 4000)
    assert 0.005 < (a > b).mean() < 0.02
    assert texts_of(pd.DataFrame({"a": a.round(3), "b": b.round(3)})) == set()


def test_few_rows_may_break_a_relation():
    frame = shop(1000)
    frame.loc[:6, "total"] *= 2
    frame.loc[10:12, ["start", "end"]] = frame.loc[10:12, ["end", "start"]].to_numpy()
    by_text = {relation.text: relation for relation in found_in(frame)[0]}
    assert set(by_text) == SHOP
    assert by_text["total = price * qty"].broken == 7
    assert by_text["end = start + days"].broken == 3
    frame.loc[:30, "total"] *= 2  # 3.1 % are too many
    assert texts_of(frame) == SHOP - {"total = price * qty"} | {"price <= total"}


# Confidence


def test_the_bound_is_the_rule_of_three_and_the_binomials():
    assert bound_on_share(1000, 0, 0.05) == pytest.approx(1 - 0.05**0.001)
    assert bound_on_share(1000, 0, 0.05) == pytest.approx(3 / 1000, rel=0.01)
    p = bound_on_share(50, 2, 0.05)  # P(0, 1 or 2 of 50) at p
    tail = sum(math.comb(50, k) * p**k * (1 - p) ** (50 - k) for k in range(3))
    assert tail == pytest.approx(0.05)
    assert bound_on_share(5, 5, 0.05) == 1


def test_bounds_hold_for_all_tested_relations_together():
    found, columns = found_in(shop())
    total = next(r for r in found if r.text == "total = price * qty")
    # 10 columns; 7 of them numbers or dates: price, qty, total, start, days, end, wraps
    n_tested = 4 * 10 * 9 + 2 * (7 * 6 * 5 // 2)
    assert len(columns) == 10
    assert total.bound == pytest.approx(1 - (0.05 / n_tested) ** (1 / N))


def test_the_nats_are_the_log_odds():
    relation = Relation("order", ["b", "a"], bound=0.01, chance=0.25)
    assert relation.nats == pytest.approx(math.log(0.99 / 0.01 * 0.75 / 0.25))


def test_chance_is_controlled_by_chernoffs_bound():
    """90 of 90 rows keep what half of shuffled rows break: 2^-90 times the number of tests."""
    assert is_rule(90, 0, 0.5, 0.009 * 2**90)
    assert not is_rule(90, 0, 0.5, 0.011 * 2**90)
    assert not is_rule(10_000, 0, 0.04, 1)  # shuffled rows seldom break it
    assert not is_rule(10_000, 201, 0.9, 1)


def test_the_share_of_shuffled_rows_is_that_of_pairs():
    rng = np.random.default_rng(6)
    a, b = rng.integers(0, 9, (2, 50)).astype(float)
    assert relation_search.share_above(a, b) == pytest.approx(np.mean(a[:, None] > b))
    within = np.mean(abs(a[:, None] - b) <= 1)
    assert relation_search.share_within(a, b - 1, b + 1) == pytest.approx(within)


# Said by the user


@pytest.mark.parametrize(
    "said",
    [
        *sorted(SHOP),
        "start < end",
        "price <= total",
        "total = 2 * price + 3",
        "total = -price",
        "wraps is empty where gift = no",
        "wraps is empty exactly where total is empty",
    ],
)
def test_a_text_is_parsed_to_what_prints_it(said):
    _, columns = found_in(shop(60))
    assert parsed(said, columns).text == said


def test_relations_are_added_and_struck():
    asked = {"strike": ["city -> land"], "add": ["price <= total", "days = end - start"]}
    assert texts_of(shop(), json.dumps(asked)) == SHOP - {"city -> land"} | {"price <= total"}
    only = {"strike": ["all"], "add": ["start <= end"]}
    assert texts_of(shop(), json.dumps(only)) == {"start <= end"}
    assert texts_of(shop(), "off") == set()


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("price <= cost", r'\'price <= cost\', expected one such as "a <= b"'),
        ("total <= price", "broken by .* of 400 training rows, expected at most 2%"),
        ("city <= total", "column 'city' is categorical, expected numbers or dates"),
        ("wraps is empty where gift = often", "'gift' has no such cell"),
        ("price <= price", "names a column twice"),
    ],
)
def test_what_cannot_be_added_is_an_error_in_one_line(said, error):
    with pytest.raises(UserError, match=error) as caught:
        found_in(shop(), json.dumps({"add": [said]}))
    assert "\n" not in str(caught.value)


def test_the_flag_takes_off_or_json(tmp_path, call):
    path = tmp_path / "r.json"
    path.write_text('{"strike": ["a -> b"]}')
    assert relations_option("off") == "off"
    assert relations_option(str(path)) == relations_option(path.read_text())
    shop(60).to_csv(tmp_path / "t.csv", index=False)
    for wrong in ("none.json", '{"drop": []}', '{"add": "a <= b"}'):
        result = call("data", "--data", tmp_path / "t.csv", "--relations", wrong)
        assert result.code != 0
        assert "argument --relations" in result.err
        assert result.err.count("\n") == 1


def test_what_is_struck_must_have_been_found():
    with pytest.raises(UserError, match="strike 'land -> city', which is none of those found"):
        texts_of(shop(), json.dumps({"strike": ["land -> city"]}))


# Kept


def test_a_codec_keeps_its_relations_as_plain_values():
    found, columns = found_in(shop())
    codec = Codec("tables", columns, (len(columns),), found)
    again = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
    assert again == codec
    assert again.relations == found


def test_a_codec_without_relations_is_as_before():
    _, columns = found_in(shop())
    codec = Codec("tables", columns, (len(columns),))
    assert "relations" not in codec.to_dict()
    assert Codec.from_dict(codec.to_dict()).rules is None


def rules_of(frame, asked=None):
    found, columns = found_in(frame, asked)
    rules = Rules(columns, found)
    return rules, rules.values(text(frame))


def test_a_hole_between_known_cells_is_filled_exactly():
    frame = shop()
    rules, values = rules_of(frame)
    for name in ("price", "qty", "total", "start", "days", "end", "land"):
        j = rules.names.index(name)
        holes = values.copy()
        holes[:, j] = np.nan
        known = ~np.isnan(holes)
        guess = np.where(known, holes, np.nanmedian(values[:, j]))
        np.testing.assert_allclose(rules.settle(guess, known, values)[:, j], values[:, j])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.slow
def test_any_pattern_of_holes_is_filled_so_that_nothing_is_broken(seed):
    rng = np.random.default_rng(seed)
    rules, values = rules_of(shop())
    known = (rng.random(values.shape) < 0.5) & ~np.isnan(values)
    fake = values[
        rng.permuted(np.tile(np.arange(N), (values.shape[1], 1)), axis=1).T,
        np.arange(values.shape[1]),
    ]
    mixed = np.where(known, values, np.where(np.isnan(fake), 1.0, fake))
    settled = rules.settle(mixed, known, values, rng)
    assert (settled == values)[known].all()
    empty = rules.empty(settled) & ~known
    assert not rules.broken(np.where(empty, np.nan, settled)).any()


def test_close_columns_take_differences_that_fit_their_row():
    """The difference is that of the training rows with a like third column."""
    rng = np.random.default_rng(7)
    n = 3000
    start = rng.uniform(0, 1000, n).round(2)
    size = rng.uniform(1, 10, n).round(2)
    end = (start + size * rng.uniform(0.9, 1.1, n)).round(2)
    rules, values = rules_of(pd.DataFrame({"start": start, "size": size, "end": end}))
    assert [(r.text, r.close) for r in rules.relations] == [("start < end", True)]
    known = np.zeros(values.shape, bool)
    wild = values.copy()
    wild[:, rules.names.index("end")] = rng.permutation(end)
    settled = rules.settle(wild, known, values, rng)
    difference = settled[:, rules.names.index("end")] - settled[:, rules.names.index("start")]
    assert (difference > 0).all()
    assert np.corrcoef(difference, size)[0, 1] > 0.95
    assert np.quantile(difference, [0.05, 0.95]) == pytest.approx(
        np.quantile(end - start, [0.05, 0.95]), rel=0.1
    )
    # Of a model that sees differences, what it gives stays where it obeys the order.
    there = wild[:, rules.names.index("end")] > wild[:, rules.names.index("start")]
    settled = rules.settle(wild, known, values, rng, follow=False)
    assert (settled[there] == wild[there]).all()
    assert not rules.broken(settled).any()
    assert 0.2 < there.mean() < 0.8


@pytest.mark.parametrize("noise", sorted(NOISES))
def test_close_columns_are_left_to_a_model_that_sees_their_differences(folder, noise):
    fitted, _ = find_run("runs", "r").load()
    filler = Filler(dataclasses.replace(fitted, config=fitted.config.replace(noise=noise)))
    assert filler.follow == (noise in ("independent", "correlated"))


# The verbs


@pytest.fixture(scope="module")
def trained(tmp_path_factory, call):
    """A run on the shop, and the rows it generates and fills."""
    folder = tmp_path_factory.mktemp("shop")
    frame = shop(600)
    frame.to_csv(folder / "shop.csv", index=False)
    holes = text(frame)
    rng = np.random.default_rng(0)
    for name in ("price", "total", "end", "land", "gift"):
        holes.loc[rng.random(len(frame)) < 0.1, name] = ""
    holes.to_csv(folder / "holes.csv", index=False)
    odd = frame.copy()
    odd.loc[:4, "total"] += 5
    odd.loc[5:9, "end"] = odd.loc[5:9, "start"]
    odd.loc[10:14, "land"] = np.where(odd.loc[10:14, "land"] == "CH", "NO", "CH")
    odd.to_csv(folder / "odd.csv", index=False)
    flags = ("--runs-dir", folder / "runs", "--threads", 1)
    for name, more in (("r", ()), ("off", ("--relations", "off"))):
        result = call(
            "train", "--data", folder / "shop.csv", "--epochs", 6, "--run", name, *flags, *more
        )
        assert result.code == 0, result.err
    return folder


def flags_of(folder, run):
    return ("--run", run, "--runs-dir", folder / "runs", "--threads", 1)


def read(path):
    return pd.read_csv(path, parse_dates=["start", "end"])


def broken_in(frame):
    known = frame[["price", "qty", "total"]].notna().all(axis=1)
    lands = frame["city"].map({"Bern": "CH", "Basel": "CH", "Oslo": "NO"}).fillna("IT")
    return {
        "total": int(((frame.total - frame.price * frame.qty).abs() > 0.0051)[known].sum()),
        "end": int(((frame.end - frame.start).dt.days != frame.days).sum()),
        "land": int((frame.land != lands).sum()),
        "wraps": int((frame.wraps.isna() != (frame.gift == "no")).sum()),
    }


def test_generated_rows_obey_every_relation(folder, call):
    result = call("generate", "--n", 300, "--out", "g.csv", *flags_of(folder, "r"))
    assert result.code == 0, result.err
    assert "kept in 300 of 300 rows" in result.out
    assert broken_in(read("g.csv")) == dict.fromkeys(("total", "end", "land", "wraps"), 0)


def test_given_cells_stay_and_the_others_follow(folder, call):
    given = ("--given", "total=60,start=2021-05-05")
    result = call("generate", "--n", 50, "--out", "g.csv", *given, *flags_of(folder, "r"))
    assert result.code == 0, result.err
    frame = read("g.csv")
    assert set(frame.total) == {60.0}
    assert set(frame.start.astype(str)) == {"2021-05-05"}
    assert broken_in(frame) == dict.fromkeys(("total", "end", "land", "wraps"), 0)


@pytest.mark.slow
def test_off_leaves_rows_as_a_run_without_relations_draws_them(folder, call):
    for run, more in (("r", ("--relations", "off")), ("off", ())):
        result = call("generate", "--n", 80, "--out", f"{run}.csv", *more, *flags_of(folder, run))
        assert result.code == 0, result.err
        assert "Relations" not in result.out
    assert (folder / "r.csv").read_bytes() == (folder / "off.csv").read_bytes()
    assert find_run("runs", "off").config().codec.relations == []
    for verb, name in (("detect", "odd"), ("impute", "holes")):
        for run, more in (("r", ("--relations", "off")), ("off", ())):
            result = call(
                verb, f"{name}.csv", "--out", f"{verb}_{run}.csv", *more, *flags_of(folder, run)
            )
            assert result.code == 0, result.err
        one, other = ((folder / f"{verb}_{run}.csv").read_bytes() for run in ("r", "off"))
        assert one == other


def test_filled_rows_obey_every_relation_and_known_cells_stay(folder, call):
    result = call("impute", "holes.csv", "--draws", 2, *flags_of(folder, "r"))
    assert result.code == 0, result.err
    assert "stay empty as in the training rows" in result.out
    holes = pd.read_csv("holes.csv", dtype=str, keep_default_na=False)
    truth = pd.read_csv("shop.csv", dtype=str, keep_default_na=False)
    for name in ("holes.imputed", "holes.imputed.1", "holes.imputed.2"):
        frame = pd.read_csv(f"{name}.csv", dtype=str, keep_default_na=False)
        assert ((frame == holes) | (holes == "")).all(axis=None)
        broken = broken_in(read(f"{name}.csv"))
        assert broken == dict.fromkeys(("total", "end", "land", "wraps"), 0)
        assert (frame.end == truth.end).all()
        assert (frame.land == truth.land).all()
        sure = (holes.price != "") & (holes.total == "")
        assert (frame.total[sure].astype(float) == truth.total[sure].astype(float)).all()


def test_rows_that_break_a_relation_come_first_and_say_so(folder, call):
    result = call("detect", "odd.csv", *flags_of(folder, "r"))
    assert result.code == 0, result.err
    scored = pd.read_csv("odd.scored.csv")
    assert sorted(scored.anomaly_rank[:15]) == list(range(1, 16))
    why = scored.anomaly_why
    assert why[:5].str.contains("total is not price * qty: never in", regex=False).all()
    assert why[5:10].str.contains("end is not start + days: never in", regex=False).all()
    assert why[10:15].str.contains("land is not the one of city: never in", regex=False).all()
    assert not why[15:].fillna("").str.contains("never in", regex=False).any()


def test_a_broken_relation_adds_the_stated_nats(folder):
    fitted, _ = find_run("runs", "r").load()
    scorer = Scorer(fitted)
    x, mask, y, values, _ = fitted.train.take(slice(20))
    before = scorer(x, mask.astype(np.float32), y, values=values)
    j = fitted.codec.rules.names.index("land")
    values = values.copy()
    values[0, j] = (values[0, j] + 1) % 3
    np.testing.assert_array_equal(scorer.of_relations(values) > 0, np.arange(20) == 0)
    mask = scorer.rows.mask.astype(np.float32)
    scores = scorer.placed(scorer(scorer.rows.x, mask, values=scorer.rows.values), mask)
    i = [relation.text for relation in fitted.codec.relations].index("city -> land")
    wanted = 10 * (np.quantile(scores, 0.75) - np.median(scores)) + fitted.codec.relations[i].nats
    assert scorer.of_relations(values)[0] == pytest.approx(wanted)
    assert np.isfinite(before).all()


def test_an_order_that_right_rows_break_adds_its_log_odds_only(folder):
    fitted, _ = find_run("runs", "r").load()
    order = Relation("order", ["total", "price"], n=1000, bound=0.01, chance=0.7)
    added = []
    for broken in (0, 9):
        relations = [*fitted.codec.relations, dataclasses.replace(order, broken=broken)]
        codec = dataclasses.replace(fitted.codec, relations=relations)
        added.append(Scorer(dataclasses.replace(fitted, codec=codec)).relation_nats)
    never, tail = added
    assert tail[-1] == pytest.approx(order.nats)
    assert never[-1] > tail[-1] + 1
    assert np.array_equal(never[:-1], tail[:-1])


def test_a_run_resumes_with_its_relations(folder, call):
    before = find_run("runs", "r").config().codec.relations
    result = call("train", "--resume", "r", "--epochs", 7, "--runs-dir", "runs")
    assert result.code == 0, result.err
    assert find_run("runs", "r").config().codec.relations == before


def test_a_run_from_before_relations_still_loads(folder, call):
    path = folder / "runs" / "off" / "config.json"
    plain = json.loads(path.read_text())
    del plain["data"]["relations"]
    path.write_text(json.dumps(plain))
    config = find_run("runs", "off").config()
    assert (config.asked.data.relations, config.codec.relations) == (None, [])
    arrays = dict(np.load(folder / "runs" / "off" / "rows.npz"))
    assert "values" not in arrays


def test_data_lists_them(folder, call):
    result = call("data", "--data", "shop.csv")
    assert "Always true in the training rows: " in result.out
    assert "city -> land" in result.out
    off = call("data", "--data", "shop.csv", "--relations", "off")
    assert "Always true" not in off.out


def test_a_file_of_relations_does_not_go_with_a_run(folder, call):
    result = call("detect", "odd.csv", "--relations", '{"add": []}', *flags_of(folder, "r"))
    assert result.code != 0
    assert "--relations FILE belongs to training" in result.err


def test_relations_of_a_wide_table_are_found_among_neighbours_and_maps_anywhere():
    """More columns than are all tried with each other for sums."""
    rng = np.random.default_rng(0)
    n_columns = relation_search.MOST_TRIPLED + 30
    x = rng.normal(size=(150, n_columns)).round(3) * rng.choice([1, 10], n_columns)
    frame = pd.DataFrame(x.round(3)).add_prefix("x")
    names = list(frame)
    frame["x40"] = (frame["x41"] + frame["x70"]).round(3)  # near
    frame["x10"] = (frame["x90"] + frame["x170"]).round(3)  # far
    frame["x175"] = (1.8 * frame["x5"] + 32).round(3)
    texts = texts_of(frame[names])
    assert "x40 = x41 + x70" in texts or "x40 = x70 + x41" in texts
    assert any({"x5", "x175"} <= set(text.split()) for text in texts)
    assert len(texts) == 2


def test_correlations_of_ranks_are_of_the_rows_that_have_both():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 4))
    x[:, 1] = np.exp(x[:, 0]) + 0.3 * rng.normal(size=300)
    x[rng.random(x.shape) < 0.2] = np.nan
    found = relation_search.rank_correlations(x)
    expected = pd.DataFrame(x).corr("spearman").to_numpy()
    np.testing.assert_allclose(found, expected, atol=0.02)
