"""Reading a multiple-choice response: equality first, then statements, then the last commitment; never a guess."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from infimed_plugins.medevalkit.answers.at_once import read_at_once
from infimed_plugins.medevalkit.answers.choice_claims import is_label, read_claim
from infimed_plugins.medevalkit.answers.choice_cues import VERDICT
from infimed_plugins.medevalkit.answers.choice_statements import (
    CONCLUDED,
    DOUBTED,
    SAID,
    Statement,
    find_statements,
)
from infimed_plugins.medevalkit.answers.context_modifiers import (
    corrections,
    denied_after,
    denied_before,
    retractions,
)
from infimed_plugins.medevalkit.answers.enumerations import goes_on_from, goes_on_listing, without_parts
from infimed_plugins.medevalkit.answers.equality import EDGES, key_of_plain
from infimed_plugins.medevalkit.answers.listed_names import list_alone, list_named
from infimed_plugins.medevalkit.answers.named_in_prose import in_other_words, named_in_prose, part_of_one
from infimed_plugins.medevalkit.answers.named_options import (
    LETTERS,
    Options,
    lowered,
    mark_labels,
    mark_options,
    prepare_options,
    unmark,
)
from infimed_plugins.medevalkit.answers.none_or_all import none_or_all
from infimed_plugins.medevalkit.answers.polar import by_statement
from infimed_plugins.medevalkit.answers.prepared import MARK, Prepared, prepare
from infimed_plugins.medevalkit.answers.refusals import NO_CHOICE, is_refusal
from infimed_plugins.medevalkit.answers.resolving import (
    Resolved,
    nearly_own_text,
    option_of_number,
    option_of_order,
    resolve,
    set_of,
)
from infimed_plugins.medevalkit.answers.restated import without_restated
from infimed_plugins.medevalkit.answers.run_on import heads
from infimed_plugins.medevalkit.answers.sentence_bounds import sentence_start


class Choice(NamedTuple):
    """The letters read (in order, without repeats), or none with the reason why.

    ``how`` names the rule and ``statement`` is the part of the answer that decided.
    """

    letters: str
    reason: str = ""
    how: str = ""
    statement: str = ""


def read_choice(
    response: str | None,
    options: Sequence[str],
    multiple: bool = False,
    ended: str | None = None,
    question: str = "",
) -> Choice:
    """The letters a response chooses. ``options`` are the texts, with or without their own letters.

    ``multiple`` allows several letters; ``ended`` is how the response ended, where known; the ``question`` tells
    whether
    it asks for what does not hold, and what a statement answers where the options are yes and no. Reasons for
    reading none:
    those of ``prepare``, ``refusal``, ``no_option`` (it says that none fits), ``no_such_option``, ``contradiction``
    (a letter with another option's text), ``several_answers``, ``loop``, ``unreadable``.
    """
    return _read(response, tuple(options), multiple, ended, question)


@lru_cache(maxsize=8192)
def _read(response: str | None, texts: tuple[str, ...], multiple: bool, ended: str | None, question: str) -> Choice:
    prepared = prepare(without_parts(response, question), ended)
    if prepared.reason:
        return Choice("", prepared.reason)
    if prepared.loop and len(prepared.text.split()) <= 3:
        return Choice("", "loop")
    options = prepare_options(texts)
    if not prepared.loop and (same := read_at_once(prepared, options)) is not None:
        return _of(same, prepared.whole if same.letters else "")
    pieces = heads(prepared.text, options.lowered)
    whole = len(pieces) == 1 and not prepared.marks and not prepared.loop
    if whole and (same := resolve(prepared.text, options, multiple)) is not None:
        return _of(same, prepared.text)
    negative = _NEGATIVE.search(question[-400:]) is not None
    if len(pieces) == 1 and (last := _read_end(pieces[0], prepared, options, multiple, negative)) is not None:
        return last
    for piece in pieces:
        choice, sure = _read_text(piece, prepared, options, multiple, negative)
        if sure or (choice.letters and len(pieces) == 1):
            break
    if choice.reason in ("no_option", "unreadable") and (
        letter := none_or_all(prepared.whole, options, multiple, negative)
    ):
        return Choice(letter, how="none or all of them", statement=choice.statement or prepared.whole[:300])
    if not choice.letters and question and choice.reason in ("unreadable", "several_answers"):
        said, statement = by_statement(prepared.whole, question)
        if said and said in options.keys:
            return Choice(LETTERS[options.keys.index(said)], how="statement", statement=statement)
    return choice


_NEGATIVE = re.compile(
    r"\b(?:not|except|false|incorrect|wrong|untrue|least likely|never|contraindicated|avoided|inappropriate)\b|"
    r"错误|不正确|不是|不会|不属于|不能|"
    r"不包括|除外|不符|有误|不恰当|不宜|不应",
    re.IGNORECASE,
)


def _of(same: Resolved, text: str) -> Choice:
    return Choice(same.letters, same.reason, same.how, text.strip()[:300])


_ASIDE_LINE = re.compile(
    r"^(?:less likely|unlikely|differentials?(?: diagnos[ie]s)?|(?:incorrect|wrong|other|rejected|alternative) "
    r"(?:answers?|options?|choices?)|incorrect|wrong|alternatives?|ruled out|excluded|distractors?) ?: ?\S.*$",
    re.IGNORECASE | re.MULTILINE,
)
"""A line of what is not the answer."""


def _read_text(
    text: str, prepared: Prepared, options: Options, multiple: bool, negative: bool = False
) -> tuple[Choice, bool]:
    """What a text chooses, and whether it says so outright (else it may only name an option)."""
    if text is not prepared.text and (same := resolve(text, options, multiple)) is not None:
        return _of(same, text), True
    raw = text
    if ":" in text and (shorter := _ASIDE_LINE.sub("", text).strip()):
        text = shorter
    text = without_restated(text, options)
    text = mark_labels(mark_options(text, options), len(options))
    if multiple and (listed := list_alone(text, options)) is not None:
        return _of(listed, unmark(text, options)), True
    statements = find_statements(text, options, multiple, negative)
    statements += _of_marks(text, prepared, options, multiple)
    decided = decide(text, statements, multiple)
    lettered = _LETTERED.match(raw) is not None
    if decided is None:
        decided = _at_the_edges(text, options, multiple, negative, lettered)
    if decided is not None:
        shown = _shown(text, decided, prepared, options)
        return Choice(decided.letters, decided.reason, decided.how, shown), True
    if multiple and not prepared.cut and (listed := list_named(text, options)) is not None:
        return _of(listed, unmark(text, options)), False
    return _unstated(text, statements, prepared, options), False


_LONG, _END, _SENTENCE_AT_MOST = 800, 450, 250


def _read_end(text: str, prepared: Prepared, options: Options, multiple: bool, negative: bool) -> Choice | None:
    """What the end of a long text concludes in so many words; the whole text would be read alike. ``None``: read it."""
    if len(text) < max(_LONG, options.longest + 1) or prepared.marks:
        return None
    end = mark_labels(mark_options(without_restated(text[-_END:], options), options), len(options))
    found = find_statements(end, options, multiple, negative, start=_SENTENCE_AT_MOST)
    strong = [one for one in found if one.strength >= CONCLUDED]
    if not strong or strong[-1].how != "stated":
        return None
    last = strong[-1]
    if VERDICT.search(lowered(end), last.end) or any(at >= last.end for at in retractions(end)):
        return None
    return Choice(last.letters, last.reason, last.how, _shown(end, last, prepared, options))


def _shown(text: str, statement: Statement, prepared: Prepared, options: Options) -> str:
    part = text[statement.start : statement.end]
    for index, content in enumerate(prepared.marks):
        part = part.replace(chr(MARK + index), content)
    return unmark(part, options).strip()[:300]


def _of_marks(text: str, prepared: Prepared, options: Options, multiple: bool) -> list[Statement]:
    """Statements of what stands in boxes, tags and fields; what is no answer there is passed over."""
    found = []
    for index, content in enumerate(prepared.marks):
        at = text.find(chr(MARK + index))
        if at < 0 or denied_before(text[max(sentence_start(text, at), at - 60) : at]):
            continue
        same = resolve(content, options, multiple)
        if same is None and NO_CHOICE.match(content):
            same = Resolved("", reason="no_option")
        if same is None:
            choice, sure = _read_text(content, Prepared(content), options, multiple)
            if choice.letters or sure:
                same = Resolved(choice.letters, reason=choice.reason)
        if same is not None:
            found.append(Statement(at, at + 1, same.letters, CONCLUDED, "marked", same.reason))
    return found


def decide(text: str, statements: Sequence[Statement], multiple: bool) -> Statement | None:
    """The last commitment: a conclusion after which nothing is concluded otherwise; ``None`` where nothing is
    concluded."""
    strong = sorted((one for one in statements if one.strength >= CONCLUDED), key=lambda one: one.end)
    back = retractions(text)
    strong = [
        one
        for one in strong
        if not any(at >= one.end and not any(other.start >= at for other in strong) for at in back)
    ]
    if not strong:
        return None
    last = strong[-1]
    marked = [one for one in strong if one.how == "marked" and one.letters]
    if last.how == "marked" and len({one.letters for one in marked}) > 1:
        first = next(one for one in marked if one.letters != last.letters)
        if not any(first.end <= at <= last.start for at in corrections(text)):
            return Statement(first.start, last.end, "", CONCLUDED, "marked", "several_answers")
    if last.how == "called right":
        since = max((i for i, one in enumerate(strong) if one.how != "called right"), default=-1)
        letters = {one.letters for one in strong[since + 1 :] if one.letters}
        stated = strong[since].letters if since >= 0 else ""
        if len(letters) > 1:
            if stated in letters:
                return strong[since]
            if multiple:
                joined = "".join(sorted(set("".join(letters))))
                return Statement(last.start, last.end, joined, CONCLUDED, "called right")
            return Statement(last.start, last.end, "", CONCLUDED, "called right", "several_answers")
    return last


_LETTERED = re.compile(r"[\"'(\[ ]*[A-Z][.):\]]")
"""A text that begins with a letter as a list has it: "B. Warfarin is ..."."""
_LEAD = re.compile(
    r"(?:[\"'(\[{<:. ]|(?:most likely|probably|likely|maybe|perhaps|possibly|definitely|certainly|clearly|surely|"
    r"i guess|okay|ok|sure|well|therefore|thus|hence|so)[,:]? |\d{1,2}[.,):] +(?=[\ue000-\ue019])|"
    r"(?:option|choice|选项?)\s?:? ?)*",
    re.IGNORECASE,
)
_LABEL_LINE = re.compile(r"[A-Z]\. [A-Z][a-z]")
"""A capital letter, and a sentence after its stop: no initial of a germ, whose second word is small."""
_LETTER_OF = re.compile(r"[\"')\]]*\s?[:=]\s?[A-Za-z](?=\W*$)")
"""Another letter as what is said of this one ("A: F"): false, or an answer F."""
_NEXT_NAME = re.compile(r"[\"')\]]*(?:,| and| or|/)+ ?(?:and |or )?[\ue000-\ue019]")
"""Another option that is named with the first, so that this one is not said alone."""
_LEAD_END = re.compile(
    r"[\"')\]}]*(?:$|\s?[.:、。;)]|,(?= |$)|\s?[-—–]+(?=\s)|\n| \(| (?=because|since|as\b|due to|for the reason|"
    r"rather than\b|"
    r"over\b|instead of\b)|"
    r"[ ]?[\ue000-\ue019]|(?= ?[\ue100-\ue119])|(?= [^\w\s(]))",
    re.IGNORECASE,
)


def _at_the_edges(text: str, options: Options, multiple: bool, negative: bool, lettered: bool) -> Statement | None:
    """A letter or an option that stands alone at the beginning or on the last line."""
    lead = _leading(text, options, multiple, negative, lettered)
    last = _last_line(text, options, multiple)
    if lead is None or last is None or lead.letters == last.letters or last.start <= lead.start:
        return lead or last
    if any(lead.end <= at <= last.start for at in corrections(text)) or retractions(text):
        return last
    if lead.reason or last.reason:
        return lead if lead.letters else last
    return Statement(last.start, last.end, "", SAID, "first and last line", "several_answers")


def _leading(text: str, options: Options, multiple: bool, negative: bool, lettered: bool) -> Statement | None:
    start = _LEAD.match(text).end()  # type: ignore[union-attr]
    if start >= len(text):
        return None
    first_line = text[: text.find("\n")] if "\n" in text else text
    for part in dict.fromkeys((first_line, _clause(first_line))):
        same = resolve(part, options, multiple) if part.strip(EDGES) else None
        if same is not None and same.how != "letter":
            rest = text[len(part) :]
            if same.letters and ((denied_after(rest) and not negative) or goes_on_listing(text)):
                return None
            if same.letters and same.how == "option text" and len(part) < len(first_line) and not _ends_clause(rest):
                continue
            return Statement(0, len(part), same.letters, SAID, "first words", same.reason)
    item = text[start]
    if not (item.isascii() and item.isalpha()) and not "\ue000" <= item <= "\ue1ff":
        return None
    end = start + 1
    if end < len(text) and item.isascii() and (text[end].isalnum() or text[end] in "'-+_"):
        return None
    ends = _LEAD_END.match(text, end)
    if ends is None and not (lettered and "\ue100" <= item <= "\ue119" and text[end : end + 1] == " "):
        return None
    if not is_label(text.lower(), start, end) and not _LABEL_LINE.match(text, start):
        return None
    named = "\ue000" <= item < "\ue100"
    if named and not re.match(r"[\"')\]}]*(?:$|\s?[.;。]|,|\n| \(|\s[-—–]\s| +because\b)", text[end:]):
        return None
    if (denied_after(text[end:], "is ") and not negative) or goes_on_listing(text) or _LETTER_OF.match(text, end):
        return None
    if named and _NEXT_NAME.match(text, end):
        return None
    claim = read_claim(text, lowered(text), start, options, multiple)
    if claim is None:
        return None
    stop, letters, reason = claim
    return Statement(start, stop, letters, SAID, "first letter", reason)


def _clause(line: str) -> str:
    stop = re.search(r"[,;.:!](?=\s|$)|[。;、]|\s[-—–]\s| \(", line)
    return line[: stop.start()] if stop else line


def _ends_clause(rest: str) -> bool:
    return re.match(r"[,;.:!\n。(]|\s[-—–(]|$", rest) is not None


def _last_line(text: str, options: Options, multiple: bool) -> Statement | None:
    """The last line, where it is an answer and nothing else; or a letter after the last colon."""
    start = text.rfind("\n") + 1
    line = text[start:]
    if start and goes_on_from(text[:start], line):
        return None
    if start and line.strip(EDGES):
        same = resolve(unmark(line, options) if not line.isascii() else line, options, multiple)
        if same is not None and (same.letters or same.reason == "contradiction"):
            return Statement(start, len(text), same.letters, SAID, "last line", same.reason)
        claim = read_claim(text, lowered(text), start, options, multiple)
        if claim is not None and claim[1] and not text[claim[0] :].strip(EDGES):
            return Statement(start, len(text), claim[1], SAID, "last line", claim[2])
    found = _LAST_LETTER.search(text, max(0, len(text) - 40))
    if found is None or _LETTERED_NAME.search(text[max(0, found.start() - 50) : found.start()]):
        return None
    index = ord(found[1]) - 0xE100 if ord(found[1]) > 0xE000 else ord(found[1]) - 65
    if index >= len(options) or (found[1] in "FT" and _LETTER_OF.match(text, 1)):
        return None
    return Statement(found.start(), len(text), LETTERS[index], SAID, "last letter")


_LAST_LETTER = re.compile(
    r"(?:(?<![A-Z\ue100-\ue119]),|(?<![B-Z\ue100-\ue119]):|[;→=>]) ?\(?([A-Z]|[\ue100-\ue119])\)?[.。]?\s*$"
)
_LETTERED_NAME = re.compile(
    r"\b(?:vitamins?|hepatitis|types?|factors?|proteins?|groups?|grades?|stages?|class)\b[^.\n]{0,40}$", re.IGNORECASE
)
"""The end of a text in which a last letter is part of a name ("vitamins A, C, D")."""


_TURNS = re.compile(r"\b(?:however|but|that said|nevertheless|nonetheless)\b", re.IGNORECASE)


def _unstated(text: str, statements: Sequence[Statement], prepared: Prepared, options: Options) -> Choice:
    """What is said with doubt, or only named; else why nothing is read."""
    if is_refusal(prepared.whole) and not (options.declining and not is_refusal(text)):
        turn = _TURNS.search(text)
        named = (
            named_in_prose(text[turn.start() :], options, prepared.cut)
            if turn and not is_refusal(text[turn.end() :])
            else None
        )
        if named is None or not named.letters:
            return Choice("", "refusal")
    if prepared.cut:
        return Choice("", "truncated")  # what is only named so far may yet be rejected
    if retractions(text[-60:]):
        return Choice("", "unreadable")
    doubted = {one.letters for one in statements if one.strength == DOUBTED}
    if len(doubted) == 1 and "" not in doubted:
        return Choice(doubted.pop(), how="said with doubt", statement=text[:300])
    named = named_in_prose(text, options, prepared.cut)
    if named.letters or named.reason:
        return Choice(
            named.letters, named.reason, named.how, unmark(text[named.start : named.end], options).strip()[:300]
        )
    last = re.split(r"→|=>|->|[:=]", text)[-1] if len(text) <= 200 else ""
    if last and (index := part_of_one(key_of_plain(last), options)) is not None:
        return Choice(LETTERS[index], how="part of one option's text", statement=text[:300])
    if not named.reason and (bagged := in_other_words(text, options)) is not None:
        return Choice(LETTERS[bagged], how="option in other order", statement=text[:300])
    if (index := option_of_number(text, options)) is not None or (index := option_of_order(text, options)) is not None:
        return Choice(LETTERS[index], how="option named", statement=text[:300])
    if prepared.loop:
        return Choice("", "loop")
    if (near := nearly_own_text(unmark(text, options).strip(), options)) is not None:
        return Choice(LETTERS[near], how="letter and text", statement=unmark(text, options)[:300])
    if re.fullmatch(r"[\(\[]?[A-Za-z][\)\].][^\n]{0,200}", text) or (len(text) == 1 and "\ue100" <= text <= "\ue119"):
        return Choice("", "no_such_option")
    return Choice("", "unreadable")


__all__ = ["Choice", "read_choice", "set_of"]
