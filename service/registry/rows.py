"""Rows in bulk: an INSERT prepared once, for what is written with every call. SQLAlchemy's own way costs more per row than the database's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, insert
from sqlmodel import SQLModel

_Processor = Callable[[Any], Any]


class RowInsert:
    """Inserts rows of one table, given as tuples.

    Args:
        model: the table.
        columns: the columns that the tuples hold, in their order; others take their default.
    """

    def __init__(self, model: type[SQLModel], columns: Sequence[str]) -> None:
        self._table = model.__table__  # type: ignore[attr-defined]
        self._columns = tuple(columns)
        self._prepared: dict[str, tuple[str, bool, list[tuple[int, _Processor]]]] = {}

    def _prepare(self, dialect: Dialect) -> tuple[str, bool, list[tuple[int, _Processor]]]:
        """(SQL, whether its parameters stand by position, (place, how a value is sent) where it is not sent as it is)."""
        compiled = insert(self._table).inline().compile(dialect=dialect, column_keys=self._columns)
        processors = [
            (place, processor)
            for place, name in enumerate(self._columns)
            if (processor := self._table.c[name].type.dialect_impl(dialect).bind_processor(dialect))
        ]
        return str(compiled), bool(compiled.positional), processors

    def into(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write the rows, none for none."""
        if not rows:
            return
        dialect = connection.dialect
        if dialect.name not in self._prepared:
            self._prepared[dialect.name] = self._prepare(dialect)
        sql, positional, processors = self._prepared[dialect.name]
        sent: list[Any] = []
        for row in rows:
            values = list(row)
            for place, processor in processors:
                values[place] = processor(values[place])
            sent.append(tuple(values) if positional else dict(zip(self._columns, values, strict=True)))
        connection.exec_driver_sql(sql, sent)
