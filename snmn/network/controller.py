"""Layout controller: which module runs at each step, and which words it listens to.

Section 3.2 of the paper, equations 1 to 4. The controller never sees the image.

Differences from the original: Gumbel noise is drawn in training only, so that testing is
repeatable (the original samples there too). All T question projections are one matrix product, the
module logits of all steps another, and normalised attention is one softmax over the true words,
which changes no number.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snmn.network.intervention import Intervention
from snmn.network.question_encoder import EncodedQuestion
from snmn.network.shared_operand import SharedOperand


@dataclass
class Control:
    """The controller's decisions for all steps.

    module_logits, module_probs [N,T,M] (before any validity mask); word_logits,
    question_attention [N,T,S]; control [N,T,C] the textual parameters c_t that the modules take.
    Logits are the controller's own; an `Intervention` changes what follows from them.
    """

    module_logits: Tensor
    module_probs: Tensor
    word_logits: Tensor
    question_attention: Tensor
    control: Tensor


class Controller(nn.Module):
    """Softly chooses modules and words over T steps (section 3.2 of the paper).

    control_dim is EMBED_DIM with use_word_embed and LSTM_DIM without.
    """

    def __init__(
        self,
        *,
        lstm_dim: int,
        control_dim: int,
        num_steps: int,
        num_modules: int,
        linear_module_weights: bool = True,
        mlp_module_weights_bias: bool = True,
        normalize_attention: bool = True,
        use_word_embed: bool = True,
        use_gumbel_softmax: bool = False,
        gumbel_temperature: float = 0.5,
        hard_argmax_layout: bool = False,
    ):
        super().__init__()
        self.num_steps, self.num_modules = num_steps, num_modules
        self.normalize_attention = normalize_attention
        self.use_word_embed = use_word_embed
        self.use_gumbel_softmax = use_gumbel_softmax
        self.gumbel_temperature = gumbel_temperature
        self.hard_argmax_layout = hard_argmax_layout

        self.initial_control = nn.Parameter(torch.randn(control_dim) / math.sqrt(control_dim))
        # T projections of the question, one [D,D] block of rows each (equation 1's W_1^(t)).
        self.step_question = nn.Linear(lstm_dim, num_steps * lstm_dim)
        self.question_and_control = nn.Linear(lstm_dim + control_dim, lstm_dim)
        self.word_score = nn.Linear(lstm_dim, 1)
        if linear_module_weights:
            self.module_score = nn.Linear(lstm_dim, num_modules, bias=False)
        else:
            self.module_score = nn.Sequential(
                nn.Linear(lstm_dim, lstm_dim),
                nn.ELU(),
                nn.Linear(lstm_dim, num_modules, bias=mlp_module_weights_bias),
            )

    def forward(
        self, question: EncodedQuestion, intervention: Intervention | None = None
    ) -> Control:
        """Run all T steps for a batch of encoded questions."""
        given = intervention or Intervention()
        step_questions = self.step_question(question.summary)  # q_t of all steps, side by side
        step_questions = step_questions.unflatten(1, (self.num_steps, -1))  # [N,T,D]
        # W [q_t; c_(t-1)] in two parts, of which only the second waits for the step before.
        weight, bias = self.question_and_control.weight, self.question_and_control.bias
        question_weight, control_weight = weight.tensor_split([len(weight)], dim=1)
        of_questions = F.linear(step_questions, question_weight, bias)  # [N,T,D]
        states = SharedOperand(question.states)
        values = SharedOperand(question.embeddings) if self.use_word_embed else states
        control = self.initial_control.expand(len(question.summary), -1)  # c_0
        summaries, logits, attentions, controls = [], [], [], []
        for step, of_question in enumerate(of_questions.unbind(1)):
            summary = of_question + F.linear(control, control_weight)  # cq_t
            word_logits = self._word_logits(summary, states, question.mask)
            attention = given.question_attention(step, torch.softmax(word_logits, dim=1))
            control = values.mixtures(attention[:, None]).squeeze(1)  # c_t, equation 4
            summaries.append(summary)
            logits.append(word_logits)
            attentions.append(attention)
            controls.append(control)

        module_logits = self.module_score(torch.stack(summaries, dim=1))  # [N,T,M]
        return Control(
            module_logits=module_logits,
            module_probs=given.module_probs(self._module_probs(module_logits)),
            word_logits=torch.stack(logits, dim=1),
            question_attention=torch.stack(attentions, dim=1),
            control=torch.stack(controls, dim=1),
        )

    def _word_logits(self, summary: Tensor, states: SharedOperand, mask: Tensor) -> Tensor:
        """Logits [N,S] of one step's word attention from cq_t [N,D] (equation 3).

        Over the true words; without normalize_attention (NORMALIZE_ATT) over padding as well.
        """
        # v . (cq_t * h_s) = (v * cq_t) . h_s, which needs no product as large as the states.
        query = self.word_score.weight * summary
        logits = states.products(query[:, None]).squeeze(1) + self.word_score.bias
        if self.normalize_attention:
            logits = logits.masked_fill(~mask, -torch.inf)
        return logits

    def _module_probs(self, logits: Tensor) -> Tensor:
        """Module probabilities [N,T,M] (equation 2)."""
        if self.use_gumbel_softmax:
            if self.training:
                uniform = torch.rand_like(logits).clamp_min(1e-20)
                logits = logits - torch.log((-torch.log(uniform)).clamp_min(1e-20))
            probs = torch.softmax(logits / self.gumbel_temperature, dim=-1)
        else:
            probs = torch.softmax(logits, dim=-1)
        if self.hard_argmax_layout:
            probs = F.one_hot(probs.argmax(dim=-1), self.num_modules).to(probs.dtype)
        return probs
