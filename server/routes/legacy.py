"""The address of the earlier demo, for its old clients: GET /model.

Their answer is one flat JSON object with arrays named as the PyTorch adaptation named them. Image
i is the i-th sample, and ``gt`` chooses between the two models of questions: trained with
ground-truth layouts, or from scratch; where one is not there, the joint model takes its place.
"""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from server.errors import DemoError
from server.routes.api import EngineOf, refusals
from server.samples import all_samples

router = APIRouter()
_MODELS = {
    True: ("vqa_gt_layout", "joint_gt_layout"),
    False: ("vqa_scratch", "joint_scratch"),
}


class OldPrediction(BaseModel):
    """Shapes as everywhere: T steps, M modules, S words, H x W grid."""

    answer: str | None
    question_tokens: list[str]
    modules: Annotated[list[str], Field(description="[T], the likeliest")]
    module_probs: Annotated[list[list[float]], Field(description="[T][M]")]
    qattns: Annotated[list[list[float]], Field(description="[T][S]")]
    iattns: Annotated[list[list[list[float]]], Field(description="[T][H][W]")]


@router.get("/model", deprecated=True, responses=refusals(404, 409, 422, 429))
async def old_model(
    engine: EngineOf,
    image_id: Annotated[int, Query(description="number of a sample, from 0")],
    question_text: str,
    gt: Annotated[
        bool, Query(description="a model trained with layouts, or one from scratch")
    ] = True,
) -> OldPrediction:
    """Answer as the earlier demo did; new clients take /api/predict."""
    samples = list(all_samples())
    if not 0 <= image_id < len(samples):
        raise DemoError(
            404, "no_sample", f"There is no image {image_id}; they go from 0 to {len(samples) - 1}."
        )
    here = [
        name
        for name in _MODELS[gt]
        if name in engine.entries and engine.entries[name].state not in ("published", "failed")
    ]
    prediction = await engine.predict(
        question=question_text,
        model=here[0] if here else _MODELS[gt][0],
        sample=samples[image_id],
        upload=None,
    )
    return OldPrediction(
        answer=prediction.answer,
        question_tokens=prediction.words,
        modules=[step.module for step in prediction.steps],
        module_probs=[step.module_probabilities for step in prediction.steps],
        qattns=[step.word_attention for step in prediction.steps],
        iattns=[step.image_attention for step in prediction.steps],
    )
