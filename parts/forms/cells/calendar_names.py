"""Names of months and weekdays as dates write them, in several languages.

Each name is written in full first, then short; further spellings are read as well. A name is short
where its spelling is not the full one, or where there is no shorter one, as of `may`.
"""

from functools import cache

NAMES_OF_MONTHS = {
    "en": "january jan, february feb, march mar, april apr, may, june jun, july jul, august aug, "
    "september sep sept, october oct, november nov, december dec",
    "de": "januar jan jänner, februar feb feber, märz mrz mär, april apr, mai, juni jun, juli jul, "
    "august aug, september sep sept, oktober okt, november nov, dezember dez",
    "fr": "janvier janv jan, février févr fév, mars, avril avr, mai, juin, juillet juil, août, "
    "septembre sept sep, octobre oct, novembre nov, décembre déc",
    "es": "enero ene, febrero feb, marzo mar, abril abr, mayo may, junio jun, julio jul, "
    "agosto ago, septiembre sep sept setiembre, octubre oct, noviembre nov, diciembre dic",
    "it": "gennaio gen, febbraio feb, marzo mar, aprile apr, maggio mag, giugno giu, luglio lug, "
    "agosto ago, settembre set sett, ottobre ott, novembre nov, dicembre dic",
}
NAMES_OF_WEEKDAYS = {
    "en": "monday mon, tuesday tue tues, wednesday wed, thursday thu thur thurs, friday fri, "
    "saturday sat, sunday sun",
    "de": "montag mo, dienstag di, mittwoch mi, donnerstag do, freitag fr, samstag sa sonnabend, "
    "sonntag so",
    "fr": "lundi lun, mardi mar, mercredi mer, jeudi jeu, vendredi ven, samedi sam, dimanche dim",
    "es": "lunes lun, martes mar, miércoles mié, jueves jue, viernes vie, sábado sáb, domingo dom",
    "it": "lunedì lun, martedì mar, mercoledì mer, giovedì gio, venerdì ven, sabato sab, "
    "domenica dom",
}
MONTHS, WEEKDAYS = "months", "weekdays"
CALENDARS = {MONTHS: NAMES_OF_MONTHS, WEEKDAYS: NAMES_OF_WEEKDAYS}
LONGEST_SHORT = 5  # letters
LANGUAGES = tuple(NAMES_OF_MONTHS)  # of equally good ones the first is taken


@cache
def spellings(calendar, language):
    """The spellings of each month or weekday, in order: a list of lists in lower case."""
    return [name.split() for name in CALENDARS[calendar][language].split(", ")]


def full(spelled):
    return spelled[0]


def short(spelled):
    return spelled[1] if len(spelled) > 1 else spelled[0]


@cache
def places(calendar, language):
    """The place of each spelling, from 0, a dict."""
    lists = spellings(calendar, language)
    return {text: place for place, spelled in enumerate(lists) for text in spelled}


@cache
def is_full(calendar, language, text):
    """Whether a spelling in lower case is a full one, of a name that also has a short one."""
    spelled = spellings(calendar, language)[places(calendar, language)[text]]
    return len(spelled) > 1 and (text == full(spelled) or len(text) > LONGEST_SHORT)


@cache
def pattern(calendar, language, shortened):
    """The alternatives of a regular expression for the names, the longest first.

    With `shortened` names that are only full ones are left out.
    """
    lists = spellings(calendar, language)
    texts = {text for s in lists for text in (s[1:] or s if shortened else s)}
    return "|".join(sorted(texts, key=len, reverse=True))
