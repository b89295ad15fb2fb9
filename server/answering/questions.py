"""A visitor's question as word indices, or a sentence about what is wrong with it."""

from server.errors import DemoError
from server.schemas import Check, Task, UnknownWord
from snmn.common.answer_kinds import is_question
from snmn.common.vocabulary import QUESTION_WORDS, UnknownWordError, encode, tokenise

MAX_WORDS, MAX_LETTERS = 60, 500  # CLEVR's longest question has 45 words


def check_words(text: str) -> Check:
    """All unknown words of a question, with their nearest."""
    unknown: dict[str, UnknownWordError] = {}
    for word in tokenise(text[:MAX_LETTERS]):
        try:
            encode(word)
        except UnknownWordError as error:
            unknown[word] = error
    return Check(
        detail=" ".join(_sentence(error) for error in unknown.values()),
        unknown=[UnknownWord(word=e.word, nearest=e.nearest) for e in unknown.values()],
    )


def read_question(text: str) -> tuple[list[str], list[int]]:
    """Words and their indices; DemoError (422) names all unknown words and their nearest."""
    if len(text) > MAX_LETTERS:
        raise DemoError(
            422,
            "overlong_question",
            f"The question has {len(text)} letters; at most {MAX_LETTERS} are taken.",
        )
    words = tokenise(text)
    if not any(word[0].isalnum() for word in words):
        raise DemoError(422, "empty_question", "The question is empty; ask something.")
    if len(words) > MAX_WORDS:
        raise DemoError(
            422,
            "overlong_question",
            f"The question has {len(words)} words; at most {MAX_WORDS} are taken.",
        )
    check = check_words(text)
    if check.unknown:
        raise DemoError(422, "unknown_word", check.detail, unknown=check.unknown)
    return words, encode(text)


def _sentence(error: UnknownWordError) -> str:
    said = f'The word "{error.word}" is not one of the {len(QUESTION_WORDS)} that the models know'
    near = " or ".join(f'"{word}"' for word in error.nearest)
    return f"{said}; did you mean {near}?" if near else f"{said}."


def likely_task(words: list[str]) -> Task:
    """Whether words ask for an answer (vqa) or denote an object (loc)."""
    return "vqa" if is_question(words) else "loc"
