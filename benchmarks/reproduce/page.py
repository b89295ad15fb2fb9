"""docs/models.md: the bundled models, as their cards have them."""

import json
import statistics

from benchmarks.reproduce.recipes import CELLNET, NAMES
from benchmarks.reproduce.steps import ROOT
from benchmarks.results.tables import table
from snmn.backbones.cellnet import WEIGHTS
from snmn.checkpoints.bundled import BUNDLED, bundled_card
from snmn.checkpoints.cards import Card, Share

PAGE = ROOT / "docs" / "models.md"
_HEAD = """\
# The bundled models

Made by `python -m benchmarks.reproduce --page` from the cards in `server/models/` and
`snmn/backbones/weights/`, not by hand.

    python -m benchmarks.reproduce NAME

makes a model again, from nothing: it renders, extracts, trains, exports, tests and writes the card.
`--dry-run` says how long that takes here. Shares have 95 % intervals. *Discrete* is what is right
with the layout made discrete: each step runs its likeliest module alone, as pictures show it.
*Layouts* is their effective number, the exponential of their entropy. *Again* says whether the code
that a model lies with made this very file.
"""


def page() -> str:
    """The text of docs/models.md. Raises CheckpointError for a card that is not whole."""
    names = [name for name in NAMES if (BUNDLED / f"{name}.ckpt").is_file()]
    cards = {name: bundled_card(name) for name in names}
    parts = [_HEAD, _overview(cards)]
    for name, card in cards.items():
        size = (BUNDLED / f"{name}.ckpt").stat().st_size
        parts.append(f"## {name}\n\n{_section(card, size)}")
    parts.append(f"## {CELLNET}\n\n{_backbone()}")
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _scores(card: Card) -> dict[str, Share]:
    return card.accuracy | card.precision_at_1


def _overview(cards: dict[str, Card]) -> str:
    head = ["model", "asked", "right", "discrete", "layouts", "iterations", "minutes", "again"]
    rows = []
    for name, card in cards.items():
        for asked, share in _scores(card).items():
            if "validation" in asked:
                continue
            made = card.discrete.get(asked)
            row = [f"[`{name}`](#{name})", asked, _share(share)]
            row += [f"{made.right.share:.3f}", f"{made.layouts:.1f}"] if made else ["", ""]
            row += [f"{card.steps:,}", _minutes(card.minutes), _yes(card.reproduced)]
            rows.append(row)
    return table(head, rows)


def _section(card: Card, size: int) -> str:
    lines = [f"{card.about}. {size / 2**20:.1f} MiB; features: `{card.features}`.", ""]
    lines += [f"    {stage.command}" for stage in card.stages]
    lines += [f"    {entry.command}" for entry in card.data]
    stages = [["run", "seed", "iterations", "minutes", "commit"]]
    for number, stage in enumerate(card.stages, start=1):
        commit = f"`{stage.commit[:12]}`" if stage.commit else "unknown"
        minutes = _minutes(stage.minutes)
        stages.append([str(number), str(stage.seed), f"{stage.steps:,}", minutes, commit])
    lines += ["", table(stages[0], stages[1:]), ""]
    if card.history:
        lines += [f"What these commands do not say: {card.history}.", ""]
    lines += [table(["asked", "right"], [[k, _share(v)] for k, v in _scores(card).items()]), ""]
    rows = [
        [asked, _share(made.right), f"{made.layouts:.1f}", f"{made.commonest:.2f}"]
        for asked, made in card.discrete.items()
    ]
    if rows:
        lines += [table(["asked", "discrete", "layouts", "share of the commonest"], rows), ""]
    if card.seeds:
        seeds = [f"{seed}: {score:.3f}" for seed, score in card.seeds.items()]
        found = list(card.seeds.values())
        spread = f", spread {statistics.stdev(found):.3f}" if len(found) > 1 else ""
        mean = f"mean {statistics.mean(found):.3f}{spread}"
        lines += [f"Best validation score by seed: {', '.join(seeds)}; {mean}.", ""]
    lines += _facts(card.machine, card.licence, card.sha256, card.reproduced)
    lines.append(f"- limits: {card.limits}")
    return "\n".join(lines)


def _facts(machine: str, licence: str, sha256: str, reproduced: bool) -> list[str]:
    return [
        f"- machine: {machine}",
        f"- licence: {licence}",
        f"- sha256: `{sha256}`",
        f"- made by the code that it lies with: {_yes(reproduced)}",
    ]


def _backbone() -> str:
    card = json.loads(WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))
    lines = [f"{card['about']}. {card['parameters']:,} parameters.", "", f"    {card['command']}"]
    lines += [f"    {entry['command']}" for entry in card["data"]]
    training = card["training"]
    lines += ["", f"{training['steps']:,} steps on {training['images']:,} images, seed "
              f"{training['seed']}, {_minutes(training['minutes'])} minutes.", ""]  # fmt: skip
    if card["history"]:
        lines += [f"What these commands do not say: {card['history']}.", ""]
    measures = ("recall", "found_all_four", "color", "material", "shape")
    rows = [
        [name, *(f"{found[measure]:.4f}" for measure in measures)]
        for name, found in card["validation"].items()
    ]
    head = ["images", "objects found", "... with all attributes", *measures[2:]]
    lines += [table(head, rows), ""]
    return "\n".join(
        lines + _facts(*(card[k] for k in ("machine", "licence", "sha256", "reproduced")))
    )


def _share(share: Share) -> str:
    return f"{share.share:.3f} ({share.low:.3f} to {share.high:.3f})"


def _minutes(minutes: float | None) -> str:
    return "unknown" if minutes is None else f"{minutes:.0f}"


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"
