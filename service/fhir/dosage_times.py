"""How often, when and how long, in a dosage text: words to items (``dosage_items`` has the other words)."""

from __future__ import annotations

from service.alerts.facts.reason import because
from service.fhir.dosage_amounts import FORMS
from service.fhir.dosage_item import Items


class Times(Items):
    """A method for each kind of word of time; it looks at the words from ``at`` on and moves it past what it took."""

    def _frequency(self) -> None:
        self._take("frequency")

    def _daily(self) -> None:
        self._take("daily")

    def _alternate(self) -> None:
        self.at += 1
        self.add("alternate", 2.0, often=because("often.other-day"))

    def _as_needed(self) -> None:
        self._take("as_needed")

    def _meals(self) -> None:
        self._take("meals")

    def _part(self) -> None:
        # “100 mg 8 am”, “at 8 am”: the number before has already taken it
        if self.text() == "om" and self.text(2) == "uur" and self._at_a_clock_time():
            return  # Dutch: “om 8 uur”; “2 om 1 pm” are two in the morning
        self._take("part")

    def _clock(self) -> None:
        value = self.value()
        self.at += 1
        while self.kind() == "o_clock" or self.text() in ("h", "hrs", "hours", "heures", "uur", "horas"):
            self.at += 1
        self.add("clock", value)

    def _divided(self) -> None:
        self.at += 1
        number = None
        ahead = 1 if self.kind() == "in" else 0
        got = self.number(ahead)
        if got is not None and self.kind(ahead + got[1]) == "doses":
            number = got[0]
            self.at += ahead + got[1] + 1
        elif self.kind(ahead) == "doses":
            self.at += ahead + 1
        self.add("divided", number)

    def _in(self) -> None:
        # “in 2 divided doses”, “in two doses”
        got = self.number(1)
        if got is not None and self.kind(1 + got[1]) == "divided":
            self.at += 2 + got[1] + (self.kind(2 + got[1]) == "doses")
            self.add("divided", got[0])
        elif got is not None and self.kind(1 + got[1]) == "doses":
            self.at += 2 + got[1]
            self.add("divided", got[0])
        elif self.kind(1) == "divided":
            self.at += 1
            self._divided()
        elif self._leads_to_a_time(1):
            self.at += 1
        else:
            self.not_known()

    def _before(self) -> None:
        if self.text() == "on" and not self._leads_to_a_time(1):
            # ON: omni nocte, where nothing follows that “on” could stand before
            following = self.kind(1)
            amount_follows = following == "number" and self.kind(2) in ("mass", "unit", "units")
            if (
                following in ("end", "stop", "and", "as_needed")
                or self.is_sign(",)", 1)
                or amount_follows
                or following == "for"
            ):
                self.at += 1
                self.add("part", "HS")
                return
        if self._leads_to_a_time(1) or self.kind(1) in ("ailment", "harmless", "meals"):
            self.at += 1
        else:
            self.not_known()

    def _at(self) -> None:
        if not self._at_a_clock_time():
            self._at_a_part()

    def _at_a_clock_time(self) -> bool:
        """“at 8 am”, “um 20 Uhr”, “à 8 h”."""
        got = self._clock_time(1, after_at=True)
        if got is None:
            return False
        self.at += 1 + got[1]
        self.add("clock", got[0])
        return True

    def _at_a_part(self) -> None:
        if self._leads_to_a_time(1):
            self.at += 1
        else:
            self.not_known()

    def _every(self) -> None:
        ahead = 1
        if self.text(1) == "single":
            ahead = 2
        if self.kind(ahead) == "part":
            self.at += 1
            return
        if self.kind(ahead) in ("second", "third") and self.kind(ahead + 1) in (
            "day",
            "days",
            "part",
            "nights",
        ):
            days = 2.0 if self.kind(ahead) == "second" else 3.0
            name = because("often.every-other" if days == 2 else "often.every-third", of=self.text(ahead + 1))
            self.at += ahead + (0 if self.kind(ahead + 1) == "part" else 1)
            self.at += 1
            self.add("alternate", days, often=name)
            return
        got = self.number(ahead)
        if got is not None:
            value, used, _ = got
            after = ahead + used
            low = self.simple(ahead)
            assert low is not None, "a number begins with one"
            if self.kind(after) == "hours":
                self.at += after + 1
                self.add("hours", low[0])  # of “every 4 to 6 hours” the shorter
                return
            if self.kind(after) == "hourly":
                self.at += after + 1
                self.add("hours", low[0])
                return
            if self.kind(after) in ("days", "nights") and low[0] > 1:
                self.at += after + 1
                self.add("alternate", low[0], often=because("often.every-days", days=low[0]))
                return
            if self.kind(after) in FORMS or value:  # “each 2 tablets”
                self.not_known()
                return
        self.not_known()

    def _second(self) -> None:
        # “alternate nights”, “other” alone is not known
        if self.text() == "alternate" and self.kind(1) in ("part", "nights", "day", "days"):
            often = because("often.alternate", of=self.text(1))
            self.at += 1 if self.kind(1) == "part" else 2
            self.add("alternate", 2.0, often=often)
        else:
            self.not_known()

    def _x(self) -> None:
        # “x 30 days”; “x 2 daily”, “x3/day”
        got = self.number(1)
        if got is not None:
            after = 1 + got[1]
            if self.kind(after) in ("days", "nights", "long") or (self.kind(after) == "day" and got[0] == 1):
                self.at += after + 1
                self.add("length")
                return
            if self.kind(after) == "daily":
                self.at += after
                self.add("once", got[0])
                return
        self.not_known()

    def _for(self) -> None:
        if self.kind(1) in ("for", "ailment", "purpose", "describing", "harmless") or (
            self.kind(1) == "before" and self.kind(2) in ("ailment", "describing")
        ):
            self.at += 1
            return
        ahead = 1
        while self.text(ahead) in ("the", "next", "a", "les", "die", "de") and ahead < 4:
            ahead += 1
        got = self.number(ahead)
        if got is not None and self.kind(ahead + got[1]) in ("days", "day", "nights", "long"):
            self.at += ahead + got[1] + 1
            self.add("length")
        elif self.kind(ahead) == "long" and self.text(ahead - 1) in ("a", "the", "next"):
            self.at += ahead + 1
            self.add("length")
        else:
            self.not_known()

    def _hours_before(self) -> None:
        # “before bed”, “after breakfast”
        if self._leads_to_a_time(1):
            self.at += 1
        else:
            self.not_known()

    def _once(self) -> None:
        value = self.value()
        self.at += 1
        if self.kind() == "or" or self.is_sign("-/"):  # “once or twice daily”
            if self.kind(1) == "frequency":
                self.at += 2
                self.add("frequency", self.words[self.at - 1].value)
                return
            if self.kind(1) == "once":
                self.at += 2
                self.add("once", self.words[self.at - 1].value)
                return
        self.add("once", value)
