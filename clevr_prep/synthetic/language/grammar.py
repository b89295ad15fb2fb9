"""One grammar, two directions: say a meaning in words, read the meanings of words.

A meaning is a question's or, with no capital and no mark, a referring expression's.

Both run over the rules of ``phrases``. A rule pairs a pattern of a meaning (variables "?x") with
a template; saying matches the pattern and fills the slots, reading matches the words and puts
what the slots meant into the pattern.
"""

import random
from collections.abc import Iterator
from functools import cache

from clevr_prep.synthetic.language.families import family_index
from clevr_prep.synthetic.language.phrases import PIECES, RULES, WORDS
from clevr_prep.synthetic.language.templates import Choice, Slot, parse_template
from snmn.common.vocabulary import tokenise


class GrammarError(ValueError):
    """No rule says the given meaning."""


def _match(pattern, meaning, bindings: dict) -> bool:
    """Whether a meaning has the pattern's form; fills in the bindings of its variables."""
    if isinstance(pattern, str):
        if pattern[0] == "?":
            bindings[pattern[1:]] = meaning
            return True
        return pattern == meaning
    if not isinstance(pattern, tuple):
        return pattern == meaning
    return (
        isinstance(meaning, tuple)
        and len(pattern) == len(meaning)
        and all(_match(p, m, bindings) for p, m in zip(pattern, meaning, strict=True))
    )


def _substitute(pattern, bindings: dict):
    if isinstance(pattern, str):
        return bindings[pattern[1:]] if pattern[0] == "?" else pattern
    if isinstance(pattern, tuple):
        return tuple(_substitute(part, bindings) for part in pattern)
    return pattern


class _Rule:
    """Templates of one meaning pattern, with their weights."""

    def __init__(self, pattern: tuple, templates: list):
        weighted = [t if isinstance(t, tuple) else (1, t) for t in templates]
        self.pattern = pattern
        self.templates = [parse_template(text, PIECES) for _, text in weighted]
        self.weights = [weight for weight, _ in weighted]


_WORD_CHOICES = {
    category: {
        value: tuple(tuple(phrase.split()) for phrase in phrases.split("|"))
        for value, phrases in table.items()
    }
    for category, table in WORDS.items()
}
_RULES = {
    category: [_Rule(pattern, templates) for pattern, templates in rules]
    for category, rules in RULES.items()
}


def _say(category: str, meaning, rng: random.Random, words: list[str]) -> None:
    if category in _WORD_CHOICES:
        phrases = _WORD_CHOICES[category][meaning]
        words += phrases[0] if len(phrases) == 1 else phrases[int(rng.random() * len(phrases))]
        return
    options, weights, bound = [], [], []
    for rule in _rules_for(category, _heads(meaning)):
        bindings: dict = {}
        if _match(rule.pattern, meaning, bindings):
            options += rule.templates
            weights += rule.weights
            bound += [bindings] * len(rule.templates)
    if not options:
        raise GrammarError(f"no rule says {meaning!r} as {category!r}")
    pick = 0 if len(options) == 1 else rng.choices(range(len(options)), weights)[0]
    _fill(options[pick], bound[pick], rng, words)


def _fill(template: tuple, bindings: dict, rng: random.Random, words: list[str]) -> None:
    for item in template:
        if isinstance(item, str):
            words.append(item)
        elif isinstance(item, Slot):
            _say(item.category, bindings[item.variable], rng, words)
        else:
            option = item.options[int(rng.random() * len(item.options))]
            _fill(option, bindings, rng, words)


def _heads(meaning: tuple) -> tuple:
    """The kinds at a meaning's top: enough to leave out most rules that cannot match."""
    second = meaning[1]
    return meaning[0], second[0] if isinstance(second, tuple) else second


@cache
def _rules_for(category: str, heads: tuple) -> list[_Rule]:
    def may_match(pattern: tuple) -> bool:
        kinds = _heads(pattern)
        second = kinds[1]
        return kinds[0] == heads[0] and (second[:1] == "?" or second == heads[1])

    return [rule for rule in _RULES[category] if may_match(rule.pattern)]


def say(meaning: tuple, rng: random.Random) -> str:
    """The text of a question or expression, one of the many ways to say its meaning.

    Raises ``GrammarError`` when the grammar has no words for it.
    """
    words: list[str] = []
    if meaning[0] == "refer":
        _say("expression", meaning, rng, words)
        return " ".join(words)
    _say("question", meaning, rng, words)
    text = " ".join(words)
    return text.replace(" ;", ";").replace(" ?", "?").capitalize()


class _Reader:
    """Finds all meanings of all stretches of one tokenised question (a memoised chart)."""

    def __init__(self, words: list[str]):
        self.words = words
        self.chart: dict[tuple[str, int], list] = {}

    def read(self, category: str, start: int) -> list[tuple[int, object]]:
        """All (end, meaning) of phrases of a category that begin at a word."""
        key = category, start
        if key not in self.chart:
            found: list[tuple[int, object]] = []
            for result in self._read(category, start):
                if result not in found:
                    found.append(result)
            self.chart[key] = found
        return self.chart[key]

    def _read(self, category: str, start: int) -> Iterator[tuple[int, object]]:
        if category in _WORD_CHOICES:
            for value, phrases in _WORD_CHOICES[category].items():
                for phrase in phrases:
                    end = start + len(phrase)
                    if tuple(self.words[start:end]) == phrase:
                        yield end, value
            return
        for rule in _RULES[category]:
            for template in rule.templates:
                for end, bindings in self._follow(template, 0, start, {}):
                    yield end, _substitute(rule.pattern, bindings)

    def _follow(
        self, template: tuple, item: int, position: int, bindings: dict
    ) -> Iterator[tuple[int, dict]]:
        """All (end, bindings) of a template's items from ``item`` on, from a word on."""
        if item == len(template):
            yield position, bindings
            return
        part = template[item]
        if isinstance(part, str):
            if position < len(self.words) and self.words[position] == part:
                yield from self._follow(template, item + 1, position + 1, bindings)
        elif isinstance(part, Slot):
            for end, meaning in self.read(part.category, position):
                more = {**bindings, part.variable: meaning}
                yield from self._follow(template, item + 1, end, more)
        elif isinstance(part, Choice):
            for option in part.options:
                rest = option + template[item + 1 :]
                yield from self._follow(rest, 0, position, bindings)


def read(text: str) -> list[tuple]:
    """All meanings of a question or expression, whatever their number of hops.

    Empty if it is not understood.
    """
    words = tokenise(text)
    reader = _Reader(words)
    found = reader.read("question", 0) + reader.read("expression", 0)
    return [meaning for end, meaning in found if end == len(words)]


def can_produce(text: str) -> bool:
    """Whether a question's text is one that the grammar can say for a family of ours."""
    return any(family_index(meaning) is not None for meaning in read(text))
