"""Tables in the form of well-known ones, made here: the kinds a person would choose.

Each column is how it is made and its kind. The makers imitate how these tables write their cells.
"""

import numpy as np
import pandas as pd
import pytest

from parts.forms.tables import kinds

N = 900


def choice(*levels, p=None):
    return lambda rng: rng.choice(levels, N, p=p)


def whole(low, high):
    return lambda rng: rng.integers(low, high + 1, N).astype(str)


def normal(mean, std, form="{:.1f}"):
    return lambda rng: [form.format(v) for v in rng.normal(mean, std, N)]


def lognormal(median, sigma, form="{:.2f}"):
    return lambda rng: [form.format(v) for v in median * np.exp(rng.normal(0, sigma, N))]


def counts(mean, most=99):
    return lambda rng: np.minimum(rng.poisson(mean, N), most).astype(str)


def numbered(form="{}"):
    return lambda rng: [form.format(i + 1) for i in range(N)]


def unique(form):
    return lambda rng: [form.format(v) for v in rng.permutation(10 * N)[:N] + 10 * N]


def with_holes(make, share, mark=""):
    return lambda rng: np.where(rng.random(N) < share, mark, np.asarray(make(rng), object))


def with_some(make, share, cell):
    """Some cells hold one value, such as 0 where nothing was measured."""
    return with_holes(make, share, cell)


DAYS = pd.date_range("2006-01-01", "2010-12-31").strftime
TABLES = {
    "titanic": {
        "PassengerId": (numbered(), "ignore"),
        "Survived": (choice("0", "1"), "binary"),
        "Pclass": (choice("1", "2", "3"), "ordinal"),
        "Name": (numbered("Mr. Number {}, Esq."), "ignore"),
        "Sex": (choice("male", "female"), "binary"),
        "Age": (with_holes(normal(30, 8, "{:.0f}"), 0.2), "real"),
        "SibSp": (counts(0.5), "count"),
        "Parch": (counts(0.4), "count"),
        "Ticket": (unique("A/5 {}"), "ignore"),
        "Fare": (lognormal(14, 1, "{:.4f}"), "positive"),
        "Embarked": (with_holes(choice("C", "Q", "S", p=[0.2, 0.1, 0.7]), 0.002), "categorical"),
    },
    "penguins": {
        "species": (choice("Adelie", "Chinstrap", "Gentoo"), "categorical"),
        "island": (choice("Biscoe", "Dream", "Torgersen"), "categorical"),
        "bill_length_mm": (with_holes(normal(44, 5.5), 0.01, "NA"), "real"),
        "flipper_length_mm": (with_holes(normal(201, 14, "{:.0f}"), 0.01, "NA"), "real"),
        "sex": (with_holes(choice("male", "female"), 0.03, "NA"), "binary"),
        "year": (choice("2007", "2008", "2009"), "real"),
    },
    "house prices": {
        "Id": (numbered(), "ignore"),
        "MSSubClass": (choice("20", "30", "50", "60", "70", "90", "120", "160"), "categorical"),
        "LotFrontage": (with_holes(normal(70, 20, "{:.0f}"), 0.17, "NA"), "real"),
        "LotArea": (lognormal(9500, 0.5, "{:.0f}"), "positive"),
        "Alley": (with_holes(choice("Grvl", "Pave"), 0.9, "NA"), "binary"),
        "ExterQual": (choice("Ex", "Fa", "Gd", "TA"), "ordinal"),
        "OverallQual": (whole(1, 10), "ordinal"),
        "YearBuilt": (whole(1880, 2010), "real"),
        "CentralAir": (choice("Y", "N", p=[0.9, 0.1]), "binary"),
        "FullBath": (choice("0", "1", "2", "3", p=[0.01, 0.45, 0.51, 0.03]), "count"),
        "SalePrice": (lognormal(165_000, 0.4, "{:.0f}"), "positive"),
    },
    "telco churn": {
        "customerID": (unique("{}-VHVEG"), "ignore"),
        "SeniorCitizen": (choice("0", "1"), "binary"),
        "tenure": (whole(0, 72), "real"),
        "MultipleLines": (choice("Yes", "No", "No phone service"), "categorical"),
        "Contract": (choice("Month-to-month", "One year", "Two year"), "categorical"),
        "MonthlyCharges": (normal(65, 15, "{:.2f}"), "real"),
        "TotalCharges": (with_holes(lognormal(1400, 1), 0.01, " "), "positive"),
        "Churn": (choice("Yes", "No"), "binary"),
    },
    "credit": {
        "status": (choice("A11", "A12", "A13", "A14"), "categorical"),
        "duration": (lognormal(18, 0.5, "{:.0f}"), "positive"),
        "credit_history": (choice("A30", "A31", "A32", "A33", "A34"), "categorical"),
        "amount": (lognormal(2300, 0.8, "{:.0f}"), "positive"),
        "installment_rate": (whole(1, 4), "ordinal"),
        "age": (normal(40, 9, "{:.0f}"), "real"),
        "telephone": (choice("none", "yes"), "binary"),
        "class": (choice("1", "2"), "binary"),
    },
    "auto-mpg": {
        "mpg": (normal(24, 5), "real"),
        "cylinders": (choice("3", "4", "5", "6", "8", p=[0.02, 0.5, 0.02, 0.2, 0.26]), "ordinal"),
        "horsepower": (with_holes(normal(104, 20, "{:.1f}"), 0.02, "?"), "real"),
        "weight": (normal(2970, 500, "{:.0f}."), "real"),
        "model_year": (whole(70, 82), "real"),
        "origin": (choice("1", "2", "3"), "ordinal"),
        "car_name": (numbered("ford model {}"), "ignore"),
    },
    "horse colic": {
        "surgery": (with_holes(choice("1", "2"), 0.01, "?"), "binary"),
        "age": (choice("1", "9", p=[0.9, 0.1]), "binary"),
        "hospital_number": (unique("53{}"), "ignore"),
        "rectal_temp": (with_holes(normal(38.2, 0.7), 0.2, "?"), "real"),
        "pulse": (with_holes(lognormal(70, 0.4, "{:.0f}"), 0.1, "?"), "positive"),
        "pain": (with_holes(whole(1, 5), 0.2, "?"), "ordinal"),
        "outcome": (choice("1", "2", "3"), "ordinal"),
    },
    "diabetes of the Pima": {
        "Pregnancies": (counts(1.5), "count"),
        "Glucose": (with_some(normal(120, 20, "{:.0f}"), 0.02, "0"), "real"),
        "BMI": (with_some(normal(32, 5), 0.03, "0"), "real"),
        "DiabetesPedigreeFunction": (lognormal(0.4, 0.6, "{:.3f}"), "positive"),
        "Outcome": (choice("0", "1"), "binary"),
    },
    "web log": {
        "time": (
            lambda rng: [
                f"{day:02d}/Oct/2024:{hour:02d}:05:36 -0700"
                for day, hour in zip(rng.integers(1, 31, N), rng.integers(0, 24, N), strict=True)
            ],
            "real",
        ),
        "method": (choice("GET", "POST", "HEAD"), "categorical"),
        "status": (choice("200", "301", "404", "500", p=[0.8, 0.1, 0.09, 0.01]), "categorical"),
        "bytes": (lognormal(3000, 1.2, "{:.0f}"), "positive"),
    },
    "survey": {
        "q1": (
            choice("strongly disagree", "disagree", "neutral", "agree", "strongly agree"),
            "ordinal",
        ),
        "zufriedenheit": (choice("unzufrieden", "zufrieden", "sehr zufrieden"), "ordinal"),
        "size": (choice("S", "M", "L", "XL"), "ordinal"),
        "day": (choice("Mon", "Tue", "Wed", "Thu", "Fri"), "ordinal"),
        "stars": (choice("0.5", "1", "1.5", "2", "3.5", "4", "5"), "ordinal"),
        "plz": (choice("01067", "10115", "20095", "80331"), "categorical"),
        "dauer": (
            lambda rng: [f"{m // 60}:{m % 60:02d}:00" for m in rng.integers(20, 2000, N)],
            "real",
        ),
    },
}


@pytest.mark.parametrize("name", sorted(TABLES))
def test_columns_have_the_kinds_a_person_would_choose(name):
    rng = np.random.default_rng(0)
    table = TABLES[name]
    frame = pd.DataFrame({column: make(rng) for column, (make, _) in table.items()}, dtype="str")
    found = {column.name: column.kind for column in kinds.fit(frame)}
    assert found == {column: kind for column, (_, kind) in table.items()}


def test_zeros_that_stand_for_nothing_measured_pull_no_mean():
    rng = np.random.default_rng(0)
    values = TABLES["diabetes of the Pima"]["BMI"][0](rng)
    column = kinds.fit_column("BMI", pd.Series(values, dtype="str"))
    assert [value for value, _ in column.spikes] == [0.0]
    assert column.centre == pytest.approx(32, abs=0.6)
    assert column.spread == pytest.approx(5, rel=0.15)
