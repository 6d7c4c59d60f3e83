"""Problems the rules ask for, recognised by code or by whole words (``knowledge/conditions.toml``)."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache

import msgspec
from msgspec import Struct

from service.alerts.facts.remembered_texts import remembering
from service.alerts.knowledge.branches import branches
from service.alerts.knowledge.code_systems import SNOMED, canonical, icd10_edition
from service.alerts.knowledge.data_file import load
from service.alerts.say.finding import Severity


class Contraindication(Struct, frozen=True, forbid_unknown_fields=True):
    """A problem that speaks against clozapine: how much, by region (``policy.interactions.severity_region``), and who says so."""

    title: str
    us: Severity
    eu: Severity
    source: str
    section: str = ""
    confirmed: bool = True


class ConditionKind(Struct, frozen=True, forbid_unknown_fields=True):
    """How one kind of problem is recognised."""

    text: tuple[str, ...] = ()
    #: Its names in German, French, Spanish, Italian and Dutch.
    abroad: tuple[str, ...] = ()
    icd10: tuple[str, ...] = ()
    #: Longer prefixes under one of ``icd10`` that mean something else.
    not_icd10: tuple[str, ...] = ()
    #: Whole codes of WHO's edition, and of national ones that divide it no further (ICD-10-AM): ICD-10-CM and ICD-10-GM gave the
    #: codes below them meanings of their own.
    icd10_whole: tuple[str, ...] = ()
    #: Prefixes that have this meaning in one edition only: ``cm``, ``gm`` or ``am``.
    icd10_in: dict[str, tuple[str, ...]] = {}
    snomed: tuple[str, ...] = ()
    contraindication: Contraindication | None = None
    #: Only what goes on now: "history of ileus" is none.
    active_only: bool = False
    #: It passes by itself: the diagnosis of an encounter is soon history (``policy.results.recent_days``).
    passing: bool = False
    #: Words that, anywhere in the text, deny it.
    without: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that names it, in any language."""
        return (*self.text, *self.abroad)


class _Guards(Struct):
    #: Words that deny a problem or give it to somebody else, before and after its name.
    before: tuple[str, ...]
    after: tuple[str, ...]
    #: Words that put a problem into the past, before and after its name.
    past: tuple[str, ...]
    past_after: tuple[str, ...]
    #: Words that may stand between one of these and the name.
    between: tuple[str, ...]
    #: Words before or after its name that say that a problem is only suspected.
    doubt: tuple[str, ...]
    #: Words that deny an allergy at the start of its text.
    no_allergy: tuple[str, ...]


class _Conditions(Struct):
    guards: _Guards
    kind: dict[str, ConditionKind]


@cache
def _conditions() -> _Conditions:
    return msgspec.convert(load("conditions.toml"), _Conditions)


@cache
def snomed_codes() -> dict[str, tuple[str, ...]]:
    """SNOMED CT code -> kinds, in the order of the kinds: those named with the kinds, and those of ``problem_codes.toml``."""
    more = msgspec.convert(load("problem_codes.toml"), dict[str, tuple[str, ...]])
    found: dict[str, tuple[str, ...]] = {}
    for key, kind in _conditions().kind.items():
        for code in dict.fromkeys((*kind.snomed, *more.get(key, ()))):
            found[code] = (*found.get(code, ()), key)
    return found


@cache
def condition_kinds() -> dict[str, ConditionKind]:
    """Every kind by id."""
    return _conditions().kind


@cache
def contraindications() -> dict[str, Contraindication]:
    """Kinds of problems that speak against clozapine."""
    return {
        key: kind.contraindication
        for key, kind in _conditions().kind.items()
        if kind.contraindication is not None
    }


@cache
def passing_kinds() -> frozenset[str]:
    """Kinds of problems that pass by themselves."""
    return frozenset(key for key, kind in _conditions().kind.items() if kind.passing)


def _longest(code: str, prefixes: tuple[str, ...]) -> int:
    """Length of the longest prefix a code begins with; points do not count, as many systems send none."""
    return max((len(bare) for p in prefixes if code.startswith(bare := p.replace(".", ""))), default=0)


@remembering(4096, 200)
def kinds_by_code(system: str, code: str) -> tuple[str, ...]:
    """Kinds a coded problem belongs to."""
    code = code.strip()
    if canonical(system) == SNOMED:
        return snomed_codes().get(code, ())
    edition = icd10_edition(system)
    if not edition:
        return ()
    bare = code.replace(".", "").upper()
    return tuple(key for key, kind in _conditions().kind.items() if _is_coded(bare, edition, kind))


def _is_coded(bare: str, edition: str, kind: ConditionKind) -> bool:
    if edition in ("who", "am") and bare in kind.icd10_whole:
        return True
    prefixes = (*kind.icd10, *kind.icd10_in.get(edition, ()))
    return _longest(bare, prefixes) > _longest(bare, kind.not_icd10)


#: What may stand between the words of one statement; a comma, a full stop or a semicolon begins another one.
_GAP = r"[^\w,.;]+"


def _folded(text: str) -> str:
    """Without accents: many systems send none, and "pericardite" is found in "Péricardite"."""
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _either(words: tuple[str, ...]) -> str:
    """One of the words, the longest that fits. Two words may be joined by a hyphen, and a title such as "stage 4" be set off by a comma."""
    return branches((_folded(word).lower() for word in words), r"[\s,-]+")


@cache
def _named(kind_id: str = "") -> re.Pattern[str]:
    """The names of one kind (else of all), without what stands around them: most texts hold none, and that is soon seen."""
    kinds = _conditions().kind
    words = (
        kinds[kind_id].names if kind_id else tuple({text for kind in kinds.values() for text in kind.names})
    )
    return re.compile(rf"\b(?:{_either(words)})\b", re.IGNORECASE)


@cache
def _without(kind_id: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{_either(_conditions().kind[kind_id].without)})\b", re.IGNORECASE)


@cache
def _statement(kind_id: str) -> re.Pattern[str]:
    """The names of one kind with the words before and after them that deny them or put them into the past."""
    guards = _conditions().guards
    between = rf"(?:(?:{_either(guards.between)}){_GAP}){{0,5}}"
    return re.compile(
        rf"(?:\b(?P<guard>{_either(guards.before)}){_GAP}{between})?(?:\b(?P<past>{_either(guards.past)}){_GAP}{between})?"
        rf"\b(?:{_either(_conditions().kind[kind_id].names)})\b"
        rf"(?:\W+(?:(?:is|was|has been|currently)\s+)?(?:(?P<denied>{_either(guards.after)})|(?P<over>{_either(guards.past_after)}))\b"
        # "schizophrenia, family history of diabetes" denies the diabetes.
        r"(?!\s+(?:of|for|to)\b))?",
        re.IGNORECASE,
    )


def _says(text: str, kind_id: str, kind: ConditionKind) -> bool:
    if not kind.text or not _named(kind_id).search(text):
        return False
    if kind.without and _without(kind_id).search(text):
        return False
    return _affirms(text, kind_id, kind)


def _affirms(text: str, kind_id: str, kind: ConditionKind) -> bool:
    """One mention at least is neither denied, nor somebody else's, nor (of what must go on now) in the past."""
    return any(
        not (m["guard"] or m["denied"]) and not (kind.active_only and (m["past"] or m["over"]))
        for m in _statement(kind_id).finditer(text)
    )


@lru_cache(maxsize=4096)
def kinds_by_text(text: str) -> tuple[str, ...]:
    """Kinds named in a problem's text, unless a guard word denies them or, for what must go on now, puts them into the past."""
    text = _folded(text)
    if not _named().search(text):
        return ()
    return tuple(key for key, kind in _conditions().kind.items() if _says(text, key, kind))


@lru_cache(maxsize=4096)
def kinds_denied_by_text(text: str) -> tuple[str, ...]:
    """Kinds that a problem's text names only to deny them, to put them into the past or to give them to somebody else.

    The code beside such a text ("Family history of epilepsy", coded as epilepsy) does not make it the patient's.
    """
    text = _folded(text)
    if not _named().search(text):
        return ()
    return tuple(
        key
        for key, kind in _conditions().kind.items()
        if kind.text and _named(key).search(text) and not _affirms(text, key, kind)
    )


@cache
def _doubt() -> re.Pattern[str]:
    guards = _conditions().guards
    between = rf"(?:(?:{_either(guards.between)}){_GAP}){{0,5}}"
    doubt, name = _either(guards.doubt), _named().pattern
    return re.compile(
        rf"(?:\b(?:{doubt}){_GAP}|\?\s*){between}{name}|{name}(?:[\W]+(?:{doubt})\b|\s*\?)", re.IGNORECASE
    )


@lru_cache(maxsize=4096)
def is_suspected(text: str) -> bool:
    """True when the text itself calls a problem that it names a suspicion, whatever its status says."""
    text = _folded(text)
    return _named().search(text) is not None and _doubt().search(text) is not None


@cache
def _no_allergy() -> re.Pattern[str]:
    return re.compile(rf"\W*(?:{_either(_conditions().guards.no_allergy)})\b", re.IGNORECASE)


def denies_allergy(text: str) -> bool:
    """True for the text of an allergy that says that there is none ("no known allergy to ...")."""
    return _no_allergy().match(text) is not None
