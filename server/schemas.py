"""What the API takes and gives; `/docs` is made from these.

Shapes beside the usual alphabet: K stack places that a run used, with place 0 the empty bottom.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt

Task = Literal["vqa", "loc"]
State = Literal["waiting", "loading", "ready", "published", "downloading", "failed"]


# As many as any model may have steps, and cells at a side.
_STEPS = Field(max_length=100)
_SIDE = Field(max_length=64)
Words = (
    str
    | Annotated[list[str | StrictInt], Field(max_length=100)]
    | Annotated[dict[str, float], Field(max_length=100)]
)
Place = Annotated[list[float], _SIDE] | Annotated[list[Annotated[list[float], _SIDE]], _SIDE]


class Ask(BaseModel):
    """A question about a sample image; a form may carry an uploaded ``image`` instead.

    What the model does at a step may be set; all after it is computed from that. In a form, lists
    are texts of JSON.
    """

    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, Field(description="a question, or an expression to find")]
    model: Annotated[str | None, Field(description="name of a model; left out: the default")] = None
    sample: Annotated[
        str | None, Field(description="id of a sample image, or of a test's question, TEST/ROW")
    ] = None
    layout: Annotated[
        Annotated[str, Field(max_length=7000)] | Annotated[list[str | None], _STEPS] | None,
        Field(
            description="modules to run by step, as in _Find _DescribeOne; null in a list and - in "
            "a text leave a step to the model, and nothing runs after the last"
        ),
    ] = None
    words: Annotated[
        Annotated[list[Words | None], _STEPS] | None,
        Field(
            description="what each step listens to: words of the question in a text or a list, "
            "numbers of words from 0, or weights by word or number; null: what the model listens to"
        ),
    ] = None
    attention: Annotated[
        Annotated[list[Place | None], _STEPS] | None,
        Field(
            description="where each step looks: a box [x, y, width, height] in pixels, which "
            "counts as one object, or weights [H][W] from 0; null: where the model looks"
        ),
    ] = None


class AnswerShare(BaseModel):
    """An answer and its probability."""

    answer: str
    probability: float


class Box(BaseModel):
    """A box in pixels of the image, which is shown at its own orientation."""

    x: float
    y: float
    width: float
    height: float
    confidence: Annotated[float, Field(description="probability of the box's cell of the grid")]


class Step(BaseModel):
    """One step of the controller, and the state after it."""

    module: Annotated[str, Field(description="the likeliest module")]
    module_probabilities: Annotated[
        list[float], Field(description="[M], in the order of the prediction's modules")
    ]
    word_attention: Annotated[list[float], Field(description="[S], sums to 1")]
    image_attention: Annotated[
        list[list[float]], Field(description="[H][W], the map at the pointer; sums to 1")
    ]
    pointer: Annotated[int, Field(description="place of the stack's top after the step")]
    read: Annotated[list[int], Field(description="places that the module looked at and kept")]
    popped: Annotated[list[int], Field(description="places that the module took away")]
    pushed: Annotated[list[int], Field(description="places that the module put there")]
    stack: Annotated[
        list[list[list[int]]],
        Field(description="[K][H][W], 255 at a map's strongest cell, 0 at an even spread"),
    ]
    given: Annotated[
        list[Literal["module", "words", "attention"]],
        Field(description="what of the step the request set; all else is the model's own"),
    ]


class ModuleInfo(BaseModel):
    """A neural module and what it does."""

    name: str
    title: str
    description: str


class Mark(BaseModel):
    """A reason not to believe a prediction."""

    name: str
    reason: Annotated[str, Field(description="one sentence")]


class OnTrueScene(BaseModel):
    """The layout and the attended words as a discrete program, run on a sample's true scene."""

    program: Annotated[str | None, Field(description="null where they are no program")]
    gives: Annotated[str | None, Field(description="null where it fails on the scene")]
    truth: Annotated[str | None, Field(description="what the question's own program gives")]


class Prediction(BaseModel):
    """An answer and how it came about."""

    model: str
    sample: str | None
    question: str
    task: Annotated[Task, Field(description="vqa: the answer is meant, loc: the box")]
    words: list[str]
    image_width: int
    image_height: int
    answer: Annotated[str | None, Field(description="null for a model that only finds boxes")]
    probabilities: Annotated[list[AnswerShare], Field(description="all answers, likeliest first")]
    box: Annotated[Box | None, Field(description="null for a model that only answers")]
    modules: Annotated[list[ModuleInfo], Field(description="of the model: the nine, then its own")]
    steps: list[Step]
    text: Annotated[str, Field(description="the steps and the answer as one line")]
    marks: Annotated[list[Mark], Field(description="reasons not to believe it; often none")]
    on_true_scene: Annotated[
        OnTrueScene | None, Field(description="null but for samples and words of the grammar")
    ]
    milliseconds: Annotated[float, Field(description="time for features and network")]


class Layouts(BaseModel):
    """How a question is taken apart: by a model, which needs no image for that, and by the expert.

    Both are modules by step, T of them.
    """

    model: str
    question: str
    words: list[str]
    own: Annotated[list[str], Field(description="the model's likeliest modules")]
    expert: Annotated[
        list[str] | None, Field(description="that of the question's program, if it has one")
    ]
    reason: Annotated[str | None, Field(description="why there is no expert layout")]


class ModelInfo(BaseModel):
    """A model that can be asked, or why it cannot."""

    name: str
    title: str
    tasks: Annotated[list[Task], Field(description="empty as long as it is not known")]
    state: State
    default: bool
    message: Annotated[str | None, Field(description="what is going on, unless it is ready")]
    progress: Annotated[float | None, Field(description="0 to 1 while it is downloaded")]
    card: Annotated[dict, Field(description="data, training and accuracy, as published with it")]


class SuggestedQuestion(BaseModel):
    """A question with its true answer."""

    text: str
    answer: Annotated[str | None, Field(description="null where nobody knows it")]


class SuggestedExpression(BaseModel):
    """A referring expression with the true box."""

    text: str
    box: Annotated[
        list[float] | None,
        Field(description="x, y, width, height in pixels; null where nobody knows it"),
    ]


class Sample(BaseModel):
    """An image with something to ask about it."""

    id: str
    url: str
    width: int
    height: int
    alt: Annotated[str, Field(description="what can be seen")]
    questions: list[SuggestedQuestion]
    expressions: list[SuggestedExpression]


class Vocabulary(BaseModel):
    """All words that a question may hold, all answers, and the modules that every model has."""

    words: list[str]
    answers: list[str]
    modules: list[ModuleInfo]
    max_words: int


class Health(BaseModel):
    """Whether questions can be answered already."""

    status: Literal["ok", "starting"]
    ready: Annotated[list[str], Field(description="names of the models in memory")]


class UnknownWord(BaseModel):
    """A word that no model knows, and known ones spelt alike."""

    word: str
    nearest: list[str]


class Check(BaseModel):
    """What is wrong with the words of a question; both are empty where nothing is."""

    detail: str
    unknown: list[UnknownWord]


class Error(BaseModel):
    """Why a request was not answered."""

    detail: Annotated[str, Field(description="one sentence")]
    code: str
    unknown: Annotated[
        list[UnknownWord] | None, Field(description="with the code unknown_word")
    ] = None
