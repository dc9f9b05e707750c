"""The forms in which a statement about options is made: patterns over a lower-case text with its options marked."""

from __future__ import annotations

import re

from infimed_plugins.medevalkit.answers.named_options import LABEL, LABELS, NAME, NAMES
from infimed_plugins.medevalkit.answers.words import word_set

EAST = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3"
"""Kana, Chinese signs and Hangul, which have no spaces between words."""
BARE = rf"(?<![^\W{EAST}])(?<!['$-])[a-z](?![^\W{EAST}])(?!['+-])"
ITEM = rf"(?:[{NAMES}{LABELS}]|{BARE})"
ADVERB = (
    r"(?:,? ?\b(?:therefore|thus|clearly|definitely|certainly|most likely|likely|probably|indeed|actually|"
    r"simply|still|then|obviously|"
    r"hence|best|only|now|really|undoubtedly|of course|given|in fact|again|and that is|probably going|going|"
    r"just|also)\b,?)"
)
VERB = (
    r"(?:(?<![A-Za-z])(?:is|are|was|were|would be|should be|must be|will be|has to be|can only be|seems? to be|"
    r"seems|appears? to be|appears|ought to be|ist|lautet|wäre|es|sería|est|serait|é|seria|è|sarebbe|"
    r"would have to be|turns out to be|remains|becomes|as|lies (?:in|with)|corresponds to)(?![A-Za-z])|'s|:|=|"
    r"->|→|=>|"
    r"应该是|应当是|应该为|应为|应选择?|就是|选择|是|为|选|は|은|는)"
)
CONTRAST = rf"(?:not [\"'(]*(?:option |choice )?{ITEM}[\"')]*,? but (?:rather )?)?"
""" "not B but E", of which E is said."""
ABROAD = (
    r"antwort|lösung|richtig|korrekt|respuesta|opción|réponse|reponse|resposta|alternativa|risposta|ответ|"
    r"correct[ao]|correcte|corrett[ao]"
)
"""The answer in German, Spanish, French, Portuguese and Italian."""
FORWARD = re.compile(
    rf"(?:(?P<noun>(?:(?:answers?|options?|choices?|responses?|selections?|diagnos[ie]s|conclusion|letter|pick|"
    rf"solution|result|statement|"
    rf"assertion|treatment|cause|organism|step|ans|{ABROAD})|(?:correct|right|best|likely|appropriate) "
    rf"one))\b(?: ?\d{{1,3}})?(?: (?:choice|option|letter|finale?|corr?ect[ae]?|corr?et+a|exacte|juste))?"
    rf"(?: (?:to|for|of|in|here|from|among|that|which|given|based|i|on|with|at)\b[^.\n:;?]{{0,70}}?|, "
    rf"[^.\n:;?]{{1,40}}?,)?|(?:正确|最佳|最终)?(?:答案|选项|选择|结论|认为|觉得|判断|诊断|正解|正答|答え|解答|回答|정답|답|선택))"
    rf" ?{VERB}{ADVERB}* ?[:,]?(?: ?\n)? ?{CONTRAST}"
    rf"|(?P<final>answer\b|ans\b\.?|ответ\b) ?[-–]? ?(?:\n)?(?=[\"'(]?{ITEM})"
    rf"|(?P<verb>choos(?:e|es|ing)|chose|chosen|select(?:s|ed|ing)?|pick(?:s|ed|ing)?|go(?:ing)? (?:with|for)|"
    rf"went (?:with|for)|opt(?:s|ed|ing)? for|settl(?:e|ed|ing) (?:on|for)|"
    rf"lean(?:s|ing)? (?:towards?|to)|vot(?:e|ing) for|switch(?:ed|ing)? to|"
    rf"chang(?:e|ed|ing) (?:my |the |it )?(?:answer |choice )?(?:from {ITEM} )?to|say|prefer|favou?r|"
    rf"stick(?:ing)? with|bet on|mark|"
    rf"respond with|answer with|guess|think|believe|conclude(?: with| that)?|recommend|wähle|nehme|elijo|escojo|"
    rf"choisis|scelgo|escolho)\b ?:? ?"
    rf"|\[答案\] ?:? ?|(?P<chinese>(?:故|应|因此|所以|综上)?(?:选择|选)(?:项)?) ?:? ?",
)
COPULA = re.compile(
    rf"(?:(?P<so>(?:so|thus|therefore|hence|accordingly|consequently|ergo|in conclusion|in summary|overall|"
    rf"finally|→|=>|∴|因此|所以|故|综上)[,:]?"
    rf"(?: (?:it|this|that|i'?d say|the answer)(?: is|'s| must be| would be| should be)?)?)"
    rf"|(?:it|this|that|which)(?: is|'s| must be| would be| should be| could be| may be| might be|"
    rf" has to be| will be| can only be)"
    rf"|(?:corresponds? to|match(?:es)?|points? to|aligns? with|consistent with|leads? (?:us |me )?to|"
    rf"(?:leaves?|leaving)(?: us| me)?(?: with)?(?: only| just)?|supports?|indicates?|suggests?))"
    rf"{ADVERB}* {CONTRAST}(?:(?:the )?(?:answer|option|choice) )?(?=[\"'(]?{ITEM})",
)
TURN = re.compile(
    rf"(?:(?P<turn>actually|correction|or rather|mean|meant|make that|sorry|wait)[,:;-]? ?(?:it'?s)?(?= )|"
    rf"(?:not|no es|nicht|non è|não é|ce n'est pas|pas) [\"'(]*(?:option |choice )?{ITEM}[\"')]*,? "
    rf"(?:but|sino|sondern|mais|ma|mas)(?: rather)?)"
    rf"{ADVERB}* (?:(?:the )?(?:answer|option|choice) )?(?=[\"'(]?{ITEM})",
)
"""A letter instead of another: "actually, B", "not A but B"."""
RIGHT = (
    r"(?:correct[ao]?|correcte|richtige?|korrekt|right|true|best|better(?! (?:than|if))|most (?:plausible|"
    r"reasonable|logical)|"
    r"accurate|appropriate|likely|suitable|fitting|probable|consistent|answer|"
    r"choice|option|diagnosis|preferred|of choice|"
    r"first[- ]line|it is(?=\s*(?:[.!\n]|$))|✓|✔|✅|是?正确|对(?!不)|最佳|符合)"
)
BACKWARD = re.compile(
    rf"(?P<item>{ITEM})[\"')\]]* ?(?P<join>(?:,? ?(?:which|this|that|it) )?(?:is|was|are|would be|should be|"
    rf"must be|seems|appears|looks|remains|were|ist|es|est|均|都|是|项|选项)|[:\-=]|\(|(?=是?正确|对|✓|✔|✅|符合|最佳)|"
    rf"(?= (?:as )?the (?:best|most|correct|only|right|likel))|(?= it is)|"
    rf"(?:fits|suits|matches|explains|describes|accounts for)(?: (?:the|this|these|it|all|both|his|her|their)"
    rf"(?: \w+){{0,3}}?)?(?= bet?))"
    rf"(?: to be| as)?{ADVERB}*(?: the| an?| our| my| both| all| considered| die| la| el)*(?: (?:most|single|"
    rf"more|overall|next|"
    rf"correct|right|best|only))* ?(?P<right>{RIGHT})(?![^\W\u3400-\u9fff]|-)",
)
VERDICT = re.compile(
    rf"(?P<item>{ITEM})[\"')\]]*(?: ?[{NAMES}])? ?(?:[.:\-=,|]{{1,2}} ?\(?|(?=[✓✔✅✗✘❌]))(?P<verdict>yes|no|true|"
    rf"t\b|f\b|"
    rf"false|correct|incorrect|right|wrong|✓|✔|✅|✗|✘|❌|不?符合|不?正确|错误|对|错)(?![\w-])",
)
POSITIVE = word_set("yes true t correct right ✓ ✔ ✅ 正确 对 符合")
OPENERS = re.compile(
    r"(?:[\"'(\[{<:\- ]|(?:the |an? )?(?:answer choice|answer|option|choice|letter|number|statement|选项)s? "
    r"?(?:is |are |:)? ?(?=\W|[a-z](?![\w'])|[\ue000-\uf8ff])|(?:(?:la|le|el|die|der|l'|a|o) ?)?(?:opción|letra|"
    r"lettre|"
    r"buchstabe|antwort|option|alternativa|réponse|respuesta|resposta) "
    r"(?=[\"'(]?[a-z](?![\w']))|(?:la|le|el|die) (?=[\"'(]?[a-z](?![\w']))){0,40}",
)
AFTER_BARE = re.compile(
    rf"[\"')\]}}]*(?:$| ?[.:](?=\s|$)|[\n.,;:!?。、)\]}}>(|]| ?[{EAST}]|[\ue000-\uf8ff]|"
    rf" ?(?:-|—|/|&|\+)(?:\s|[a-z](?![\w]))| (?:because|since|as|for|due|which|is|are|was|and|und|et|y|и|"
    r"or|not|rather|over|instead|given|based|with|but|here|"
    r"among|would|from|that|when|where|if|in this|on the basis|\(|#\d|\[\d|[\ue000-\uf8ff]|[✓✔✅✗✘❌]))",
)
INITIAL = re.compile(r"\. ?([a-z]{3,})")
STARTERS = word_set(
    "the this that these those because since it its in as for based here there patient patients according "
    "given when while if so thus therefore hence option options choice explanation reason rationale all "
    "both other others none only note and but we our i he she they his her their let using after before "
    "first second to with from on at by of a an however"
)
MORE = re.compile(
    rf"[\"')\]]* ?(?:,? ?\band\b|,? ?\bor\b|,|、|;|/|&| (?:und|et|y|и)(?= )|和|与|及|以及|或|"
    rf"(?<=[{LABELS}]) ?(?=\(?[{LABELS}])) "
    rf"?(?:(?:and|or|maybe|perhaps|possibly) )?(?P<deny>not |but not |"
    rf"rather than )?(?:the )?[\"'(\[]*(?:option |choice "
    rf")?(?P<item>{ITEM})",
)
ENDS = re.compile(
    r"[\"')\]}]*(?: ?(?:均|都)?(?:正确|对)| (?:are|is) (?:both |all )?(?:correct|right|true)| only)? ?(?:$|[\n.;!?。(]|"
    r", "
    r"(?=[a-z]{3}))"
)

WORDS = re.compile(rf"[a-zà-ÿа-яё]+|[{NAMES}{LABELS}]")
_NOUNS = word_set(
    "answer answers option options choice choices response responses selection selections diagnosis "
    "diagnoses conclusion letter pick solution result "
    "statement assertion treatment cause organism step ans correct right "
    "best likely appropriate choose chooses choosing chose chosen select selects selected selecting picks "
    "picked picking switch switched switching change changed changing "
    "go going went opt opts opted opting settle settles settled settling lean leans "
    "leaning leaned vote voting say prefer favor favour stick sticking bet mark respond guess think "
    "believe conclude recommend "
    "antwort lösung richtig korrekt wähle nehme elijo escojo choisis scelgo escolho respuesta opción réponse "
    "reponse resposta alternativa risposta ответ correcta correcto correcte corretta corretto"
)
_LINKS = word_set(
    "so thus therefore hence accordingly consequently ergo in overall finally it this that which "
    "corresponds correspond matches match points point aligns align consistent leads lead leaves leave "
    "supports support indicates indicate suggests suggest leaving"
)
_TURNS = word_set("actually correction make sorry wait not no nicht non não pas ce or mean meant")
KINDS = {
    **dict.fromkeys(_LINKS, "link"),
    **dict.fromkeys(_NOUNS, "noun"),
    **dict.fromkeys(("is", "be", "are"), "is"),
    **dict.fromkeys(_TURNS, "turn"),
    **dict.fromkeys("abcdefghijklmnopqrstuvwxyz", "item"),
    **{chr(start + index): "item" for start in (NAME, LABEL) for index in range(26)},
}
"""What begins at a word, so that only the patterns are tried that can match there."""
