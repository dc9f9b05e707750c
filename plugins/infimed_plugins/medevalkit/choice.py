"""Reading a multiple-choice response: letters in every common form, option texts, Chinese; unread rather than guessed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from infimed_plugins.medevalkit.mentions import mentioned, partly_named
from infimed_plugins.medevalkit.reading import clean, final_answer, is_refusal, normalise

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Choice:
    """The letters read (in order, without repeats), or none with the reason why; ``how`` names the rule that read them."""

    letters: str
    reason: str = ""
    how: str = ""


_OPEN, _CLOSE = r"[\(\[{（【<\"'“‘]*", r"[\)\]}）】>\"'”’]*"
_LINK = r"\s*(?:,|、|;|/|&|\+|\band\b|\bor\b|和|与|及|或)\s*"

# An epithet after "E." or "A." makes it the name of a germ or of a rhythm, not a label.
_EPITHETS = (
    "fib|flutter|coli|difficile|diff|pylori|cereus|fragilis|albicans|perfringens|botulinum|tetani|burgdorferi|jejuni|"
    "trachomatis|neoformans|immitis|dermatitidis|henselae|pertussis|anthracis|abortus|influenzae|ducreyi|histolytica|"
    "faecalis|faecium|vermicularis|granulosus|lamblia|vaginalis|diphtheriae|baumannii|fumigatus|lumbricoides|"
    "duodenale|bovis|hominis|gattii|auris|glabrata|israelii|cloacae|canis|felis|quintana|tularensis|marginale"
)
_AFTER = (
    r"(?=$|\s*$|\s*[\n.,;:!?。,;:!?、)\]}】]|\s+-+\s|\s*[—–]|\s+(?:because|since|as|for|due|which|is|are|was|and|or|not|rather|"
    r"over|instead|given|based)\b|[因而是为,和或不正]|\s*[/&、]\s*[A-Za-z]\b)"
)


def _patterns(last: str) -> tuple[re.Pattern[str], ...]:
    one = f"[A-{last}a-{last.lower()}]"
    letter = rf"{_OPEN}(?P<letter>{one}){_CLOSE}"
    option = r"(?:(?:the\s+)?(?:option|choice|letter|answer)\s*:?\s*|选项\s*)?"
    noun = r"(?:answers?|options?|choices?|diagnosis|response|conclusion|选项|答案|选择|结论)"
    verb = r"(?:(?:is|are|would\s+be|should\s+be|must\s+be|will\s+be|appears\s+to\s+be)\s*:?|:|=|应该是|应当是|应为|应选|是|为|选)"
    flags = re.IGNORECASE
    return (
        re.compile(rf"(?<![A-Za-z]){noun}\s*{verb}\s*[:\s]*{option}{letter}{_AFTER}", flags),
        re.compile(rf"final\s+answer\s*[:\s]*{option}{letter}{_AFTER}", flags),
        re.compile(rf"\b(?:choose|select|pick|go\s+with|opt\s+for)\s+{option}{letter}{_AFTER}", flags),
        re.compile(rf"(?:故选|应选|选择|选)\s*[:\s]*{letter}(?![A-Za-z])", flags),
        re.compile(
            rf"(?<![A-Za-z0-9'-]){_OPEN}(?P<letter>[A-{last}]){_CLOSE}\s*(?:(?:is|would\s+be|seems|appears)\s+(?:to\s+be\s+)?(?:the\s+)?"
            r"(?:correct|right|best|most\s+(?:likely|appropriate|accurate|probable)|answer)|是(?:正确|对)|(?<=[A-Z])\s*正确)"
        ),
    )


@lru_cache(maxsize=32)
def _rules(num_options: int) -> tuple[tuple[re.Pattern[str], ...], re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    last = LETTERS[num_options - 1]
    one = f"[A-{last}a-{last.lower()}]"
    whole = re.compile(
        rf"{_OPEN}(?:option\s*:?\s*|choice\s*:?\s*|选项\s*:?\s*|选\s*)?{_OPEN}(?P<letter>{one}){_CLOSE}[\s.。,;:!]*{_CLOSE}",
        re.IGNORECASE,
    )
    many = re.compile(
        rf"{_OPEN}(?:(?:options?|choices?|选项?)\s*:?\s*)?{_OPEN}[A-{last}]{_CLOSE}(?:(?:{_LINK}|\s*){_OPEN}[A-{last}]{_CLOSE})+[\s.。]*{_CLOSE}"
    )
    lead = re.compile(
        rf"(?:option\s+)?{_OPEN}(?P<letter>{one})(?:[\)\]}}）】>\"'”’]+\s*[.:,]?|\s*[.:、。,;]|\s+[-—–]+(?=\s)|(?=\s*\n)"
        r"|(?=\s+(?:because|since|as\s|due\s+to)))(?P<rest>.*)",
        re.IGNORECASE | re.DOTALL,
    )
    return _patterns(last), whole, many, lead


def read_choice(response: str | None, options: Sequence[str], multiple: bool = False) -> Choice:
    """The letters a response chooses. ``options`` are the texts, with or without their own letters.

    ``multiple`` allows several letters. Reasons for reading none: those of ``final_answer``, ``refusal``,
    ``no_such_option``, ``contradiction`` (a letter with another option's text), ``several_answers``, ``unreadable``.
    """
    return _read(response, tuple(options), multiple)


@lru_cache(maxsize=65536)
def _read(response: str | None, options: tuple[str, ...], multiple: bool) -> Choice:
    reading = final_answer(response)
    texts = tuple(normalise(text) for text in without_letters(options))
    if reading.text is not None:
        return _read_text(reading.text, texts, multiple)
    read = [_read_text(part, texts, multiple) for part in reading.parts]
    letters = {choice.letters for choice in read}
    if len(letters) == 1 and "" not in letters:
        return read[-1]
    return Choice("", reading.reason)


def without_letters(options: Sequence[str]) -> tuple[str, ...]:
    """Option texts without the labels A, B, C ..., taken off only where every option carries its own."""
    found = [re.match(r"\s*[\(\[]?([A-Za-z])\s*[.:)\]、．:]\s*(?=\S)", option) for option in options]
    own = all(m is not None and m.group(1).upper() == LETTERS[i] for i, m in enumerate(found))
    return tuple(o[m.end() :] if own and m else o for o, m in zip(options, found, strict=True))


def _read_text(text: str, texts: tuple[str, ...], multiple: bool) -> Choice:
    cues, whole, many, lead = _rules(len(texts))
    stripped = text.strip()
    if found := whole.fullmatch(stripped):
        return Choice(found["letter"].upper(), how="letter")
    exact = _equal(stripped, texts)
    if exact:
        return exact
    if many.fullmatch(stripped):
        return _several(re.sub(r"(?i)options?|choices?|and|or", "", stripped), texts, multiple)
    stated = _stated(stripped, texts, cues, multiple)
    if stated is not None:
        return stated
    leading = _leading(stripped, texts, lead)
    trailing = _trailing(stripped, texts, whole)
    if leading is not None and trailing is not None and leading.letters != trailing.letters:
        return Choice("", "several_answers")
    if (found_choice := leading or trailing) is not None:
        return found_choice
    return _by_words(stripped, texts)


def _equal(text: str, texts: tuple[str, ...]) -> Choice | None:
    short = normalise(text)
    same = [index for index, option in enumerate(texts) if option == short]
    if not same:
        return None
    return Choice(LETTERS[same[0]], how="option text") if len(same) == 1 else Choice("", "several_answers")


def _several(text: str, texts: tuple[str, ...], multiple: bool) -> Choice:
    letters = "".join(sorted({char for char in text if char.isascii() and char.isupper()}))
    if any(letter not in LETTERS[: len(texts)] for letter in letters):
        return Choice("", "no_such_option")
    if len(letters) > 1 and not multiple:
        return Choice("", "several_answers")
    return Choice(letters, how="letters")


def _stated(text: str, texts: tuple[str, ...], cues: tuple[re.Pattern[str], ...], multiple: bool) -> Choice | None:
    """The last explicit statement ("the answer is B"), which is how a chain of thought concludes."""
    found = [match for cue in cues for match in cue.finditer(text) if _is_label(text, match, texts)]
    listed = re.compile(
        rf"(?:answers?|options?|choices?|答案|选|选项)\s*(?:is|are|:|是|为|应为|选)*\s*[:\s]*{_OPEN}(?P<list>[A-{LETTERS[len(texts) - 1]}]"
        rf"(?:{_CLOSE}(?:{_LINK}|){_OPEN}[A-{LETTERS[len(texts) - 1]}])+){_CLOSE}(?![A-Za-z0-9-])",
        re.IGNORECASE if False else 0,
    )
    lists = list(re.finditer(listed, text))
    if lists and (not found or lists[-1].end() >= max(match.end("letter") for match in found)):
        return _several(re.sub(r"and|or", "", lists[-1]["list"]), texts, multiple)
    if found:
        last = max(found, key=lambda match: match.start("letter"))
        letter = last["letter"].upper()
        if _names_another(text[last.end("letter") :], letter, texts):
            return Choice("", "contradiction")
        return Choice(letter, how="stated letter")
    label = re.search(
        r"(?:answer|option|choice)\s*(?:is|:)+\s*(?:option\s*)?[\(\[]?(?P<letter>[A-Z])[\)\]]?\s*\.?\s*$",
        text,
        re.IGNORECASE,
    )
    if label and label["letter"].upper() not in LETTERS[: len(texts)]:
        return Choice("", "no_such_option")
    return _stated_text(text, texts)


def _stated_text(text: str, texts: tuple[str, ...]) -> Choice | None:
    """An option's text right after the label, up to the end of its sentence."""
    found = list(
        re.finditer(
            r"(?:answer|option|choice|diagnosis)\s*(?:is\s*:?|would\s+be|:)\s*|答案\s*(?:是|为|应为|:)+\s*",
            text,
            re.IGNORECASE,
        )
    )
    if not found:
        return None
    rest = text[found[-1].end() :]
    for part in (rest, re.split(r"[\n。;]|\.(?=\s|$)", rest, maxsplit=1)[0]):
        if part.strip() and (exact := _equal(part, texts)):
            return exact
        if (lead := _rules(len(texts))[3].fullmatch(part.strip())) and _is_label(part.strip(), lead, texts):
            return _leading(part.strip(), texts, _rules(len(texts))[3])
    return None


def _is_label(text: str, match: re.Match[str], texts: tuple[str, ...]) -> bool:
    """Whether a matched letter is a label and not an article ("a clot"), a pronoun ("I think") or a germ ("E. coli")."""
    letter, rest = match["letter"], text[match.end("letter") :]
    if re.match(rf"\s*\.\s*(?:{_EPITHETS})\b", rest, re.IGNORECASE):
        return False
    if re.match(
        r"\s*[\)\]]*\s*(?:is|are|was)\s+(?:not|wrong|incorrect|unlikely)\b|\s*[\)\]]*\s*(?:不正确|错误|不对|不是)", rest
    ):
        return False
    bracketed = text[: match.start("letter")].endswith(("(", "[", "（", "【"))
    return bracketed or not (
        letter in "aAI"
        and re.match(r"\s+(?!because\b|since\b|as\b|for\b|due\b|which\b|is\b|and\b|or\b|not\b|rather\b)[a-z]", rest)
    )


def _names_another(rest: str, letter: str, texts: tuple[str, ...]) -> bool:
    """Whether the text right after a letter is, up to the end of its sentence, another option's and not its own."""
    head = re.match(r"[\)\]}）】>\"'”’]*\s*[.:、,)-]*\s*(?P<head>[^\n]*)", rest)
    for part in (head["head"], re.split(r"\.(?=\s|$)|[。;]", head["head"], maxsplit=1)[0]) if head else ():
        short = normalise(part)
        if short and short in texts:
            own = texts[LETTERS.index(letter)]
            return short != own
    return False


def _leading(text: str, texts: tuple[str, ...], lead: re.Pattern[str]) -> Choice | None:
    found = lead.fullmatch(text)
    if not found or not _is_label(text, found, texts):
        return None
    letter = found["letter"].upper()
    if _names_another(text[found.end("letter") :], letter, texts):
        return Choice("", "contradiction")
    return Choice(letter, how="leading letter")


def _trailing(text: str, texts: tuple[str, ...], whole: re.Pattern[str]) -> Choice | None:
    """A bare capital letter as the last line, or after the last comma or colon of the text."""
    line = clean(text.rsplit("\n", 1)[-1]).strip()
    if "\n" in text and (found := whole.fullmatch(line)) and (found["letter"].isupper() or len(line) > 1):
        return Choice(found["letter"].upper(), how="last line")
    found = re.search(
        rf"(?P<before>.*)[,:;→]\s*[\(\[]?(?P<letter>[A-{LETTERS[len(texts) - 1]}])[\)\]]?[.。]?\s*$", text, re.DOTALL
    )
    if found is None or re.search(
        r"(?i)\b(?:vitamins?|hepatitis|types?|factors?|proteins?|groups?|grades?|stages?|class)\s+\W*\w?[^.\n]{0,40}$",
        found["before"],
    ):
        return None
    return Choice(found["letter"], how="last letter")


def _by_words(text: str, texts: tuple[str, ...]) -> Choice:
    """The one option whose text is named and not denied; a letter in brackets must agree with it."""
    last = LETTERS[len(texts) - 1]
    bracketed = {
        m["letter"].upper()
        for m in re.finditer(
            rf"[\(\[](?:option\s*)?(?P<letter>[A-{last}])[\)\]](?!\s*(?:is|are)\s+(?:not|wrong|incorrect))",
            text,
            re.IGNORECASE,
        )
    }
    named = {LETTERS[index] for index in mentioned(text, texts)}
    if len(bracketed) == 1 and named <= bracketed:
        return Choice(next(iter(bracketed)), how="bracketed letter")
    if len(named) == 1 and not bracketed:
        return Choice(next(iter(named)), how="option text named")
    options = {
        m["letter"]
        for m in re.finditer(
            rf"\b[Oo]ption\s+(?P<letter>[A-{last}])\b(?!\s+(?:is|are)\s+(?:not|wrong|incorrect))", text
        )
    }
    if len(options) == 1 and not named and not bracketed:
        return Choice(next(iter(options)), how="option letter")
    if len(named) > 1 or len(bracketed) > 1 or (named and bracketed):
        return Choice("", "several_answers")
    if is_refusal(text):
        return Choice("", "refusal")
    if not bracketed and (index := partly_named(text, texts)) is not None:
        return Choice(LETTERS[index], how="part of one option's text")
    if re.fullmatch(r"[\(\[]?[A-Za-z][\)\].]*", text):
        return Choice("", "no_such_option")
    return Choice("", "unreadable")
