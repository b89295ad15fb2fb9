"""Questions per second of the question generator and answers per second of the executor.

python -m benchmarks.questions --scenes 500
"""

import argparse
import time

import numpy as np

from clevr_prep.clevr.programs import execute
from clevr_prep.clevr.scene_masks import ATTRIBUTES, VALUES
from clevr_prep.synthetic.sampling.balance import AnswerBalance
from clevr_prep.synthetic.sampling.questions import generate_questions


def make_scene(rng: np.random.Generator, count: int) -> dict:
    """Random objects with random relations that fit together; needs no renderer."""
    objects = [{a: str(rng.choice(VALUES[a])) for a in ATTRIBUTES} for _ in range(count)]
    relationships = {}
    for smaller, larger in (("left", "right"), ("front", "behind")):
        place = rng.permutation(count)
        relationships[smaller] = [np.flatnonzero(place < p).tolist() for p in place]
        relationships[larger] = [np.flatnonzero(place > p).tolist() for p in place]
    return {"objects": objects, "relationships": relationships}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scenes", type=int, default=500, help="number of scenes")
    parser.add_argument("--per-scene", type=int, default=10, help="questions a scene")
    parser.add_argument("--max-hops", type=int, help="leave out questions with more hops")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    rng, balance = np.random.default_rng(options.seed), AnswerBalance()
    scenes = [make_scene(rng, int(rng.integers(3, 11))) for _ in range(options.scenes)]
    start = time.perf_counter()
    asked = [
        (scene, question)
        for scene in scenes
        for question in generate_questions(
            scene, options.per_scene, rng, balance=balance, max_hops=options.max_hops
        )
    ]
    made = time.perf_counter()
    for scene, question in asked:
        execute(question["program"], scene)
    done = time.perf_counter()
    print(f"{len(asked)} questions about {len(scenes)} scenes")
    print(f"generated {len(asked) / (made - start):8.0f} questions/s")
    print(f"executed  {len(asked) / (done - made):8.0f} programs/s")


if __name__ == "__main__":
    main()
