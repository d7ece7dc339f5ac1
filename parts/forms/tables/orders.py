"""Well-known orders of words, by which columns of text are ordinal.

A column has one of these orders if all of its answers are among the words of the order, at least
three of them, in any case; hyphens and underscores are blanks. Words with one place are synonyms.
"""

import re

# Each order from its lower end to its upper one; in one place "|" separates synonyms.
ORDERS = (
    # Agreement
    "strongly disagree|completely disagree|totally disagree, disagree|mostly disagree, "
    "somewhat disagree|slightly disagree|rather disagree, "
    "neutral|neither agree nor disagree|undecided|neither, "
    "somewhat agree|slightly agree|rather agree, agree|mostly agree, "
    "strongly agree|completely agree|totally agree",
    "stimme überhaupt nicht zu|stimme gar nicht zu|trifft überhaupt nicht zu|"
    "trifft gar nicht zu, "
    "stimme nicht zu|stimme eher nicht zu|trifft nicht zu|trifft eher nicht zu, "
    "neutral|weder noch|teils teils|teils/teils, stimme eher zu|trifft eher zu, "
    "stimme zu|trifft zu, stimme voll zu|stimme voll und ganz zu|stimme völlig zu|"
    "trifft voll zu|trifft voll und ganz zu",
    "pas du tout d'accord|tout à fait en désaccord, plutôt pas d'accord|pas d'accord|"
    "en désaccord, neutre|ni d'accord ni pas d'accord, plutôt d'accord, d'accord, "
    "tout à fait d'accord",
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
    "very unlikely|extremely unlikely, unlikely, neutral|possible|maybe, likely|probable, "
    "very likely|extremely likely|certain",
    "not important|not at all important|unimportant, slightly important|less important, "
    "somewhat important|moderately important|neutral, important, very important, "
    "extremely important|essential",
    "not at all, a little|slightly|a bit, somewhat|moderately, quite a bit|very|a lot, "
    "extremely|very much|completely",
    # How often
    "never, almost never|hardly ever, rarely|seldom, occasionally|once in a while, sometimes, "
    "often|frequently|usually, very often|almost always|mostly|most of the time, always",
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
    "none|no, minimal|very low|verylow|negligible, low|lo|minor, medium|moderate|mid|med|middle, "
    "high|hi|major, very high|veryhigh|severe|critical|extreme",
    "none|normal, mild|slight, moderate, severe, very severe|critical, fatal",
    "very poor|terrible|very bad|awful, poor|bad, fair|average|ok|okay|typical|acceptable, good, "
    "very good, excellent|great|premium|outstanding, ideal|perfect",
    "unacceptable, poor|needs improvement, acceptable|adequate, good|meets expectations, "
    "excellent|exceeds expectations",
    "sehr schlecht, schlecht, mittelmäßig|mittel|befriedigend, gut, sehr gut, "
    "ausgezeichnet|exzellent",
    "sehr niedrig|sehr gering, niedrig|gering|klein, mittel|mäßig, hoch|groß, sehr hoch|sehr groß",
    "keine, leicht, mittel|mäßig, schwer, sehr schwer",
    "très mauvais, mauvais, moyen|passable, bon|bien, très bon|très bien, excellent",
    "très faible|très bas, faible|bas, moyen, élevé|haut|fort, très élevé|très haut|très fort",
    "muy malo|pésimo, malo, regular|medio, bueno, muy bueno, excelente",
    "muy bajo, bajo, medio|moderado, alto, muy alto",
    "po, fa, ta, gd, ex",  # quality in the tables of house prices
    # Sizes
    "xxxs|3xs, xxs|2xs, xs|extra small, s|small, m|medium, l|large, xl|extra large, xxl|2xl, "
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
    "primary|primary school|elementary school|elementary, "
    "middle school|lower secondary, some high school, "
    "high school|secondary|secondary school|hs grad|upper secondary|basic, "
    "some college, associate|associate's|associate degree|associate's degree, "
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


def places(order):
    """The place of each word of an order, as a dict."""
    slots = [slot.split("|") for slot in order.split(", ")]
    return {plain(word): place for place, slot in enumerate(slots) for word in slot}


def plain(word):
    """A word in lower case, its hyphens and underscores as blanks."""
    return re.sub(r"[\s_\-–]+", " ", word.strip().rstrip(".").lower().replace("’", "'"))


def known_order(levels):
    """The levels in the well-known order that has them, and the levels beside it; None if none has.

    Beside it are answers such as "don't know".
    """
    beside = [level for level in levels if plain(level) in NO_ANSWER]
    levels = [level for level in levels if plain(level) not in NO_ANSWER]
    words = [plain(level) for level in levels]
    if len(set(words)) < MIN_LEVELS:
        return None
    for order in ORDERS:
        place = places(order)
        if all(word in place for word in words):
            found = [place[word] for word in words]
            if len(set(found)) == len(found):
                return [level for _, level in sorted(zip(found, levels, strict=True))], beside
    return None
