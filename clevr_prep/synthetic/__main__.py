"""`python -m clevr_prep.synthetic OUT`: render a CLEVR-format dataset."""

import argparse
import json
import os
import sys

from clevr_prep.synthetic.chunks import SPLITS, Settings
from clevr_prep.synthetic.contact_sheet import write_contact_sheet
from clevr_prep.synthetic.dataset import build_dataset
from clevr_prep.synthetic.report import report_text
from snmn.common.paths import home_path
from snmn.storage.whole_files import replacing


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m clevr_prep.synthetic",
        description="Render a dataset that looks like CLEVR and has its formats: images, scenes "
        "and questions, or with --loc referring expressions and boxes like CLEVR-Ref. The same "
        "options give the same files whatever the number of workers. Started again after an "
        "interruption it goes on where it was; with larger splits it adds to what is there.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("out", type=home_path, help="folder of the dataset")
    parser.add_argument(
        "--loc",
        action="store_true",
        help="referring expressions with boxes instead of questions; splits are loc_train ...",
    )
    for split, count in (("train", 2500), ("val", 300), ("test", 300)):
        parser.add_argument(
            f"--{split}", type=int, default=count, help=f"{split} images; 0 leaves the split alone"
        )
    parser.add_argument(
        "--questions-per-image", type=int, default=10, help="0 makes images and scenes only"
    )
    parser.add_argument("--width", type=int, default=240, help="image width in pixels")
    parser.add_argument("--height", type=int, default=160, help="image height in pixels")
    parser.add_argument(
        "--samples", type=int, default=4, help="rays per pixel: 4 is quick, 32 nearly free of noise"
    )
    parser.add_argument("--min-objects", type=int, default=3, help="fewest objects in an image")
    parser.add_argument("--max-objects", type=int, default=10, help="most objects, at most 10")
    parser.add_argument("--max-hops", type=int, help="most relations a question goes through")
    parser.add_argument("--cogent", choices=("A", "B"), help="CLEVR-CoGenT condition")
    parser.add_argument(
        "--without",
        nargs=2,
        metavar=("COLOUR", "SHAPE"),
        help="one colour that one shape never has, such as cyan cube",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, another dataset")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes that render"
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = vars(_parser().parse_args(arguments))
    out, workers = options.pop("out"), options.pop("workers")
    counts = {split: options.pop(split) for split in SPLITS}
    options["without"] = options["without"] and tuple(options["without"])
    try:
        if workers < 1:
            raise ValueError(f"workers is {workers}, must be at least 1")
        reports = build_dataset(out, counts, Settings(**options), workers=workers)
        print(report_text(reports))
        with replacing(out / "report.json") as partial:
            partial.write_text(json.dumps(reports, indent=1))
        if reports:
            sheet = out / "contact_sheet.png"
            write_contact_sheet(out, next(iter(reports)), sheet)
            print(f"look at {sheet}")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
