"""What follows when one step of a model is changed: rates, and the most telling cases.

    python -m benchmarks.what_if --clevr-dir ../shared/real_clevr_dev [--pictures FOLDER]

Takes a folder in CLEVR's format, with scenes, questions and their programs. Of questions that the
model answers rightly with the expert's layout, each edit of `benchmarks.what_if.edits` is run that
changes what the program gives on the true scene, and the model's new answer is compared with that.
Writes docs/what_if.md, and docs/what_if.png from the demo's samples. With --pictures, also a
picture of each case, which shows the folder's images.
"""

import argparse
from collections import defaultdict
from pathlib import Path

from PIL import Image

import snmn
from benchmarks.what_if.cases import Case, cases
from clevr_prep.clevr.scene_masks import VALUES
from server.samples import find_sample, open_sample
from snmn.common.commands import run
from snmn.common.paths import home_path
from snmn.evaluation.intervals import wilson_interval
from snmn.figures.canvas import stacked
from snmn.figures.question_figure import draw_figure
from snmn.predict import Predictor
from snmn.storage.image_files import open_image

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/what_if.md"
CASES = 10
# What the picture shows: a sample, a question about it, and what is set.
PICTURE = (
    (
        "scene-03",
        "What number of other things are the same size as the rubber ball?",
        {"layout": [None, "_NoOp", *[None] * 7]},
    ),
    (
        "scene-03",
        "How many cylinders are tiny metallic objects or red things?",
        {"layout": [None, None, "_And", *[None] * 6]},
    ),
    (
        "scene-02",
        "Are there any big purple metal objects?",
        {"layout": ["_Scene", *[None] * 8]},
    ),
)


def most_telling(found: list[Case]) -> list[Case]:
    """The best case of each kind that follows its program, then the next ones, up to CASES.

    Best are numbers and colours, which are rarely right by chance, and of these the surest.
    """
    by_kind = defaultdict(list)
    for case in sorted(found, key=_merit, reverse=True):
        if case.follows and all(
            case.question != other.question for other in by_kind[case.edit.kind]
        ):
            by_kind[case.edit.kind].append(case)
    ranked = sorted(
        (
            (rank, tuple(-part for part in _merit(case)), kind)
            for kind, ones in by_kind.items()
            for rank, case in enumerate(ones)
        ),
    )
    return [by_kind[kind][rank] for rank, _, kind in ranked[:CASES]]


def _merit(case: Case) -> tuple[bool, float]:
    answer = case.after[0]
    return answer.isdecimal() or answer in VALUES["color"], case.surety


def rates(found: list[Case]) -> list[str]:
    """A table's rows, one for each kind of edit."""
    by_kind = defaultdict(list)
    for case in found:
        by_kind[case.edit.kind].append(case)
    rows = []
    for kind, ones in sorted(by_kind.items(), key=lambda pair: -_share(pair[1])):
        follow, changed = (
            sum(case.follows for case in ones),
            sum(case.after[0] != case.before[0] for case in ones),
        )
        low, high = wilson_interval(follow, len(ones))
        rows.append(
            f"| {kind} | {len(ones)} | {changed / len(ones):.0%} | {follow / len(ones):.0%} "
            f"({low:.0%} to {high:.0%}) |"
        )
    return rows


def _share(ones: list[Case]) -> float:
    return sum(case.follows for case in ones) / len(ones)


def page(found: list[Case]) -> str:
    """docs/what_if.md."""
    rows = [
        f"| {number} | {case.question} | {case.edit.said} | {_sure(case.before)} "
        f"| {_sure(case.after)} | {case.image} |"
        for number, case in enumerate(most_telling(found), start=1)
    ]
    text = PAGE.read_text()
    for name, lines in (("CASES", rows), ("RATES", rates(found))):
        text = _between(text, name, "\n".join(lines))
    return text


def _sure(answered: tuple[str, float]) -> str:
    return f"{answered[0]} ({answered[1]:.0%})"


def _between(text: str, name: str, new: str) -> str:
    """The page with other rows between two marks."""
    begin, end = f"<!-- {name} -->\n", f"\n<!-- END {name} -->"
    head, rest = text.split(begin)
    return head + begin + new + end + rest.split(end)[1]


def picture(predictor: Predictor) -> Image.Image:
    """The model's own run and the edited one side by side, for each entry of PICTURE."""
    return stacked(
        [
            runs(predictor, open_sample(find_sample(sample)), question, edits)
            for sample, question, edits in PICTURE
        ]
    )


def runs(predictor: Predictor, image: Image.Image, question: str, edits: dict) -> Image.Image:
    """The model's own run and the edited one, beside each other."""
    drawn = [
        draw_figure(predictor(image, question, **given).trace, image, show_stack=False)
        for given in ({}, edits)
    ]
    sheet = Image.new("RGB", (sum(i.width for i in drawn), max(i.height for i in drawn)), "white")
    for place, one in enumerate(drawn):
        sheet.paste(one, (place * drawn[0].width, 0))
    return sheet


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.what_if", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--clevr-dir", type=home_path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--model", default="vqa_gt_layout")
    parser.add_argument("--pictures", type=home_path, help="folder of pictures of the cases")
    options = parser.parse_args()
    run(lambda: _write(options), "benchmarks.what_if")


def _write(options: argparse.Namespace) -> None:
    predictor = snmn.Predictor.bundled(options.model)
    found = cases(predictor, options.clevr_dir, options.split)
    PAGE.write_text(page(found))
    # As a palette, a third as large.
    picture(predictor).quantize(128).save(ROOT / "docs/what_if.png", optimize=True)
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
        for number, case in enumerate(most_telling(found), start=1):
            image = open_image(options.clevr_dir / "images" / options.split / case.image)
            shown = runs(predictor, image, case.question, vars(case.edit.edits))
            shown.save(options.pictures / f"case_{number:02d}.png")


if __name__ == "__main__":
    main()
