"""parts/forms/tables/orders.py: words with a well-known order, and ranges of numbers."""

import time

import numpy as np
import pytest

from parts.forms.tables.orders import MIN_LEVELS, NO_ANSWER, ORDERS, known_order, plain

# Levels in their order, as people write them
KNOWN = [
    "1 - Strongly disagree|2 - Disagree|3 - Neutral|4 - Agree|5 - Strongly agree",
    "1. Low|2. Medium|3. High",
    "Bronze|Silver|Gold",
    "Fair|Good|Very Good|Premium|Ideal",
    "Free|Basic|Standard|Premium",
    "Low risk|Medium risk|High risk",
    "Mon|Tue|Sat|Sun",
    "Montag|Dienstag|Freitag",
    "Never|Rarely|Sometimes|Often|Always",
    "Not at all|Several days|More than half the days|Nearly every day",
    "Pas du tout d'accord|Pas d'accord|Plutôt d'accord|D'accord",
    "Po|Fa|TA|Gd|Ex",
    "S|M|L|XL|XXL",
    "STRONGLY_DISAGREE|DISAGREE|AGREE|STRONGLY_AGREE",
    "Totalmente en desacuerdo|En desacuerdo|De acuerdo|Totalmente de acuerdo",
    "Very dissatisfied|Dissatisfied|Neutral|Satisfied|Very satisfied",
    "extremely unlikely|somewhat unlikely|somewhat likely|extremely likely",
    "jamais|parfois|souvent|toujours",
    "low|medium|high",
    "may|june|july|aug",
    "mild|moderate|severe",
    "mangelhaft|ausreichend|befriedigend|gut|sehr gut",
    "nie|selten|manchmal|oft|immer",
    "none|mild|moderate|severe",
    "nunca|a veces|siempre",
    "preschool|5th-6th|9th|10th|HS-grad|Some-college|Bachelors|Masters|Doctorate",
    "q1|q2|q3|q4",
    "trifft nicht zu|trifft eher nicht zu|trifft eher zu|trifft zu",
    "x-small|small|medium|large|x-large",
]
RANGES = [
    "$0 - $24,999|$25,000 - $49,999|$50,000+",
    "0-1 years|2-5 years|6-10 years|> 10 years",
    "0-9|10-19|20-29|100-199",
    "10-20|20-30|30-40",
    "18 to 24|25 to 34|35 and older",
    "2 to 5 km|5 to 10 km|over 10 km",
    "5.0-5.9|6.0-6.9|7.0+",
    "50k-75k|75k-100k|100k+",
    "< 1 year|1 year|2 years|10+ years",
    "<0.1|0.5|>9",
    "<18|18-24|25-64|65+",
    "under 18|18-65|over 65",
    "unter 18|18 bis 65|über 65",
]


@pytest.mark.parametrize("text", KNOWN + RANGES)
def test_levels_are_put_in_their_order(text):
    levels = text.split("|")
    shuffled = np.random.default_rng(0).permutation(levels).tolist()
    assert known_order(shuffled) == (levels, [])
    assert known_order([*shuffled, "Don’t know"]) == (levels, ["Don’t know"])


@pytest.mark.parametrize(
    "text",
    [
        "1-2|2-2|3-1",  # results of matches
        "1-5|3-8|9-10",  # they overlap
        "10.0.0.1|10.0.0.2|10.0.0.3",
        "1|2|3",
        "2010-11|2011-12|2012-13",
        "3 Series|5 Series|7 Series",
        "A+|A|B|C",
        "B-1|B-2|B-3",
        "C++|C#|Java",
        "PM10|PM2.5|O3",
        "apples 1-2|pears 3-4|plums 5-6",
        "high|low",
        "low|medium|high|blue",
        "male|female|other",
        "red|green|blue",
        "strongly agree|totally agree|agree",  # two words for one place
        "yes|no|maybe",
    ],
)
def test_other_words_have_no_order(text):
    assert known_order(text.split("|")) is None


@pytest.mark.parametrize("order", ORDERS)
def test_no_word_has_two_places_in_an_order(order):
    words = [plain(word) for slot in order.split(", ") for word in slot.split("|")]
    assert len(set(words)) == len(words)
    assert len(order.split(", ")) >= MIN_LEVELS
    assert not set(words) & {"don't know", "refused", "unknown"} & NO_ANSWER
    firsts = [slot.split("|")[0] for slot in order.split(", ")]
    assert known_order(sorted(firsts)) is not None


@pytest.mark.parametrize("level", ["0" * 10**5, "1-" * 10**5, "1,000" * 10**5])
def test_long_levels_take_no_time(level):
    start = time.process_time()
    assert known_order([level, "low", "high", "medium"]) is None
    assert time.process_time() - start < 1
