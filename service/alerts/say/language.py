"""A language: its templates (``say/<language>/*.toml``) and how it writes numbers, days and lists.

A file holds tables of sentences, ``[section]`` with ``name = "template"``. A template names its parameters in braces; it is Markdown where a
sentence stands on a card and plain text where it is a summary. ``forms.toml`` holds what parameters are written with.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from string import Formatter
from typing import Any

import msgspec
from msgspec import Struct

from service.alerts.facts.reason import Reason, Value
from service.alerts.say import sentence as s
from service.alerts.say import wording as w
from service.alerts.say.sentence import Param, Sentence


class Forms(Struct, frozen=True, forbid_unknown_fields=True):
    """How a language writes parameters.

    Args:
        decimal: the decimal mark.
        day: a calendar day, for ``strftime``.
        moment: a day with its clock time, for ``strftime``.
        month, year: of a date that names no day, for ``strftime``.
        stretch: from one day to another.
        on_a_day: the word that templates have before a day.
        in_a_month: the one before a month or a year in its place; between: a stretch after such a word.
        unknown_day: in place of a day that nobody knows.
        at_most: a number that may be smaller.
        hours, days, days_and_hours: lengths of time.
        joined: the word before the last of several -> how it joins two.
        nouns: thing -> one of it and several.
    """

    decimal: str
    day: str
    month: str
    year: str
    stretch: str
    on_a_day: str
    in_a_month: str
    between: str
    moment: str
    unknown_day: str
    at_most: str
    hours: str
    days_and_hours: str
    joined: dict[str, str]
    nouns: dict[str, tuple[str, str]]


#: A template cut at its parameters: (text before, name of the parameter or empty).
Template = tuple[tuple[str, str], ...]


def parsed(template: str) -> Template:
    """A template in pieces. Raises ValueError for what is none."""
    pieces = []
    for before, name, spec, conversion in Formatter().parse(template):
        if spec or conversion or name == "":
            raise ValueError(f"a parameter is a name in braces and nothing else: {template!r}")
        pieces.append((before, name or ""))
    return tuple(pieces)


class Language:
    """Writes sentences.

    Args:
        code: BCP 47.
        templates: id -> template, cut at its parameters.
        forms: how it writes parameters.
    """

    def __init__(self, code: str, templates: dict[str, Template], forms: Forms) -> None:
        self.code = code
        self.templates = templates
        self.forms = forms
        #: Sentences without parameters, as they are: most of what is suggested.
        self._fixed = {
            id: "".join([before for before, _ in template])
            for id, template in templates.items()
            if not any(name for _, name in template)
        }
        self._writers: dict[type, Callable[[Any, bool], str]] = {
            Sentence: self._write,
            s.Number: lambda p, plain: self._number(p.value, p.digits),
            s.Quantity: lambda p, plain: (
                f"{self._number(p.value, p.digits)} {p.unit if plain else w.safe(p.unit)}"
            ),
            s.Count: lambda p, plain: w.count(p.cells),
            s.Dose: lambda p, plain: f"{self._number(p.mg, 1)} mg",
            s.Day: lambda p, plain: self._day(p),
            s.Moment: lambda p, plain: p.at.strftime(forms.moment),
            s.Hours: lambda p, plain: self._hours(p.value),
            s.Counted: lambda p, plain: self._at_most(p),
            s.Record: lambda p, plain: w.plain(p.text, p.short) if plain else w.safe(p.text, p.limit),
            s.Why: lambda p, plain: (
                w.plain(self.reason(p.reason), p.short) if plain else w.safe(self.reason(p.reason), p.limit)
            ),
            s.Sent: lambda p, plain: w.plain(p.text, p.limit) if plain else w.safe(w.plain(p.text, p.limit)),
            s.Term: lambda p, plain: w.capital(p.english) if p.first else p.english,
            s.Written: lambda p, plain: p.text,
            s.Listed: self._listed,
        }

    def summary(self, sentence: Sentence) -> str:
        """Plain text, cut to what CDS Hooks allows."""
        return w.summary(self._write(sentence, True))

    def fits(self, sentence: Sentence) -> bool:
        """Whether a summary can be shown whole."""
        return len(self._write(sentence, True)) <= w.SUMMARY_LIMIT

    def plain(self, sentence: Sentence) -> str:
        """Plain text, as long as it is."""
        return self._write(sentence, True)

    def markdown(self, sentence: Sentence) -> str:
        """GitHub-flavoured Markdown in which no text of the record acts."""
        return self._write(sentence, False)

    def reason(self, reason: Reason) -> str:
        """Why something was not read, or how it was: as it is, not escaped, for text of the record stands in it."""
        fixed = self._fixed.get(reason.id)
        if fixed is not None:
            return fixed
        written = ""
        for before, name in self.templates[reason.id] if reason else ():
            written += before
            if name:
                written += self._in_reason(reason.params[name])
        return written

    def _in_reason(self, value: Value) -> str:
        if isinstance(value, Reason):
            return self.reason(value)
        if isinstance(value, tuple):
            return ", ".join(map(self._in_reason, value))
        if isinstance(value, date):
            return value.strftime(self.forms.day)
        if isinstance(value, float):
            return f"{value:g}".replace(".", self.forms.decimal)
        return str(value)

    def _write(self, sentence: Sentence, plain: bool) -> str:
        fixed = self._fixed.get(sentence.id)
        if fixed is not None:
            return fixed
        params, writers = sentence.params, self._writers
        written = ""
        for before, name in self.templates[sentence.id]:
            written += before
            if name:
                param = params[name]
                if type(param) is s.Day and param.until is not None:
                    written = self._within(written, param)
                else:
                    written += writers[type(param)](param, plain)
        return written

    def _within(self, before: str, day: s.Day) -> str:
        """A text with a month, a year or a stretch of days after it: “on 2026-03-14” is “in 2026-03” where the day is not known."""
        forms, word = self.forms, self.forms.on_a_day
        if not before.endswith(word):
            return before + self._day(day)
        before = before.removesuffix(word)
        month_or_year = self._month_or_year(day)
        return before + (
            forms.in_a_month + month_or_year if month_or_year else self._days(day, forms.between)
        )

    def _day(self, day: s.Day) -> str:
        if day.on is None:
            return self.forms.unknown_day
        if day.until is None:
            return day.on.strftime(self.forms.day)
        return self._month_or_year(day) or self._days(day, self.forms.stretch)

    def _month_or_year(self, day: s.Day) -> str:
        """The month or the year that a stretch of time is; empty for any other."""
        assert day.on is not None
        assert day.until is not None
        months = (day.until.year - day.on.year) * 12 + day.until.month - day.on.month
        if (
            (day.on.day, day.until.day) != (1, 1)
            or months not in (1, 12)
            or (months == 12 and day.on.month > 1)
        ):
            return ""
        return day.on.strftime(self.forms.month if months == 1 else self.forms.year)

    def _days(self, day: s.Day, form: str) -> str:
        assert day.on is not None
        assert day.until is not None
        last = day.until - timedelta(days=1)
        return form.format(first=day.on.strftime(self.forms.day), last=last.strftime(self.forms.day))

    def _param(self, param: Param, plain: bool) -> str:
        return self._writers[type(param)](param, plain)

    def _number(self, value: float, digits: int) -> str:
        text = w.number(value, digits)
        return text if self.forms.decimal == "." else text.replace(".", self.forms.decimal)

    def _hours(self, value: float) -> str:
        whole = round(value)
        if whole < 48:
            return self.forms.hours.format(n=whole)
        days, rest = divmod(whole, 24)
        several = self._counted(days, "day")
        return several if rest == 0 else self.forms.days_and_hours.format(days=several, n=rest)

    def _at_most(self, param: s.Counted) -> str:
        counted = self._counted(param.value, param.thing)
        return self.forms.at_most.format(n=counted) if param.at_most else counted

    def _counted(self, value: int, thing: str) -> str:
        one, several = self.forms.nouns[thing]
        return (one if value == 1 else several).format(n=value)

    def _listed(self, param: s.Listed, plain: bool) -> str:
        items = [self._param(item, plain) for item in param.items]
        if len(items) < 2 or not param.last:
            return ", ".join(items)
        return self.forms.joined[param.last].format(first=", ".join(items[:-1]), last=items[-1])


@cache
def language(code: str) -> Language:
    """A language by its code. Raises FileNotFoundError for one that is not shipped, ValueError naming file and sentence otherwise."""
    templates: dict[str, Template] = {}
    folder = files("service.alerts.say") / code
    forms: Forms | None = None
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if not file.name.endswith(".toml"):
            continue
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        if file.name == "forms.toml":
            forms = msgspec.convert(content, Forms)
            continue
        for section, sentences in content.items():
            for name, template in sentences.items():
                id = f"{section}.{name}"
                if id in templates:
                    raise ValueError(f"{code}/{file.name}: the sentence {id!r} stands in two files")
                try:
                    templates[id] = parsed(template)
                except ValueError as error:
                    raise ValueError(f"{code}/{file.name}: {id}: {error}") from None
    if forms is None:
        raise ValueError(f"{code}: forms.toml is missing")
    return Language(code, templates, forms)


def english() -> Language:
    """The language that the service is written in."""
    return language("en")
