"""A small example table: mixed columns, missing cells, and a few contradictory rows."""

import numpy as np

N_ROWS, HOLES, ODD = 2000, 0.1, 0.01
JOBS = ("student", "clerk", "engineer", "nurse", "manager", "retired")
PAY = np.array([9.1, 10.2, 10.8, 10.4, 11.1, 9.9])  # mean log of a year's income, for each job
CITIES = ("Bern", "Oslo", "Porto", "Turin")


def survey(seed=42):
    """A DataFrame of text: identifier, age, heavy-tailed income, counts, categories, dates.

    10 % of the cells are empty. The column `odd` marks the 1 % of rows whose cells contradict each
    other or are extreme; a model must not be trained on this column.
    """
    import pandas as pd

    rng = np.random.default_rng((seed, 2))
    job = rng.choice(len(JOBS), N_ROWS, p=[0.15, 0.25, 0.2, 0.15, 0.1, 0.15])
    age = (
        np.select(
            [job == 0, job == 5],
            [rng.normal(22, 2.5, N_ROWS), rng.normal(71, 5, N_ROWS)],
            rng.normal(42, 9, N_ROWS),
        )
        .clip(16, 95)
        .round()
    )
    income = np.exp(PAY[job] + 0.012 * (age - 42) * (job != 5) + 0.25 * rng.standard_t(4, N_ROWS))
    member = rng.random(N_ROWS) < 1 / (1 + np.exp(-(np.log(income) - 10.4) * 3))
    visits = rng.poisson(np.where(member, 6, 1) * np.exp(0.3 * rng.normal(size=N_ROWS)))
    rating = np.clip(np.round(2.2 + 1.8 * member + 0.7 * rng.normal(size=N_ROWS)), 1, 5)
    city = rng.choice(len(CITIES), N_ROWS, p=[0.4, 0.3, 0.2, 0.1])
    rent = 12 + 9 * np.log(income) - 85 + 3 * (3 - city) + 1.5 * rng.normal(size=N_ROWS)
    joined = 19_000 - 120 * (age - 16) + 250 * rng.normal(size=N_ROWS)  # days since 1970

    planted = {}  # odd row -> the columns that make it odd, which are never empty
    for i, row in enumerate(rng.permutation(N_ROWS)[: int(ODD * N_ROWS)]):
        match i % 5:
            case 0:
                age[row], planted[row] = rng.integers(120, 220), ["age"]
            case 1:
                job[row], age[row], income[row] = 0, rng.integers(60, 80), 150_000
                planted[row] = ["job", "age", "income"]
            case 2:
                income[row], planted[row] = 40 * income[row], ["income"]
            case 3:
                member[row], visits[row] = False, rng.integers(15, 30)
                planted[row] = ["member", "visits"]
            case 4:
                rent[row], planted[row] = -rent[row], ["rent_share"]
    table = {
        "respondent": [f"R{i:05d}" for i in rng.permutation(N_ROWS)],
        "age": age.astype(int).astype(str),
        "job": np.array(JOBS)[job],
        "income": [f"{value:.2f}" for value in income],
        "member": np.where(member, "yes", "no"),
        "visits": visits.astype(str),
        "rating": rating.astype(int).astype(str),
        "city": np.array(CITIES)[city],
        "rent_share": [f"{value:.1f}%" for value in rent],
        "joined": pd.to_datetime(np.round(joined).astype(int), unit="D").strftime("%Y-%m-%d"),
    }
    frame = pd.DataFrame(table, dtype="str")
    holes = rng.random(frame.shape) < HOLES
    holes[:, 0] = False
    for row, names in planted.items():
        holes[row, frame.columns.get_indexer(names)] = False
    frame = frame.mask(holes, "")
    frame["odd"] = [str(int(row in planted)) for row in range(N_ROWS)]
    return frame
