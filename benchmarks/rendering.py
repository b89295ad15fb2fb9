"""Processor time per scene and per image: `python benchmarks/rendering.py` from the repository."""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from clevr_prep.synthetic.render.renderer import render_scene  # noqa: E402
from clevr_prep.synthetic.scenes.scene_sampling import sample_scene  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=40)
    images = parser.parse_args().images
    for width, height, samples in ((240, 160, 4), (240, 160, 8), (480, 320, 4)):
        rng = np.random.default_rng(0)
        render_scene(sample_scene(rng, width=width, height=height, samples=samples))
        start = time.thread_time()
        scenes = [
            sample_scene(rng, width=width, height=height, samples=samples) for _ in range(images)
        ]
        sampled = time.thread_time()
        for scene in scenes:
            render_scene(scene)
        done = time.thread_time()
        print(
            f"{width} x {height}, {samples} samples: "
            f"scene {1000 * (sampled - start) / images:.1f} ms, "
            f"image {1000 * (done - sampled) / images:.1f} ms of one core"
        )


if __name__ == "__main__":
    main()
