"""Words that decide what is a name: of every day, of the field, of discoverers, and those that are surnames too."""

from __future__ import annotations


def _listed(text: str, between: str = " ") -> frozenset[str]:
    return frozenset(text.split(between))


GENERIC = _listed(
    "a academic affairs cancer center central centre children children's childrens city clinic community "
    "county day dental department district emergency eye field general health heart hospital inpatient local "
    "maternity medical memorial mental national our outpatient pain private public regional state surgical "
    "teaching tertiary the university veterans"
)
"""Words that name no one hospital."""
NO_SURNAME = _listed(
    "anemia aneurysm angle anomaly approach area artery association ataxia avenue award bengal bodies body "
    "canal carcinoma catheter cell cells center centre chorea city classification clinic coefficient college "
    "county criteria deformity dementia disease duct dystrophy equation factor fascia filter forceps formula "
    "foundation fracture gland grade graft granuloma hernia hospital incision index institute inventory island "
    "islands knot law layer lecture lesion ligament line lines lobe lymphoma malformation maneuver manoeuvre "
    "membrane method model murmur muscle needle nerve node nodes nodule operation palsy paralysis phenomena "
    "phenomenon plate point position pouch prize procedure projection prosthesis protocol pump pupil "
    "questionnaire reflex repair retractor ring rings river road sarcoma scale schedule score sequence shunt sign "
    "space splint spot spots stage stain staining street study syndrome technique test trial triangle tube tumor "
    "tumour ulcer university valve vein view virus"
)
"""What stands behind the name of a discoverer or of a place."""
EPONYMS = _listed(
    "albert einstein,alice wonderland,anton babinski,april may,austin flint,bernard soulier,carl zeiss,"
    "charcot marie,charles bonnet,claude bernard,crystal violet,dandy walker,duchenne erb,florence nightingale,"
    "francis turville,frank starling,george washington,graham steell,guy hospital,hans asperger,"
    "harris benedict,henoch schonlein,henry ford,holly berry,jean piaget,joan collins,john cunningham,"
    "john hopkins,johns hopkins,joseph brant,kent bundle,kim jong,lee white,leopold auenbrugger,logan turner,"
    "los angeles,louis bar,marcus gunn,marie curie,martin gruber,mary jane,max planck,michael modic,"
    "paul bunnell,peter pan,pierre marie,pierre robin,prader willi,ramsay hunt,ray ban,robert jones,robin hood,"
    "rose bengal,saint louis,san jose,san juan,santa maria,scott parazynski,simon broome,st louis,"
    "thomas jefferson,virginia apgar,von hippel,wolfgang pauli,ziehl neelsen",
    ",",
)
"""Discoverers and others whose two words are a thing of the field."""
SURNAMES_TOO = _listed(
    "abbott baker bank banks bass berry best bird bishop black blood bond bone boston bridge bridges bright "
    "brown bull burns bush camp carter case cases castle chambers chase christian church clark college colon "
    "cook crane crohn cross day dean drake east england english field fields fish fisher foot ford forest fox "
    "french friend frost german glass good grant graves gray green grey gross hall hand hands head heart hill "
    "holland house hunter ireland key keys king knight lake lamb lane law laws legs lincoln line little lock "
    "locks london long love major march mark marks mason may mays minor moon noble north page pain paris "
    "parish park parks payne pike points pope post power powers price rain ray read reed rice river rivers "
    "root rose salmon savage scott self sharp shell shine short small snow south spring steel stone street "
    "strong summer summers sun swan temple wall walls ward water waters welch wells west white winter wise "
    "wolf wood woods york young"
)
"""Words that are surnames too: behind a title or a given name they are taken for one."""
PLAIN = _listed(
    "and any are as at by can could did do does each et every for from had has have how in is may of on one or our "
    "should some that the their these this those to was were what when where which who why with would your"
)
"""Little words."""
ORDINARY = _listed(
    "a abdomen abdominal acute address adult after age all allergies allergy also american an and anterior ap "
    "april are assessment association asthma attending august been before being board both brain breast "
    "brother but by cancer cardiac care case cases catheter center characteristic chest child chinese chronic "
    "clinic clinical college compared comparison contrast controlled correlation cough criteria ct data date "
    "de dear december deep department der diabetes dictated discussed dob doctor doctors dose dr during each "
    "east electronic electronically email emergency english erect european exam examination external faculty "
    "failure father fax february female fever figure film films findings flow for form former foundation "
    "french friday from general german global group guideline guidelines had has have head health heart "
    "hepatic her high his history home hospital hypertension hypertensive if image images impression index "
    "indication infant infarction institute internal interval is january japanese july june korean la lateral "
    "left level life line lines liver lives los low lower lung male man march max may mean medial medical "
    "mellitus min monday more most mother mr mri mrn mrs ms myocardial name national neck negative new no none "
    "normal north not november nurse nurses october office only operating or other our outcome outcomes over "
    "pa pain patient patients pet phone physician physicians please portable positive posterior practice "
    "practitioner program protocol pt quality questionnaire radiograph rate ray received recommended renal "
    "report reported research resident residents result results reviewed right risk room royal safety same san "
    "saturday scale school score seen september series service services sex signed since sister slice smoker "
    "society some south specialist specialty spine staff state stroke study such summary sunday supine surgery "
    "surgical survival system table team technique telephone test than that the then therapy there these this "
    "thursday time total trial trials tube tuesday type ultrasound under unit united university unknown upper "
    "us very view views visit von ward was wednesday were west when where which while will with woman x-ray xr "
    "york"
)
"""Words of every day and of the field, beside those of the lists of words."""
AMBIGUOUS = _listed(
    "ali ama amber april art august austin ben bishop bob brooke carol charlotte chelsea christian crystal dan "
    "dawn dean diego don ebony eva frank gina grant hao holly hong hui hunter ian jasmine jean jim jin jordan "
    "joy jun june ken kim lane lars lee lei leo li logan luz madison marco mark mason max may mei min ming "
    "morgan noor paige ray regina rick robin ron rosa rose sam san sierra soo tara ted van victoria virginia "
    "wei will xin yan ying"
)
"""Given names that are words, units or signs as well: they count only in a name that is written as one."""
