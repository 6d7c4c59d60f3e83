"""The parts of a dosage text: amounts, times, and what joins them, made from its words (``dosage_words``), left to right, each word once."""

from __future__ import annotations

from service.alerts.facts.reason import because
from service.fhir.dosage_amounts import FORMS, MOST_BARE, Amount, NotRead
from service.fhir.dosage_item import TIMES, Item
from service.fhir.dosage_times import Times

#: A scheme (1-0-1) of more tablets at a time is none; without the word “tablets” halves are of no more than so many.
_MOST_IN_A_SCHEME = 20
_MOST_HALVED = 5
_TAKE = frozenset({"take", "taken", "to be taken"})
#: Of a text with words that are not known.
NOT_UNDERSTOOD = "dose-text.not-understood"
#: Words that were not understood and are named.
_NAMED = 4
_SCHEME = ("MORN", "NOON", "EVE", "HS")
#: Blood counts and what comes with them, in “hold if ANC < 1500”.
_HOLD_WORDS = frozenset(
    [
        "anc",
        "wbc",
        "wcc",
        "neutrophils",
        "neutrophil",
        "count",
        "is",
        "are",
        "below",
        "less",
        "than",
        "under",
        "and",
        "or",
        "drops",
        "falls",
        "k",
        "ul",
        "mm",
        "mcl",
        "l",
        "sedated",
        "drowsy",
        "sbp",
        "hr",
        "bpm",
        "systolic",
        "bp",
        "pulse",
        "missed",
    ]
)


def _may_be_tablets(number: float) -> bool:
    """A number that a scheme without a unit may mean by tablets: halves and quarters of few, whole ones of more; “12,5-0-12,5” are mg."""
    part = 4 if number < 2 else 2 if number < _MOST_HALVED else 1
    return number <= MOST_BARE and (number * part).is_integer()


class Reader(Times):
    """Words to items. Each method looks at the words from ``at`` on and moves it past what it took."""

    # -- schemes ------------------------------------------------------------------------------------------------

    def scheme(self) -> bool:
        """“1-0-1”, “1-0-0-2 Tabletten”, “½-0-1”, “100-0-200 mg”: morning, noon, evening, night."""
        numbers: list[float] = []
        ahead = 0
        while True:
            got = self._scheme_number(ahead)
            if got is None:
                return False
            numbers.append(got[0])
            ahead += got[1]
            if len(numbers) == 4 or not self.is_sign("-–—", ahead):
                break
            ahead += 1
        if len(numbers) < 3 or not any(numbers):
            return False
        unit = "tablet"
        if self.kind(ahead) == "mass":
            numbers = [n * self.value(ahead) for n in numbers]
            unit = "mg"
            ahead += 1
        elif self.kind(ahead) in FORMS:
            ahead += 1
            if max(numbers) > _MOST_IN_A_SCHEME:
                return False
        elif self.kind(ahead) in ("volume", "number") or self.is_sign("-–—/", ahead):
            return False
        elif not all(map(_may_be_tablets, numbers)):
            raise NotRead(because("dose-text.scheme", scheme="-".join(f"{n:g}" for n in numbers)))
        self.at += ahead
        self.add("scheme", [(Amount(n, unit), part) for n, part in zip(numbers, _SCHEME, strict=False) if n])
        return True

    def _scheme_number(self, ahead: int) -> tuple[float, int] | None:
        if self.kind(ahead) == "vulgar":
            return self.value(ahead), 1
        if self.kind(ahead) != "number" or not self.text(ahead)[0].isdigit():
            return None
        if self.kind(ahead + 1) == "vulgar":
            return self.value(ahead) + self.value(ahead + 1), 2
        if self.is_sign("/", ahead + 1):
            return self.fraction(ahead)
        return self.value(ahead), 1

    # -- items --------------------------------------------------------------------------------------------------

    def read(self) -> list[Item]:
        """Every item. Raises NotRead, naming the words that are not known."""
        while self.at < len(self.words):
            start = self.at
            handle = getattr(self, f"_{self.kind()}", None)
            if handle is None:
                self.not_known()
            else:
                handle()
            assert self.at > start, "a word was not taken"
        if self.unknown:
            named = list(dict.fromkeys(self.unknown))
            words = tuple(because("dose-text.word", word=word[:20]) for word in named[:_NAMED])
            more = len(named) > _NAMED
            named_words = because("dose-text.more-words" if more else "dose-text.words", words=words)
            raise NotRead(because(NOT_UNDERSTOOD, words=named_words))
        return self.items

    def _harmless(self) -> None:
        self.at += 1

    _ailment = _harmless

    def _stop(self) -> None:
        self._take("stop")

    def _and(self) -> None:
        if self.text() == "en" and (got := self.number(1)) is not None and self.kind(1 + got[1]) == "doses":
            self._in()  # French and Spanish: “en 2 prises”; Dutch “en” is “and”
            return
        if self.text(1) in _TAKE:
            self.at += 1  # “in water and take with food”: it joins what is done, not two times
            return
        self._take("and")

    def _or(self) -> None:
        self._take("or")

    def _unknown(self) -> None:
        if self.simple(0) is not None:  # “a tablet”
            self._an_amount()
        elif self.text() == "a" and self._at_a_clock_time():
            return  # French: “à 8 h”
        elif self.text() == "an" and self.kind(1) in ("end", "stop", "and") and self._is_dutch():
            self.at += 1
            self.add("part", "HS")  # “1dd1t an”: ante noctem
        else:
            self.not_known()

    def _at_least(self) -> None:
        # “at least 30 minutes before food”; “at least 100 mg” is left open
        got = self.number(1)
        if got is not None and self.kind(1 + got[1]) in ("hours", "minutes"):
            self.at += 1
        else:
            self.not_known()

    def _of(self) -> None:
        if self.kind(1) in ("ailment", "describing") or (
            self.kind(1) == "before" and self.kind(2) in ("ailment", "describing")
        ):
            self.at += 1
        else:
            self.not_known()

    def _purpose(self) -> None:
        ahead = 1
        while self.kind(ahead) in ("describing", "purpose", "before", "of") and ahead < 5:
            ahead += 1
        if self.kind(ahead) == "ailment":
            self.at += ahead + 1
        else:
            self.not_known()

    def _describing(self) -> None:
        # “the blood pressure”, “high blood pressure”
        if self.kind(1) in ("ailment", "describing"):
            self.at += 1
        else:
            self.not_known()

    def _if(self) -> None:
        if self.kind(1) == "ailment":
            self.at += 2
            self.add("as_needed")
        else:
            self.not_known()

    def _up_to(self) -> None:
        if self.kind(1) in ("number", "vulgar", "frequency", "once") or self.simple(1) is not None:
            self.at += 1
            self.add("up_to")
        else:
            self.not_known()

    def _most(self) -> None:
        """“max 8 in 24 hours”, “maximum 900 mg daily”, “no more than 4 doses a day”."""
        self.at += 1
        if self.is_sign(":=") or self.kind() == "of":
            self.at += 1
        got = self.amount()
        if got is None:
            if (
                not self.items
                or self.items[-1].kind not in TIMES
                or self.kind() not in ("end", "stop", "sign")
            ):
                self.unknown.append(self.words[self.at - 1].text)
            return  # “4 times daily max”
        amount, used = got
        self.at += used
        counts_doses = self.kind() in ("doses", "times")
        if counts_doses:
            self.at += 1
        daily = self.kind() == "daily" or self.kind() == "day"
        if daily:
            self.at += 1
        self.add("limit", amount, "doses" if counts_doses else "daily" if daily else "")

    def _total(self) -> None:
        """“total 300 mg daily”, “total daily dose: 300 mg”; after an amount (“300 mg total”) the amount has taken it."""
        ahead = 1
        while self.is_sign(":=", ahead) or self.text(ahead) in ("of", "is"):
            ahead += 1
        got = self.amount(ahead)
        if got is None or got[0].unit == "bare":
            self.not_known()
            return
        self.at += ahead + got[1]
        if self.kind() == "daily":
            self.at += 1
        self.add("sum", got[0])

    _that_is = _total

    def _quantity(self) -> None:
        ahead = 1
        while self.is_sign(":=#", ahead) or self.kind(ahead) == "of":
            ahead += 1
        if self.kind(ahead) == "number":
            ahead += 1
            ahead += self.kind(ahead) in (*FORMS, "days", "day", "long", "mass", "volume")
            self.at += ahead
        else:
            self.not_known()

    def _refills(self) -> None:
        if self.is_sign(":=", 1) and self.kind(2) == "number":
            self.at += 3
        else:
            self.not_known()

    def _hold(self) -> None:
        """“hold if ANC < 1500”: when not to take it, of no more than blood counts and the like."""
        if self.kind(1) not in ("if", "for"):
            self.not_known()
            return
        ahead = 2
        while self.kind(ahead) not in ("end", "stop"):
            word = self.words[self.at + ahead]
            if not (word.kind in ("number", "sign") or word.text in _HOLD_WORDS):
                self.not_known()
                return
            ahead += 1
        self.at += ahead

    def _unit(self) -> None:
        # “Tabl. 1-0-1”: the unit before its number; otherwise a number is missing
        if self._scheme_number(1) is not None and self.is_sign(
            "-–—", 1 + (self._scheme_number(1) or (0, 0))[1]
        ):
            self.at += 1
        else:
            self.not_known()

    _units = _unit

    def _mass(self) -> None:
        self.not_known()

    _volume = _spoon = _day = _days = _nights = _long = _hours = _minutes = _hourly = _doses = _mass

    _to = _third = _next = _times = _each_holds = _french_day = _dutch_times = _mass

    def _vulgar(self) -> None:
        self._number()

    def _number(self) -> None:
        if self.scheme():
            return
        # “30 minutes before food”, “2 hours before bedtime”, “an hour before breakfast”
        got = self.number()
        assert got is not None, "a number is one"
        value, used, is_range = got
        low = self.simple(0)
        assert low is not None, "a number begins with one"
        after = self.kind(used)
        if after in ("hours", "minutes"):
            if self.kind(used + 1) == "hours_before" and self._leads_to_a_time(used + 2):
                self.at += used + 2
                return
            if self.kind(used + 1) in ("harmless", "meals") and (
                "before" in self.text(used + 1) or "after" in self.text(used + 1)
            ):
                self.at += used + 2
                return
            self.not_known()
            return
        if self.is_sign("-", used) and self.kind(used + 1) == "times":
            used, after = used + 1, "times"  # “2-mal”
        if after == "hourly":
            self.at += used + 1
            self.add("hours", low[0])
            return
        if self.is_sign("-", used) and self.kind(used + 1) == "hourly":
            self.at += used + 2
            self.add("hours", low[0])
            return
        if after == "times" or (after == "x" and self.kind(used + 1) in ("daily", "day", "french_day")):
            self.at += used + 1
            if self.is_sign("/") and self.kind(1) == "french_day":
                self.at += 2
                self.add("frequency", value)
            elif self.kind() in ("day", "french_day"):
                self.at += 1
                self.add("frequency", value)
            else:
                self.add("once", value)
            return
        if after == "dutch_times":
            self._dutch(value, used)
            return
        if after == "refills" or (after in ("day", "days") and self.kind(used + 1) == "quantity"):
            self.at += used + (1 if after == "refills" else 2)
            return
        if after == "daily" and self.text(used).startswith("/") and self.last().kind == "amount":
            self.at += used + 1
            self.add("frequency", value)  # “one 3/day”
            return
        clock = self._clock_time(0)
        if clock is not None and not is_range:
            last = self.last()
            if last.kind == "clock" or (last.kind == "amount" and last.value.unit != "bare"):
                self.at += clock[1]
                self.add("clock", clock[0])
                return
            raise NotRead(because("dose-text.hour-or-tablets", number=self.text(), half=self.text(1)))
        self._an_amount()

    def _is_dutch(self) -> bool:
        return any(word.kind == "dutch_times" for word in self.words)

    def _dutch(self, times: float, used: int) -> None:
        """“1dd2t”: once a day two tablets."""
        self.at += used + 1
        self.add("frequency", times)
        got = self.number()
        if got is not None and self.text(got[1]) in ("t", "c"):
            self.at += got[1] + 1
            self.add("amount", Amount(got[0], "tablet"))

    def _an_amount(self) -> None:
        got = self.amount()
        assert got is not None, "a number is an amount"
        amount, used = got
        before = self.items[-1].kind if self.items else ""
        up_to = before == "up_to"
        if up_to:
            self.items.pop()
            amount = Amount(amount.number, amount.unit, amount.each_mg, True, amount.is_range)
        self.at += used
        if self.kind() == "doses":
            self.not_known()
            return
        if (
            self.kind() == "sign"
            and self.text() == "/"
            and self.kind(1) in ("volume", "unit", "units")
            and amount.unit == "mg"
        ):
            raise NotRead(because("dose-text.concentration"))
        if amount.unit == "mg" and self.kind() == "total":
            self.at += 1
            self.add("restated", amount, "total")
            return
        last = self.last()
        if (
            amount.unit == "tablet"
            and self._in_brackets(used)
            and self.is_sign(")")
            and last.kind == "amount"
            and last.value.unit == "mg"
        ):
            self.add("restated", amount, "equal")  # “200 mg (2 tablets)”
            return
        if amount.unit == "mg" and self._in_brackets(used):
            each = self.kind() == "every" or self.text() == "per"
            self.at += 1 if each else 0
            if self.is_sign(")"):
                self.add("restated", amount, "each" if each else "")
                return
            if self.kind() == "daily" and self.is_sign(")", 1):
                self.at += 1
                self.add("sum", amount)
                return
            if each:
                self.not_known()
                return
        self.add("amount", amount)

    def _in_brackets(self, used: int) -> bool:
        """The amount just taken stands first in brackets: “2 tablets (200 mg)”."""
        return self.at - used > 0 and self.words[self.at - used - 1].text == "("

    def _sign(self) -> None:
        sign = self.text()
        if sign == "/" and self.kind(1) == "french_day":
            self.at += 2
            self.add("daily", 1.0)
        elif sign == "/" and self.kind(1) == "number" and self.kind(2) == "hours":
            hours = self.value(1)
            self.at += 3
            self.add("hours", hours)  # “1 cp / 8 h”
        elif sign in "&+/":
            self.at += 1
            self.add("and" if sign != "/" or self.last().kind in ("part", "clock") else "comma")
        elif sign == "=":
            got = self.amount(1)
            if got is None or got[0].unit == "bare":
                self.not_known()
                return
            self.at += 1 + got[1]
            if self.kind() == "daily":
                self.at += 1
                self.add("sum", got[0])
            else:
                self.add("restated", got[0], "equal")
        elif sign == "#" and self.kind(1) == "number":
            self.at += 2
            self.at += self.kind() in FORMS
        elif sign == "[" and self.kind(1) == "number" and self.is_sign("]", 2):
            self.at += 3  # “[28]”: how many are handed out
        elif sign == "@" and self._at_a_clock_time():
            return
        elif sign == ".":  # of “tab.”
            self.at += 1
        elif sign in ",:()-–—[]*":
            self.at += 1
            self.add("comma", text=sign)
        else:
            self.not_known()
