"""What models and modules are called on the page."""

from collections.abc import Mapping

from server.schemas import ModuleInfo
from snmn.common.vocabulary import MODULES
from snmn.network.modules import NeuralModule

# In the order of the list on the page; the first that is there is the default.
MODEL_TITLES = {
    "vqa_any": "Questions of any composition",
    "vqa_gt_layout": "Questions, trained with layouts",
    "vqa_scratch": "Questions, from scratch",
    "loc_gt_layout": "Expressions, trained with layouts",
    "loc_scratch": "Expressions, from scratch",
    "joint_gt_layout": "Both, trained with layouts",
    "joint_scratch": "Both, from scratch",
}

_MODULES = {
    "_NoOp": ("Nothing", "Does nothing: the answer needs no more steps."),
    "_Find": ("Find", "Looks for what the words describe, and pushes where it is."),
    "_Transform": ("Transform", "Moves from the top map to what stands in a relation to it."),
    "_Filter": ("Filter", "Keeps of the top map only what the words describe."),
    "_And": ("And", "Replaces the top two maps by what lies in both."),
    "_Or": ("Or", "Replaces the top two maps by what lies in either."),
    "_Scene": ("Scene", "Pushes where there is any object at all."),
    "_DescribeOne": ("Describe one", "Notes what the words ask about the top map's objects."),
    "_DescribeTwo": ("Describe two", "Notes how the objects of the top two maps compare."),
}

MODULE_INFOS = [
    ModuleInfo(name=name, title=_MODULES[name][0], description=_MODULES[name][1])
    for name in MODULES
]


def module_infos(modules: Mapping[str, NeuralModule]) -> list[ModuleInfo]:
    """A model's modules in their order; one's own by name and the first line of its docstring."""
    infos = {info.name: info for info in MODULE_INFOS}
    return [infos.get(name) or _own(name, type(module)) for name, module in modules.items()]


def _own(name: str, kind: type[NeuralModule]) -> ModuleInfo:
    lines = (kind.__doc__ or "").strip().splitlines()
    description = lines[0].strip() if lines else "A module beside the nine."
    return ModuleInfo(name=name, title=name.removeprefix("_"), description=description)


def model_order(name: str) -> tuple[int, str]:
    """Sorts model names: known ones first, then the others by name."""
    known = list(MODEL_TITLES)
    return (known.index(name) if name in known else len(known), name)
