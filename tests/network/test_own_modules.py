"""Modules beside the nine: what they do to stack and memory, and which are refused."""

import sys

import pytest
import torch

import snmn
from snmn.common.vocabulary import MODULES
from snmn.network.knowledge_base import KnowledgeBase
from snmn.network.model import SNMNOutput
from snmn.network.nmn import StackNMN
from snmn.network.own_modules import (
    OwnModuleError,
    class_path,
    import_modules,
    parse_modules,
)
from snmn.training.losses import SNMNLoss, layout_distribution
from tests.helpers.small_models import SMALL, Not

N, P, C, D = 3, 12, 5, 8


class Drop(snmn.NeuralModule):
    inputs, outputs = 1, 0


class Most(snmn.NeuralModule):
    inputs, outputs = 3, 1

    def forward(self, knowledge, control, a1, a2, a3):
        return a1 + 10 * a2 + 100 * a3


class Ramp(snmn.NeuralModule):
    outputs = 1

    def forward(self, knowledge, control):
        return torch.arange(P).to(control).expand(*control.shape[:2], -1)


class Both(snmn.NeuralModule):
    """Two modules one after the other, from an empty stack."""

    outputs = 1
    runs = ("_Ramp", "_Not")


class Count(snmn.AnswerModule):
    inputs = 1

    def describe(self, knowledge, control, a):
        return a.sum(-1, keepdim=True).expand(-1, -1, D)


class Blind(snmn.AnswerModule):
    """Looks at no map."""

    def describe(self, knowledge, control):
        return torch.ones(*control.shape[:2], D).to(control)


OWN = {
    "_Not": Not,
    "_Drop": Drop,
    "_Most": Most,
    "_Ramp": Ramp,
    "_Both": Both,
    "_Count": Count,
    "_Blind": Blind,
}


def run(layout, **options):
    """The network and what it makes of a layout that all questions have."""
    torch.manual_seed(0)
    nmn = StackNMN(control_dim=C, kb_dim=D, memory_dim=D, modules=OWN, **options).double()
    steps = [nmn.module_names.index(name) for name in layout.split()]
    probs = torch.eye(len(nmn.module_names), dtype=torch.float64)[steps].expand(N, -1, -1)
    control = torch.randn(N, len(steps), C, dtype=torch.float64)
    knowledge = KnowledgeBase(torch.randn(N, P, D, dtype=torch.float64), questions_per_image=1)
    return nmn, control, nmn(control, probs, knowledge)


def heights(found):
    return found.pointer[0].argmax(dim=1).tolist()


def test_names_follow_the_nine():
    assert StackNMN(control_dim=C, kb_dim=D, memory_dim=D, modules=OWN).module_names == (
        *MODULES,
        *OWN,
    )


def test_a_map_is_replaced():
    _, _, found = run("_Find _Not _Not")
    torch.testing.assert_close(found.attention[:, 1], -found.attention[:, 0])
    torch.testing.assert_close(found.attention[:, 2], found.attention[:, 0])
    assert heights(found) == [1, 1, 1]


def test_a_map_is_dropped():
    _, _, found = run("_Find _Scene _Drop")
    torch.testing.assert_close(found.attention[:, 2], found.attention[:, 0])
    assert heights(found) == [1, 2, 1]


def test_more_maps_than_any_of_the_nine_takes():
    _, _, found = run("_Find _Ramp _Scene _Most")
    first, second, third = (found.attention[:, t] for t in range(3))
    torch.testing.assert_close(found.attention[:, 3], first + 10 * second + 100 * third)
    assert heights(found) == [1, 2, 3, 1]


def test_modules_that_run_others_from_an_empty_stack():
    _, _, found = run("_Ramp _Both")
    torch.testing.assert_close(found.attention[:, 1], -found.attention[:, 0])
    assert heights(found) == [1, 2]


@pytest.mark.parametrize("options", [{}, {"validate_modules": True}])
def test_what_answer_modules_describe_goes_into_the_memory(options):
    nmn, control, found = run("_Ramp _Count _Blind", **options)
    memory = torch.zeros(N, D, dtype=torch.float64)
    described = {1: float(torch.arange(P).sum()), 2: 1.0}
    for t, name in ((1, "_Count"), (2, "_Blind")):
        filled = torch.full((N, D), described[t], dtype=torch.float64)
        memory = nmn.neural_modules[name].memory(torch.cat([control[:, t], memory, filled], dim=1))
    torch.testing.assert_close(found.memory, memory)
    assert heights(found) == [1, 1, 1]  # Their maps stay.


def batch():
    words, length = torch.randint(1, 80, (2, 7)), torch.tensor([7, 4])
    return words, length, torch.randn(2, 3, 4, 6)


@pytest.mark.parametrize("options", [{}, {"linear_module_weights": False}])
def test_a_whole_model(options):
    torch.manual_seed(0)
    model = snmn.build_model(modules=OWN, reconstruct_question=True, **SMALL, **options)
    output = model(*batch())
    M = len(MODULES) + len(OWN)
    assert output.module_names == model.module_names == (*MODULES, *OWN)
    assert output.module_logits.shape == output.module_probs.shape == (2, 9, M)
    total = output.answer_logits.sum() + output.reconstruction_logits.sum()
    total.backward()
    for name in ("_Count", "_Blind"):
        assert model.nmn.neural_modules[name].memory.weight.grad.any()


@pytest.mark.slow
def test_a_whole_model_is_one_graph():
    torch.manual_seed(0)
    model = snmn.build_model(modules=OWN, **SMALL)
    given = batch()
    expected = model(*given)
    with torch._dynamo.config.patch(allow_rnn=True):
        found = torch.compile(model, backend="eager", fullgraph=True)(*given)
    torch.testing.assert_close(found.answer_logits, expected.answer_logits)
    assert found.module_names == expected.module_names


def test_layouts_in_words_may_name_them():
    names = (*MODULES, "_Not", "_Count")
    probs = layout_distribution("_Find _Not/_NoOp _Count", names)
    assert probs.shape == (3, 11)
    assert probs[0, 1] == 1 and probs[1, 0] == probs[1, 9] == 0.5 and probs[2, 10] == 1
    with pytest.raises(ValueError, match="no module is called '_Not'; there are _NoOp, _Find"):
        layout_distribution("_Find _Not")
    loss = SNMNLoss(
        answer_weight=None,
        prior_layouts=[(0, "_Not")],
        prior_weight=1.0,
        prior_end=9,
        module_names=names,
    )
    logits = torch.zeros(1, 1, 11)
    logits[0, 0, 9] = 50.0
    assert loss(output_with(logits), batch=None, model=None, step=0)["prior"] < 1e-6
    assert loss(output_with(logits.flip(2)), batch=None, model=None, step=0)["prior"] > 1


def output_with(logits):
    output = SNMNOutput(*[None] * 8)
    output.module_logits = logits
    return output


class NoForward(snmn.NeuralModule):
    inputs, outputs = 1, 1


class NoDescribe(snmn.AnswerModule):
    inputs = 1


class TwoMaps(Not):
    outputs = 2


class Negative(Not):
    inputs = -1


class Silent(Count):
    outputs = 0


class RunsLater(snmn.NeuralModule):
    outputs = 1
    runs = ("_Find", "_Own")


class NoModule(torch.nn.Module):
    pass


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ({"Not": Not}, "modules have names like _Not, .* not 'Not'"),
        ({"_": Not}, "names like _Not"),
        ({"_No t": Not}, "names like _Not"),
        ({"_No.t": Not}, "names like _Not"),
        ({"_No/t": Not}, "names like _Not"),
        ({"__Not": Not}, "names like _Not"),
        ({"_" + "x" * 99: Not}, "names like _Not"),
        ({3: Not}, "names like _Not"),
        ({"_Find": Not}, "_Find is one of the nine modules"),
        ({"_modules": Not}, "_modules is a name that PyTorch uses itself"),
        ({"_apply": Not}, "_apply is a name that PyTorch uses itself"),
        ({"_Own": Not.forward}, "_Own must be a class derived from snmn.NeuralModule"),
        ({"_Own": NoModule}, "_Own must be a class derived from snmn.NeuralModule"),
        ({"_Own": "own_module.Not"}, "_Own must be a class derived from snmn.NeuralModule"),
        ({"_Own": NoForward}, r"_Own: NoForward has no forward\("),
        ({"_Own": snmn.AnswerModule}, r"_Own: AnswerModule has no describe\("),
        ({"_Own": NoDescribe}, r"_Own: NoDescribe has no describe\("),
        ({"_Own": TwoMaps}, "_Own: TwoMaps pushes 2 maps"),
        ({"_Own": Negative}, "_Own: Negative pops -1 maps"),
        ({"_Own": Silent}, "_Own: Silent pushes 0 maps.* of an AnswerModule 1"),
        ({"_Own": RunsLater}, "_Own: RunsLater runs _Own, which is neither one of the nine"),
        ([Not], "modules are classes by name"),
    ],
)
def test_what_cannot_be_a_module_is_refused_in_a_sentence(modules, said):
    with pytest.raises(OwnModuleError, match=said) as caught:
        snmn.build_model(modules=modules, **SMALL)
    assert "\n" not in str(caught.value)


def test_paths_on_a_command_line():
    assert parse_modules("") == parse_modules("  ") == {}
    assert parse_modules(" _Not=own.Not, _Count=own.sub.Count ") == {
        "_Not": "own.Not",
        "_Count": "own.sub.Count",
    }
    for text in ("_Not", "_Not own.Not", "Not=own.Not", "_Find=own.Find", "_Not=", "_Not=a b"):
        with pytest.raises(OwnModuleError):
            parse_modules(text)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    path, known = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def test_classes_are_imported_from_the_current_folder(here):
    (here / "snmn_test_own.py").write_text(
        "import snmn\nclass Not(snmn.NeuralModule):\n"
        "    inputs, outputs = 1, 1\n    def forward(self, k, c, a):\n        return -a\n"
    )
    found = import_modules({"_Not": "snmn_test_own.Not"})["_Not"]
    assert class_path(found) == "snmn_test_own.Not"
    assert snmn.build_model(modules={"_Not": found}, **SMALL).module_names[-1] == "_Not"


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("", "snmn_test_absent.Not", "_Not cannot be snmn_test_absent.Not, .*No module named"),
        ("", "snmn_test_own.Not", "_Not cannot be snmn_test_own.Not, .*no attribute 'Not'"),
        ("", "Not", "_Not is a class by its path, as own_module.Not, not Not"),
        ("", "snmn_test_own", "_Not is a class by its path"),
        ("Not = 3", "snmn_test_own.Not", "_Not must be a class derived from .*, not 3"),
        ("class Not(:", "snmn_test_own.Not", "SyntaxError"),
        ("1 / 0", "snmn_test_own.Not", "ZeroDivisionError"),
        ("import snmn_test_absent", "snmn_test_own.Not", "No module named 'snmn_test_absent'"),
        ("raise SystemExit(2)", "snmn_test_own.Not", "SystemExit"),
    ],
)
def test_what_cannot_be_imported_is_named_in_a_sentence(here, text, path, said):
    (here / "snmn_test_own.py").write_text(text)
    with pytest.raises(OwnModuleError, match=said) as caught:
        import_modules({"_Not": path})
    assert "\n" not in str(caught.value)
