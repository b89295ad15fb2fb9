"""Questions that test whether a model generalises, about scenes that are there already.

    python -m clevr_prep.synthetic.compositions SCENES OUT
    python -m clevr_prep.synthetic.compositions data/mini/clevr/scenes/CLEVR_test_scenes.json \
        data/generalise

SCENES is a scenes file of CLEVR's format, rendered or genuine. OUT becomes a dataset folder with a
split for each of seven kinds of composition that CLEVR never shows (and_mat_spa, ...), one for each
kind's nearest of CLEVR's (and_mat_spa_baseline, ...), and others:

    few_shallow, few_deep, many_shallow, many_deep   CLEVR's families about scenes of at most 5
                  objects or of more, through at most 1 relation or sameness or through more
    false_premise, false_premise_baseline            CLEVR's families with an object that is not
                  there, without answers, and the same questions about one that is

With --pair COLOUR SHAPE there are two more, for models trained without it (clevr_prep.synthetic
--without): pair, whose questions single out an object that has both, and pair_baseline.

With --loc, for scenes that were rendered with it, these are of referring expressions: five of the
kinds, loc_and_mat_spa and so on, and false premises.

Answers are balanced within each kind, no relation and no sameness is needless, and every text has
one meaning. Scenes and images are linked to where they are. Layouts and imdbs of the folder are
made as of any other:

    python clevr_prep/data/get_ground_truth_layout.py --data-dir OUT
    python clevr_prep/data/build_clevr_imdb.py --data-dir OUT --out OUT/imdb

The same scenes and options give the same files; after an interruption the same command goes on.
"""

import argparse

from clevr_prep.clevr.scene_masks import VALUES
from clevr_prep.synthetic.compositions.build import build_compositions, splits_of
from clevr_prep.synthetic.compositions.split_plans import BASELINE, PAIR, PLANS
from snmn.common.commands import run
from snmn.common.paths import home_path


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m clevr_prep.synthetic.compositions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenes", type=home_path, help="scenes file, CLEVR_<split>_scenes.json")
    parser.add_argument("out", type=home_path, help="folder of the dataset that is made")
    parser.add_argument(
        "--splits",
        nargs="+",
        choices=list(PLANS),
        metavar="SPLIT",
        help=f"what to make, of {', '.join(PLANS)} (default: all, of questions or of expressions)",
    )
    parser.add_argument(
        "--pair", nargs=2, metavar=("COLOUR", "SHAPE"), help="what a model never saw together"
    )
    parser.add_argument("--loc", action="store_true", help="expressions, not questions")
    parser.add_argument(
        "--per-image", type=int, default=1, help="most questions of a split about one image (1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, other questions (0)")
    given = parser.parse_args(arguments)
    for name, least in (("per_image", 1), ("seed", 0)):
        if getattr(given, name) < least:
            parser.error(f"--{name.replace('_', '-')} must be at least {least}")
    if given.pair and not all(
        value in VALUES[kind] for kind, value in zip(("color", "shape"), given.pair, strict=True)
    ):
        parser.error(f"--pair: no object is a {' '.join(given.pair)}")
    given.splits = given.splits or splits_of(loc=given.loc, pair=bool(given.pair))
    if not given.pair and {PAIR, PAIR + BASELINE} & set(given.splits):
        parser.error("--pair COLOUR SHAPE says which pair these questions are about")
    return given


def main(arguments: list[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    given = _parse(arguments)
    made = build_compositions(
        given.scenes,
        given.out,
        splits=given.splits,
        per_image=given.per_image,
        seed=given.seed,
        pair=given.pair,
    )
    for split in given.splits:
        print(f"{split}: {f'{made[split]} questions' if split in made else 'is there already'}")


if __name__ == "__main__":
    run(main, "python -m clevr_prep.synthetic.compositions")
