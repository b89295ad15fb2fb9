"""The question's LSTM equals TensorFlow's cell run word by word, in value and gradient."""

import torch

from snmn.network.lstm import tensorflow_lstm
from snmn.network.question_encoder import QuestionEncoder

E, H = 3, 4
LENGTHS = [2, 5, 1, 4]


def run_cell(lstm, inputs):
    """Hidden states [S,h] for inputs [S,E], one multiplication at a time."""
    hidden = cell = torch.zeros(H, dtype=torch.float64)
    states = []
    for vector in inputs:
        gates = lstm.weight_ih_l0 @ vector + lstm.weight_hh_l0 @ hidden + lstm.bias_ih_l0
        write, forget, candidate, output = gates.chunk(4)
        cell = torch.sigmoid(forget + 1) * cell + write.sigmoid() * candidate.tanh()
        hidden = output.sigmoid() * cell.tanh()
        states.append(hidden)
    return torch.stack(states)


def test_encoder_reads_each_question_in_both_directions():
    torch.manual_seed(0)
    encoder = QuestionEncoder(num_words=7, embed_dim=E, lstm_dim=2 * H).double()
    lstms = encoder.forward_lstm, encoder.backward_lstm
    for lstm in lstms:
        torch.nn.init.normal_(lstm.bias_ih_l0)
    question = torch.randint(1, 7, (len(LENGTHS), 6))  # One column more than the longest.
    length = torch.tensor(LENGTHS)
    encoded = encoder(question, length)

    states, summaries = torch.zeros(len(LENGTHS), 6, 2 * H, dtype=torch.float64), []
    for n, words in enumerate(LENGTHS):
        vectors = encoder.embedding[question[n, :words]]
        forward = run_cell(lstms[0], vectors)
        backward = run_cell(lstms[1], vectors.flip(0)).flip(0)
        states[n, :words] = torch.cat([forward, backward], dim=1)
        summaries.append(torch.cat([forward[-1], backward[0]]))
    expected = (states, torch.stack(summaries))
    torch.manual_seed(1)
    ours = theirs = 0.0
    for actual, wanted in zip((encoded.states, encoded.summary), expected, strict=True):
        torch.testing.assert_close(actual, wanted)
        mix = torch.randn_like(wanted)
        ours, theirs = ours + (actual * mix).sum(), theirs + (wanted * mix).sum()
    parameters = [p for p in encoder.parameters() if p.requires_grad]
    for actual, wanted in zip(
        torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters), strict=True
    ):
        torch.testing.assert_close(actual, wanted)


def test_what_lies_beyond_a_question_changes_nothing():
    torch.manual_seed(0)
    encoder = QuestionEncoder(num_words=7, embed_dim=E, lstm_dim=2 * H)
    question, length = torch.randint(1, 7, (4, 6)), torch.tensor(LENGTHS)
    padded = question.masked_fill(torch.arange(6) >= length[:, None], 0)
    assert not torch.equal(question, padded)
    for name in ("states", "summary"):
        torch.testing.assert_close(
            getattr(encoder(question, length), name), getattr(encoder(padded, length), name)
        )


def test_starts_as_tensorflows():
    torch.manual_seed(0)
    lstm = tensorflow_lstm(300, 256)
    bound = (6 / (300 + 256 + 4 * 256)) ** 0.5
    for weight in (lstm.weight_ih_l0, lstm.weight_hh_l0):
        assert 0.99 * bound < weight.abs().max() <= bound and abs(weight.mean()) < 0.01 * bound
    assert not lstm.bias_ih_l0.any()
    assert lstm.bias_hh_l0.view(4, 256).tolist() == [[0] * 256, [1] * 256, [0] * 256, [0] * 256]
    assert not lstm.bias_hh_l0.requires_grad
