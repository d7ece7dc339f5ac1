"""Well-known orders of words, by which columns of text are ordinal.

A column has one of these orders if all of its answers are among the words of the order, at least
three of them, in any case; hyphens and underscores are blanks. Words with one place are synonyms.
Ranges of numbers, such as 18-24 and 65+, have the order of the numbers.
"""

import math
import re
from functools import cache

# Each order from its lower end to its upper one; in one place "|" separates synonyms.
ORDERS = (
    # Agreement
    "strongly disagree|completely disagree|totally disagree, disagree|mostly disagree, "
    "somewhat disagree|slightly disagree|rather disagree, "
    "neutral|neither agree nor disagree|neither agree or disagree|undecided|neither, "
    "somewhat agree|slightly agree|rather agree, agree|mostly agree, "
    "strongly agree|completely agree|totally agree",
    "stimme überhaupt nicht zu|stimme gar nicht zu|trifft überhaupt nicht zu|"
    "trifft gar nicht zu, stimme nicht zu|trifft nicht zu, "
    "stimme eher nicht zu|trifft eher nicht zu, "
    "neutral|weder noch|teils teils|teils/teils, stimme eher zu|trifft eher zu, "
    "stimme zu|trifft zu, stimme voll zu|stimme voll und ganz zu|stimme völlig zu|"
    "trifft voll zu|trifft voll und ganz zu",
    "pas du tout d'accord|tout à fait en désaccord, pas d'accord|en désaccord, "
    "plutôt pas d'accord|plutôt en désaccord, neutre|ni d'accord ni pas d'accord, "
    "plutôt d'accord, d'accord, tout à fait d'accord",
    "totalmente en desacuerdo|muy en desacuerdo, en desacuerdo, "
    "neutral|ni de acuerdo ni en desacuerdo|indiferente, de acuerdo, "
    "totalmente de acuerdo|muy de acuerdo",
    # Satisfaction
    "very dissatisfied|very unsatisfied|extremely dissatisfied, dissatisfied|unsatisfied, "
    "somewhat dissatisfied, neutral|neither satisfied nor dissatisfied, somewhat satisfied, "
    "satisfied, very satisfied|extremely satisfied",
    "sehr unzufrieden, unzufrieden, eher unzufrieden, neutral|teils teils, eher zufrieden, "
    "zufrieden, sehr zufrieden",
    "très insatisfait|pas du tout satisfait, insatisfait|pas satisfait|plutôt pas satisfait, "
    "neutre, plutôt satisfait, satisfait, très satisfait|tout à fait satisfait",
    "muy insatisfecho, insatisfecho, neutral, satisfecho, muy satisfecho",
    # Likelihood and importance
    "very unlikely|extremely unlikely, unlikely, somewhat unlikely, "
    "neutral|neither likely nor unlikely|possible|maybe, somewhat likely, likely|probable, "
    "very likely|extremely likely|certain",
    "not important|not at all important|unimportant, slightly important|less important, "
    "somewhat important|moderately important|neutral, important, very important, "
    "extremely important|essential",
    "not at all, a little|slightly|a bit, somewhat|moderately, quite a bit|very|a lot, "
    "extremely|very much|completely",
    # How often
    "never, almost never|hardly ever, rarely|seldom, occasionally|once in a while, sometimes, "
    "often|frequently|usually, very often|almost always|mostly|most of the time, always",
    "not at all, several days, more than half the days, nearly every day",
    "nie|niemals, fast nie, selten, gelegentlich, manchmal, oft|häufig, "
    "sehr oft|meistens|fast immer, immer",
    "jamais, presque jamais, rarement, parfois|de temps en temps, souvent, "
    "très souvent|presque toujours, toujours",
    "nunca, casi nunca, raramente|rara vez, a veces, a menudo|frecuentemente, "
    "casi siempre|muy a menudo, siempre",
    "hourly, daily|every day, weekly|every week, biweekly|fortnightly, monthly|every month, "
    "quarterly, half yearly|semiannually, yearly|annually|every year",
    "täglich, wöchentlich, monatlich, vierteljährlich|quartalsweise, halbjährlich, jährlich",
    # How much and how good
    "none|no, minimal|very low|verylow|negligible, low|lo|minor, "
    "medium|moderate|mid|med|middle|normal|average|intermediate, "
    "high|hi|major, very high|veryhigh|severe|critical|extreme",
    "none|normal, mild|slight, moderate, severe, very severe|critical, fatal",
    "very poor|terrible|very bad|awful, poor|bad, fair|average|ok|okay|typical|acceptable, good, "
    "very good, excellent|great|premium|outstanding, ideal|perfect",
    "unacceptable, poor|needs improvement, acceptable|adequate, good|meets expectations, "
    "excellent|exceeds expectations",
    "sehr schlecht, schlecht, mittelmäßig|mittel|befriedigend, gut, sehr gut, "
    "ausgezeichnet|exzellent",
    "ungenügend, mangelhaft, ausreichend, befriedigend, gut, sehr gut",
    "below average, average, above average",
    "free|trial, basic|starter, standard|plus, premium|pro|professional|business, enterprise",
    "sehr niedrig|sehr gering, niedrig|gering|klein, mittel|mäßig, hoch|groß, sehr hoch|sehr groß",
    "keine, leicht, mittel|mäßig, schwer, sehr schwer",
    "très mauvais, mauvais, moyen|passable, bon|bien, très bon|très bien, excellent",
    "très faible|très bas, faible|bas, moyen, élevé|haut|fort, très élevé|très haut|très fort",
    "muy malo|pésimo, malo, regular|medio, bueno, muy bueno, excelente",
    "muy bajo, bajo, medio|moderado, alto, muy alto",
    "po, fa, ta, gd, ex",  # quality in the tables of house prices
    # Sizes
    "xxxs|3xs, xxs|2xs, xs|extra small|x small, s|small, m|medium, l|large, "
    "xl|extra large|x large, xxl|2xl|xx large, "
    "xxxl|3xl, 4xl|xxxxl, 5xl",
    "tiny|very small, small, medium|mid|regular, large|big, very large|huge|giant",
    "klein, mittel, groß, sehr groß",
    "petit, moyen, grand, très grand",
    "pequeño, mediano, grande, muy grande",
    # Speed, age, temperature, difficulty, stages
    "very slow, slow, medium|normal|moderate, fast, very fast",
    "very cold|freezing, cold, cool, mild|moderate|normal, warm, hot, very hot",
    "very easy, easy, medium|moderate|intermediate|normal, hard|difficult, "
    "very hard|very difficult|expert",
    "novice|beginner, elementary|advanced beginner, intermediate, advanced|proficient, "
    "expert|master",
    "baby|infant, child, teen|teenager|adolescent, adult, senior|elderly",
    "first, second, third, fourth, fifth, sixth, seventh, eighth, ninth, tenth",
    "1st, 2nd, 3rd, 4th, 5th, 6th, 7th, 8th, 9th, 10th",
    "bronze, silver, gold, platinum, diamond",
    "debug, info|notice, warning|warn, error, critical|fatal",
    "green, yellow|amber, orange, red",
    # Education
    "no schooling|none, preschool|kindergarten, "
    "primary|primary school|elementary school|elementary|1st 4th, 5th 6th, "
    "middle school|lower secondary|7th 8th, some high school|9th, 10th, 11th, 12th, "
    "high school|secondary|secondary school|hs grad|upper secondary|basic, "
    "some college, associate|associate's|associate degree|associate's degree|assoc voc, "
    "assoc acdm, "
    "bachelor|bachelors|bachelor's|bachelor's degree|university|graduation|college, "
    "master|masters|master's|master's degree|graduate, prof school|professional, "
    "doctorate|phd|ph.d.|doctoral",
    # Calendar
    "monday|mon, tuesday|tue|tues, wednesday|wed, thursday|thu|thur|thurs, friday|fri, "
    "saturday|sat, sunday|sun",
    "montag|mo, dienstag|di, mittwoch|mi, donnerstag|do, freitag|fr, samstag|sa|sonnabend, "
    "sonntag|so",
    "lundi|lun, mardi|mar, mercredi|mer, jeudi|jeu, vendredi|ven, samedi|sam, dimanche|dim",
    "lunes|lun, martes|mar, miércoles|mié|mie, jueves|jue, viernes|vie, sábado|sáb|sab, "
    "domingo|dom",
    "january|jan, february|feb, march|mar, april|apr, may, june|jun, july|jul, august|aug, "
    "september|sep|sept, october|oct, november|nov, december|dec",
    "januar|jan|jänner, februar|feb, märz|mär|mrz, april|apr, mai, juni|jun, juli|jul, august|aug, "
    "september|sep, oktober|okt, november|nov, dezember|dez",
    "janvier|janv, février|févr|fév, mars, avril|avr, mai, juin, juillet|juil, août, "
    "septembre|sept, octobre|oct, novembre|nov, décembre|déc",
    "enero|ene, febrero|feb, marzo|mar, abril|abr, mayo|may, junio|jun, julio|jul, agosto|ago, "
    "septiembre|sep|setiembre, octubre|oct, noviembre|nov, diciembre|dic",
    "spring, summer, autumn|fall, winter",
    "q1, q2, q3, q4",
    "morning, noon|midday, afternoon, evening, night",
)
MIN_LEVELS = 3  # two answers have no order that matters
# Answers beside an order, which have no place in it.
NO_ANSWER = {
    *("don't know", "dont know", "do not know", "not sure", "unsure", "no opinion", "no answer"),
    *("not applicable", "n/a", "does not apply", "prefer not to say", "prefer not to answer"),
    *("refused", "unknown", "other", "keine angabe", "k.a", "weiß nicht", "weiss nicht"),
    *("ne sait pas", "sans opinion", "non concerné", "no sabe", "no contesta", "ns/nc"),
}


MOST_LEVELS, LONGEST = 40, 80  # more levels, and longer ones, than any order has
NUMBERED = re.compile(r"^\(?\d{1,2}\)? ?[-–.:=)] ?(?=\D)")  # 1 - agree
# Ranges such as 18-24, <18, 65+, "under 18", "65 and over", "$50,000 to $74,999".
NUMBER = r"[$€£]? ?\d+(?:,\d{3})*(?:[.,]\d+)?[kK]?"
RANGE = re.compile(rf"({NUMBER})\s*(?:-|–|—|to|bis|à|a)\s*({NUMBER})")
BELOW = re.compile(
    r"<|≤|under|below|less than|up to|younger than|unter|weniger als|moins de|menos de"
)
ABOVE = re.compile(
    r">|≥|\+|over|above|more than|and more|or more|and older|or older|über|mehr als|und mehr|"
    r"und älter|plus de|et plus|más de|y más"
)
FILLING = re.compile(rf"{NUMBER}|{BELOW.pattern}|{ABOVE.pattern}|\b(?:and|or|than|to)\b|[\W\d_]")


def known_order(levels):
    """The levels in the well-known order that has them, and the levels beside it; None if none has.

    Beside it are answers such as "don't know".
    """
    if len(levels) > MOST_LEVELS or max(map(len, levels), default=0) > LONGEST:
        return None
    beside = [level for level in levels if plain(level) in NO_ANSWER]
    levels = [level for level in levels if plain(level) not in NO_ANSWER]
    words = list(map(plain, levels))
    if len(set(words)) < MIN_LEVELS:
        return None
    found = places_of(words) or places_of(without_common(words)) or order_of_ranges(levels)
    if found is None or len(set(found)) < len(found):
        return None
    return [level for _, level in sorted(zip(found, levels, strict=True))], beside


def places_of(words):
    """The places of words in the first order that has them all, as a list; None if none has."""
    place = next((p for p in map(places, ORDERS) if all(word in p for word in words)), None)
    return [place[word] for word in words] if place else None


@cache
def places(order):
    """The place of each word of an order, as a dict."""
    slots = [slot.split("|") for slot in order.split(", ")]
    return {plain(word): place for place, slot in enumerate(slots) for word in slot}


def plain(word):
    """A word in lower case, without a number before it, its hyphens and underscores as blanks."""
    word = NUMBERED.sub("", word.strip()).rstrip(".").lower().replace("’", "'")
    return re.sub(r"[\s_\-–]+", " ", word)


def without_common(words):
    """Words without the part at their end that all of them have: low risk, medium risk."""
    parts = [word.split() for word in words]
    while len({part[-1] for part in parts if part}) == 1 and min(map(len, parts)) > 1:
        parts = [part[:-1] for part in parts]
    return [" ".join(part) for part in parts]


def order_of_ranges(levels):
    """The lower ends of levels that are ranges of numbers, as a list; None if they are none.

    Ranges do not overlap, and have one unit.
    """
    ends = [ends_of(level) for level in levels]
    units = {FILLING.sub("", level.lower()).rstrip("s") for level in levels} - {""}
    if None in ends or len(units) > 1 or all(low == high for low, high in ends):
        return None
    ranked = sorted(ends)
    if any(high > low for (_, high), (low, _) in zip(ranked, ranked[1:], strict=False)):
        return None
    return ends


def ends_of(level):
    """The ends of a range of numbers, None for other text; a number alone is both of its ends."""
    level = level.lower()
    if found := RANGE.search(level):
        low, high = map(number_of, found.groups())
        return (low, high) if low < high else None
    numbers = re.findall(NUMBER, level)
    if len(numbers) != 1:
        return None
    number = number_of(numbers[0])
    if BELOW.search(level):
        return (-math.inf, number)
    return (number, math.inf) if ABOVE.search(level) else (number, number)


def number_of(text):
    """A number with or without a currency, commas of thousands and a k."""
    digits = re.sub(r"[^\d.]", "", re.sub(r",(?=\d{3})", "", text).replace(",", "."))
    return float(digits.strip(".")) * (1000 if text[-1] in "kK" else 1)
