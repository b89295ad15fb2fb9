"""How far CLEVR's questions need the objects that their relations start from.

    python -m benchmarks.superlatives data/real [--split val]

"The cube left of the sphere" singles out one cube, so all other cubes are not left of the sphere:
the one meant is the leftmost cube, whatever the sphere is. A model can therefore leave out the
start of such a relation and still answer right, while its pointing, compared with the expert's, is
wrong there. Counted are, over a split's questions:

- relations that end in one object, and how many of these are the outermost of all objects of that
  description in that direction;
- objects that chains of relations start from, and how many of these a model can do without, because
  what the first relation ends in is one object.
"""

import argparse
import json
from pathlib import Path

from clevr_prep.clevr.programs import Node, node_results, parse_program
from clevr_prep.clevr.question_files import questions_path
from clevr_prep.clevr.scene_masks import SceneMasks, members


def _relation_behind(nodes: list[Node], index: int) -> tuple[int | None, list[Node]]:
    """The relate node that a `unique` node's filters follow, or None, and these filters."""
    filters = []
    source = nodes[index].inputs[0]
    while nodes[source].function.startswith("filter_"):
        filters.append(nodes[source])
        source = nodes[source].inputs[0]
    return (source if nodes[source].function == "relate" else None), filters


def count_superlatives(program: list[dict], masks: SceneMasks) -> tuple[int, int, int, int]:
    """Of one program: relations ending in one object, outermost ones, starts, needless starts."""
    nodes, order = parse_program(program)
    results = node_results(program, masks)
    singled_out = outermost = 0
    passed = set()  # relations that end in one object
    for index in order:
        if nodes[index].function != "unique":
            continue
        relation, filters = _relation_behind(nodes, index)
        if relation is None:
            continue
        passed.add(relation)
        described = masks.everything
        for node in filters:
            described &= masks.having[node.function.partition("_")[2]][node.value]
        found, direction = results[index], nodes[relation].value
        rivals = [k for k in members(described) if k != found]
        singled_out += 1
        outermost += all(masks.related[direction][k] >> found & 1 for k in rivals)
    starts = [
        index
        for index in order
        if nodes[index].function == "relate"
        and _relation_behind(nodes, nodes[index].inputs[0])[0] is None
    ]
    return singled_out, outermost, len(starts), sum(index in passed for index in starts)


def main(arguments: list[str] | None = None) -> None:
    """Print the counts of a CLEVR-format dataset."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="a folder with scenes/ and questions/")
    parser.add_argument("--split", default="val")
    options = parser.parse_args(arguments)
    path = options.data / "scenes" / f"CLEVR_{options.split}_scenes.json"
    scenes = {
        scene["image_filename"]: SceneMasks(scene)
        for scene in json.loads(path.read_text())["scenes"]
    }
    asked = json.loads(questions_path(options.data, options.split).read_text())["questions"]
    counts = [count_superlatives(q["program"], scenes[q["image_filename"]]) for q in asked]
    singled_out, outermost, starts, needless = (sum(column) for column in zip(*counts, strict=True))
    print(
        f"questions: {len(asked)}\n"
        f"relations that end in one object: {singled_out}, the outermost of its description: "
        f"{outermost}\n"
        f"objects that chains of relations start from: {starts}, not needed: {needless}"
    )


if __name__ == "__main__":
    main()
