"""Yes and no: said outright, or by a statement that answers the question it repeats."""

from __future__ import annotations

import re

from infimed_plugins.medevalkit.answers.equality import ENDING, key, key_of_plain
from infimed_plugins.medevalkit.answers.open_answers import NEEDS_JUDGE, Verdict, after_label
from infimed_plugins.medevalkit.answers.polar_chinese import by_chinese, of_topic
from infimed_plugins.medevalkit.answers.polar_statements import asked_of, by_statement
from infimed_plugins.medevalkit.answers.prepared import MARK, Prepared, prepare
from infimed_plugins.medevalkit.answers.refusals import is_refusal
from infimed_plugins.medevalkit.answers.run_on import heads
from infimed_plugins.medevalkit.answers.values import OPPOSITES
from infimed_plugins.medevalkit.answers.vocabulary import words_of
from infimed_plugins.medevalkit.answers.words import word_set

YES = word_set(
    "yes yeah yep yup affirmative absolutely certainly definitely indeed ja oui sí si sim да はい "
    "是 是的 对 对的 有 有的 存在 正确 能 可以 可见 会 会的 能够"
) | {"of course", "it is", "there is", "it does", "they are"}
NO = word_set(
    "no nope nah nein non não нет いいえ 否 不是 不 没有 无 不存在 错 错误 不对 不正确 没 不能 不可以 不可见 不会 未见"
) | {
    *("definitely not", "certainly not", "it is not", "there is not", "it does not", "they are not", "there are not"),
    *("i would say not", "i do not think so", "probably not", "most likely not"),
}
_TURNED = {"positive": "yes", "negative": "no", "present": "yes", "absent": "no"}
"""What says yes or no of a finding, unless the question has the word or its opposite."""
_TRUTH = {"correct": "yes", "incorrect": "no"}
"""The same of anything that is asked."""
_OTHERWISE = re.compile(
    r"^\W*(?:(?P<yes>affirmative|correct|that is correct|ja|oui|sí|si|sim|да)|"
    r"(?P<no>incorrect|that is incorrect|nein|non|não|nej|нет|not at all|definitely not|"
    r"(?:none|not)(?: (?:seen|visible|identified|noted|detected|present|"
    r"evident|that i can see|found|observed))(?: (?:in|on) (?:this|the) \w+)?|none))(?=\W*$|[,.;!] )",
    re.IGNORECASE,
)
"""A yes or no in another word, or another language, that a stop or a comma sets apart."""
POLAR_GOLDS = word_set("yes no 是 否 是的 不是 有 没有 存在 不存在 对 不对")

_YES_WORDS, _NO_WORDS = (
    r"yes|yeah|yep|yup|是的|对的|有的|是|对|有|存在|正确",
    r"no|nope|nah|不是的|不是|没有|不存在|不正确|不对|否|无|不|没|错误|错",
)
_SAID = rf"(?:(?P<yes>{_YES_WORDS})|(?P<no>{_NO_WORDS}))"
_BOTH = re.compile(
    r"\byes\b[\s\"']*(?:/|or|and|\||\()\s*(?:or |and )?[\"']?\bno\b|\bno\b[\s\"']*(?:/|or|and|\|)\s*(?:or |and "
    r")?[\"']?\byes\b|^\W*(?:yes\W+no|no\W+yes)\W*$|\byes and no\b|是[/或]否|是还是否|有[/或]无|"
    r"neither yes nor no|(?:is|"
    r"are) (?:yes|no) and",
    re.IGNORECASE,
)
_FIRST = re.compile(rf"^[\W_]*{_SAID}(?=$|[\s.,;:!?。、)\]\"'—–-])(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_ALONE = re.compile(
    rf"(?:(?:the |final )*answer(?: is)? ?:? ?|答案 ?[是为:]? ?)?[\"'(\[]*{_SAID}{ENDING}", re.IGNORECASE
)
_NO_NOUN = re.compile(
    r"^ ?(?!because|since|as |it |this |there |the |i |they |he |she |that |not |but |evidence is|-|–|—)[a-z]+",
    re.IGNORECASE,
)
_LAST = re.compile(
    rf"(?:^|[\n.:;?。,]\s?|\b(?:is|be|answer|say|so|thus|therefore|hence|conclude|final|actually|rather|"
    rf"likely|probably|definitely|certainly)\b:? "
    rf"?\"?'?){_SAID}[\W_]*$",
    re.IGNORECASE,
)
_REPEATED = re.compile(
    r"(?:please )?(?:choose|select|answer|pick)[^.\n]{0,60}[\[(]\"?'?yes\"?'?(?:,| or|/) ?\"?'?no\"?'?[\])]|"
    r"[\[(]\"?'?yes\"?'?(?:,| or|/) ?\"?'?no\"?'?[\])]|\boptions?:? yes(?:,| or|/) ?no\b|^yes ?/ ?no ?[:?] ?",
    re.IGNORECASE,
)
_STATED = re.compile(
    rf"(?:\banswer(?: to (?:this|the|your) question| here)?\b ?(?:is|would be|should be|must be|:|=)|答案 ?(?:是|"
    rf"为|:)|\b(?:say|conclude|answer)\b) ?(?:therefore |thus |clearly |definitely |most likely |probably |"
    rf"likely |a |an |:)*\n?[\"'(]?{_SAID}(?![\w-])",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(
    r"\b(?:wait|actually|correction|scratch that|on second thought|i was wrong|no,? wait|i mean|or rather)\b|"
    r"不对[,，]|更正",
    re.IGNORECASE,
)


def is_polar(gold: str) -> bool:
    """Whether the accepted answer is a yes or a no, in English or Chinese."""
    return key(gold) in POLAR_GOLDS


def grade_polar(gold: str, response: str | None, question: str = "", ended: str | None = None) -> Verdict:
    """Whether the yes or no read equals the reference's, in either language."""
    read, reason, statement = read_polar(response, question, ended)
    if not read:
        return Verdict(None, reason)
    return Verdict(read == ("yes" if key(gold) in YES else "no"), read=read, statement=statement)


def read_polar(response: str | None, question: str = "", ended: str | None = None) -> tuple[str, str, str]:
    """("yes" | "no" | "", reason, deciding statement).

    A statement counts where it asserts or denies what the question asks; "no" inside any other sentence answers
    nothing.
    """
    prepared = prepare(response, ended)
    if prepared.reason:
        return "", prepared.reason, ""
    if prepared.loop:
        return "", "loop", ""
    if not prepared.marks and (alone := _ALONE.fullmatch(prepared.text)) is not None:
        return _which(alone), "", prepared.text
    if said := _turned(prepared.text, question):
        return said, "", prepared.text
    for content in reversed(prepared.marks):
        if said := _equal(content):
            return said, "", content
    pieces = heads(prepared.whole)
    for number, piece in enumerate(pieces):
        if asked_of(question) or not question.isascii():
            piece = _OTHERWISE.sub(lambda found: "yes" if found["yes"] else "no", piece)
        said, reason = _outright(piece, prepared)
        if said and _contradicts(said, piece, question):
            return "", "contradiction", ""
        if said or reason:
            return said, reason, piece[:200] if said else ""
        if number < len(pieces) - 1:
            continue
        if is_refusal(piece):
            return "", "refusal", ""
        answered, statement = by_statement(piece, question) if question.isascii() else by_chinese(piece, question)
        if answered and not (prepared.cut and not statement.rstrip().endswith((".", "!", "。"))):
            return answered, "", statement
    return "", "truncated" if prepared.cut else "unreadable", ""


def _turned(text: str, question: str) -> str:
    """What a word alone says of the thing that is asked: "absent", or the very word of the question ("enlarged")."""
    asked = asked_of(question) if len(text) < 40 and question else ()
    words = words_of(text)
    if not asked or not words or len(words) > 3:
        return ""
    denied = words[0] in ("not", "no", "non")
    rest = words[1:] if denied else words
    if rest and rest[-1] == asked[-1] and set(rest) <= set(asked) and asked[-1] not in ("left", "right"):
        return "no" if denied else "yes"
    if len(words) > 1 or words[0] not in _TURNED:
        return _TRUTH.get(words[0], "") if len(words) == 1 else ""
    here = [word for word in words_of(question) if word in _TURNED]
    return _TURNED[words[0]] if not here else "yes" if _TURNED[here[0]] == _TURNED[words[0]] else "no"


def said_of_question(gold: str, question: str) -> str:
    """yes or no, where a reference is the word that a yes-or-no question asks for ("normal?"), or its opposite."""
    if not question.isascii():
        return of_topic(key(gold), question)
    asked, words = asked_of(question), words_of(gold)
    if not asked or len(words) != 1:
        return ""
    if words[0] == asked[-1]:
        return "yes"
    return "no" if any({words[0], asked[-1]} == set(pair) for pair in OPPOSITES) else ""


def _contradicts(said: str, text: str, question: str) -> bool:
    """Whether the sentence that says yes or no goes on to state the opposite of the very thing that is asked."""
    first = _at_start(text) if len(text) < 300 else None
    if first is None or _which(first) != said or not question:
        return False
    rest = first["rest"].lstrip(" ,.;:-—–")
    stated, _ = by_statement(rest, question)
    if not stated or stated == said:
        return False
    return stated == "yes" or bool((_DENIALS & set(words_of(rest))) - set(words_of(question)))


_DENIALS = word_set("no not without absent")


def _equal(text: str) -> str:
    text_key = key_of_plain(text.replace("n't", " not") if len(text) < 40 else text)
    return "yes" if text_key in YES else "no" if text_key in NO else ""


def _which(found: re.Match[str]) -> str:
    return "yes" if found["yes"] else "no"


def _outright(text: str, prepared: Prepared) -> tuple[str, str]:
    """A yes or no that is said as the answer: alone, after a label, as the first or the last word."""
    text = _REPEATED.sub("", text.replace(chr(MARK), "")).strip()
    if not text:
        return "", "unreadable"
    if said := _equal(text):
        return said, ""
    short = len(text) < 40
    if _BOTH.search(text[:200]) and (short or not _STATED.search(text)):
        return "", "several_answers"
    stated = list(_STATED.finditer(text))
    first, last = _at_start(text), _LAST.search(text, max(0, len(text) - 80))
    found: list[tuple[int, str]] = []
    if first is not None:
        found.append((first.start("yes") if first["yes"] else first.start("no"), _which(first)))
    for match in stated:
        before = text[max(0, match.start() - 40) : match.start()].lower()
        if re.search(r"\b(?:if|whether|might|could|may|thought|not sure)\b[^.]*$", before):
            continue
        found.append((match.start(), _which(match)))
    if last is not None and not (last["no"] and _noun_before(text, last)):
        found.append((last.start(), _which(last)))
    labelled = after_label(text)
    if labelled is not text and (said := _equal(labelled.split("\n", 1)[0])):
        found.append((len(text) - len(labelled), said))
    if not found:
        return "", ""
    if first is None and not stated and len(text) < 80 and _ONE.search(text) and _OTHER.search(text):
        return "", "several_answers"
    answers = {said for _, said in found}
    if len(answers) == 1:
        return answers.pop(), ""
    found.sort()
    if stated or _TAKEN_BACK.search(text, found[0][0], found[-1][0] + 1):
        return found[-1][1], ""
    return "", "several_answers"


_ONE, _OTHER = re.compile(r"\byes\b", re.IGNORECASE), re.compile(r"\bno\b", re.IGNORECASE)


def _at_start(text: str) -> re.Match[str] | None:
    """A yes or no at the beginning that stands for itself: "No, ..." but not "No abnormality"."""
    found = _FIRST.match(text)
    if found is None:
        return None
    if found["no"] and found["no"].isascii() and _NO_NOUN.match(found["rest"]):
        return None
    if found["yes"] in ("有", "是", "对") and found["rest"][:1] not in ("", *" ,.;:!?。、的\n"):
        return None
    return found


def _noun_before(text: str, found: re.Match[str]) -> bool:
    return text[: found.start()].rstrip().lower().endswith(("there is", "there are", "with", "shows"))


__all__ = ["NEEDS_JUDGE", "by_statement", "grade_polar", "is_polar", "read_polar", "said_of_question"]
