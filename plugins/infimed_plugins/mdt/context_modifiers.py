"""The phrases that decide whether a mention is stated: negators, doubt, the past, other people, and what ends a scope.

The method is that of NegEx and ConText (Chapman et al. 2001; Harkema et al. 2009): cue phrases with a direction and a
scope. The lists are our own, and wider: they hold what is said of treatments (``withhold``, ``no role for``) as well.
"""

from __future__ import annotations

import functools

from infimed_plugins.mdt.words import read

Cue = tuple[str, ...]


def _cues(text: str) -> frozenset[Cue]:
    return frozenset(tuple(word.form for word in read(line.strip())) for line in text.split("|") if line.strip())


NEGATES_WHAT_FOLLOWS = """
no | not | never | without | neither | nor | none of | lack | lacks | lacking | lack of | free of | free from |
absence of | absent | negative for | denies | denied | rather than | instead of | in place of | preferred over |
preferred to | preferable to | superior to | replaces | replaced | has replaced | rule out | rules out |
ruled out | ruling out | exclude | excludes | excluded | excluding | argue against | argues against |
arguing against | speak against | speaks against | speaking against | evidence against | advise against |
advises against | recommend against | decide against | decided against | against | fail to | fails to | failed to |
avoid | avoids | avoiding | withhold | withholding | hold | holding | stop | stops | stopping | discontinue |
discontinuing | cease | omit | omitting | skip | skipping | forgo | refrain from | spare | spares | sparing |
decline | declined | declines | refuse | refused | refuses | delay | delaying | defer | deferring | postpone |
postponing | unlikely to be | unlikely to have | unlikely to represent | unlikely | contraindication to |
contraindication for | contraindications to | contraindication against | contraindicates | preclude | precludes |
precluded | forbid | forbids | prohibits | allergic to | allergy to | unfit for | not fit for | ineligible for |
unsuitable for | too frail for | too ill for | instead | doubt | doubts | hesitation | reason to delay |
barrier to | objection to | wean off | free | nothing | nobody | under no circumstances | contraindication |
clear of | resolution of | resolved | cleared of | too early for | too late for | prevent | prevents | obviates |
obviates the need for | dispense with | quit | withdraw | withdrawing
"""

NEGATES_WHAT_PRECEDES = """
not recommended | not indicated | not advised | not advisable | not required | not appropriate | not necessary |
not warranted | not an option | not a candidate | not suitable | not justified | not routinely | not first line |
unlikely | improbable | implausible | excluded | ruled out | absent | unnecessary | superfluous | redundant |
pointless | futile | contraindicated | avoided | withheld | omitted | skipped | deferred | postponed | delayed |
stopped | discontinued | held | rejected | declined | refused | dismissed | discarded | left out |
out of the question | dangerous | harmful | harm | unsafe | inappropriate | premature | no role | no place |
no benefit | no need | offers nothing | adds nothing | off the table | never | negative | inadvisable | unwise |
forbidden | unhelpful | prohibited | not | no longer | unsuitable | impossible | unfeasible | no indication |
no option | no evidence | not needed | resolved | cleared | has gone | have gone | nothing to offer | dispensable |
obsolete
"""

MAKES_WHAT_FOLLOWS_UNCERTAIN = """
possible | possibly | perhaps | maybe | might be | might have | may be | may have | may represent | could be |
could have | could represent | consider | considering | considered | differential | differential diagnosis |
differentials | whether | look for | looking for | screen for | screening for | evaluate for | assess for |
test for | check for | search for | risk of | risk for | at risk of | fear of | rule out | exclude | unclear if |
unsure about | not sure about | not certain | uncertain | question of | cannot rule out | can not rule out |
can not exclude | can not entirely exclude | can not completely exclude | may develop | can develop |
could develop | versus | mimic | mimics | mimicking | investigate for | query | evaluation for | evaluation of |
questionable | equivocal | suggestion of
"""

MAKES_WHAT_PRECEDES_UNCERTAIN = """
can not be excluded | can not be ruled out | not be excluded | not be ruled out | not excluded | not ruled out |
not yet excluded | not yet ruled out | remains possible | is possible | are possible | possible | conceivable |
unclear | uncertain | unknown | remains to be seen | is pending | are pending | pending | debatable | doubtful |
questionable | could be considered | may be considered | might be considered | can be considered | not certain |
not proven | unproven | in the differential | on the differential | is considered | was considered |
can not be entirely excluded | can not be completely excluded
"""

IS_PAST = """
history of | past history | past medical history | past surgical history | previous | previously | prior |
formerly | former | was on | were on | had been on | was under | was treated with | used to | status post |
recovered from | in the past | earlier episode of | earlier episodes of | last year | years before | had in |
remote | old
"""

WAS_PAST = """
years ago | months ago | year ago | decades ago | decade ago | in childhood | last year | in the past |
as a child | in adolescence | at the age of | long ago | as an infant
"""

IS_OTHER = """
father | mother | sister | brother | aunt | uncle | cousin | grandmother | grandfather | grandparent |
family history | relative | parent | daughter | son | siblings | wife | husband | maternal | paternal
"""

ENDS_FORWARD = """
but | however | although | though | except | yet | whereas | while | which | because | since | as | so |
therefore | hence | thus | until | before | after | then | still | nevertheless | nonetheless | apart from |
aside from | other than | besides | in favour of | who | that said | only
"""
"""Words after which a cue no longer bears on what follows."""

ENDS_BACKWARD = """
but | however | although | though | except | yet | whereas | while | which | because | since | as | so |
therefore | hence | thus | then | nevertheless | nonetheless | even if | even though | unless | if | when | where |
until | despite | who | rather than | instead of | over | and not | with no | there is no | there are no |
no evidence of | without
"""
"""Words beyond which a cue does not bear on what went before."""

AFFIRMS = """
not only | not just | not merely | no doubt | without doubt | no question | not to be missed | do not miss |
not miss | without delay | without further delay | no delay | not wait | not delay | do not hesitate to |
not forget | can not be overstated | no increase in | no change in | no significant change in |
no interval change in | no significant interval change in | not least | no later than | not later than |
not more than | no more than | not optional | if not already | whether or not | not until proven otherwise |
until proven otherwise | there is no alternative to | no alternative to | no substitute for | no sooner |
not enough | as soon as | without exception | prophylaxis against | protection against | protect against |
protects against | vaccination against | vaccinate against | antibody against | antibodies against |
directed against | prior study | prior studies | prior exam | prior examination | prior ct | prior scan |
prior film | previous study | previous exam | previous scan | previous ct | prior to
"""
"""Phrases that hold a negator and negate nothing."""

_FINITE = (
    "is are was were be been has have had do does did can could should must may might will would shows show showed "
    "remains need needs ought seems appears looks"
)
FINITE = frozenset(word.form for word in read(_FINITE))


@functools.cache
def table() -> dict[str, frozenset[Cue]]:
    """Every list, by name, in the forms that ``words.read`` gives."""
    return {
        "affirms": _cues(AFFIRMS),
        "negates what follows": _cues(NEGATES_WHAT_FOLLOWS),
        "negates what precedes": _cues(NEGATES_WHAT_PRECEDES),
        "makes what follows uncertain": _cues(MAKES_WHAT_FOLLOWS_UNCERTAIN),
        "makes what precedes uncertain": _cues(MAKES_WHAT_PRECEDES_UNCERTAIN),
        "is past": _cues(IS_PAST),
        "was past": _cues(WAS_PAST),
        "is other": _cues(IS_OTHER),
        "ends forward": _cues(ENDS_FORWARD),
        "ends backward": _cues(ENDS_BACKWARD),
    }
