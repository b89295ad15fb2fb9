"""The card of a model's folder: README.md, with a head in YAML as model hubs read it."""

from collections.abc import Mapping
from typing import Any

import yaml

from snmn.checkpoints.card_scores import CardScore, card_scores

_PIPELINES = {"vqa": "visual-question-answering", "loc": "object-detection"}
_ASK = {
    "vqa": ("How many cubes are there?", "result.answer, result.probabilities"),
    "loc": ("the cube left of the small ball", "result.box  # [x, y, width, height] in pixels"),
}
_BODY = """\
# {name}

{about}

A Stack Neural Module Network: a controller reads the question and, over {steps} steps, softly
chooses among neural modules that work on a stack of image-attention maps, so that every step can be
looked at. After Hu, Andreas, Darrell and Saenko, *Explainable Neural Computation via Stack Neural
Module Networks*, ECCV 2018 ([arXiv 1807.08556](https://arxiv.org/abs/1807.08556)).

## Usage

With the project's code (`pip install -e .` in its folder) and `pip install safetensors`, and this
folder as `{name}`:

```python
import snmn

predictor = snmn.Predictor("{name}")
result = predictor("scene.png", "{question}")
{what}
result.save("steps.png")
```

    python -m snmn.predict --checkpoint {name} scene.png "{question}"

`snmn.load_model("{name}")` gives the network alone, which takes encoded questions and image
features{features}.

## Scores

{scores}

## Training and limits

{details}
"""


def hub_card(name: str, checkpoint: Mapping[str, Any], card: Mapping[str, Any]) -> str:
    """The text of README.md.

    ``checkpoint`` is the model's, ``card`` what `read_card` gives of it, empty without one.
    """
    model = checkpoint["hyper_parameters"]["model"]
    task = "vqa" if model.get("vqa", True) else "loc"
    scores = card_scores(card)
    # Whose model it is says under what licence; without a word of it the head has none.
    licence = card.get("licence")
    named = {"license": "-".join(licence.lower().split())} if isinstance(licence, str) else {}
    head: dict[str, Any] = {
        **named,
        "library_name": "snmn",
        "pipeline_tag": _PIPELINES[task],
        "language": ["en"],
        "tags": ["snmn", "neural-module-networks", "explainability", "clevr"],
    }
    if model.get("loc"):
        head["tags"].append("referring-expressions")
    if scores:
        head["model-index"] = [{"name": name, "results": [_result(score) for score in scores]}]
    question, what = _ASK[task]
    backbone = checkpoint.get("features", {}).get("backbone")
    text = _BODY.format(
        name=name,
        about=_sentence(card.get("about")) or "Trained by this project's code.",
        steps=model.get("num_steps", 9),
        question=question,
        what=what,
        features=f" of the backbone `{backbone}`" if backbone else "",
        scores=_score_table(scores) if scores else "None are recorded with this model.",
        details=_details(card),
    )
    front = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{front}---\n\n{text}"


def _result(score: CardScore) -> dict[str, Any]:
    """An entry of the head's model-index."""
    return {
        "task": {"type": _PIPELINES[score.task]},
        "dataset": {"name": score.asked, "type": "clevr"},
        "metrics": [{"type": score.measure, "value": score.share}],
    }


def _score_table(scores: list[CardScore]) -> str:
    lines = ["| asked | measure | score | with the layout made discrete |", "|---|---|---|---|"]
    for score in scores:
        discrete = "" if score.discrete is None else f"{score.discrete:.3f}"
        measure = "answers right" if score.task == "vqa" else "boxes right (IoU at least 0.5)"
        lines.append(f"| {score.asked} | {measure} | {score.share:.3f} | {discrete} |")
    return "\n".join(lines)


def _details(card: Mapping[str, Any]) -> str:
    """How it was trained, and on what, as far as the card has it in words."""
    found = {name: card.get(name.lower()) for name in ("Limits", "Licence")}
    lines = [f"- {name}: {value}" for name, value in found.items() if isinstance(value, str)]
    if isinstance(card.get("data"), list):
        for entry in card["data"]:
            if isinstance(entry, Mapping) and {"images", "command"} <= set(entry):
                lines.insert(0, f"- Data: {entry['images']:,} images of `{entry['command']}`")
    return "\n".join([*lines, "- Weights: averaged over training, if it kept averages; in float16"])


def _sentence(text: Any) -> str:
    """A text with a full stop; "" for anything else."""
    return f"{text.rstrip('.')}." if isinstance(text, str) and text else ""
