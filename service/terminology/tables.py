"""Tables of the imported terminology."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, DateTime
from sqlmodel import Field, SQLModel


class ImportedRelease(SQLModel, table=True):
    """The release that is in force; one row."""

    __tablename__ = "imported_release"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=100)
    imported_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    products: int
    codes: int


class ImportedProduct(SQLModel, table=True):
    """One code of a medication and the drugs of the knowledge files it leads to."""

    __tablename__ = "imported_product"

    system: str = Field(primary_key=True, max_length=100)
    code: str = Field(primary_key=True, max_length=40)
    #: Drug ids, separated by blanks.
    drugs: str = Field(max_length=500)
    label: str = Field(max_length=500)
