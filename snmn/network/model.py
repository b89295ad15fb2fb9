"""SNMN: question encoder, controller, knowledge base, modules on a stack, and output heads.

Hu, Andreas, Darrell, Saenko: Explainable Neural Computation via Stack Neural Module Networks,
ECCV 2018, arXiv 1807.08556. One forward pass gives everything that is trained, tested or shown.

Shapes: N questions, S words, T steps, M modules, H x W grid, L stack places, D features,
A answers, I images. A batch may hold several questions of each image: N = I * G, and question n
sees image n // G.

Differences from the original, none of which changes a result: everything that does not depend on
the stack is computed for all steps at once; modules return what they write instead of copies of
the stack; normalised products are two matrix products instead of an [N,H,W,D] map.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from snmn.common.vocabulary import ANSWERS, MODULES, QUESTION_WORDS
from snmn.network.controller import Control, Controller
from snmn.network.heads import AnswerHead, BoxOffsets, CellScores, offsets_at
from snmn.network.intervention import Intervention
from snmn.network.knowledge_base import KnowledgeBaseEncoder
from snmn.network.modules import NeuralModule
from snmn.network.nmn import StackNMN
from snmn.network.own_modules import check_modules
from snmn.network.question_encoder import EncodedQuestion, QuestionEncoder
from snmn.network.reconstruction import QuestionReconstruction


@dataclass
class SNMNOutput:
    """Everything one forward pass computes.

    - answer_logits [N,A], or None without an answer head
    - module_logits, module_probs [N,T,M]: the layout, before any validity mask
    - question_attention [N,T,S]: which words each step listens to; sums to 1 over true words
    - stack [N,T,L,H,W] attention maps after each step, raw logits
    - stack_pointer [N,T,L] after each step
    - image_attention [N,T,H,W]: the map at the pointer after each step, raw logits
    - memory [N,D] after the last step
    - cell_scores [N,H*W], box_offsets [N,H*W,4] or [N,4], and box_offset [N,4] at the
      best-scoring cell, or None without localisation heads. Offsets are in units of the grid.
    - reconstruction_logits [N,S,words], or None when the reconstruction loss is off
    - module_names [M]: the modules in the order of module_logits
    - word_logits [N,T,S]: the controller's own scores of the words, whatever was attended instead
    """

    answer_logits: Tensor | None
    module_logits: Tensor
    module_probs: Tensor
    question_attention: Tensor
    stack: Tensor
    stack_pointer: Tensor
    image_attention: Tensor
    memory: Tensor
    cell_scores: Tensor | None = None
    box_offsets: Tensor | None = None
    box_offset: Tensor | None = None
    reconstruction_logits: Tensor | None = None
    module_names: tuple[str, ...] = MODULES
    word_logits: Tensor | None = None


class SNMN(nn.Module):
    """The Stack Neural Module Network (section 3 of the paper); made by `build_model`.

    ``trained_on`` says what the features were made with that a checkpoint's model was trained on:
    backbone, weights_sha256, preprocess and image_size; empty where nobody knows.
    """

    def __init__(
        self,
        *,
        question_encoder: QuestionEncoder,
        controller: Controller,
        knowledge_base: KnowledgeBaseEncoder,
        nmn: StackNMN,
        answer_head: AnswerHead | None = None,
        cell_scores: CellScores | None = None,
        box_offsets: BoxOffsets | None = None,
        reconstruction: QuestionReconstruction | None = None,
    ):
        super().__init__()
        self.question_encoder = question_encoder
        self.controller = controller
        self.knowledge_base = knowledge_base
        self.nmn = nmn
        self.module_names = nmn.module_names
        self.answer_head = answer_head
        self.cell_scores = cell_scores
        self.box_offsets = box_offsets
        self.reconstruction = reconstruction
        self.trained_on: dict[str, str | int] = {}

    def forward(
        self,
        question: Tensor,
        length: Tensor,
        image_features: Tensor,
        intervention: Intervention | None = None,
        decided: tuple[EncodedQuestion, Control] | None = None,
    ) -> SNMNOutput:
        """Answer word indices question [N,S] of length [N] about image_features [I,H,W,D].

        An intervention sets some of the decisions from outside. ``decided`` is what `decide` gave
        for the same question and the same words, and saves doing it again.
        """
        N = question.shape[0]
        H, W = image_features.shape[1:3]
        encoded, control = decided or self.decide(question, length, intervention)
        if decided and intervention:
            probs = intervention.module_probs(control.module_probs)
            control = replace(control, module_probs=probs)
        knowledge = self.knowledge_base(image_features, N)
        steps = intervention.steps if intervention else None
        run = self.nmn(
            control.control[:, :steps], control.module_probs[:, :steps], knowledge, intervention
        )
        output = SNMNOutput(
            answer_logits=None,
            module_logits=control.module_logits,
            module_probs=control.module_probs,
            question_attention=control.question_attention,
            stack=run.stack.unflatten(-1, (H, W)),
            stack_pointer=run.pointer,
            image_attention=run.attention.unflatten(-1, (H, W)),
            memory=run.memory,
            module_names=self.module_names,
            word_logits=control.word_logits,
        )
        if self.answer_head is not None:
            output.answer_logits = self.answer_head(encoded.summary, run.memory)
        if self.cell_scores is not None:
            last = run.attention[:, -1]
            output.cell_scores = self.cell_scores(last)
            output.box_offsets = self.box_offsets(knowledge, last, encoded.summary)
            best = output.cell_scores.argmax(dim=1)
            output.box_offset = offsets_at(output.box_offsets, best)
        if self.reconstruction is not None:
            output.reconstruction_logits = self.reconstruction(encoded, control)
        return output

    def decide(
        self, question: Tensor, length: Tensor, intervention: Intervention | None = None
    ) -> tuple[EncodedQuestion, Control]:
        """The encoded question and the controller's decisions, which depend on no image."""
        encoded = self.question_encoder(question, length)
        return encoded, self.controller(encoded, intervention)


def build_model(
    *,
    feature_dim: int = 1024,
    height: int = 14,
    width: int = 14,
    num_steps: int = 9,
    modules: Mapping[str, type[NeuralModule]] | None = None,
    num_words: int = len(QUESTION_WORDS),
    num_answers: int = len(ANSWERS),
    embed_dim: int = 300,
    lstm_dim: int = 512,
    pe_dim: int = 128,
    kb_dim: int = 512,
    memory_dim: int = 512,
    normalize_features: bool = False,
    attention_init_scale: float = 1.0,
    fixed_embedding: Tensor | None = None,
    linear_module_weights: bool = True,
    mlp_module_weights_bias: bool = True,
    normalize_attention: bool = True,
    use_gumbel_softmax: bool = False,
    gumbel_temperature: float = 0.5,
    use_word_embed: bool = True,
    hard_argmax_layout: bool = False,
    stack_length: int = 8,
    guard_pointer: bool = True,
    hard_sharpen: bool = True,
    soft_sharpen_temperature: float = 0.2,
    validate_modules: bool = False,
    hard_validation: bool = False,
    describe_one_keep_stack: bool = True,
    describe_two_keep_stack: bool = True,
    vqa: bool = True,
    answer_hidden_dim: int = 512,
    answer_use_question: bool = True,
    answer_keep_prob: float = 1.0,
    loc: bool = False,
    cell_affine: str | None = "scalar",
    box_convolutional: bool = True,
    box_use_question: bool = False,
    reconstruct_question: bool = False,
    reconstruct_from_logits: bool = True,
    reconstruct_from_control: bool = True,
) -> SNMN:
    """Build an SNMN from plain arguments; the defaults are the published vqa model.

    Kernels start Glorot-uniform and biases zero, as in the original. Each argument is documented
    at the part that takes it; `config.py` names the published configuration keys. ``modules`` are
    classes of one's own by name, {"_Not": Not}, beside the nine; `docs/own_module.md` adds one.
    Raises ValueError.
    """
    if not (vqa or loc):
        raise ValueError("a model needs an answer head (vqa) or localisation heads (loc)")
    modules = modules or {}
    check_modules(modules)
    num_modules = len(MODULES) + len(modules)
    control_dim = embed_dim if use_word_embed else lstm_dim
    model = SNMN(
        question_encoder=QuestionEncoder(
            num_words=num_words,
            embed_dim=embed_dim,
            lstm_dim=lstm_dim,
            fixed_embedding=fixed_embedding,
        ),
        controller=Controller(
            lstm_dim=lstm_dim,
            control_dim=control_dim,
            num_steps=num_steps,
            num_modules=num_modules,
            linear_module_weights=linear_module_weights,
            mlp_module_weights_bias=mlp_module_weights_bias,
            normalize_attention=normalize_attention,
            use_word_embed=use_word_embed,
            use_gumbel_softmax=use_gumbel_softmax,
            gumbel_temperature=gumbel_temperature,
            hard_argmax_layout=hard_argmax_layout,
        ),
        knowledge_base=KnowledgeBaseEncoder(
            height=height,
            width=width,
            feature_dim=feature_dim,
            pe_dim=pe_dim,
            kb_dim=kb_dim,
            normalize_features=normalize_features,
        ),
        nmn=StackNMN(
            control_dim=control_dim,
            kb_dim=kb_dim,
            memory_dim=memory_dim,
            modules=modules,
            stack_length=stack_length,
            guard_pointer=guard_pointer,
            hard_sharpen=hard_sharpen,
            soft_sharpen_temperature=soft_sharpen_temperature,
            validate_modules=validate_modules,
            hard_validation=hard_validation,
            describe_one_keep_stack=describe_one_keep_stack,
            describe_two_keep_stack=describe_two_keep_stack,
        ),
    )
    if vqa:
        model.answer_head = AnswerHead(
            memory_dim=memory_dim,
            question_dim=lstm_dim,
            hidden_dim=answer_hidden_dim,
            num_answers=num_answers,
            use_question=answer_use_question,
            keep_prob=answer_keep_prob,
        )
    if loc:
        model.cell_scores = CellScores(height=height, width=width, affine=cell_affine)
        model.box_offsets = BoxOffsets(
            kb_dim=kb_dim,
            question_dim=lstm_dim,
            convolutional=box_convolutional,
            use_question=box_use_question,
        )
    if reconstruct_question:
        model.reconstruction = QuestionReconstruction(
            num_modules=num_modules,
            control_dim=control_dim,
            embed_dim=embed_dim,
            lstm_dim=lstm_dim,
            num_words=num_words,
            use_logits=reconstruct_from_logits,
            use_control=reconstruct_from_control,
        )
    initialise(model, attention_scale=attention_init_scale)
    return model


def initialise(model: SNMN, *, attention_scale: float = 1.0) -> None:
    """Draw the published starting weights: Glorot-uniform kernels, zero biases.

    ``attention_scale`` multiplies the kernels that score cells. As published (1), the scores of
    unit vectors start with a standard deviation below 0.1, so attention over the grid starts
    flat and its gradient is tiny; a larger scale starts with a few cells picked out.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    # The T projections lie in one matrix, but each is a kernel of its own.
    with torch.no_grad():
        steps = model.controller.step_question
        for block in steps.weight.split(steps.in_features):
            nn.init.xavier_uniform_(block)
        for score in model.nmn.attention_scores():
            score.weight.mul_(attention_scale)
