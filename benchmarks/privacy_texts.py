"""Made-up identity in report-like sentences, by Faker, and clean medical text: what privacy is measured on."""

from __future__ import annotations

import random
from collections.abc import Iterator

STRUCTURED = (
    "MRN: {mrn}. CT of the chest with contrast.",
    "Medical record number {mrn}; no acute findings.",
    "Patient ID {patient_id}, follow-up of a pulmonary nodule.",
    "Accession No. {accession}: MR of the knee without contrast.",
    "Accession number: {accession}. Compared with the prior study.",
    "Acct# {mrn} was billed for the examination.",
    "Health plan beneficiary number {plan}.",
    "Hospital number {mrn}, ward 4.",
    "DOB: {birth}. Small effusion on the left.",
    "Date of birth {birth_long}, known atrial fibrillation.",
    "The patient, born on {birth}, has a mass in the right lobe.",
    "Examined on {date} for abdominal pain.",
    "Study date {date_long}. Comparison: {date}.",
    "Callback number {phone}.",
    "Results were phoned to {phone} at once.",
    "Fax: {phone}; no fracture.",
    "Please write to {email} with questions.",
    "SSN {ssn}. Normal heart size.",
    "Social security number {ssn_plain}.",
    "Lives at {street}.",
    "Home address: {address}.",
    "Mail to {city_line} was returned.",
    "Driver's license {plate_id} on file.",
    "Device serial number {serial}.",
    "Uploaded from IP address {ip}.",
    "患者住院号：{cn_record}，胸部CT平扫。",
    "联系电话：{cn_phone}。右肺上叶结节。",
    "身份证号{cn_id}，既往体健。",
    "出生日期：{cn_birth}，头颅MRI未见异常。",
    "检查号 {cn_record} 手机 {cn_phone}",
)  # fmt: skip
NAMED = (
    "Patient name: {name}. CT of the head.",
    "Name: {last}, {first}. No acute fracture.",
    "Dictated by {name}, MD.",
    "Referring physician: Dr. {last}.",
    "Signed electronically by {name}.",
    "Mr. {last} tolerated the procedure well.",
    "Discussed with the patient's wife, Mrs. {name}.",
    "Attending: {name}",
    "{last}^{first} was imaged twice.",
    "患者姓名：{cn_name}，行腹部超声。",
    "报告医师：{cn_name}",
)
BARE = (
    "{name} is a 54-year-old man with chest pain.",
    "We reviewed the images of {name} yesterday.",
    "Compared with the outside study of {first} {last}, the nodule has grown.",
)
CLEAN = (
    "Nodule of 12 x 8 mm in segment VII, series 4, image 112 of 240.",
    "T2-weighted and FLAIR images show a lesion at L4-L5; SUVmax 12.4.",
    "Blood pressure 140/90 mmHg, heart rate 72, BMI 27.5, HbA1c 7.2%.",
    "Magnification x400, scale bar 50 um, H&E stain.",
    "Graves disease, Crohn's disease and Hodgkin lymphoma were excluded.",
    "The patient is a 54-year-old woman with type 2 diabetes.",
    "Charles Bonnet syndrome and an Austin Flint murmur were described.",
    "Gleason score 3+4=7, PI-RADS 4, BI-RADS 4a, ECOG 1.",
    "Dose 0.1 mmol/kg gadolinium; TR/TE 2500/90 ms; 1.5 T.",
    "Follow-up after 6 months, 12/24 lymph nodes positive.",
    "Seen by computed tomography; performed by a senior radiologist.",
    "Doppler ultrasound shows a peak systolic velocity of 125 cm/s.",
    "Figure 3. (A) Axial CT, (B) coronal reformation, case 4 of 12.",
    "ICD-10 code J18.9; CPT 71260; ejection fraction 55%.",
    "Circle of Willis and Hill-Sachs lesion are shown.",
    "Wilson disease with a Kayser-Fleischer ring.",
    "Mark the left side before surgery. Will return in May.",
    "The St. Jude valve and a Swan-Ganz catheter are in place.",
    "Study with 1234 patients, p < 0.0001, 95% CI 1.02-3.45.",
    "Right Lower Lobe Pneumonia. Normal Heart Size. No Pleural Effusion.",
    "右肺上叶见结节，大小约12mm×8mm，边界清楚。",
    "头颅MRI平扫未见明显异常信号，脑室系统大小正常。",
    "肝区胆道扩张，右肺门区支气管通畅。",
    "Console software 2.6.3.6, syngo MR E11, protocol 1.2.3.",
    "A 14-French chest tube; Hounsfield units of -120 to 45.",
    "Tc-99m MDP bone scan, 740 MBq, images at 3 h.",
)  # fmt: skip


def cases(kind: tuple[str, ...], number: int, seed: int) -> Iterator[tuple[str, list[str]]]:
    """``number`` texts, each with the pieces of identity that stand in it."""
    from faker import Faker

    fake, chinese = Faker("en_US"), Faker("zh_CN")
    fake.seed_instance(seed)
    chinese.seed_instance(seed)
    chance = random.Random(seed)
    for at in range(number):
        template = kind[at % len(kind)]
        first, last = fake.first_name(), fake.last_name()
        date = fake.date_object()
        birth = fake.date_of_birth(maximum_age=100)
        style = chance.choice(("%m/%d/%Y", "%Y-%m-%d", "%d.%m.%Y", "%m-%d-%Y", "%d/%m/%Y"))
        long_style = chance.choice(("%d %B %Y", "%B %d, %Y", "%d %b %Y", "%b %d, %Y"))
        values = {
            "mrn": chance.choice((fake.numerify("########"), fake.numerify("#######"), fake.numerify("%##-##-##"))),
            "patient_id": fake.bothify("?######").upper(),
            "accession": chance.choice((fake.numerify("#########"), fake.bothify("??########").upper())),
            "plan": fake.bothify("###-##-####").strip(),
            "birth": birth.strftime(style), "birth_long": birth.strftime(long_style),
            "date": date.strftime(style), "date_long": date.strftime(long_style),
            "phone": _phone(fake), "email": fake.email(), "ssn": fake.ssn(), "ssn_plain": fake.numerify("%########"),
            "street": fake.street_address(), "address": fake.address().replace("\n", ", "),
            "city_line": f"{fake.city()}, {fake.state_abbr()} {fake.postcode()}",
            "plate_id": fake.bothify("?#######").upper(), "serial": fake.bothify("??-######").upper(),
            "ip": fake.ipv4(),
            "cn_record": fake.numerify("%#######"), "cn_phone": chinese.phone_number(), "cn_id": chinese.ssn(),
            "cn_birth": f"{birth.year}年{birth.month}月{birth.day}日", "cn_name": chinese.name(),
            "name": f"{first} {last}", "first": first, "last": last,
        }  # fmt: skip
        used = [value for key, value in values.items() if "{" + key + "}" in template]
        yield template.format(**values), used


def _phone(fake) -> str:
    while True:
        number = fake.phone_number()
        if sum(character.isdigit() for character in number) >= 10:
            return number


def clean_texts(limit: int = 20_000) -> list[str]:
    """Hard sentences of our own, and what installed packages hold: ICD-10-CM descriptions and the demo's texts."""
    texts = list(CLEAN)
    try:
        import simple_icd_10_cm as icd

        for code in icd.get_all_codes():
            texts.append(icd.get_description(code))
            texts.extend(icd.get_inclusion_term(code))
            if len(texts) >= limit:
                break
    except ImportError:
        pass
    from infimed_core import Sample
    from infimed_plugins.quality.installed import reader

    shown = {
        turn.text
        for row in reader("demo-anatomy", split="train", max_images=200).read("")
        if isinstance(row, Sample)
        for turn in row.turns
    }
    return texts + sorted(shown)
