"""Question reconstruction: can the question be told from the layout? (REC.USE_REC_LOSS)

An auxiliary task of the original code: one LSTM reads what the controller decided, step by step,
and a second one, started from its last state, has to say the question again.
"""

import torch
from torch import Tensor, nn

from snmn.network.controller import Control
from snmn.network.lstm import LSTM
from snmn.network.question_encoder import EncodedQuestion


class QuestionReconstruction(nn.Module):
    """Predicts each word of the question from the controller's T decisions.

    use_logits (REC.USE_LOGITS) reads module logits instead of probabilities, use_control
    (REC.USE_TXT_ATT) the textual parameters c_t as well.
    """

    def __init__(
        self,
        *,
        num_modules: int,
        control_dim: int,
        embed_dim: int,
        lstm_dim: int,
        num_words: int,
        use_logits: bool = True,
        use_control: bool = True,
    ):
        super().__init__()
        self.use_logits, self.use_control = use_logits, use_control
        read_dim = num_modules + (control_dim if use_control else 0)
        self.reader = LSTM(input_dim=read_dim, hidden_dim=lstm_dim)
        self.writer = LSTM(input_dim=embed_dim, hidden_dim=lstm_dim)
        self.output = nn.Linear(lstm_dim, num_words)

    def forward(self, question: EncodedQuestion, control: Control) -> Tensor:
        """Logits [N,S,words] of each word, given the words before it."""
        inputs = control.module_logits if self.use_logits else control.module_probs
        if self.use_control:
            inputs = torch.cat([inputs, control.control], dim=-1)  # [N,T,M+C]
        hidden, cell = self._run(self.reader, inputs)  # [1,T*N,D]
        N, S, _ = question.embeddings.shape
        previous = nn.functional.pad(question.embeddings[:, :-1], (0, 0, 1, 0))  # [N,S,E]
        states, _ = self._run(self.writer, previous, (hidden[:, -N:], cell[:, -N:]))
        return self.output(states.view(S, N, -1).transpose(0, 1))

    @staticmethod
    def _run(lstm: LSTM, inputs: Tensor, state: tuple[Tensor, Tensor] | None = None):
        """States [1,S*N,D] after each step of inputs [N,S,E], none of them padding to the LSTM."""
        N, S, _ = inputs.shape
        gates = lstm.project(inputs.transpose(0, 1).flatten(0, 1)).squeeze(1)  # [S*N,4h]
        rows = torch.arange(S * N, device=inputs.device)[None]
        return lstm.recur(gates, rows, [N] * S, state)
