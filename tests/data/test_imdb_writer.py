"""Rows that no imdb can be written of."""

import pytest

from clevr_prep.clevr.programs import QUESTION_TYPES, REFERRING_TYPES
from snmn.data.imdb_writer import ImdbWriter


def test_writer_refuses_mixed_layouts(tmp_path):
    writer = ImdbWriter(question_types=QUESTION_TYPES, max_words=5, max_steps=2)
    with pytest.raises(ValueError, match="no layout"):
        writer.add(words=[1], filename="a", question_index=0)
    writer = ImdbWriter(question_types=QUESTION_TYPES, max_words=5, max_steps=None)
    with pytest.raises(ValueError, match="has a layout"):
        writer.add(words=[1], filename="a", question_index=0, layout=[1])


def test_writer_wants_the_size_of_all_images_or_none(tmp_path):
    writer = ImdbWriter(question_types=REFERRING_TYPES, max_words=5, max_steps=None)
    writer.add(words=[1], filename="a", question_index=0, image_size=(4, 5))
    with pytest.raises(ValueError, match="some images have a size and others have none"):
        writer.add(words=[1], filename="b", question_index=1)
