"""What the API tells of tests; `/docs` is made from these."""

from typing import Annotated

from pydantic import BaseModel, Field

from server.schemas import Sample, Task


class TestInfo(BaseModel):
    """A test whose questions can be listed."""

    name: Annotated[str, Field(description="of its folder, which is the split's")]
    experiment: str
    task: Task
    model: Annotated[str | None, Field(description="the tested one; null if it is not here")]
    questions: int
    right: Annotated[int, Field(description="predictions that are known to be right")]
    with_known_truth: int
    types: list[str]
    layouts: Annotated[dict[str, int], Field(description="the commonest, and how often")]
    marks: Annotated[
        dict[str, int] | None,
        Field(description="reasons for doubt, and how often; null if none were looked for"),
    ]


class TestedQuestion(BaseModel):
    """A question of a test, as predictions.csv has it."""

    row: Annotated[int, Field(description="its place in the test, from 0")]
    sample: Annotated[str, Field(description="TEST/ROW, which POST api/predict takes")]
    image: Annotated[str, Field(description="its file's name")]
    thumbnail: Annotated[str, Field(description="address of the image, made small")]
    question: str
    type: str
    correct: Annotated[bool | None, Field(description="null where nobody knows the truth")]
    confidence: float
    answer: str | None
    true_answer: str | None
    box: Annotated[list[float] | None, Field(description="x, y, width, height in pixels")]
    true_box: list[float] | None
    iou: Annotated[float | None, Field(description="overlap of the two boxes")]
    layout: Annotated[list[str], Field(description="modules but for NoOps")]
    expert_layout: Annotated[list[str], Field(description="empty where nobody knows it")]
    marks: Annotated[
        list[str] | None, Field(description="reasons for doubt; null if none were looked for")
    ]
    in_words: Annotated[str | None, Field(description="the steps in a line; null if not written")]


class TestedQuestions(BaseModel):
    """A page of a test's questions that pass the filters."""

    total: Annotated[int, Field(description="questions that pass, on all pages")]
    page: Annotated[int, Field(description="from 1")]
    pages: int
    questions: list[TestedQuestion]


class TestedImage(BaseModel):
    """A question of a test with its image, and its neighbours among those that pass the filters."""

    tested: TestedQuestion
    sample: Annotated[Sample, Field(description="the image, and what the test asks about it")]
    model: Annotated[str | None, Field(description="the tested one; null if it is not here")]
    place: Annotated[int | None, Field(description="among those that pass, from 1; null if none")]
    total: Annotated[int, Field(description="questions that pass")]
    page: Annotated[int, Field(description="of the list that it is on, or the first")]
    previous: int | None
    next: int | None
