"""Identity in the forms of several countries: found whole; and what of medicine looks like them stays."""

from __future__ import annotations

import itertools

import pytest

from infimed_plugins.quality.identity import find, redact

MONTHS = {
    "en": "January February March April May June July August September October November December",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
}
DATES = {
    "en": ("{m} 14, 2019", "14 {m} 2019", "on {m} 14", "14th of {m}", "{m} 14th", "on the 14th {m}"),
    "es": ("14 de {m} de 2019", "el 14 de {m}", "{m} 14 de 2019", "14-{s}-19", "14/{s}/2019"),
    "fr": ("14 {m} 2019", "le 14 {m}"),
    "de": ("14. {m} 2019", "am 14. {m}", "vom 14. {m} an"),
    "it": ("14 {m} 2019", "il 14 {m}"),
    "pt": ("14 de {m} de 2019", "em 14 de {m}"),
    "nl": ("14 {m} 2019", "op 14 {m}"),
}
LABELS = ("MRN", "Unit", "CHI", "Case", "Encounter", "Policy", "Ticket", "Invoice", "Device serial", "IPP", "Badge")
SEPARATORS = (" number ", " no. ", " No: ", " #", " # ", " ID ", " ID: ", " number: AB-", " Number is ")
GONE = {
    "A one-hundred-and-one-year-old woman.": "one-hundred-and-one",
    "Aged ninety-four, with cough.": "ninety-four",
    "Mujer de noventa y tres años.": "noventa y tres",
    "Homme de quatre-vingt-douze ans.": "quatre-vingt-douze",
    "Dreiundneunzigjähriger Patient.": "neunzig",
    "centenarian, 101 yrs, admitted": "101",
    "F, 91 years, cough": "91",
    "woman of 94 years with cough": "94",
    "Exam 2019. 3. 4.": "2019",
    "Symptoms began on 5/12 and worsened 5/20.": "5/20",
    "encounter 77120983": "77120983",
    "Licence plate AB12 CDE on the ambulance.": "AB12",
    "Kennzeichen HD-AB 1234": "HD-AB",
    "Credit card 4111 1111 1111 1111": "1111",
    "IBAN DE89 3704 0044 0532 0130 00": "3704",
    "Tel.: 06221/561234": "561234",
    "0033 1 42 34 56 78": "42 34",
    "(020) 7946 0958": "7946",
    "MAC 00:1B:44:11:3A:B7": "3A:B7",
    "from 2001:0db8:85a3::8a2e:0370:7334": "85a3",
    "jane.doe (at) clinic (dot) org": "jane.doe",
    "7 Rue de la Paix, 75002 Paris": "Paix",
    "Am Markt 3, 10115 Berlin": "10115",
    "Keizersgracht 174, Amsterdam": "Keizersgracht",
    "Austin TX 78701": "78701",
    "Hospital Clínic de Barcelona": "Barcelona",
    "Mayo Clinic radiology": "Mayo",
    "Queen Elizabeth Hospital": "Elizabeth",
    "BAPTIST MED CTR": "BAPTIST",
    "MD Anderson Cancer Center": "Anderson",
    "Signora Esposito riferisce dolore.": "Esposito",
    "Called to Dr. van der Berg.": "Berg",
    "The patient's daughter Sarah called.": "Sarah",
    "SØREN KJELDSEN was admitted.": "KJELDSEN",
}
CLEAN = (
    "Ulcerative colitis, Mayo 2. UC, Mayo 3 (endoscopic), mayo 1 endoscopic subscore",
    "Memorial Sloan Kettering nomogram, Mayo Clinic staging, Karolinska score",
    "ratio 10:12:30, at 12:30:45",
    "HLA-DRB1*04:01 and HLA-B*27:05:02",
    "cells per field 1000 2000 3000 4000",
    "tibial plate 4-hole, growth plate 12 mm",
    "seen in Anticoagulation Clinic",
    "Fracture Clinic, Memory Clinic, One-Stop Clinic, Urgent Care Clinic",
    "Safety-Net Hospital, Rural Hospital, Psychiatric Hospital",
    "followed over 90 years, until death",
    "Ages 18 to 95 years, mean 40",
    "several hundred years ago",
    "Score was 14. May indicate pneumonia.",
    "Virchow node and Sister Mary Joseph nodule",
    "Does Hospital Type Affect Complications?",
    "12 place in the list, 2 place holders",
    "Positive in 3/27 controls and 5/12 cases.",
    "Chest CT 71260",
)


@pytest.mark.parametrize("language", MONTHS)
def test_dates_of_seven_languages_are_found_in_every_month(language):
    for month, form in itertools.product(MONTHS[language].split(), DATES[language]):
        text = f"Exam {form.format(m=month, s=month[:3])}"
        assert "14" not in redact(text).text, text


def test_a_number_is_found_behind_its_label_however_it_is_introduced():
    for label, separator in itertools.product(LABELS, SEPARATORS):
        assert "4837221" not in redact(f"{label}{separator}4837221").text, (label, separator)


@pytest.mark.parametrize(("text", "gone"), GONE.items())
def test_forms_of_several_countries_are_found_whole(text, gone):
    assert gone not in redact(text).text


@pytest.mark.parametrize("text", CLEAN)
def test_what_looks_like_them_stays(text):
    assert find(text) == []


def test_an_age_in_words_is_found_far_from_any_digit():
    history = "presented with a long history of fever, weight loss and night sweats that had been treated elsewhere"
    assert "ninety" not in redact(f"A ninety-four-year-old man {history}. BP 120/80.").text
