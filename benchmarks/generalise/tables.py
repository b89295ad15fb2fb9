"""The tables of benchmarks.generalise, in Markdown, from what test.py wrote of each split."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.results.tables import interval, table
from snmn.evaluation.calibration import reliability, separation

BASELINE, FALSE = "_baseline", "false_premise"

# Percent, each of its authors' own data, features and questions; see docs/generalisation.md.
PUBLISHED = {
    "mean": "published means of CLOSURE's seven families, on its own questions: NS-VQA 77 (seen in "
    "a third party's table), a frozen DINOv2 with a trained head 57.9, fine-tuned 70.3",
    "few_shallow": "IEP 96.1, MAC 97.3, TbD 98.8, NS-CL 98.9",
    "many_shallow": "IEP 92.1, TbD 94.5, NS-CL 98.9",
    "few_deep": "IEP 91.5, MAC 92.9, TbD 94.3, NS-CL 98.7",
    "many_deep": "IEP 90.9, TbD 91.9, NS-CL 98.8",
}


@dataclass(frozen=True)
class SplitResult:
    """What test.py says of one split: its summary, and a row for each question."""

    summary: dict
    rows: list[dict]

    @property
    def constant(self) -> str:
        """How often the most frequent answer of all is right; "" for boxes."""
        if not self.rows or "expected" not in self.rows[0]:
            return ""
        most = Counter(row["expected"] for row in self.rows).most_common(1)[0][1]
        return f"{most / len(self.rows):.3f}"

    @property
    def layouts(self) -> dict:
        """How many whole layouts are the expert's, with an interval."""
        return self.summary["layouts"]["whole"]

    def share(self, key: str) -> float:
        """The share of "accuracy" or of "layouts"."""
        return (self.layouts if key == "layouts" else self.summary[key])["share"]

    @property
    def verdicts(self) -> list[int]:
        """Whether each prediction is right."""
        return [int(row["correct"]) for row in self.rows]

    @property
    def confidences(self) -> list[float]:
        """How sure the model is of each prediction."""
        return [float(row["confidence"]) for row in self.rows]


# Of a model: the splits by name of each set of scenes and task.
Tested = Mapping[tuple[str, str], Mapping[str, SplitResult]]


def report(tables: Tested) -> str:
    """All tables of a model."""
    parts = []
    for asked, tested in tables.items():
        parts += [f"**{_what(*asked)}**", _kinds(tested), _sizes(tested), _false(tested)]
    return "\n\n".join(part for part in parts if part)


def summary(models: Mapping[str, Tested]) -> str:
    """A row for each model and set of scenes: means over the kinds that it was asked."""
    rows = []
    for name, tables in models.items():
        for asked, tested in tables.items():
            names, kinds, bases = _paired(tested)
            if not names:
                continue
            weakest = min(names, key=lambda kind: tested[kind].share("accuracy"))
            premises = _premises(tested)
            rows.append(
                [
                    f"`{name}`",
                    _what(*asked),
                    f"{_mean(kind.share('accuracy') for kind in kinds):.3f}",
                    f"{_mean(base.share('accuracy') for base in bases):.3f}",
                    f"{weakest} {tested[weakest].share('accuracy'):.3f}",
                    f"{_mean(kind.share('layouts') for kind in kinds):.3f}",
                    f"{_calibration_error(kinds):.3f}",
                    f"{_separation(*premises)['area']:.3f}" if premises else "",
                ]
            )
    head = ["model", "asked", "kinds", "baselines", "weakest kind", "layouts", "calibration error"]
    return table([*head, "false premises, AUROC"], rows)


def _what(scenes: str, task: str) -> str:
    return f"{'expressions' if task == 'loc' else 'questions'} about {scenes}"


def _paired(
    tested: Mapping[str, SplitResult],
) -> tuple[list[str], list[SplitResult], list[SplitResult]]:
    """The kinds of composition, and what came of them and of their baselines in CLEVR."""
    names = [name for name in tested if name + BASELINE in tested and FALSE not in name]
    return names, [tested[name] for name in names], [tested[name + BASELINE] for name in names]


def _kinds(tested: Mapping[str, SplitResult]) -> str:
    """A row for each kind of composition, with its baseline in CLEVR beside."""
    names, kinds, bases = _paired(tested)
    if not names:
        return ""
    rows = []
    for name, kind, base in zip(names, kinds, bases, strict=True):
        program = kind.summary["explanation"]["discrete_program"]
        rows.append(
            [
                name,
                len(kind.rows),
                interval(kind.summary["accuracy"]),
                interval(base.summary["accuracy"]),
                kind.constant,
                interval(kind.layouts),
                interval(base.layouts),
                interval(program["right"]),
                f"{kind.summary['calibration']['ece']:.3f}",
                f"{base.summary['calibration']['ece']:.3f}",
            ]
        )
    right, layouts = [
        [f"**{_mean(split.share(key) for split in splits):.3f}**" for splits in (kinds, bases)]
        for key in ("accuracy", "layouts")
    ]
    together = [f"{_calibration_error(splits):.3f}" for splits in (kinds, bases)]
    asked = sum(len(kind.rows) for kind in kinds)
    rows.append([f"**mean of {len(kinds)}**", asked, *right, "", *layouts, "", *together])
    head = ["kind", "asked", "right", "... baseline", "best constant answer"]
    head += ["layout as the expert's", "... baseline", "layout and words as program right"]
    text = table([*head, "calibration error", "... baseline"], rows)
    return f"{text}\n\n{PUBLISHED['mean']}." if kinds[0].constant else text


def _mean(shares: Iterable[float]) -> float:
    found = list(shares)
    return sum(found) / len(found)


def _calibration_error(splits: Iterable[SplitResult]) -> float:
    """Of all questions of several splits together."""
    found = [pair for s in splits for pair in zip(s.confidences, s.verdicts, strict=True)]
    return reliability(*zip(*found, strict=True))["ece"]


def _sizes(tested: Mapping[str, SplitResult]) -> str:
    """Few or many objects, through few or many relations."""
    names = [name for name in tested if name in PUBLISHED]
    if not names:
        return ""
    rows = [
        [
            name.replace("_", " objects, "),
            len(tested[name].rows),
            interval(tested[name].summary["accuracy"]),
            interval(tested[name].layouts),
            f"{tested[name].summary['calibration']['ece']:.3f}",
            PUBLISHED[name],
        ]
        for name in names
    ]
    head = ["CLEVR's families", "asked", "right", "layout as the expert's", "calibration error"]
    return table([*head, "published, trained on the first condition, other data, per cent"], rows)


def _premises(tested: Mapping[str, SplitResult]) -> tuple[SplitResult, SplitResult] | None:
    """What came of questions that cannot be answered, and of the same ones that can."""
    prefix = "loc_" if f"loc_{FALSE}" in tested else ""
    false, sound = (tested.get(prefix + name) for name in (FALSE, FALSE + BASELINE))
    return (false, sound) if false and sound else None


def _separation(false: SplitResult, sound: SplitResult) -> dict:
    """How well confidence tells the two apart."""
    return separation(sound.confidences, false.confidences)


def _false(tested: Mapping[str, SplitResult]) -> str:
    """Confidence in what cannot be answered, against that in the same questions that can."""
    premises = _premises(tested)
    if not premises:
        return ""
    false, sound = premises
    area, means = _separation(*premises), [_mean(split.confidences) for split in premises]
    return (
        f"False premises: confidence {means[0]:.3f} in the mean of {len(false.rows)}, "
        f"{means[1]:.3f} of {len(sound.rows)} sound ones; AUROC {area['area']:.3f} "
        f"({area['low']:.3f} to {area['high']:.3f}), 0.5 is chance."
    )
