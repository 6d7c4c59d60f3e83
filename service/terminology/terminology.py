"""The imported terminology in the database, and in memory where calls look it up."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

from sqlalchemy import Engine, delete, insert, select

from service.alerts.knowledge.products import Product, install
from service.fhir.medication import forget_identified
from service.terminology.rxnorm import Release
from service.terminology.tables import ImportedProduct, ImportedRelease

_products = ImportedProduct.__table__  # type: ignore[attr-defined]
_releases = ImportedRelease.__table__  # type: ignore[attr-defined]
_BATCH = 5000


def store(engine: Engine, release: Release, at: datetime) -> None:
    """Replace what was imported before, in one transaction."""
    rows = iter(release.entries)
    with engine.begin() as connection:
        connection.execute(delete(_products))
        connection.execute(delete(_releases))
        while batch := list(islice(rows, _BATCH)):
            connection.execute(
                insert(_products),
                [
                    {"system": e.system, "code": e.code, "drugs": " ".join(e.drugs)[:500], "label": e.label}
                    for e in batch
                ],
            )
        connection.execute(
            insert(_releases).values(
                name=release.name,
                imported_at=at.astimezone(UTC),
                products=release.products,
                codes=len(release.entries),
            )
        )


def load(engine: Engine) -> int:
    """Make the imported codes known to this process; returns how many. Raises SQLAlchemyError."""
    with engine.connect() as connection:
        release = connection.execute(select(_releases.c.name)).scalar_one_or_none()
        if release is None:
            install({}, "")
            return 0
        # Codes of one product share the object: an NDC for every package adds up.
        shared: dict[tuple[str, str], Product] = {}
        found: dict[tuple[str, str], Product] = {}
        for row in connection.execution_options(yield_per=_BATCH).execute(select(_products)):
            key = (row.drugs, row.label)
            product = shared.get(key)
            if product is None:
                product = shared[key] = Product(tuple(row.drugs.split()), row.label, named=True)
            found[row.system, row.code] = product
    install(found, release)
    forget_identified()
    return len(found)
