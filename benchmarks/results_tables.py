"""The tables of docs/results.md, in Markdown, from what test.py and train.py --restarts wrote."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from snmn.checkpoints.cards import Stage

SETS = {"val": "rendered validation", "test": "rendered test", "genuine": "genuine images"}
UNITS = {"vqa": ("question", "accuracy"), "loc": ("expression", "precision@1")}

# Percent on full CLEVR and CLEVR-Ref with ImageNet features: the original, the PyTorch adaptation.
PUBLISHED = {
    "vqa_scratch": ("93.0", "89.5"),
    "vqa_gt_layout": ("96.6", "96.1"),
    "loc_scratch": ("93.4", "88.7"),
    "loc_gt_layout": ("96.0", "93.2"),
    "joint_scratch": ("93.9 + 95.4", "90.4 + 81.4"),
    "joint_gt_layout": ("96.5 + 96.2", "95.9 + 95.7"),
}


@dataclass
class Model:
    """A bundled model: its name, its card, and test.py's summaries by "TASK SET"."""

    name: str
    card: dict
    summaries: dict[str, dict]

    @property
    def stages(self) -> list[dict]:
        """The runs that made it, from its card."""
        return self.card.get("stages", [])

    def of(self, task: str) -> dict[str, dict]:
        """A task's summaries by set, in the order of `SETS`."""
        found = {name: self.summaries.get(f"{task} {name}") for name in SETS}
        return {name: summary for name, summary in found.items() if summary}


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


def overview(models: Sequence[Model], command: str) -> str:
    """All models in one table, with the published numbers beside."""
    columns = [("vqa", "val"), ("vqa", "test"), ("vqa", "genuine"), ("loc", "val"), ("loc", "test")]
    columns = [pair for pair in columns if any(" ".join(pair) in m.summaries for m in models)]
    head = ["model", "iterations"]
    head += [f"{'answers' if task == 'vqa' else 'boxes'}, {SETS[name]}" for task, name in columns]
    head += [f"{who}, full CLEVR, ImageNet features" for who in ("original", "adaptation")]
    rows = []
    for model in models:
        row = [f"`{model.name}`", f"{sum(stage['steps'] for stage in model.stages):,}"]
        for pair in columns:
            row.append(interval(model.summaries.get(" ".join(pair), {}).get("accuracy")))
        rows.append(
            row + [f"*{cell}*" if cell else "" for cell in PUBLISHED.get(model.name, ("", ""))]
        )
    return f"{table(head, rows)}\n\n{code([command])}"


def model_tables(models: Sequence[Model]) -> str:
    """A section for each model: how it was trained, scores by type, explanation, commands."""
    parts = []
    for model in models:
        parts += [f"### {model.name}", "Trained by:"]
        parts.append(code([Stage(**stage).command for stage in model.stages]))
        parts.append("Tested by:")
        parts.append(code([summary["command"] for summary in model.summaries.values()]))
        for task in UNITS:
            if summaries := model.of(task):
                parts.append(type_table(task, summaries))
                parts.append(explanation_table(summaries))
    return "\n\n".join(part for part in parts if part)


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


def explanation_table(summaries: Mapping[str, dict]) -> str:
    """What --explain measured, a column for each set; empty without any."""
    found = {name: s["explanation"] for name, s in summaries.items() if "explanation" in s}
    if not found:
        return ""
    rows = []

    def add(name: str, cell: Callable[[dict], str]) -> None:
        cells = [cell(explained) for explained in found.values()]
        if any(cells):
            rows.append([name, *cells])

    def pointing(tally: dict) -> str:
        if "pointing" not in tally:
            return ""
        return f"{interval(tally['pointing'])}; {tally['by_chance']:.2f}"

    for module in dict.fromkeys(m for explained in found.values() for m in explained["modules"]):
        name = f"peak of {module.removeprefix('_')} on an object of the expert's; by chance"
        add(name, lambda e, module=module: pointing(e["modules"].get(module, {})))
    name = "peak of the last maps on an object that the answer is about; by chance"
    add(name, lambda e: pointing(e["last_maps"]))
    for key, name in (
        ("answers", "layout and attended words, run as a program, give an answer"),
        ("as_model", "... the model's answer"),
        ("right", "... the right answer"),
    ):
        add(name, lambda e, key=key: interval(e["discrete_program"].get(key)))
    changes = (e["deletion"]["answer_changed"] for e in found.values())
    for what in dict.fromkeys(what for each in changes for what in each):
        name = f"answer changes without the features under {what}"
        add(name, lambda e, w=what: interval(e["deletion"]["answer_changed"].get(w)))
    return table(["explanation", *(SETS.get(name, name) for name in found)], rows)


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
