"""Make bundled models again, from nothing.

    python -m benchmarks.reproduce vqa_gt_layout
    python -m benchmarks.reproduce all --genuine ../real_clevr
    python -m benchmarks.reproduce loc_scratch --dry-run
    python -m benchmarks.reproduce vqa_scratch TRAIN.MAX_ITER 2000 --seeds 2
    python -m benchmarks.reproduce --page

Renders what a model is trained on, extracts features with the bundled backbone, makes layouts and
imdbs, trains with configs/mini_NAME.yaml, exports, tests on the rendered test images, with
--genuine on others in CLEVR's folders too, and writes the card. cellnet, the backbone, is
pretrained on what it renders. What is there from the same things is not made again, whichever model
it was made for. Interrupted at any moment, the same command goes on to the same end. A GPU is used
where there is one. benchmarks/reproduce/recipes.yaml says how many images and seeds.

Models and cards go to --out, and nothing is bundled: copy NAME.ckpt and NAME.json from there into
server/models/, what begins with cellnet into snmn/backbones/weights/, and call --page, which writes
docs/models.md from the cards.
"""

import snmn  # noqa: F401  (first: see snmn.common.threads)

# isort: split
import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.reproduce.data_steps import Places
from benchmarks.reproduce.made import finish, summary
from benchmarks.reproduce.page import PAGE, page
from benchmarks.reproduce.plans import Plan, cellnet_plan, model_plan
from benchmarks.reproduce.recipes import CELLNET, FILE, NAMES, read_recipes
from benchmarks.reproduce.steps import ReproduceError, run_step
from snmn.common.commands import count, run
from snmn.common.errors import Interrupted
from snmn.common.paths import home_path
from snmn.storage.locks import lock_folder
from snmn.storage.whole_files import replacing
from snmn.training.interrupt import stopping_on_sigterm


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; ``names`` and ``overrides`` are taken apart."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("what", nargs="*", metavar="NAME ... [KEY VALUE ...]", help=f"all, {', '.join(NAMES)}")
    add("--genuine", type=home_path, metavar="DIR", help="genuine images, scenes, questions (val)")
    add("--dry-run", action="store_true", help="say what would be done, and how long it takes here")
    add("--seeds", type=count, metavar="N", help="in place of those of the recipes")
    add("-s", "--seed", type=int, default=0, help="of training, or the first one")
    add("--data", type=home_path, default=Path("data/mini"), help="what models share (%(default)s)")
    add(
        "--out", type=home_path, default=Path("runs/reproduced"), help="models, cards (%(default)s)"
    )
    add("--results", type=home_path, default=Path("results/reproduced"), help="of test.py")
    add("--recipes", type=home_path, default=FILE, help="images and seeds (%(default)s)")
    add("--page", action="store_true", help="write docs/models.md from the bundled cards")
    given = parser.parse_intermixed_args(arguments)
    known = [*NAMES, "all"]
    end = next((n for n, word in enumerate(given.what) if word not in known), len(given.what))
    names, given.overrides = given.what[:end], given.what[end:]
    given.names = list(dict.fromkeys(NAMES if "all" in names else names))
    if given.overrides and "." not in given.overrides[0] and given.overrides[0].islower():
        parser.error(f"no model is called {given.overrides[0]!r}; there are {', '.join(known)}")
    if not given.names and (given.overrides or not given.page):
        parser.error(f"name models first: {', '.join(known)}")
    return given


def plans(given: argparse.Namespace) -> list[Plan]:
    """What has to be done for each name. Raises ConfigError for recipes and configurations."""
    recipes = read_recipes(given.recipes)
    places = Places(given.data, given.out, given.results, given.genuine)
    if given.genuine and not (given.genuine / "questions").is_dir():
        raise ReproduceError(f"{given.genuine} has no folder questions, as CLEVR's datasets have")
    how = {"overrides": given.overrides, "seed": given.seed, "seeds": given.seeds}
    return [
        cellnet_plan(recipes, places)
        if name == CELLNET
        else model_plan(name, recipes, places, **how)
        for name in given.names
    ]


def describe(found: Sequence[Plan]) -> None:
    """Print the steps of plans, each once, and their hours here."""
    # Only here, as it loads much and takes seconds.
    from benchmarks.reproduce.estimates import seconds

    total, told = 0.0, set()
    for plan in found:
        print(f"{plan.name}:")
        for step in plan.steps:
            key = step.key()
            if key in told:
                continue
            told.add(key)
            done = step.is_done()
            hours = 0.0 if done else seconds(step) / 3600
            total += hours
            print(f"  {'done' if done else f'{hours:5.2f} h'}  {step.shown}")
    print(f"{total:.2f} hours at this machine's speed, from a few of each kind of step")


def make(given: argparse.Namespace) -> None:
    """Make what is asked for, or say what that takes."""
    found = plans(given)
    if given.dry_run:
        describe(found)
        return
    told = []
    with lock_folder(given.out):
        for plan in found:
            print(f"== {plan.name}", flush=True)
            for step in plan.steps:
                run_step(step)
            finish(plan)
            told.append(summary(plan))
    print("\n" + "\n\n".join(told))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    given = parse(arguments)
    if given.names:
        try:
            with stopping_on_sigterm():
                make(given)
        except KeyboardInterrupt:
            raise Interrupted("stopped; the same command goes on") from None
    if given.page:
        with replacing(PAGE) as partial:
            partial.write_text(page(), encoding="utf-8")
        print(f"page: {PAGE}")


if __name__ == "__main__":
    run(main, "benchmarks.reproduce")
