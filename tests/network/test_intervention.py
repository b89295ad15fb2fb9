"""What is set from outside runs, and all else is as it was."""

import pytest
import torch

from snmn.common.vocabulary import MODULE_INDEX
from snmn.network.intervention import Intervention
from snmn.network.model import build_model

N, S, T, H, W, D = 3, 6, 4, 2, 3, 5


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = dict.fromkeys(("embed_dim", "lstm_dim", "kb_dim", "memory_dim"), 8)
    return build_model(feature_dim=D, height=H, width=W, num_steps=T, pe_dim=4, **sizes).eval()


@pytest.fixture(scope="module")
def asked():
    random = torch.Generator().manual_seed(1)
    question = torch.randint(1, 9, (N, S), generator=random)
    return question, torch.tensor([6, 4, 5]), torch.randn(N, H, W, D, generator=random)


def layout(*modules):
    return torch.tensor([MODULE_INDEX[name] for name in modules])


def test_one_that_sets_nothing_changes_nothing(model, asked):
    nothing = Intervention(
        layout=torch.full((N, T), -1),
        words=torch.zeros(N, T, S),
        image_attention=torch.full((N, T, H * W), torch.nan),
    )
    plain, same = model(*asked), model(*asked, nothing)
    for name in ("answer_logits", "module_probs", "question_attention", "stack", "memory"):
        assert torch.equal(getattr(plain, name), getattr(same, name)), name


def test_a_layout_runs_as_if_the_controller_had_chosen_it(model, asked):
    chosen = layout("_Find", "_Transform", "_DescribeOne", "_NoOp").expand(N, T)
    output = model(*asked, Intervention(layout=chosen))
    assert torch.equal(output.module_probs.argmax(dim=2), chosen)
    assert output.stack_pointer.argmax(dim=2).tolist() == [[1, 1, 1, 1]] * N
    assert torch.equal(output.module_logits, model(*asked).module_logits)


def test_one_step_of_one_question(model, asked):
    plain = model(*asked)
    some = torch.full((N, T), -1)
    some[1, 2] = MODULE_INDEX["_Find"]
    output = model(*asked, Intervention(layout=some))
    assert output.module_probs[1, 2].argmax() == MODULE_INDEX["_Find"]
    assert torch.equal(output.module_probs[1, :2], plain.module_probs[1, :2])
    assert torch.allclose(output.memory[0], plain.memory[0])
    assert torch.allclose(output.stack[1, :2], plain.stack[1, :2])
    assert not torch.allclose(output.stack[1, 2], plain.stack[1, 2])


def test_words_change_what_the_step_and_those_after_it_hear(model, asked):
    plain = model(*asked)
    words = torch.zeros(N, T, S)
    words[0, 1, 3] = 1.0
    output = model(*asked, Intervention(words=words))
    assert output.question_attention[0, 1].tolist() == [0, 0, 0, 1, 0, 0]
    # The step's own wish stays visible; the next step goes on from what was heard instead.
    assert torch.allclose(output.word_logits[:, :2], plain.word_logits[:, :2])
    assert not torch.allclose(output.question_attention[0, 2], plain.question_attention[0, 2])
    assert torch.allclose(output.question_attention[1:], plain.question_attention[1:])


def test_a_map_is_what_later_steps_read(model, asked):
    run = layout("_Find", "_DescribeOne", "_NoOp", "_NoOp").expand(N, T)
    here = torch.full((N, T, H * W), torch.nan)
    here[2, 0] = torch.tensor([0.0, 9, 0, 0, 0, 0])
    plain = model(*asked, Intervention(layout=run))
    output = model(*asked, Intervention(layout=run, image_attention=here))
    assert output.image_attention[2, 0].flatten().tolist() == [0, 9, 0, 0, 0, 0]
    assert torch.equal(output.stack[2, 0, 0], plain.stack[2, 0, 0])
    assert not torch.allclose(output.memory[2], plain.memory[2])
    assert torch.allclose(output.memory[:2], plain.memory[:2])


def test_what_is_set_has_gradients_where_the_rest_has_them(model, asked):
    here = torch.full((N, T, H * W), torch.nan)
    here[:, 0] = 0.0
    model(*asked, Intervention(image_attention=here)).memory.sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_regions_are_as_strong_as_objects(model, asked):
    run = layout("_Find", "_DescribeOne", "_NoOp", "_NoOp").expand(N, T)
    here = torch.full((N, T, H * W), torch.nan)
    here[2, 0] = torch.tensor([0.0, 1, 0, 0, 0, 0])
    output = model(*asked, Intervention(layout=run, regions=here))
    plain = model(*asked, Intervention(layout=run))
    seen = output.image_attention[2, 0].flatten()
    assert seen.argmax() == 1 and len(seen.unique()) == 2
    assert not torch.allclose(output.memory[2], plain.memory[2])
    assert torch.allclose(output.memory[:2], plain.memory[:2])
