"""Words that change what a naming beside them means: denial, doubt, conditions, corrections.

The method is that of NegEx and ConText (Chapman et al. 2001; Harkema et al. 2009): cue phrases with a direction, and a
scope that a conjunction or the end of the clause closes. The lists are our own.
"""

from __future__ import annotations

import re

from infimed_plugins.medevalkit.answers.words import phrases, word_set

_DENYING = word_set(
    "not never neither nor without unlike no cannot rather instead except excluding besides against than "
    "versus vs lacks lack unlikely incorrect incorrectly wrong wrongly hold holding cease stop stops "
    "stopped stopping avoid avoids avoided avoiding denies"
)
_DENYING_STEMS = phrases(
    "eliminat|exclud|reject|dismiss|discard|withh|discontinu|mistak|mimic|contraindic|distinguish|differentiat|refut"
)
_DENYING_PAIRS = frozenset(
    phrases(
        "rather than|instead of|other than|except for|apart from|opposed to|place of|ruled out|rule out|"
        "rules out|ruling out|crossed out|cross out|compared to|compared with|differs from|"
        "different from|absence of|lack of|free of|negative for|fails to|fail to|less likely|allergic to|"
        "history of|switch from|switched from|switching from|change from|changed from|changing from|convert from|"
        "transition from|confused with|but not|all but|everything but|anything but|options but|drugs but|these but"
    )
)
_EVIDENCE = word_set(
    "evidence sign signs indication indications reason need role place suggestion feature features history use benefit "
    "point trace proof support basis justification"
)
_NONE_OF = word_set("no without little neither lacks lack any hardly")
""" "No radiographic evidence of" what comes next, "no reason to use" it."""
_FILLING = word_set(
    "the a an be to is are it that this any option choice answer letter of for simply just really choose "
    "pick select give use by either case as with selected chosen"
)
_DENYING_CHINESE = phrases(
    "不是|并非|不应|不能|不选|不要|不会|不宜|不考虑|不属于|不符合|排除|而非|没有|未见|避免|禁用|无|除了|除|非"
)
_WORD = re.compile(r"[\w']+")
_BE = (
    r"(?:(?:is|are|was|were|can|would|could|does|do|did|should|might|may|must|will|has|have|seems?|appears?|"
    r"looks?|being|remains?)"
    r"(?: (?:be|been|also|very|therefore|thus|generally|usually|typically|clearly|more|most|all|both|less|"
    r"quite|too|to|a|an|the|definitely|simply|probably|only))*\s)"
)
_WRONG = (
    r"(?:wrong\b|incorrect|inaccurate|false\b|unlikely|excluded|eliminated|ruled out|rejected|dismissed|"
    r"discarded|avoided|less "
    r"likely|less appropriate|less suitable|contraindicated|inappropriate|"
    r"unsafe|unsuitable|irrelevant|incompatible|inconsistent|unrelated|improbable|implausible|absent|withheld|"
    r"stopped|discontinued|harmful|dangerous|teratogenic|ineffective|"
    r"insufficient|spared\b|unaffected|uninvolved|distractors?\b)"
)
_DENIES_PREVIOUS = re.compile(
    rf"[\"') ]*(?:[(,:\-] ?)?(?:(?:which|that|it|this|also|option|choice|,) )*"
    rf"(?:{_BE}(?:not\b|no longer\b|never\b|out\b)|{_BE}?(?:considered,? (?:but|and|yet) (?:then |"
    rf"later )?)?{_WRONG}|(?:is|are|was|were|does|do|did|would|should|"
    rf"could|ca|wo|have|has)n't\b|cannot\b|"
    r"not (?:correct|right|the (?:answer|best|correct|right)|indicated|appropriate|recommended|likely|an? "
    r"option|true|possible|supported)|"
    r"✗|✘|❌|×|(?:项|选项)?(?:也|同样|则|又|都|均|显然|明显|是|为|就)*"
    r"(?:不正确|不对|(?:不是|不符|不考虑|不应)(?! ?[A-Za-z\ue000-\ue1ff])|错|排除|可排除|并不|被排除|否))",
    re.IGNORECASE,
)
_VERB_DENYING = word_set(
    "not never don't doesn't didn't wouldn't shouldn't couldn't won't can't cannot neither nor avoid "
    "tempted hesitant refuse unable than wrong mistake"
)
_VERB_FILLING = word_set("be to the have a ever simply just really recommend want we i you one of")
_VERB_DENYING_CHINESE = ("不", "别", "勿", "不要", "不应", "不能", "不会", "没有", "并非", "不应该")
CONSIDERED = re.compile(
    r"\b(?:if|unless|whether|suppos\w+|assum(?:e|ing|es)|imagine|(?:one|some|someone|people|students?|many|you|"
    r"we|others?|i) (?:may|might|could|would|can) (?:\w+ ){0,2}(?:think|say|argue|believe|choose|pick|assume|"
    r"guess|expect|conclude|suspect|suggest)|"
    r"(?:some|many|most|other)(?: \w+)? (?:think|say|argue|believe|claim)|"
    r"tempt\w+|at first|first (?:glance|sight|impression|thought|guess|instinct)|initial(?:ly)?|originally|i "
    r"thought|i had thought|previously|my first|"
    r"why|how|let's (?:say|check|see|consider|test|try)|let us (?:say|check|see|consider)|consider(?:ing)?|is "
    r"it|could it|would it|should it|can it|(?:not|n't) (?:sure|certain|clear|convinced|think|believe|"
    r"necessarily|mean)|"
    r"which (?:answer|option|choice)|what|doubt|unclear|seemed|used to|would have been|question)\b|"
    r"\blook(?:ing)? at $|\b(?:some|many|most|other) (?:people|doctors|students|clinicians|physicians|"
    r"experts) $|如果|假如|是否|起初|"
    r"一开始|原以为|本以为|看似|可能会认为|有人",
    re.IGNORECASE,
)
HEDGED = re.compile(
    r"\b(?:may|might|could|perhaps|maybe|possibly|possible|potentially|conceivably|"
    r"not rule out)\b|(?<!最)可能|也许|或许",
    re.IGNORECASE,
)
_RESET = re.compile(
    r"\b(?:but|however|so|therefore|thus|hence|then|yet|actually|instead|nevertheless|consequently|still|"
    r"although|though|because|since|while|whereas)\b|但|因此|所以|故|然而|[;:]",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(
    r"\b(?:wait|hold on|hmm+|scratch that|correction|on second thoughts?|on reflection|let me (?:re|correct|"
    r"double|check|think|reconsider|re-)\w*|i (?:was|made a|am|need to) (?:wrong|mistaken?|correct\w*|"
    r"reconsider)|my mistake|oops|sorry, (?:no|i meant)|"
    r"i meant|no, (?:it|that|the)|actually,? no|"
    r"(?:that|this|it|which) (?:is|was) (?:an error|a mistake|a slip))\b|等等|等一下|不对[,，。]|更正|我错了|重新考虑",
    re.IGNORECASE,
)
_CONTRADICTED = re.compile(
    r"^[^.!?\n。]{0,20}?\b(?:but|yet|however|though|although|and|which|except that)\b,? (?:it|that|this|he|"
    r"which|the answer|in fact it|i) ?(?:is|was|'s|does|did|am|would be|turns out to be|'m) ?(?:not|n't|wrong|"
    r"incorrect|no longer|mistaken|false|un\w+|in?correct)"
    r"|^[\"') ]*[.,;!]? ?(?:but |yet |however,? |and )?(?:that|this|it) (?:is|was|'s|would be) (?:wrong|"
    r"incorrect|not (?:right|correct|it|true|the)|mistaken|false|a mistake|a trap|a common)"
    r"|^[\"') ]*[.,;!]? ?(?:no|nope|wrong|not quite|incorrect)[,.!]",
    re.IGNORECASE,
)


def _last_words(before: str, filling: frozenset[str], most: int) -> list[str]:
    """The words up to the last that is no filling."""
    clause = before[-90:].lower()
    rest = clause[max(clause.rfind(sign) for sign in ",;:") + 1 :]
    words = _WORD.findall(rest if _WORD.search(rest) else clause)  # "rather than warfarin, give": another clause
    while words and most and words[-1] in filling:
        words.pop()
        most -= 1
    return words


_CAUSED = re.compile(
    r"\b(?:due to|caused by|because of|results? (?:from|in)|resulting (?:from|in)|secondary to|owing to|causes) "
    r"(?:an? |the )?(?:lack|absence|loss) of(?: an?| the)? ?$",
    re.IGNORECASE,
)
"""A lack that explains ("due to lack of factor XI") is said, not denied."""


_FROM_TO = re.compile(r"\bfrom (?:an? )?[\ue000-\ue1ff] to $", re.IGNORECASE)
"""After "switch from X": what comes next takes its place."""


def denied_before(before: str) -> bool:
    """Whether the text up to a naming denies what comes next."""
    if " of" in before[-5:] and _CAUSED.search(before[-60:]):
        return False
    if before.endswith("to ") and _FROM_TO.search(before[-40:]):
        return False
    words = _last_words(before, _FILLING, 5)
    if words:
        last = words[-1]
        if last in _DENYING or last.endswith("n't") or last.startswith(_DENYING_STEMS):
            return True
        if len(words) > 1 and f"{words[-2]} {last}" in _DENYING_PAIRS:
            return True
        if last in _EVIDENCE and _NONE_OF & set(words[-4:-1]):
            return True
        kept = _WORD.findall(before[-40:].lower())
        if len(kept) > 1 and f"{kept[-2]} {kept[-1]}" in _DENYING_PAIRS:
            return True
    return not before.isascii() and before.rstrip(" \"'(:").endswith(_DENYING_CHINESE)


_DESCRIBED = re.compile(
    r"[\"') ]*,? ?which (?:is|are|was|were|can be|may be|would be)(?: \w+ly| also| often| very)* (?:contraindicated|"
    r"unsafe|harmful|dangerous|teratogenic|ineffective|discontinued|stopped|absent|less likely)",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(r"\b(?:is|are|was|be|answer|diagnosis)\b[^.;]{0,40}$", re.IGNORECASE)


def denied_after(after: str, before: str = "") -> bool:
    """Whether the text right after a naming denies it.

    What ``before`` concludes is only described by a clause that calls it dangerous ("is B, which is teratogenic").
    """
    if _DENIES_PREVIOUS.match(after[:90]) is None:
        return False
    return not (before and _DESCRIBED.match(after[:90]) and _CONCLUDES.search(before[-60:]))


def verb_denied(before: str) -> bool:
    """Whether the text up to a verb of choosing denies it ("I would not choose")."""
    words = _last_words(before, _VERB_FILLING, 4)
    if words and (words[-1] in _VERB_DENYING or words[-2:] == ["no", "reason"]):
        return True
    return not before.isascii() and before.rstrip().endswith(_VERB_DENYING_CHINESE)


_CONCEDING = ("although", "though", "while", "whereas")


def is_considered(before: str) -> bool:
    """Whether the clause up to a statement only considers it: a condition, a first thought, other people's view."""
    resets = list(_RESET.finditer(before))
    clause = before[resets[-1].end() :] if resets else before
    found = CONSIDERED.search(clause)
    if found is None:
        return False
    if resets and resets[-1].group().lower() in _CONCEDING and "," in clause[found.end() :]:
        return False  # "although B is tempting, A is correct"
    # "If there is fever, the answer is B": the comma ends a condition, not a first thought
    light = found.group().lower() in phrases("if|unless|whether|why|how|what|is it|question|consider|considering")
    return not (light and "," in clause[found.end() :])


_HYPOTHETICAL = re.compile(r"\b(?:if|unless)\b[^.]{0,160}?\b(?:were|had)\b[^.]{0,160}\b(?:would|might|could)\b", re.I)


def is_hypothetical(before: str) -> bool:
    """Whether a statement is made under a condition that does not hold ("if she were stable, the answer would be")."""
    return "if " in before and _HYPOTHETICAL.search(before) is not None and not _BUT_IS.search(before)


_BUT_IS = re.compile(r"\b(?:but|however)\b[^.]*$", re.IGNORECASE)


def is_hedged(before: str) -> bool:
    """Whether the clause up to a statement doubts it."""
    clause = re.split(r"[,;:]", before)[-1]
    return HEDGED.search(clause[-60:]) is not None


def is_contradicted(after: str) -> bool:
    """Whether what follows a statement at once takes it back ("yet it is not")."""
    return _CONTRADICTED.match(after[:120]) is not None


def corrections(text: str) -> list[int]:
    """Where the text takes back what was before ("Wait, no")."""
    return [found.start() for found in _TAKEN_BACK.finditer(text)]


_RETRACTED = re.compile(
    r"\b(?:wait,? no|no,? wait|scratch that|that(?:'s| is) (?:wrong|not right|incorrect)|i was wrong|"
    r"actually,? no|on second thoughts?|my mistake|i take that back)\b|我错了|不对[,。]",
    re.IGNORECASE,
)


def retractions(text: str) -> list[int]:
    """Where the text takes back outright what it said before."""
    low = text.lower()
    if not any(
        hint in low
        for hint in phrases("wait|scratch|wrong|not right|incorrect|actually|second thought|mistake|take that|错|不对")
    ):
        return []
    return [found.start() for found in _RETRACTED.finditer(text)]
