"""How long a course of another drug is, as its instruction says in words: “for 7 days”, “x 7/7”, “7 Tage lang”, “until finished”.

Only what can mean nothing else is read, as the drug counts as stopped from then on: a text that goes on afterwards (“then 250 mg”,
“danach”), that names two lengths, or that asks for a look first, has no length here, and the drug counts as taken on. English, German,
French, Dutch, Spanish, Italian.
"""

from __future__ import annotations

import re
import unicodedata

from msgspec import Struct

_NUMBERS = {
    "a": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "fourteen": 14,
    "ein": 1, "eine": 1, "einen": 1, "zwei": 2, "drei": 3, "vier": 4, "funf": 5, "sechs": 6, "sieben": 7, "acht": 8, "neun": 9, "zehn": 10, "vierzehn": 14,
    "un": 1, "une": 1, "deux": 2, "trois": 3, "quatre": 4, "cinq": 5, "sept": 7, "huit": 8, "neuf": 9, "dix": 10, "quatorze": 14,
    "een": 1, "twee": 2, "drie": 3, "vijf": 5, "zes": 6, "zeven": 7, "negen": 9, "tien": 10, "veertien": 14,
    "una": 1, "dos": 2, "tres": 3, "cuatro": 4, "cinco": 5, "seis": 6, "siete": 7, "ocho": 8, "nueve": 9, "diez": 10, "catorce": 14,
    "due": 2, "tre": 3, "quattro": 4, "cinque": 5, "sei": 6, "sette": 7, "otto": 8, "nove": 9, "dieci": 10, "quattordici": 14,
}  # fmt: skip
_DAY, _WEEK, _MONTH = 1, 7, 30
_UNITS = {
    _DAY: r"d|days?|tage?n?|jours?|dagen|dag|dias?|giorn[oi]",
    _WEEK: r"wks?|weeks?|wochen?|semaines?|weken|semanas?|settiman[ae]",
    _MONTH: r"months?|monate?n?|mois|maanden|maand|meses|mes|mes[ei]",
}
#: Days by the denominator of the British way to write them: 7/7, 2/52, 3/12.
_OF = {"7": _DAY, "52": _WEEK, "12": _MONTH}
_NUMBER = r"\d{1,3}|" + "|".join(sorted(_NUMBERS, key=len, reverse=True))
_UNIT = "|".join(_UNITS.values())
_LENGTH = rf"(?P<number>{_NUMBER})[\s-]*(?P<unit>{_UNIT})\b|(?P<count>\d{{1,3}})\s?/\s?(?P<of>7|52|12)\b"
_BEFORE = (
    r"for (?:the next |a total of |another )?|for|x ?|during |course of |total(?: of)? "
    r"|fur (?:die nachsten )?|wahrend |insgesamt "
    r"|pendant |durant |pour |cure de "
    r"|gedurende |voor |kuur van "
    r"|durante |por |per |ciclo di "
)
_STOP = r"stop|discontinue|end|finish|absetzen|beenden|ende|arreter|arret|stoppen|suspender|parar|sospendere|interrompere"
_THEN = r"then|and|dann|danach|und|puis|et|ensuite|daarna|dan|en|luego|despues|y|poi|quindi|e"
_AFTER = rf"\s*(?:course|only|in total|lang|kur|kuur|nur|seulement|solo)\b|[\s,;.–-]*(?:(?:{_THEN})\s+)?(?:{_STOP})\b"
_COURSE = re.compile(rf"\b(?P<before>{_BEFORE})?(?:{_LENGTH})(?P<after>{_AFTER})?")
#: “per 7 giorni” is for so long; “2 per 7 days” is how often.
_ITALIAN = re.compile(r"giorn|settiman|mes[ei]$")
#: What follows, or comes before, is no end that can be counted on.
_GOES_ON = re.compile(
    r"\b(?:then|thereafter|afterwards?|followed by|continue|ongoing|long.?term|indefinitely|review|reassess|repeat|unless|if|after|at least|minimum|up to|from day|supply|dispense|not|no|nicht|kein\w*|vorrat|packung|ne|niet|non"
    r"|dann|danach|anschliessend|weiter\w*|dauerhaft|wiederholen|falls|wenn|nach|mindestens|ab tag"
    r"|puis|ensuite|continuer|poursuivre|renouveler|si|apres|au moins"
    r"|daarna|vervolgens|doorgaan|herhalen|indien|na|minstens"
    r"|luego|despues|continuar|seguir|repetir|tras|al menos"
    r"|poi|quindi|continuare|proseguire|ripetere|se|dopo|almeno"
    # Again and again, or kept for another day.
    r"|(?:every|each|per|jede[mnrs]?|pro|chaque|par|tous les|elke|iedere|cada|ogni|al) (?:other |second )?(?:week|month|cycle|year|woche|monat|zyklus|jahr|semaine|mois|cycle|week|maand|cyclus|semana|mes|ciclo|settimana|mese)"
    r"|monthly|cycles?|courses|monatlich|mensuel\w*|maandelijks|mensual\w*|mensil\w*"
    r"|when\w*|prn|as needed|as required|rescue|stand.?by|bedarf|reserve|lorsque|quand|au besoin|wanneer|zo nodig|cuando|quando|al bisogno)\b"
)
_UNTIL_FINISHED = re.compile(
    r"\buntil (?:all )?(?:finished|gone|completed?|the (?:course|pack|box|supply) is (?:finished|complete|gone))\b|\b(?:finish|complete) the (?:course|pack|box)\b"
    r"|\bbis (?:zum ende der packung|die packung (?:leer|aufgebraucht) ist|aufgebraucht)\b|\bpackung (?:aufbrauchen|zu ende nehmen)\b"
    r"|\bjusqu'?a (?:la )?fin (?:de la boite|du traitement|du paquet)\b|\bterminer la boite\b"
    r"|\bkuur afmaken\b|\btot (?:de kuur|het) op is\b|\bhasta (?:terminar|acabar)(?: (?:la caja|el envase|el tratamiento))?\b|\bfino (?:a|al) (?:termine|fine)(?: (?:della|la) confezione)?\b"
)


class CourseText(Struct, frozen=True):
    """What a text says of the length of a course."""

    #: Days; None where it does not say.
    days: int | None = None
    #: As long as what was supplied lasts.
    until_finished: bool = False


def read_course(text: str) -> CourseText:
    """The length of a course in a dosage text; nothing where it can mean something else."""
    plain = _plain(text)
    if not plain:
        return CourseText()
    found = [m for m in _COURSE.finditer(plain) if _is_length(m)]
    rest = plain
    for m in reversed(found):
        rest = f"{rest[: m.start()]} {rest[m.end() :]}"
    finished = _UNTIL_FINISHED.search(rest)
    if finished is not None:
        rest = f"{rest[: finished.start()]} {rest[finished.end() :]}"
    if _GOES_ON.search(rest):
        return CourseText()
    lengths = {_days(m) for m in found}
    if len(lengths) > 1:
        return CourseText()
    days = next(iter(lengths), None)
    return CourseText(days, finished is not None)


def _is_length(m: re.Match[str]) -> bool:
    """Days alone may be those between two doses, or, as in 5/7, days out of a week."""
    if m["before"] == "per ":
        return m["unit"] is not None and _ITALIAN.match(m["unit"]) is not None
    return m["before"] is not None or m["after"] is not None


def _days(m: re.Match[str]) -> int:
    if m["count"] is not None:
        return int(m["count"]) * _OF[m["of"]]
    number = int(m["number"]) if m["number"].isdigit() else _NUMBERS[m["number"]]
    return number * next(days for days, words in _UNITS.items() if re.fullmatch(words, m["unit"]))


def _plain(text: str) -> str:
    """Small letters without accents, and one space between words."""
    apart = unicodedata.normalize("NFKD", text.lower().replace("ß", "ss").replace("×", "x").replace("’", "'"))
    return " ".join("".join(c for c in apart if not unicodedata.combining(c)).split())
