"""Tests and their questions as the API and the page show them."""

import bisect
from urllib.parse import quote

from server.errors import DemoError
from server.results.filters import PAGE, Filters, Listing, select
from server.results.folder import Results
from server.results.schemas import TestedImage, TestedQuestion, TestedQuestions, TestInfo
from server.schemas import Sample, SuggestedExpression, SuggestedQuestion

MOST_LAYOUTS = 40
MOST_SUGGESTIONS = 6


def info(results: Results) -> TestInfo:
    """What there is of a test, and what can be filtered."""
    verdicts = [row.correct for row in results.rows if row.correct is not None]
    return TestInfo(
        name=results.name,
        experiment=results.about["experiment"],
        task=results.task,
        model=results.model,
        questions=len(results.rows),
        right=sum(verdicts),
        with_known_truth=len(verdicts),
        types=results.types,
        layouts=dict(results.layouts.most_common(MOST_LAYOUTS)),
        marks=None if results.marks is None else dict(results.marks.most_common()),
    )


def questions(results: Results, listing: Listing) -> TestedQuestions:
    """A page of the questions that pass; DemoError (404) beyond the last one."""
    chosen, page = select(results, listing), listing.page
    pages = max(1, -(-len(chosen) // PAGE))
    if page > pages:
        raise DemoError(404, "no_page", f"There is no page {page}; the last one is {pages}.")
    shown = chosen[PAGE * (page - 1) : PAGE * page]
    return TestedQuestions(
        total=len(chosen),
        page=page,
        pages=pages,
        questions=[question(results, number) for number in shown],
    )


def question(results: Results, number: int) -> TestedQuestion:
    """A row by its number; DemoError (404) where there is none."""
    row = results.find(number)
    return TestedQuestion(
        row=number,
        sample=f"{results.name}/{number}",
        image=row.image,
        thumbnail=f"{_image_address(results, number)}?small=true",
        question=row.question,
        type=row.type,
        correct=row.correct,
        confidence=row.confidence,
        answer=row.answer,
        true_answer=row.true_answer,
        box=row.box,
        true_box=row.true_box,
        iou=row.iou,
        layout=row.layout.split(),
        expert_layout=row.expert_layout.split(),
        marks=row.marks,
        in_words=row.in_words,
    )


def image(results: Results, number: int, filters: Filters) -> TestedImage:
    """A row with its image and its neighbours; DemoError where there is none."""
    tested = question(results, number)
    width, height = results.size(number)
    chosen = select(results, filters)
    before = bisect.bisect_left(chosen, number)
    after = bisect.bisect_right(chosen, number)
    others = [other for other in results.same_image(number) if other != number]
    suggested = [results.rows[one] for one in [number, *others[: MOST_SUGGESTIONS - 1]]]
    sample = Sample(
        id=tested.sample,
        url=_image_address(results, number),
        width=width,
        height=height,
        alt=f"Image {tested.image} of the test {results.name}",
        questions=[
            SuggestedQuestion(text=row.question, answer=row.true_answer)
            for row in suggested
            if results.task == "vqa"
        ],
        expressions=[
            SuggestedExpression(text=row.question, box=row.true_box)
            for row in suggested
            if results.task == "loc"
        ],
    )
    return TestedImage(
        tested=tested,
        sample=sample,
        model=results.model,
        place=after if after > before else None,
        total=len(chosen),
        page=1 + (before // PAGE if after > before else 0),
        previous=chosen[before - 1] if before else None,
        next=chosen[after] if after < len(chosen) else None,
    )


def _image_address(results: Results, number: int) -> str:
    return f"api/results/{quote(results.name, safe='')}/images/{number}"
