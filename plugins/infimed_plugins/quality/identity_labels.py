"""What a number of a person, a record or a study stands behind, in the languages that notes are written in."""

from __future__ import annotations

LABEL = (
    r"mrns?#?|m\.r\.n\.|m ?r ?(?:number|no\.?|#)|emrn?|ehr|med(?:ical|\.)? ?rec(?:ord|\.)?|health record"
    r"|(?:patient|pt\.?|pat\.?|subject|person)[ _-]?(?:id\w{0,8}|numbers?|no\.?|nr\.?|#)|pid"
    r"|hosp(?:ital|\.)? ?(?:id|numbers?|no\.?|#)|unit (?:id|numbers?|no\.?|#)|uhid|urn|hrn|crn|accession|acc(?:\."
    r"|n)?(?= ?(?:no|num|#))"
    r"|health plan|beneficiary|subscriber|(?:member|group|client|customer|employee|staff|badge|tracking|ticket|invoice"
    r"|booking|receipt|confirmation|authori[sz]ation|case|file|folder|admission|specimen|order|exam|study|record|ward|bed"
    r"|claim|device|serial|sample|report|episode|registration|reg\.?|referral|ip|op|opd|ipd)"
    r"[ _-](?:id|numbers?|no\.?(?= ?[:#]? ?\w)|#)"
    r"|nhs(?: number| no\.?)?|chi(?: (?:id|numbers?|no\.?)| ?#|(?=[ :#]{1,3}\d{10}))"
    r"|medicare|medicaid|requisition|driver'?s licen[cs]e|npi|s/n"
    r"|passport|vin\b"
    r"|historia(?: cl[ií]nica)?|nhc|n\.? ?h\.? ?c\.?|expediente|c[ée]dula|dni|nie|nuhsa|prontu[áa]rio|cpf|rut"
    r"|curp|fallnummer"
    r"|patientennummer|pat\.?-?nr\.?|num[ée]ro de dossier|dossier|ipp|patienten-?(?:id|nr\.?"
    r"|nummer)|fall-?(?:nr\.?|id)"
    r"|(?:aufnahme|auftrags?|versicherten|untersuchungs)-?(?:nr\.?|nummer)|(?:n[o°º.]{1,2}"
    r"|num[ée]ro) (?:de |du )?patient"
    r"|(?:n[o°º.]{1,2}|num[ée]ro) de s[ée]curit[ée] sociale|matricule|n[uú]mero de (?:historia"
    r"|expediente|paciente)|folio"
    r"|codice (?:fiscale|sanitario|paziente)|cartella clinica|numero (?:paziente|cartella)"
    r"|u\.?r\.? ?(?:no|num\w{0,4}|#)\.?|urno|hn(?= ?[:#]? ?\d{5})|mrd ?(?:no|num\w{0,4}|#)"
    r"|cr ?(?:no\.?|#)|empi|csn|fin|phn|ohip|health ?card"
    r"|health insurance|(?:ni|national insurance|nino)(?: number| no\.?)|aadhaar|uid ?no|bsn"
    r"|personnummer|cpr|steuer-?id"
    r"|tax (?:id|file number)|(?:lab(?:oratory)?|path(?:ology)?|biopsy|slide|block|cytology"
    r"|histology|x-?ray|film|scan"
    r"|radiology|ris|pacs|requisition|prescription|rx)[ _-](?:id|numbers?|no\.?(?= ?[:#]? ?\w)|#)"
)
WEAK_LABEL = (
    r"chart|policy|insurance|account|acct|encounter|visit|licen[cs]e|certificate|plate|dea|acc|id"
    r"|records?|file|case id"
    r"|mr|tarjeta(?: sanitaria)?|ref(?:erence)?|patient|hospital|specimen|req"
)
CHINESE_LABEL = (
    "病历号|病案号|住院号|门诊号|就诊号|检查号|影像号|放射号|登记号|申请单号|医保号|医保卡号|社保号|护照号?|患者编号|病人编号"
    "|患者ID|病人ID|ID号|卡号|编号|健康卡号|病理号|CT号|MR号|MRI号|X线号|X光号|片号|标本号|超声号|条码号|流水号|患者番号|カルテ番号"
    "|ID番号|検査番号|受付番号|診察券番号|등록번호|환자번호"
)
