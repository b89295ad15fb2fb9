"""How fast feature stores are read: `python benchmarks/loading.py` from the repository.

For each way of storing, a store of random sparse maps is made and read into the page cache; then
it is timed how long one image takes, and how many batches of 64 questions about 64 images, in
random order, arrive from the data module's worker processes.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from snmn.data.data_module import CLEVRDataModule  # noqa: E402
from snmn.data.feature_store import FeatureStore  # noqa: E402
from snmn.data.feature_writer import FeatureWriter  # noqa: E402
from snmn.data.imdb_writer import ImdbWriter  # noqa: E402

ATTRIBUTES = {"backbone": "none", "weights_sha256": "", "preprocess": "imagenet", "image_size": 224}
GRID = (14, 14)


def image_name(image: int) -> str:
    return f"CLEVR_train_{image:06d}.png"


def make_store(folder: Path, images: int, dim: int, zeros: float, **options) -> None:
    """Maps of normal numbers, all but the largest set to zero; each is another turn of a few."""
    rng = np.random.default_rng(0)
    pool = rng.standard_normal((16, *GRID, dim), dtype=np.float32)
    pool = np.maximum(pool - np.quantile(pool[0], zeros), 0)
    with FeatureWriter(folder, attributes=ATTRIBUTES, **options) as writer:
        for image in range(images):
            features = np.roll(pool[image % len(pool)], image, axis=(0, 1))
            writer.add([image_name(image)], features[None])


def make_imdb(path: Path, images: int) -> None:
    """One question of ten words about each image."""
    writer = ImdbWriter(question_types=["none"], max_words=10, max_steps=None)
    for image in range(images):
        writer.add(words=range(10), filename=image_name(image), question_index=image, answer=0)
    writer.save(path, made_from={})


def milliseconds_per_read(store: FeatureStore, reads: int = 500) -> float:
    """Of one image at random, from the page cache."""
    for start in range(0, len(store), 64):
        store.read(range(start, min(start + 64, len(store))))
    order = np.random.default_rng(0).integers(len(store), size=reads)
    start = time.perf_counter()
    for image in order:
        store.read([image])
    return 1000 * (time.perf_counter() - start) / reads


def batches_per_second(
    folder: Path, imdb: Path, *, dim: int, workers: int, batches: int, convert: bool
) -> float:
    """Of 64 questions, once the workers run; ``convert`` makes each float32, as training does."""
    module = CLEVRDataModule(
        train={"vqa": (folder, imdb)},
        batch_size=64,
        num_workers=workers,
        grid=GRID,
        feature_dim=dim,
        epoch_steps=batches + 2 * workers,
    )
    module.setup("fit")
    loader = iter(module.train_dataloader())
    for _ in range(2 * workers):
        next(loader)
    start = time.perf_counter()
    for batch in loader:
        if convert:
            batch.to("cpu")
    return batches / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20000)
    parser.add_argument("--dim", type=int, default=1024, help="features per cell")
    parser.add_argument("--zeros", type=float, default=0.75, help="portion of zeros")
    parser.add_argument("--workers", type=int, nargs="+", default=[2])
    parser.add_argument("--batches", type=int, default=300)
    parser.add_argument("--dtype", nargs="+", default=["float16", "float32"])
    parser.add_argument("--compression", nargs="+", default=["none", "zstd"])
    parser.add_argument("--folder", type=Path, help="for the stores (default: a temporary folder)")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON at the end")
    options = parser.parse_args()
    results = []
    for dtype in options.dtype:
        for compression in options.compression:
            with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
                folder, imdb = Path(scratch) / "train", Path(scratch) / "imdb.h5"
                choice = {"dtype": dtype, "compression": compression}
                make_store(folder, options.images, options.dim, options.zeros, **choice)
                make_imdb(imdb, options.images)
                size = sum(path.stat().st_size for path in folder.iterdir()) / options.images
                choice["kib_per_image"] = size / 2**10
                choice["ms_per_read"] = milliseconds_per_read(FeatureStore(folder))
                print(
                    f"{dtype}, {compression}: {size / 2**10:.1f} KiB an image, "
                    f"{choice['ms_per_read']:.2f} ms a read"
                )
                for workers in options.workers:
                    speeds = {
                        name: batches_per_second(
                            folder,
                            imdb,
                            dim=options.dim,
                            workers=workers,
                            batches=options.batches,
                            convert=convert,
                        )
                        for name, convert in (("arrive", False), ("as_float32", True))
                    }
                    results.append({**choice, "workers": workers, **speeds})
                    mib = 64 * GRID[0] * GRID[1] * options.dim * np.dtype(dtype).itemsize / 2**20
                    print(
                        f"    {workers} workers: {speeds['arrive']:.1f} batches/s "
                        f"({mib * speeds['arrive']:.0f} MiB/s), {speeds['as_float32']:.1f} made "
                        "float32 in the main process"
                    )
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
