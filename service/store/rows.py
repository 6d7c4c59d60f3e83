"""Rows in bulk: an INSERT of many rows at once, prepared once, for what is written with every call.

Row by row the embedded database hands the interpreter back after each, and the calls that are being answered pay for the changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect
from sqlmodel import SQLModel

#: Rows of one statement: few enough for the parameters that SQLite takes.
_AT_ONCE = 50
_Processor = Callable[[Any], Any]


class RowInsert:
    """Inserts rows of one table, given as tuples.

    Args:
        model: the table.
        columns: the columns that the tuples hold, in their order; others must have a default in the database.
    """

    def __init__(self, model: type[SQLModel], columns: Sequence[str]) -> None:
        self._table = model.__table__  # type: ignore[attr-defined]
        self._columns = tuple(columns)
        self._statement = lru_cache(maxsize=2 * _AT_ONCE)(self._written)
        self._processors = lru_cache(maxsize=4)(self._needed)

    def _written(self, dialect: Dialect, rows: int) -> str:
        quote = dialect.identifier_preparer
        names = ", ".join(quote.quote(name) for name in self._columns)
        mark = "?" if dialect.paramstyle == "qmark" else "%s"
        values = f"({', '.join([mark] * len(self._columns))})"
        return f"INSERT INTO {quote.format_table(self._table)} ({names}) VALUES {', '.join([values] * rows)}"  # noqa: S608 - names of our own tables

    def _needed(self, dialect: Dialect) -> list[tuple[int, _Processor]]:
        """(place, how a value is sent) of the columns whose values are not sent as they are."""
        types = [self._table.c[name].type.dialect_impl(dialect) for name in self._columns]
        found = [(place, kind.bind_processor(dialect)) for place, kind in enumerate(types)]
        return [(place, processor) for place, processor in found if processor is not None]

    def into(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write the rows, none for none."""
        processors = self._processors(connection.dialect)
        for first in range(0, len(rows), _AT_ONCE):
            chunk = rows[first : first + _AT_ONCE]
            sent: list[Any] = []
            for row in chunk:
                values = list(row)
                for place, processor in processors:
                    values[place] = processor(values[place])
                sent += values
            connection.exec_driver_sql(self._statement(connection.dialect, len(chunk)), tuple(sent))
