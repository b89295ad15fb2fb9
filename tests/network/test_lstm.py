"""The packed LSTM equals a cell run word by word, in value and gradient."""

import torch

from snmn.network.lstm import FORGET_BIAS, LSTM
from snmn.network.question_encoder import QuestionEncoder

E, H = 3, 4
LENGTHS = [2, 5, 1, 4]


def run_cell(lstm, direction, inputs):
    """Hidden states [S,h] for inputs [S,E], one multiplication at a time."""
    hidden = cell = torch.zeros(H, dtype=torch.float64)
    states = []
    for vector in inputs:
        gates = vector @ lstm.input_weight[direction] + hidden @ lstm.hidden_weight[direction]
        write, forget, candidate, output = (gates + lstm.bias[direction]).chunk(4)
        cell = torch.sigmoid(forget + FORGET_BIAS) * cell + write.sigmoid() * candidate.tanh()
        hidden = output.sigmoid() * cell.tanh()
        states.append(hidden)
    return torch.stack(states)


def test_encoder_reads_each_question_in_both_directions():
    torch.manual_seed(0)
    encoder = QuestionEncoder(num_words=7, embed_dim=E, lstm_dim=2 * H).double()
    torch.nn.init.normal_(encoder.lstm.bias)
    question = torch.randint(1, 7, (len(LENGTHS), 6))  # One column more than the longest.
    length = torch.tensor(LENGTHS)
    encoded = encoder(question, length)

    states, summaries = torch.zeros(len(LENGTHS), 6, 2 * H, dtype=torch.float64), []
    for n, words in enumerate(LENGTHS):
        vectors = encoder.embedding[question[n, :words]]
        forward = run_cell(encoder.lstm, 0, vectors)
        backward = run_cell(encoder.lstm, 1, vectors.flip(0)).flip(0)
        states[n, :words] = torch.cat([forward, backward], dim=1)
        summaries.append(torch.cat([forward[-1], backward[0]]))
    expected = (states, torch.stack(summaries))
    torch.manual_seed(1)
    ours = theirs = 0.0
    for actual, wanted in zip((encoded.states, encoded.summary), expected, strict=True):
        torch.testing.assert_close(actual, wanted)
        mix = torch.randn_like(wanted)
        ours, theirs = ours + (actual * mix).sum(), theirs + (wanted * mix).sum()
    parameters = list(encoder.parameters())
    for actual, wanted in zip(
        torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters), strict=True
    ):
        torch.testing.assert_close(actual, wanted)
    with torch.no_grad():  # Works in less room, to the same end.
        torch.testing.assert_close(encoder(question, length).states, encoded.states)


def test_gradients_reach_the_initial_state_and_through_cells():
    torch.manual_seed(0)
    lstm = LSTM(input_dim=E, hidden_dim=H).double()
    rows, active = torch.tensor([[0, 2, 1, 1, 0, 2]]), (3, 2, 1)

    def double(*shape):
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    gates, hidden, cell = double(3, 4 * H), double(1, 3, H), double(1, 3, H)
    assert torch.autograd.gradcheck(
        lambda gates, hidden, cell: lstm.recur(gates, rows, active, (hidden, cell)),
        (gates, hidden, cell),
    )
