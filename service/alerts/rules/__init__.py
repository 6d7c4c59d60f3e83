"""The rules, one module per section of the clinical specification; each exports ``RULES``, and is found by being here.

A rule is a pure function ``(Case) -> Iterable[Finding]``. Its name is what a ``data-unavailable`` card shows when it fails;
``@when`` says in which cases it is asked at all.
"""

from importlib import import_module
from pkgutil import iter_modules

from service.alerts.rules.asked import Rule


def _all() -> tuple[Rule, ...]:
    """The rules of every module, by the name of the module, in the order in which it lists them."""
    modules = (import_module(f"{__name__}.{name}") for name in sorted(m.name for m in iter_modules(__path__)))
    return tuple(rule for module in modules for rule in getattr(module, "RULES", ()))


RULES: tuple[Rule, ...] = _all()
