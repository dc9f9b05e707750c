"""Common forms of each promised kind of identity are taken whole; phrases that only look like them stay."""

from __future__ import annotations

import time

import pytest

from infimed_plugins.quality.identity import find, redact

FORMS = {
    "age": [
        ("A 96 y/o woman", "96"),
        ("97M after a fall", "97M"),
        ("aged 91, widowed", "91"),
        ("99yF", "99"),
        ("a 92-yr-old", "92"),
        ("ninety-two-year-old woman", "ninety-two"),
        ("AGE/SEX: 093Y/M", "093"),
        ("mujer de 94 años", "94"),
    ],
    "date": [
        ("done 2018-05-06T07:08:09", "2018-05-06T07:08:09"),
        ("on 14.02.21 again", "14.02.21"),
        ("seen on June 3", "June 3"),
        ("discharged on 2/14.", "2/14"),
        ("CT 05-FEB-18", "05-FEB-18"),
        ("7/Oct/2016", "7/Oct/2016"),
        ("el 12 de marzo de 2019", "12 de marzo de 2019"),
        ("20180506070809", "20180506"),
        ("born 5 May 1931", "1931"),
    ],
    "number": [
        ("MR# 998877", "998877"),
        ("MRN#: 00-12-345", "12-345"),
        ("Hosp No 445566", "445566"),
        ("PatientID: 99887766", "99887766"),
        ("NHS number 401 023 2137", "2137"),
        ("Historia clínica: 123456", "123456"),
        ("DNI 12345678Z", "12345678Z"),
        ("XR.1.2.826.0.1.3680043.8.498.12345.png", "3680043"),
    ],
    "name": [
        ("NÚÑEZ^ÍÑIGO", "NÚÑEZ"),
        ("van der Berg^Pieter", "Berg"),
        ("Dr.Jones saw", "Jones"),
        ("Patient Maria Gonzalez was seen", "Gonzalez"),
        ("Sra. López fue vista", "López"),
        ("Nombre: Juan Pérez García", "García"),
        ("Technologist: T. Brown", "Brown"),
        ("Carlos Fernández Soto was seen", "Soto"),
        ("brought to St. Luke's Hospital", "Luke"),
    ],
    "address": [
        ("lives at 221B Baker Street, London NW1 6XE", "6XE"),
        ("Calle Alcalá 45, 28014 Madrid", "Alcalá 45"),
        ("resides at 77 Maple Grove", "Maple"),
        ("Hauptstraße 12, 10115 Berlin", "Hauptstraße"),
    ],
    "phone": [("call her at 555-0123", "0123"), ("Fax 020 7946 0018", "0018"), ("Tel: 612 345 678", "678")],
}
ORDINARY = [
    "Figure 3 Right Ventricular Wall motion.", "per 50 High Power Fields", "Abdomen CT 74177", "ACC/AHA 2020 statement",
    "at the visit 250 mg was given",
    "cell counts of 1200 - 15000", "reached 9.5 - 11.2 g/dL", "5-10-15 mm",
    "CC: Chest Pain", "rose (+138% to +152%)", "Father: Diabetes", "Patient: Female, 30 years old",
    "Drug name: Aspirin",
    "Rose Bengal stain", "mm^Hg", "Temperature 99 F", "strength 4/5, GCS 14/15", "C5/6 and L4/5", "on 2/3 occasions",
    "grade 3/4 toxicity", "aged 18-95 years", "patients aged 90 years or older",
    "between January 2010 and December 2015",
    "Records from January 1, 2005 to December 31, 2010 were reviewed", "Patient Health Questionnaire",
    "St Louis encephalitis", "Children's Hospital", "New York Heart Association class III", "Gene ID:1583",
    "EC 1.1.1.153", "90 F 18-FDG",
]  # fmt: skip


@pytest.mark.parametrize(("text", "gone"), [pair for pairs in FORMS.values() for pair in pairs])
def test_nothing_of_a_common_form_remains(text, gone):
    assert gone not in redact(text).text


@pytest.mark.parametrize("text", ORDINARY)
def test_an_ordinary_phrase_is_left_alone(text):
    assert find(text) == []


@pytest.mark.parametrize(
    "piece", ["a", "A", "1 ", "1.2.", "(1", "A-", "x@", "12 High ", "Dr. ", "on 3/27 ", "mrn" + " " * 60]
)
def test_a_hostile_text_takes_time_in_proportion(piece):
    def seconds(length: int) -> float:
        text = (piece * length)[:length]
        least = 9e9
        for _ in range(2):
            began = time.process_time()
            find(text)
            least = min(least, time.process_time() - began)
        return least

    seconds(500)  # patterns and lists are loaded once
    assert seconds(16_000) <= 9 * max(seconds(4_000), 0.01)  # 4 times the text; 16 times it would be, were it quadratic
