"""Layouts of questions, and edits of runs, with a sentence for whoever asks what cannot be."""

import torch

from clevr_prep.clevr.expert_layouts import pad_layout
from clevr_prep.synthetic.language.text_layouts import layout_of_text
from server.errors import DemoError
from snmn.network.edits import EditError, Edits, Plan, plan_edits
from snmn.network.layouts import LayoutEditError
from snmn.network.model import SNMN


def planned(
    edits: Edits, model: SNMN, words: list[str], indices: list[int], size: tuple[int, int]
) -> Plan:
    """`plan_edits` of one question; DemoError (422, layout or edit) says what cannot be."""
    try:
        return plan_edits(edits, model, torch.tensor([indices]), words, size)
    except (LayoutEditError, EditError) as error:
        code = "layout" if isinstance(error, LayoutEditError) else "edit"
        said = str(error)
        raise DemoError(422, code, f"{said[0].upper()}{said[1:]}.") from None


def own_layout(model: SNMN, indices: list[int]) -> list[str]:
    """The likeliest modules of a question's word indices, by step; they depend on no image."""
    question, length = torch.tensor([indices]), torch.tensor([len(indices)])
    with torch.inference_mode():
        _, control = model.decide(question, length)
    return [model.module_names[index] for index in control.module_probs[0].argmax(dim=1).tolist()]


def expert_layout(model: SNMN, words: list[str]) -> dict[str, list[str] | str | None]:
    """The ``expert`` layout of a question's words, padded to the model's steps.

    None with the ``reason`` where there is none.
    """
    layout, steps = layout_of_text(" ".join(words)), model.controller.num_steps
    if layout is None:
        reason = "The words make no sentence of the grammar, so no program tells how to answer."
        return {"expert": None, "reason": reason}
    if len(layout) > steps:
        reason = f"The expert's layout has {len(layout)} steps and the model only {steps}."
        return {"expert": None, "reason": reason}
    return {"expert": pad_layout(layout, steps), "reason": None}
