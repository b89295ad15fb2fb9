"""The tables of docs/results.md, in Markdown, from what test.py and train.py --restarts wrote."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results.published import CLEVR, CLEVR_REF, DIFFERENCE

SETS = {"test": "rendered test", "genuine": "genuine images"}
UNITS = {"vqa": ("question", "accuracy"), "loc": ("expression", "precision@1")}
# The field's five families, in its order, by test.py's names.
FAMILIES = {
    "count": "count",
    "compare number": "compare numbers",
    "exist": "exist",
    "query attribute": "query",
    "compare attribute": "compare attributes",
}


@dataclass
class Model:
    """A bundled model: its name, its card, and test.py's summaries by "TASK SET".

    ``expert_layouts`` says whether it was trained with them.
    """

    name: str
    card: dict
    summaries: dict[str, dict]
    expert_layouts: bool

    def of(self, task: str) -> dict[str, dict]:
        """A task's summaries by set, in the order of `SETS`."""
        found = {name: self.summaries.get(f"{task} {name}") for name in SETS}
        return {name: summary for name, summary in found.items() if summary}

    @property
    def layouts(self) -> str:
        """Where its layouts are from."""
        return "from experts" if self.expert_layouts else "found by itself"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def code(lines: Sequence[str]) -> str:
    """A block of commands, each one once."""
    return "\n".join(f"    {line}" for line in dict.fromkeys(lines))


def interval(entry: dict | None) -> str:
    """A share with its confidence interval."""
    return f"{entry['share']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})" if entry else ""


def percent(entry: dict | None) -> str:
    """A share in per cent, for tables with published ones."""
    return f"{100 * entry['share']:.1f}" if entry else ""


def percent_interval(entry: dict | None) -> str:
    """A share in per cent with its confidence interval."""
    if not entry:
        return ""
    return f"{percent(entry)} ({100 * entry['low']:.1f} to {100 * entry['high']:.1f})"


def scores(models: Sequence[Model]) -> str:
    """All models by the five families of questions and by types of expressions."""
    return "\n\n".join([_questions(models), _expressions(models), DIFFERENCE])


def _questions(models: Sequence[Model]) -> str:
    rows = []
    for model, name, found in _tested(models, "vqa"):
        row = [f"`{model.name}`", model.layouts, SETS[name], percent_interval(found["accuracy"])]
        rows.append(row + [percent(found["by_family"].get(family)) for family in FAMILIES])
    rows += [_published(entry, 1 + len(FAMILIES)) for entry in CLEVR]
    return table(["questions", "layouts", "asked", "all", *FAMILIES.values()], rows)


def _expressions(models: Sequence[Model]) -> str:
    tested = _tested(models, "loc")
    kinds = sorted({kind for *_, found in tested for kind in found["by_type"]})
    rows = []
    for model, name, found in tested:
        row = [f"`{model.name}`", model.layouts, SETS[name], percent_interval(found["accuracy"])]
        rows.append(row + [percent(found["by_type"].get(kind)) for kind in kinds])
    rows += [_published(entry, 1 + len(kinds)) for entry in CLEVR_REF]
    names = [kind.removeprefix("ref_").replace("_", " ") for kind in kinds]
    return table(["expressions", "layouts", "asked", "all", *names], rows)


def _tested(models: Sequence[Model], task: str) -> list[tuple[Model, str, dict]]:
    """Every model with every set that it was tested on."""
    found = [(model, name, one) for model in models for name, one in model.of(task).items()]
    return [entry for entry in found if entry[2].get("accuracy")]


def _published(entry: Sequence[str], columns: int) -> list[str]:
    """A row of published numbers, in italics."""
    name, layouts, numbers, source = entry
    cells = (name, layouts, source, *numbers.split())
    cells = [f"*{cell}*" if cell else "" for cell in cells]
    return cells + [""] * (3 + columns - len(cells))


def shown(models: Sequence[Model]) -> str:
    """Whether models do what their layouts show, and where they look."""
    layouts, modules = [], {}
    explained = []
    for task in UNITS:
        for model, name, found in _tested(models, task):
            if "explanation" not in found:
                continue
            about = [f"`{model.name}`", f"{UNITS[task][0]}s, {SETS[name]}"]
            layouts.append(about + _layout_cells(found))
            tallies = dict(found["explanation"]["modules"])
            tallies["last maps"] = found["explanation"]["last_maps"]
            modules |= dict.fromkeys(tallies)
            explained.append((about, tallies))
    if not explained:
        return "No model has been tested with `--explain`."
    head = ["model", "asked", "right", "... with the layout made discrete"]
    head += ["effective number of layouts", "commonest layout's share", "steps; the expert's"]
    head += ["whole layout as the expert's", "Find on an object that the expert finds"]
    head += ["program gives the model's answer", "... the right answer"]
    modules = [name for name in modules if name != "last maps"] + ["last maps"]
    names = [name.removeprefix("_") for name in modules]
    parts = [table(head, layouts)]
    for title, cell in (
        ("Peak of the attention on an object that it should be on; of a random object", _pointing),
        ("Objects attended to: precision; recall", _precision_recall),
    ):
        rows = [about + [cell(tallies.get(name, {})) for name in modules]
                for about, tallies in explained]  # fmt: skip
        parts += [f"{title}:", table(["model", "asked", *names], rows)]
    return "\n\n".join(parts)


def _layout_cells(summary: dict) -> list[str]:
    explanation = summary["explanation"]
    discrete, program = explanation["discrete_layout"], explanation["discrete_program"]
    steps = f"{discrete['mean_length']:.2f}; {discrete['expert_mean_length']:.2f}"
    find = explanation["modules"].get("_Find", {}).get("pointing")
    cells = [interval(discrete.get("mixture_right")), interval(discrete.get("right"))]
    cells += [f"{discrete['effective_number']:.1f}", f"{discrete['commonest']['share']:.2f}", steps]
    cells.append(_share(explanation["layout_as_the_experts"]))
    return cells + [_share(part) for part in (find, program["as_model"], program.get("right"))]


def _share(entry: dict | None) -> str:
    return f"{entry['share']:.3f}" if entry else ""


def _pointing(tally: Mapping) -> str:
    if "pointing" not in tally:
        return ""
    return f"{tally['pointing']['share']:.3f}; {tally['by_chance']:.2f}"


def _precision_recall(tally: Mapping) -> str:
    """Where nothing was attended to, or nothing was there to attend to, one is not defined."""
    found = [tally.get(key) for key in ("precision", "recall")]
    if found == [None, None]:
        return ""
    return "; ".join("-" if number is None else f"{number:.3f}" for number in found)


def training(models: Sequence[Model], sizes: Mapping[str, int]) -> str:
    """How each model was trained, from its card; ``sizes`` of the checkpoints in bytes, by name."""
    rows = []
    for model in models:
        seeds, steps, minutes = trained_by(model.card)
        size = f"{sizes[model.name] / 2**20:.1f} MiB" if model.name in sizes else ""
        rows.append([f"`{model.name}`", seeds, steps, minutes, size])
    found = {m.name: list(m.card["seeds"].values()) for m in models if m.card.get("seeds")}
    text = table(["model", "seed of each stage", "steps", "minutes", "size"], rows)
    if found:
        several = [
            [f"`{name}`", len(all), f"{statistics.mean(all):.3f}", f"{_spread(all):.3f}",
             f"{min(all):.3f} to {max(all):.3f}"]
            for name, all in found.items()
        ]  # fmt: skip
        head = ["model", "seeds", "best validation score, mean", "spread", "range"]
        text += f"\n\n{table(head, several)}"
    return text


def _spread(numbers: Sequence[float]) -> float:
    return statistics.stdev(numbers) if len(numbers) > 1 else 0.0


def trained_by(card: Mapping) -> tuple[str, str, str]:
    """Seeds, steps and minutes of a card's stages; minutes are empty where one's are not known."""
    stages = card.get("stages", [])
    minutes = [stage.get("minutes") for stage in stages]
    total = "" if None in minutes else f"{sum(minutes):,.0f}"
    seeds = ", ".join(str(stage["seed"]) for stage in stages)
    return seeds, " + ".join(f"{stage['steps']:,}" for stage in stages), total


def type_table(task: str, summaries: Mapping[str, dict]) -> str:
    """Accuracy or precision by type, a column for each set."""
    unit, score = UNITS[task]
    head = [f"{unit} type"] + [f"{score}, {SETS.get(name, name)}" for name in summaries]
    constant = task == "vqa"
    if constant:
        head.append("best constant answer")
    first, rows = next(iter(summaries.values())), []
    kinds = sorted({kind for summary in summaries.values() for kind in summary["by_type"]})
    for kind in kinds:
        row = [kind] + [interval(s["by_type"].get(kind)) for s in summaries.values()]
        rows.append(row + ([_constant(first["by_type"].get(kind))] if constant else []))
    rows.append(["**all**"] + [f"**{interval(s['accuracy'])}**" for s in summaries.values()])
    if constant:
        rows[-1].append(_constant(first["accuracy"]))
    count = [f"{unit}s"] + [f"{s['with_known_truth']:,}" for s in summaries.values()]
    error = ["expected calibration error"]
    error += [f"{s['calibration']['ece']:.3f}" for s in summaries.values()]
    layout = ["whole layout as the expert's"]
    layout += [interval(s.get("layouts", {}).get("whole")) for s in summaries.values()]
    rows += [row + [""] * constant for row in (count, error, layout)]
    return table(head, rows)


def _constant(entry: dict | None) -> str:
    return f"{entry['constant'] / entry['total']:.3f}" if entry else ""


def seeds_table(found: Mapping[Path, dict]) -> str:
    """Several seeds of each experiment, from its restarts.json by path, and the commands."""
    rows, commands = [], []
    for path, facts in found.items():
        runs = []
        for run in facts["runs"]:
            best = "no score" if run["best"] is None else f"{run['best']:.3f}"
            runs.append(f"{run['seed']}: {best}{' (collapsed)' if run['collapsed'] else ''}")
        numbers = [facts[key] for key in ("mean", "spread", "prior")]
        numbers = ["" if number is None else f"{number:.3f}" for number in numbers]
        rows.append([f"`{path.parent.name}`", ", ".join(runs), *numbers])
        commands.append(facts["command"])
    head = ["experiment", "seeds: best validation score", "mean", "spread", "best constant answers"]
    return f"{table(head, rows)}\n\n{code(commands)}"


def cogent_table(summaries: Sequence[dict]) -> str:
    """Summaries of models tested on CoGenT's conditions, by type, and the commands."""
    columns = {f"{s['experiment']} on {s['split']}": s for s in summaries}
    return f"{type_table('vqa', columns)}\n\n{code([s['command'] for s in summaries])}"
