"""Which questions of a test are listed."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, field_validator

from server.errors import DemoError
from server.results.folder import Results
from server.results.rows import Row

PAGE = 40  # questions


class Filters(BaseModel):
    """What the questions of a list have in common; what is left out or empty is not asked for."""

    type: Annotated[str | None, Field(description="of question, as the test's types name it")] = (
        None
    )
    verdict: Annotated[
        Literal["right", "wrong", "unknown"] | None, Field(description="on the prediction")
    ] = None
    below: Annotated[
        float | None, Field(ge=0, le=1, description="predictions less sure than this")
    ] = None
    mark: Annotated[
        str | None, Field(description="a reason for doubt; only of a test that has marks")
    ] = None
    layout: Annotated[
        str | None, Field(description="predicted, module names with blanks between them")
    ] = None
    departs: Annotated[
        bool | None, Field(description="true: layouts that are not the expert's; false: that are")
    ] = None

    @field_validator("*", mode="before")
    @classmethod
    def _nothing(cls, value: object) -> object:
        # Browsers send the empty fields of a form.
        return None if value == "" else value

    def chosen(self) -> dict[str, str]:
        """The filters that are set, as the query of an address has them."""
        plain = self.model_dump(exclude_none=True, mode="json")
        return {
            name: str(value).lower() if type(value) is bool else str(value)
            for name, value in plain.items()
        }


class Listing(Filters):
    """A page of a test's questions."""

    page: Annotated[int, Field(ge=1, description="from 1")] = 1

    @field_validator("page", mode="before")
    @classmethod
    def _first(cls, value: object) -> object:
        return 1 if value is None else value


def select(results: Results, filters: Filters) -> list[int]:
    """Numbers of the rows that pass, ascending; DemoError (422) for marks where there are none."""
    if filters.mark is not None and results.marks is None:
        raise DemoError(
            422, "no_marks", f"The test {results.name} looked for no marks; leave out the filter."
        )
    return [number for number, row in enumerate(results.rows) if _passes(row, filters)]


def _passes(row: Row, filters: Filters) -> bool:
    verdict = {True: "right", False: "wrong", None: "unknown"}[row.correct]
    known = row.expert_layout != ""
    return (
        filters.type in (None, row.type)
        and filters.verdict in (None, verdict)
        and (filters.below is None or row.confidence < filters.below)
        and (filters.mark is None or filters.mark in row.marks)
        and filters.layout in (None, row.layout)
        and (
            filters.departs is None
            or (known and (row.layout != row.expert_layout) == filters.departs)
        )
    )
