"""Values of one kind, of which an answer names one: sides, levels, planes, techniques, regions, sexes, colours,
numbers.

Sources: DICOM PS3.16, context groups 29 (techniques), 244 (sides) and 4031 (regions), and their usual abbreviations.
"""

from __future__ import annotations

from infimed_plugins.medevalkit.answers.values_chinese import CHINESE
from infimed_plugins.medevalkit.answers.words import phrases

KINDS: dict[str, dict[str, str]] = {
    "side": {
        "left": "left | left side | left hand side | left sided | left hemithorax | left hemisphere",
        "right": "right | right side | right hand side | right sided | right hemithorax | right hemisphere",
        "bilateral": "bilateral | both sides | both side | both lung | both kidney | both hemisphere |"
        " both eye | both hand |"
        " both foot | both breast | both hip | both knee | bilaterally | both left and right | left and right |"
        " right and "
        "left | on both sides | either side",
        "unilateral": "unilateral | one side | only one side | one sided | unilaterally",
        "midline": "midline | in the middle | median",
    },
    "level": {
        "upper": "upper | superior | top | cranial to | apical | apex",
        "middle": "middle | mid | central | centre | center",
        "lower": "lower | inferior | bottom | basal | base | basilar",
    },
    "depth": {"anterior": "anterior | front | ventral", "posterior": "posterior | back | dorsal | behind"},
    "plane": {
        "axial": "axial | transverse | axial plane | transverse plane | transaxial | transversal |"
        " horizontal plane | "
        "cross sectional | cross section",
        "coronal": "coronal | coronal plane | frontal plane",
        "sagittal": "sagittal | sagittal plane | lateral plane",
    },
    "view": {
        "pa": "pa | posteroanterior | posterior anterior | p a | posterior to anterior",
        "ap": "ap | anteroposterior | anterior posterior | a p | anterior to posterior",
        "lateral": "lateral view | lateral film | lateral radiograph",
    },
    "technique": {
        "ct": "ct | computed tomography | computerized tomography | computerised tomography | computed axial "
        "tomography | cat scan | ct scan | cect | ncct | hrct | ct imaging",
        "mri": "mri | magnetic resonance imaging | magnetic resonance | mr imaging |"
        " nuclear magnetic resonance | mri "
        "scan | mr image | mr scan | mrt",
        "x ray": "x ray | xray | radiograph | x ray film | plain film | roentgenogram | radiography | cxr | plain "
        "radiograph | chest film",
        "ultrasound": "ultrasound | sonography | ultrasonography | sonogram | echography | ultrasonogram",
        "pet": "pet | positron emission tomography | pet scan",
        "endoscopy": "endoscopy | colonoscopy | gastroscopy",
        "microscopy": "microscopy | histology | histopathology | photomicrograph | micrograph",
        "angiography": "angiography | angiogram | arteriogram",
        "mammography": "mammography | mammogram",
        "fundus photography": "fundus photography | fundus photograph | fundoscopy",
        "oct": "oct | optical coherence tomography",
    },
    "weighting": {
        "t1": "t1wi | t1 | t1 weighted | t1w | t1 weighting",
        "t2": "t2wi | t2 | t2 weighted | t2w | t2 weighting",
        "flair": "flair | fluid attenuated inversion recovery",
        "dwi": "dwi | diffusion weighted | diffusion weighted imaging",
    },
    "sex": {"male": "male | man | boy | men", "female": "female | woman | girl | women"},
    "colour": {
        "red": "red | reddish",
        "blue": "blue | bluish",
        "green": "green | greenish",
        "yellow": "yellow | yellowish",
        "white": "white | whitish",
        "black": "black | blackish",
        "grey": "grey | gray | greyish | grayish",
        "brown": "brown | brownish",
        "pink": "pink | pinkish",
        "purple": "purple | violet | purplish",
        "orange": "orange",
    },
    "normality": {
        "normal": "normal | healthy | unremarkable | within normal limits",
        "abnormal": "abnormal | unhealthy | diseased | pathological | abnormality | abnormalities",
    },
    "brightness": {
        "bright": "hyperintense | bright | hyperdense | high signal | high density | hyperattenuating |"
        " hyperechoic | "
        "radiopaque | high intensity",
        "dark": "hypointense | dark | hypodense | low signal | low density | hypoattenuating | hypoechoic |"
        " anechoic | "
        "radiolucent | low intensity",
    },
    "position": {
        "supine": "supine | on the back | lying on the back | on his back | on her back | on their back | face up",
        "prone": "prone | face down",
        "erect": "erect | upright | standing",
    },
    "comparison": {
        "less": "< | less than | fewer than | smaller than | under | below | lower than | at most | up to | ≤",
        "more": "> | greater than | more than | larger than | over | above | higher than | at least | exceeding | ≥",
    },
    "count": {"single": "single | solitary", "multiple": "multiple | several | numerous | many"},
    "organ system": {
        "digestive": "digestive system | gastrointestinal system | gastrointestinal | gastrointestinal tract | "
        "digestive tract | alimentary tract | alimentary canal | gi system | gi tract",
        "respiratory": "respiratory system | respiratory | respiratory tract | pulmonary system",
        "cardiovascular": "cardiovascular system | cardiovascular | circulatory system | vascular system",
        "nervous": "nervous system | neurological system | neurologic system",
        "urinary": "urinary system | urinary tract | renal system | excretory system",
        "endocrine": "endocrine system | endocrine",
        "reproductive": "reproductive system | genital system | reproductive tract | genital tract",
        "musculoskeletal": "musculoskeletal system | musculoskeletal | skeletal system | muscular system",
        "lymphatic": "lymphatic system | lymphoid system",
        "integumentary": "integumentary system | integumentary",
    },
    "cavity": {"pleural": "pleural", "pericardial": "pericardial", "peritoneal": "peritoneal"},
    "meninges": {
        "subdural": "subdural",
        "epidural": "epidural | extradural",
        "subarachnoid": "subarachnoid",
        "intraventricular": "intraventricular",
    },
    "time": {"acute": "acute", "chronic": "chronic", "subacute": "subacute"},
    "long bone": {
        "femur": "femur | femoral | thigh bone",
        "tibia": "tibia | tibial | shin bone",
        "fibula": "fibula | fibular",
        "humerus": "humerus | humeral",
        "ulna": "ulna",
        "clavicle": "clavicle | clavicular | collarbone",
        "scapula": "scapula | scapular | shoulder blade",
        "sternum": "sternum | breastbone",
        "patella": "patella | patellar | kneecap",
    },
    "region": {
        "head": "head | skull | cranium",
        "brain": "brain | encephalon | intracranial",
        "neck": "neck | cervical region",
        "chest": "chest | thorax | thoracic | thoracic cavity | chest cavity",
        "lung": "lung | pulmonary",
        "heart": "heart | cardiac",
        "abdomen": "abdomen | abdominal | abdominal cavity | belly",
        "liver": "liver | hepatic",
        "spleen": "spleen | splenic",
        "kidney": "kidney | renal",
        "pancreas": "pancreas | pancreatic",
        "stomach": "stomach | gastric",
        "gallbladder": "gallbladder | gall bladder",
        "bladder": "bladder | urinary bladder",
        "colon": "colon | colonic | large bowel | large intestine",
        "small bowel": "small bowel | small intestine",
        "oesophagus": "esophagus | oesophagus | esophageal | oesophageal",
        "rectum": "rectum | rectal",
        "pelvis": "pelvis | pelvic | pelvic cavity",
        "prostate": "prostate | prostatic",
        "uterus": "uterus | uterine | womb",
        "ovary": "ovary | ovarian",
        "spine": "spine | vertebral column | spinal column | vertebral | backbone",
        "spinal cord": "spinal cord",
        "eye": "eye | ocular | orbit",
        "breast": "breast | mammary",
        "thyroid": "thyroid | thyroid gland",
        "trachea": "trachea | windpipe",
        "aorta": "aorta | aortic",
        "mediastinum": "mediastinum | mediastinal",
        "diaphragm": "diaphragm | diaphragmatic",
        "rib": "rib",
        "knee": "knee",
        "hand": "hand",
        "foot": "foot",
        "hip": "hip",
        "shoulder": "shoulder",
        "skin": "skin | cutaneous | dermal",
        "bone": "bone | osseous",
        "cerebellum": "cerebellum | cerebellar",
        "hippocampus": "hippocampus | hippocampal",
        "pharynx": "pharynx",
        "larynx": "larynx",
        "adrenal gland": "adrenal | adrenal gland | suprarenal",
        "appendix": "appendix",
        "duodenum": "duodenum | duodenal",
    },
    "brain lobe": {
        "frontal lobe": "frontal lobe | frontal",
        "temporal lobe": "temporal lobe | temporal",
        "parietal lobe": "parietal lobe | parietal",
        "occipital lobe": "occipital lobe | occipital",
    },
    "stain": {
        "haematoxylin and eosin": "hematoxylin and eosin | haematoxylin and eosin | h e | h and e | hematoxylin eosin",
        "periodic acid-Schiff": "periodic acid schiff | pas stain",
        "trichrome": "trichrome | masson trichrome | masson's trichrome",
        "Congo red": "congo red",
        "Ziehl-Neelsen": "ziehl neelsen | acid fast stain",
        "Gram": "gram stain",
    },
}
"""Kind -> value -> the words for it. Two values of one kind contradict each other."""

for _kind, _values in CHINESE.items():
    for _value, _forms in _values.items():
        KINDS[_kind][_value] += f" | {_forms}"

WITHIN: dict[str, tuple[str, ...]] = {
    "head": ("brain", "cerebellum", "hippocampus", "eye"),
    "brain": ("cerebellum", "hippocampus"),
    "neck": ("thyroid", "larynx", "pharynx", "trachea"),
    "chest": ("lung", "heart", "mediastinum", "trachea", "aorta", "rib", "diaphragm", "breast", "oesophagus"),
    "mediastinum": ("heart", "aorta", "trachea", "oesophagus"),
    "abdomen": phrases(
        "liver|spleen|kidney|pancreas|stomach|gallbladder|colon|small bowel|aorta|adrenal gland|appendix|"
        "duodenum|diaphragm|spine"
    ),
    "pelvis": ("bladder", "uterus", "ovary", "prostate", "rectum", "hip", "colon"),
    "colon": ("rectum", "appendix"),
    "small bowel": ("duodenum",),
    "spine": ("spinal cord", "bone"),
}
"""A region -> what lies in it: naming one does not contradict the other."""

NUMBERS = {
    word: str(value)
    for value, word in enumerate(
        phrases(
            "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|"
            "sixteen|seventeen|eighteen|nineteen|twenty"
        )
    )
}

OPPOSITES = tuple(
    (one.strip(), other.strip())
    for one, _, other in (
        pair.partition("/")
        for pair in [
            "normal / abnormal ",
            " normal / abnormality ",
            " normal / enlarged ",
            " normal / dilated ",
            " normal / thickened ",
            " normal / increased ",
            " normal / decreased ",
            " normal / displaced ",
            " normal / collapsed ",
            " normal / widened ",
            " normal / blunted ",
            " healthy / abnormal ",
            " healthy / diseased ",
            " unremarkable / abnormal ",
            " present / absent ",
            " symmetric / asymmetric ",
            " symmetrical / asymmetrical ",
            " benign / malignant ",
            " intact / fractured ",
            " intact / ruptured ",
            " sharp / blunted ",
            " clear / opacified ",
            " clear / consolidated ",
            " small / large ",
            " small / enlarged ",
            " homogeneous / heterogeneous ",
            " straight / deviated ",
            " midline / deviated ",
            " left / right ",
            " acute / chronic ",
            " unilateral / bilateral ",
            " male / female ",
            " open / closed ",
            " solid / cystic ",
            " single / multiple ",
            " focal / diffuse ",
            " visible / invisible ",
            " unchanged / changed ",
            " well / poorly ",
            " regular / irregular ",
            " with contrast / without contrast ",
            " upper / lower ",
            " anterior / posterior ",
            " bright / dark ",
            " hyperintense / hypointense ",
            " hyperdense / hypodense ",
            " axial / coronal ",
            " axial / sagittal ",
            " coronal / sagittal ",
            " larger / smaller ",
            " bigger / smaller ",
            " greater / less ",
            " higher / lower ",
            " ct / mri ",
            " ct / x ray ",
            " mri / x ray ",
            " mri / ultrasound ",
            " ct / ultrasound ",
            " x ray / ultrasound ",
            " pa / ap ",
            " t1 / t2",
        ]
    )
)
"""Words of which one denies the other, when said of the same thing."""
