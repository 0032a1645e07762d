"""What every answer shares: how times are written, pages of lists, former names of fields."""

from __future__ import annotations

import datetime as dt
import operator
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema, computed_field

from inventory_service.accounts import roles
from inventory_service.clock import iso
from inventory_service.codes import statuses
from inventory_service.registry import liveness


def one_of(*values: str) -> WithJsonSchema:
    """Tells clients which words a text can be. It is not held against them: an answer beats none about an odd row."""
    return WithJsonSchema({"type": "string", "enum": list(values)})


_AS_TEXT = WithJsonSchema({"type": "string", "format": "date-time"})

Moment = Annotated[dt.datetime, PlainSerializer(iso, return_type=str), _AS_TEXT]
WrittenMoment = Annotated[str, _AS_TEXT]  # by `clock.iso` already, once for many answers
State = Annotated[str, one_of(*liveness.STATES)]
Status = Annotated[str, one_of(*statuses.STATUSES)]
Kind = Annotated[str, one_of(*statuses.KINDS)]
Number = Annotated[int | float, WithJsonSchema({"type": "number"})]  # 3 stays 3, and is not written 3.0
Role = Annotated[str, one_of(*roles.ROLES)]
Item = TypeVar("Item", bound="Answer")


class Answer(BaseModel):
    """One thing as the API answers it and the pages show it. `of` makes it from the row, field by field: mypy tells
    of one that is missing or of another type, and tests hold the OpenAPI document to what is answered.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    def fields(self) -> dict[str, Any]:
        """Its fields as they are, for an answer that has more of them."""
        return dict(self.__dict__)

    def to_json(self) -> dict[str, Any]:
        """As it goes out, in JSON's types."""
        return self.model_dump(mode="json", by_alias=True)


def old_name(new: str, kind: Any) -> Any:
    """A field's former name, for clients that know it: the same value, deprecated in the OpenAPI document.

    `held_release = old_name("pinned_release", int | None)`
    """
    description = f"The old name of `{new}`."
    described = computed_field(return_type=kind, description=description, json_schema_extra={"deprecated": True})
    return described(property(operator.attrgetter(new)))


class Page(Answer, Generic[Item]):
    """A list, or a part of it."""

    items: Sequence[Item]
    next: str | None = Field(description="The `cursor` of the following page; null on the last one")

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        """`ProjectPage`, as a schema's name in the document."""
        return f"{params[0].__name__}Page"


def whole(items: Sequence[Item]) -> Page[Item]:
    """A list that has no further page."""
    return Page(items=items, next=None)


def page(items: Sequence[Item], *, limit: int, cursor_of: Callable[[Item], object]) -> Page[Item]:
    """`items` holds one more than `limit` when there is a next page.

    `cursor_of`: what tells an item from all others; they are sorted by it.
    """
    shown = items[:limit]
    return Page(items=shown, next=str(cursor_of(shown[-1])) if len(items) > limit else None)
