"""Numbers and amounts in a dosage text, made from its words (``dosage_words``): “two 100 mg tablets”, “1½ of 25 mg”, “10 ml”."""

from __future__ import annotations

import math
from typing import Any

from msgspec import Struct

from service.alerts.facts.reason import Reason, because
from service.fhir.dosage_words import Word
from service.fhir.strength import Strength


class NotRead(Exception):
    """A text that is not understood, and what of it."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


#: Numbers above these are no count of tablets, no number of times a day.
_MOST_TABLETS = 60
#: A number without a unit is a number of tablets up to here; more may be mg.
MOST_BARE = 10
#: Kinds of words that name a tablet, capsule or other unit.
FORMS = frozenset({"unit", "units"})


class Amount(Struct, frozen=True):
    """How much is taken at a time: a number of mg, of mL, or of tablets (``each_mg``: what the text says one holds)."""

    number: float
    unit: str  # mg, ml, tablet; bare: a number alone
    each_mg: float | None = None
    up_to: bool = False
    is_range: bool = False

    def mg(self, strength: Strength) -> float:
        """Raises NotRead when the product does not tell."""
        if self.unit == "mg":
            return self.number
        if self.unit == "ml":
            if strength.mg_per_ml is None:
                raise NotRead(because("dose-text.ml"))
            return self.number * strength.mg_per_ml
        if self.unit == "bare" and strength.mg_per_ml is not None:
            raise NotRead(because("dose-text.number-alone"))
        if self.each_mg is not None:
            if strength.mg_per_unit is not None and not same(self.each_mg, strength.mg_per_unit):
                raise NotRead(because("dose-text.each", said=self.each_mg, product=strength.mg_per_unit))
            return self.number * self.each_mg
        if strength.mg_per_unit is None:
            if strength.conflict:
                raise NotRead(because("dose-text.tablets-conflict", conflict=strength.conflict))
            raise NotRead(because("dose-text.tablets"))
        return self.number * strength.mg_per_unit


def same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-6)


class Amounts:
    """Looks at the words from ``at`` on for a number or an amount, and says how many words it takes; moves nothing."""

    def __init__(self, words: list[Word]) -> None:
        self.words = words
        self.at = 0

    # -- looking ------------------------------------------------------------------------------------------------

    def kind(self, ahead: int = 0) -> str:
        return self.words[self.at + ahead].kind if self.at + ahead < len(self.words) else "end"

    def text(self, ahead: int = 0) -> str:
        return self.words[self.at + ahead].text if self.at + ahead < len(self.words) else ""

    def value(self, ahead: int = 0) -> Any:
        return self.words[self.at + ahead].value

    def is_sign(self, signs: str, ahead: int = 0) -> bool:
        return self.kind(ahead) == "sign" and self.text(ahead) in signs

    # -- numbers ------------------------------------------------------------------------------------------------

    def simple(self, ahead: int) -> tuple[float, int] | None:
        """(number, words) of “2”, “two”, “½”, “1/2”, “1 1/2”, “one and a half”, “half a”."""
        if self.text(ahead) in ("a", "an") and (
            self.kind(ahead + 1) in FORMS
            or (self.kind(ahead + 1) == "number" and self.kind(ahead + 2) == "mass")
        ):
            return 1.0, 1
        if self.kind(ahead) == "vulgar":
            return self.value(ahead), self._article(ahead, 1)
        if self.kind(ahead) != "number":
            return None
        value, used = self.value(ahead), 1
        if value < 1:
            return value, self._article(ahead, 1)
        fraction = self.fraction(ahead)
        if fraction is not None:
            return fraction[0], self._article(ahead, fraction[1])
        # “1 1/2”, “1-1/2”, “1½”, “one and a half”
        for between in (0, 1):
            if between and not (self.kind(ahead + 1) == "and" or self.is_sign("-&+", ahead + 1)):
                break
            following = ahead + used + between
            more = self.fraction(following) or self._part_of_one(following, bool(between))
            if more is not None:
                return value + more[0], self._article(ahead, used + between + more[1])
        # “2 (two)”, “one (1)”
        if self.is_sign("(", ahead + 1) and self.kind(ahead + 2) == "number" and self.is_sign(")", ahead + 3):
            if self.value(ahead + 2) != value:
                raise NotRead(
                    because("dose-text.two-numbers", one=self.text(ahead), other=self.text(ahead + 2))
                )
            used += 3
        return value, used

    def _part_of_one(self, ahead: int, is_joined: bool) -> tuple[float, int] | None:
        """“½” after a number; “half” only after “and”: “2 half” may be two halves."""
        if self.kind(ahead) == "vulgar":
            return self.value(ahead), 1
        if self.kind(ahead) != "number" or self.value(ahead) >= 1 or self.text(ahead)[0].isdigit():
            return None
        if not is_joined:
            raise NotRead(because("dose-text.two-amounts", one=self.text(ahead - 1), other=self.text(ahead)))
        return self.value(ahead), 1

    def fraction(self, ahead: int) -> tuple[float, int] | None:
        if self.kind(ahead) == "number" and self.is_sign("/", ahead + 1) and self.kind(ahead + 2) == "number":
            top, bottom = self.value(ahead), self.value(ahead + 2)
            if top in (1, 3) and bottom in (2, 4) and top < bottom:
                return top / bottom, 3
            raise NotRead(because("dose-text.no-fraction", top=self.text(ahead), bottom=self.text(ahead + 2)))
        return None

    def _article(self, ahead: int, used: int) -> int:
        """Past the “of a” of “half of a tablet”."""
        end = used
        if self.kind(ahead + end) == "of":
            end += 1
        if (
            self.text(ahead + end) in ("a", "an", "one", "une", "un", "een", "eine")
            and self.kind(ahead + end + 1) in FORMS
        ):
            end += 1
        return end if self.kind(ahead + end) in FORMS else used

    def number(self, ahead: int = 0) -> tuple[float, int, bool] | None:
        """(number, words, is a range): of “1-2” and “one or two” the higher."""
        first = self.simple(ahead)
        if first is None:
            return None
        value, used = first
        is_range = False
        while True:
            gap = 1 if self.kind(ahead + used) in ("or", "to") or self.is_sign("-–—", ahead + used) else 0
            if gap and self.is_sign("-–—", ahead + used) and self.kind(ahead + used + 1) in ("or", "to"):
                gap = 2
            if self.text(ahead + used) == "of" and value >= 1 and self.kind(ahead + used + 1) == "number":
                gap = 1  # Dutch: “1 of 2 tabletten”; but “2 of 100 mg” is a strength
                following = self.simple(ahead + used + 1)
                if following is None or self.kind(ahead + used + 1 + following[1]) == "mass":
                    gap = 0
            more = self.simple(ahead + used + gap) if gap else None
            if more is None:
                return value, used, is_range
            if more[0] <= value:
                last = self.text(ahead + used + gap)
                raise NotRead(because("dose-text.no-range", first=self.text(ahead), last=last))
            value, used, is_range = more[0], used + gap + more[1], True

    # -- amounts ------------------------------------------------------------------------------------------------

    def amount(self, ahead: int = 0) -> tuple[Amount, int] | None:
        """An amount with its unit, or a bare number; None when there is no number."""
        ascii_fraction = self.kind(ahead) == "number" and self.is_sign("/", ahead + 1)
        got = self.number(ahead)
        if got is None:
            return None
        value, used, is_range = got
        if self.kind(ahead + used) == "x" or self.is_sign("*", ahead + used):
            inner = self._measured(ahead + used + 1)
            if inner is not None:
                return self._multiplied(value, inner[0], is_range), used + 1 + inner[1]
            if not self.is_sign("*", ahead + used) and self.kind(ahead + used + 1) in FORMS:
                used += 1
        inner = self._measured(ahead + used)  # “two 100 mg tablets”
        if inner is not None:
            return self._multiplied(value, inner[0], is_range), used + inner[1]
        single = self._measured(ahead)
        if self.kind(ahead + used) in ("mass", "volume"):
            kind = self.kind(ahead + used)
            number = value * self.value(ahead + used)
            used += 1
            if kind == "volume":
                used += self.kind(ahead + used) == "spoon"
                return Amount(number, "ml", is_range=is_range), used
            if single is not None and self.kind(ahead + used) in FORMS:
                used += 1  # “100 mg tablet”: one of them
            return self._higher(Amount(number, "mg", is_range=is_range), ahead, used)
        if self.kind(ahead + used) in FORMS:
            if ascii_fraction and value < 1 and self.kind(ahead + used) == "units":
                raise NotRead(because("dose-text.half-or-two-tablets"))
            used += 1
            each = self._each(ahead + used)
            if each is not None:
                return Amount(value, "tablet", each[0], is_range=is_range), used + each[1]
            if value > _MOST_TABLETS:
                raise NotRead(because("dose-text.too-many-tablets", tablets=value))
            return self._higher(Amount(value, "tablet", is_range=is_range), ahead, used)
        if ascii_fraction and value < 1:
            raise NotRead(because("dose-text.half-or-two"))
        if "." in self.text(ahead) or "," in self.text(ahead):
            raise NotRead(because("dose-text.no-unit", number=self.text(ahead)))
        if value > MOST_BARE:
            raise NotRead(because("dose-text.no-unit", number=value))
        return Amount(value, "bare", is_range=is_range), used

    def _higher(self, amount: Amount, ahead: int, used: int) -> tuple[Amount, int]:
        """“50 mg to 100 mg”, “one tablet or two tablets”: the higher; but “100 mg - 2 tablets” are two amounts."""
        gap = 1 if self.kind(ahead + used) in ("or", "to") or self.is_sign("-–—", ahead + used) else 0
        if gap and not amount.is_range:
            other = self._plain_amount(ahead + used + 1)
            if other is not None and other[0].unit == amount.unit and other[0].number > amount.number:
                return Amount(other[0].number, amount.unit, is_range=True), used + 1 + other[1]
        return amount, used

    def _plain_amount(self, ahead: int) -> tuple[Amount, int] | None:
        got = self.simple(ahead)
        if got is None:
            return None
        if self.kind(ahead + got[1]) == "mass":
            return Amount(got[0] * self.value(ahead + got[1]), "mg"), got[1] + 1
        if self.kind(ahead + got[1]) in FORMS:
            return Amount(got[0], "tablet"), got[1] + 1
        return None

    def _measured(self, ahead: int) -> tuple[Amount, int] | None:
        """“100 mg”, “100 mg tablets”, “5 ml spoonfuls”: a number with a mass or a volume."""
        if self.kind(ahead) != "number" or self.kind(ahead + 1) not in ("mass", "volume"):
            return None
        number = self.value(ahead) * self.value(ahead + 1)
        if self.kind(ahead + 1) == "volume":
            return Amount(number, "ml"), 3 if self.kind(ahead + 2) == "spoon" else 2
        return (
            (Amount(number, "mg", each_mg=number), 3)
            if self.kind(ahead + 2) in FORMS
            else (Amount(number, "mg"), 2)
        )

    @staticmethod
    def _multiplied(count: float, single: Amount, is_range: bool) -> Amount:
        if single.each_mg is not None:
            return Amount(count, "tablet", single.each_mg, is_range=is_range)
        return Amount(count * single.number, single.unit, is_range=is_range)

    def _each(self, ahead: int) -> tuple[float, int] | None:
        """“2 tablets of 100 mg”."""
        if self.kind(ahead) == "of" and self.kind(ahead + 1) == "number" and self.kind(ahead + 2) == "mass":
            return self.value(ahead + 1) * self.value(ahead + 2), 3
        return None
