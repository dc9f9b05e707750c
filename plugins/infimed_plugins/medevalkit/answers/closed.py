"""Closed answers: yes or no, one of the alternatives that the question names, or a short reference."""

from __future__ import annotations

from collections.abc import Sequence

from infimed_plugins.medevalkit.answers.alternatives import alternatives, grade_alternatives
from infimed_plugins.medevalkit.answers.choice import read_choice
from infimed_plugins.medevalkit.answers.equality import key
from infimed_plugins.medevalkit.answers.folding import fold
from infimed_plugins.medevalkit.answers.open_answers import NEEDS_JUDGE, Verdict, grade_open
from infimed_plugins.medevalkit.answers.other_values import conflict
from infimed_plugins.medevalkit.answers.polar import grade_polar, is_polar, read_polar, said_of_question
from infimed_plugins.medevalkit.answers.prepared import prepare
from infimed_plugins.medevalkit.answers.sentences import read_sentences

NEAR_MISS = "near_miss"
_ALL_OR_NONE = frozenset(["both", "both of them", "neither", "neither of them", "none", "all of them"])


def grade_closed(
    gold: str,
    response: str | None,
    question: str = "",
    choices: Sequence[str] = (),
    ended: str | None = None,
) -> Verdict:
    """The verdict on a closed answer.

    ``choices`` are all the answers that the question takes, so that the same answer is read alike whatever is right;
    else
    those that the question names ("left or right?"); else yes and no, where the reference is one of them.
    """
    if choices:
        choice = read_choice(response, choices, ended=ended)
        if not choice.letters:
            return Verdict(None, choice.reason)
        read = choices[ord(choice.letters) - ord("A")]
        return Verdict(key(read) == key(gold), read=read, statement=choice.statement)
    question = question if question.isascii() else fold(question)
    if is_polar(gold):
        return grade_polar(gold, response, question, ended)
    if named := alternatives(question):
        verdict = grade_alternatives(gold, response, named, ended, question)
        if verdict is not None and verdict.reason == NEEDS_JUDGE:
            text = prepare(response, ended).whole
            if key(text) in _ALL_OR_NONE or conflict(gold, list(read_sentences(text)), question) == "other":
                return Verdict(False, read=text[:200], statement=text[:300])
        if verdict is not None:
            return verdict
    verdict = grade_open(gold, response, question, ended)
    if verdict.right is not True and (wanted := said_of_question(gold, question)):
        read, _, statement = read_polar(response, question, ended)
        if read:
            return Verdict(read == wanted, read=read, statement=statement)
    if not question and verdict.right and key(verdict.read) != key(gold) and len(verdict.read.split()) < 4:
        return Verdict(None, NEAR_MISS, verdict.read)  # more words than the reference, and nothing says what was asked
    return verdict
