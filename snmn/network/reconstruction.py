"""Question reconstruction: can the question be told from the layout? (REC.USE_REC_LOSS)

An auxiliary task of the original code: one LSTM reads what the controller decided, step by step,
and a second one, started from its last state, has to say the question again.
"""

import torch
from torch import Tensor, nn

from snmn.network.controller import Control
from snmn.network.lstm import tensorflow_lstm
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
        self.reader = tensorflow_lstm(read_dim, lstm_dim)
        self.writer = tensorflow_lstm(embed_dim, lstm_dim)
        self.output = nn.Linear(lstm_dim, num_words)

    def forward(self, question: EncodedQuestion, control: Control) -> Tensor:
        """Logits [N,S,words] of each word, given the words before it."""
        inputs = control.module_logits if self.use_logits else control.module_probs
        if self.use_control:
            inputs = torch.cat([inputs, control.control], dim=-1)  # [N,T,M+C]
        _, last = self.reader(inputs)
        previous = nn.functional.pad(question.embeddings[:, :-1], (0, 0, 1, 0))  # [N,S,E]
        states, _ = self.writer(previous, last)  # [N,S,D]
        return self.output(states)
