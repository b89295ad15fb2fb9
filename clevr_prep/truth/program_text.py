"""Programs and what they give on a scene, in words."""

from collections.abc import Sequence


def program_text(program: Sequence[dict]) -> str:
    """A program of `discrete_programs.read_layout`: "count(filter_color[red](scene))"."""
    texts: list[str] = []
    for node in program:
        values = "".join(f"[{value}]" for value in node["value_inputs"])
        inputs = ", ".join(texts[place] for place in node["inputs"])
        texts.append(f"{node['function']}{values}" + (f"({inputs})" if inputs else ""))
    return texts[-1]


def object_text(thing: dict) -> str:
    """An object of a scene: "small red rubber cube"."""
    return " ".join(thing[name] for name in ("size", "color", "material", "shape"))


def given_text(answer: str | int | None, scene: dict) -> str:
    """What `discrete_programs.discrete_answer` gave: the answer, or the object of an index."""
    if isinstance(answer, int):
        return object_text(scene["objects"][answer])
    return answer or ""
