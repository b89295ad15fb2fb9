"""Does the picture tell the truth? What a model shows, compared with what is true of the scene.

A step's attention is the map at the stack's top after it, softmax-normalised over the P cells, as
the modules read it. The truth is a `QuestionTruth`: the cells of each of K objects, and the
objects that the expert's program has selected after each step of the expert's layout. Step t is
compared as long as the model's likeliest modules of steps 1 to t are the expert's, since only then
the step means the same for both. What And, Or and DescribeTwo join can be looked for in either
order; the model is held to the one whose layout it has and, if that is both or neither, to the one
that its attended words follow (where it looks has no say in that).

By module, over steps where the expert selects at least one object:

- pointing: the peak of the attention lies on a selected object. The pointing game of J. Zhang,
  S. A. Bargal, Z. Lin, J. Brandt, X. Shen, S. Sclaroff, Top-down neural attention by excitation
  backprop, ECCV 2016. ``near`` allows a distance of one cell, as their 15 pixels do.
- by_chance: what a peak on any object at random would score, the share of selected objects.
- mass: the attention on the selected objects' cells (energy-based pointing: H. Wang and others,
  Score-CAM, CVPR workshops 2020). ``area`` is the share of the grid that these cells are, which is
  what attention spread evenly would have.
- precision, recall: of attended objects against selected ones, summed over steps. An object is
  attended when it has at least half of what each of the K objects would have if all attention were
  spread evenly over them, 1 / (2 K). Steps where nothing should be selected count here too.

The last maps, those that the answer is made from (two for DescribeTwo), are compared in the same
way whatever the modules before them, with the objects that the question is about: those that the
expert's program counts, queries, compares or points out. That exists for every model, also for one
that has found layouts of its own.

By question:

- discrete program: the layout and the attended words run as a program on the true scene, see
  `clevr_prep.truth.discrete_programs`; how often that gives the model's own answer. In the words
  of A. Jacovi and Y. Goldberg, Towards faithfully interpretable NLP systems, ACL 2020: how
  faithful, as opposed to plausible, the layout is.
- discrete layout: the model run with each step's likeliest module alone, which is what is shown;
  how often that answers as the mixture of modules does, and rightly. Beside it how many layouts
  there are in effect, and how many steps they have: see `snmn.evaluation.discrete_layouts`.
- deletion: the features under the objects attended in the last map (the last two for DescribeTwo)
  are set to zero, and the model is asked again; how often its answer changes. Beside it the same
  number of cells elsewhere at random, and the same number on other objects, where those have as
  many. After V. Petsiuk, A. Das, K. Saenko, RISE, BMVC 2018, with the answer instead of its
  probability; questions that attend to no object are left out and counted.
- marks: how often each mark of `snmn.evaluation.marks` stands, and how often the prediction is
  wrong with it and without.
- forward simulation: how well the trace alone tells right predictions from wrong ones, see
  `snmn.evaluation.forward_simulation`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from snmn.common.vocabulary import MODULES
from snmn.evaluation.discrete_layouts import DiscreteLayouts
from snmn.evaluation.scores import share
from snmn.evaluation.trust import Trust, trust_table


@dataclass
class Reading:
    """The expert's steps in the order that a model followed, and what the model's steps amount to.

    - layout: the expert's module names, unpadded
    - selected: for each of its steps [K] bool, the objects selected after it; None after a Describe
    - answer: that of the model's discrete program, an object's index for an expression, or None
    - program, given: that program and what it gives, in words; empty where there is none
    """

    layout: list[str]
    selected: list[np.ndarray | None]
    answer: str | int | None
    program: str = ""
    given: str = ""


@dataclass
class QuestionTruth:
    """What is true of a question, made by `clevr_prep.truth.annotations`.

    - cells [K,P] bool: where each object is
    - asked [K] bool: the objects that the answer is about, of both sets where two are compared
    - read: called with the model's T modules, the S words and the attention [T,S] to them
    """

    cells: np.ndarray
    asked: np.ndarray
    read: Callable[[Sequence[str], Sequence[str], np.ndarray], Reading]


def attended_objects(attention: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Which of K objects a map [P] attends to, given their cells [K,P]: [K] bool."""
    return cells @ attention >= 0.5 / max(1, len(cells))


def is_layout(modules: Sequence[str], layout: Sequence[str]) -> bool:
    """Whether T modules are a layout and nothing but NoOp after it."""
    return list(modules) == [*layout, *["_NoOp"] * (len(modules) - len(layout))]


def grown(region: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """A region [P] bool of a grid (H, W), and the cells that touch it, corners too."""
    H, W = grid
    padded = np.pad(region.reshape(grid), 1)
    shifts = [padded[r : r + H, c : c + W] for r in range(3) for c in range(3)]
    return np.logical_or.reduce(shifts).ravel()


@dataclass
class ModuleTally:
    """Sums over the compared steps of one module; see the module's docstring for the measures."""

    steps: int = 0
    empty: int = 0
    hits: int = 0
    near: int = 0
    by_chance: float = 0.0
    mass: float = 0.0
    area: float = 0.0
    attended: int = 0
    selected: int = 0
    both: int = 0

    def add(
        self, attention: np.ndarray, cells: np.ndarray, selected: np.ndarray, grid: tuple[int, int]
    ) -> None:
        """Count one step: its map [P], objects' cells [K,P] and the selected ones [K]."""
        attended = attended_objects(attention, cells)
        self.attended += int(attended.sum())
        self.selected += int(selected.sum())
        self.both += int((attended & selected).sum())
        if not selected.any():
            self.empty += 1
            return
        region, peak = cells[selected].any(axis=0), attention.argmax()
        self.steps += 1
        self.hits += bool(region[peak])
        self.near += bool(grown(region, grid)[peak])
        self.by_chance += selected.mean()
        self.mass += attention[region].sum()
        self.area += region.mean()

    def summary(self) -> dict:
        """The measures, fit for JSON."""
        result: dict = {"steps": self.steps, "steps_with_nothing_to_select": self.empty}
        if self.steps:
            result["pointing"] = share(self.hits, self.steps)
            result["near"] = share(self.near, self.steps)
            for name in ("by_chance", "mass", "area"):
                result[name] = round(float(getattr(self, name) / self.steps), 6)
        if self.attended:
            result["precision"] = round(self.both / self.attended, 6)
        if self.selected:
            result["recall"] = round(self.both / self.selected, 6)
        return result


@dataclass
class Explanation:
    """All measures of a split, summed up question by question."""

    modules: dict[str, ModuleTally] = field(default_factory=dict)
    last_maps: ModuleTally = field(default_factory=ModuleTally)
    questions: int = 0
    same_layout: int = 0
    readable: int = 0
    as_model: int = 0
    right: int = 0
    with_truth: int = 0
    nothing_attended: int = 0
    deletions: dict[str, list[bool]] = field(default_factory=dict)
    discrete: DiscreteLayouts = field(default_factory=DiscreteLayouts)
    trust: Trust = field(default_factory=Trust)

    def add_steps(
        self,
        modules: Sequence[str],
        attention: np.ndarray,
        cells: np.ndarray,
        truth: Reading,
        grid: tuple[int, int],
    ) -> None:
        """Compare a question's steps: its T likeliest modules and its maps [T,P]."""
        self.questions += 1
        self.same_layout += is_layout(modules, truth.layout)
        for module, expected, selected, weights in zip(
            modules, truth.layout, truth.selected, attention, strict=False
        ):
            if module != expected:
                return
            if selected is not None:
                tally = self.modules.setdefault(module, ModuleTally())
                tally.add(weights, cells, selected, grid)

    def add_program(self, readable: bool, as_model: bool, right: bool | None) -> None:
        """Count a discrete program: whether it gives anything, the model's answer, the truth."""
        self.readable += readable
        self.as_model += as_model
        if right is not None:
            self.with_truth += 1
            self.right += right

    def add_deletion(self, what: str, changed: bool) -> None:
        """Count whether the answer changed without the features under ``what``."""
        self.deletions.setdefault(what, []).append(bool(changed))

    def summary(self) -> dict:
        """All measures, fit for JSON."""
        program = {"as_model": share(self.as_model, self.questions)}
        if self.readable:
            program["as_model_where_it_answers"] = share(self.as_model, self.readable)
        if self.with_truth:
            program["right"] = share(self.right, self.with_truth)
        return {
            "questions": self.questions,
            "layout_as_the_experts": share(self.same_layout, self.questions),
            "modules": {
                name: self.modules[name].summary() for name in MODULES if name in self.modules
            },
            "last_maps": self.last_maps.summary(),
            "discrete_program": {"answers": share(self.readable, self.questions)} | program,
            "discrete_layout": self.discrete.summary(),
            "deletion": {
                "questions_that_attend_to_nothing": self.nothing_attended,
                "answer_changed": {
                    what: share(sum(changes), len(changes))
                    for what, changes in self.deletions.items()
                },
            },
            **self.trust.summary(),
        }


def explanation_table(summary: dict) -> str:
    """The summary of an `Explanation` as text."""
    names = ("pointing", "near", "by chance", "mass", "area", "precision", "recall")
    lines = [f"{'attention of':<14}{'steps':>7}" + "".join(f"{name:>11}" for name in names)]
    tallies = {module[1:]: entry for module, entry in summary["modules"].items()}
    for name, entry in (tallies | {"last maps": summary["last_maps"]}).items():
        numbers = [entry[key]["share"] if key in entry else None for key in ("pointing", "near")]
        numbers += [entry.get(key) for key in ("by_chance", "mass", "area", "precision", "recall")]
        cells = "".join(f"{'-' if n is None else f'{n:.4f}':>11}" for n in numbers)
        lines.append(f"{name:<14}{entry['steps']:>7}{cells}")
    if not summary["modules"]:
        lines.append("no question begins with the expert's module, so only last maps are compared")
    program = summary["discrete_program"]
    lines.append("")
    lines.append(_share_line("layout and words, run as a program, answer", program["answers"]))
    lines.append(_share_line("... and answer as the model does", program["as_model"]))
    if "right" in program:
        lines.append(_share_line("... and are right", program["right"]))
    discrete = summary["discrete_layout"]
    lines.append("")
    lines.append(_share_line("layout made discrete answers as the mixture", discrete["as_mixture"]))
    if "right" in discrete:
        lines.append(_share_line("... and is right", discrete["right"]))
        lines.append(_share_line("... the mixture is", discrete["mixture_right"]))
    commonest = discrete["commonest"]
    lines.append(_share_line("commonest layout", commonest))
    lines.append(f"    {commonest['layout']}")
    lines.append(f"effective number of layouts: {discrete['effective_number']:.1f}")
    lengths = discrete["mean_length"], discrete["expert_mean_length"]
    lines.append("steps of a layout: {:.2f}, of an expert's {:.2f}".format(*lengths))
    deletion = summary["deletion"]
    if deletion["answer_changed"]:
        lines.append("")
        for what, entry in deletion["answer_changed"].items():
            lines.append(_share_line(f"answer changes without {what}", entry))
        nothing = deletion["questions_that_attend_to_nothing"]
        lines.append(f"questions that attend to no object: {nothing}")
    lines += ["", trust_table(summary)]
    return "\n".join(lines)


def _share_line(text: str, entry: dict) -> str:
    interval = f"{entry['low']:.4f}-{entry['high']:.4f}"
    return f"{text:<46}{entry['share']:>8.4f}  {interval} of {entry['total']}"
