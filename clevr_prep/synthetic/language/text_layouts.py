"""The expert layout of a question that comes as text alone."""

from clevr_prep.clevr.expert_layouts import expert_layout
from clevr_prep.synthetic.language.grammar import read
from clevr_prep.synthetic.language.meaning import to_program


def layout_of_text(text: str) -> list[str] | None:
    """The expert layout of a question or referring expression, with its mark or without.

    Module names, unpadded; of several meanings, the layout of the first. None where the words make
    no sentence of the grammar.
    """
    meanings = read(text) or read(f"{text} ?")
    return expert_layout(to_program(meanings[0])) if meanings else None
