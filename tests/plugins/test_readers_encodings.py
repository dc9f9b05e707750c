"""``infimed init`` finds the encoding of a text by its letters, in the languages that reports are written in."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from infimed_plugins.readers.command import written
from infimed_plugins.readers.encodings import encoding_of, encoding_of_lines

TEXTS = [
    ("cp1252", "Zustand nach Lobektomie. Übrige Lungenfelder frei, keine Stauungszeichen, Gefäße regelrecht."),
    ("cp1252", "Sin signos de congestión; mediastino centrado, tráquea permeable, columna sin daño óseo."),
    ("cp1252", "Ingen säker infiltratbild. Hjärtförstoring föreligger, oförändrad sedan föregående undersökning."),
    ("cp1252", "Pas d'épanchement ; la trachée est centrée, silhouette cardiaque élargie à gauche."),
    ("cp1252", "Não se identificam lesões ósseas; seios costofrênicos livres, ligeira elevação à direita."),
    ("cp1252", "Nessuna alterazione: la densità è regolare, così come l'ombra cardiaca; più sottile l'apice."),
    ("cp1252", "Ingen tegn på væske eller fortætning, hjertestørrelsen er øget."),
    ("latin-1", "Keine Änderung gegenüber Voraufnahme, Größe gleich, Überlagerung links."),
    ("cp1252", "OPINIÓN: SIN EVOLUCIÓN, ELEVACIÓN DEL DIAFRAGMA."),
    ("cp1252", "léger, déjà connu"),
    ("cp1252", "The patient’s heart isn’t enlarged."), ("cp1252", "No change – stable."),
    ("cp1252", "“Normal” chest… the lungs’ bases don’t show an effusion; 3 × 4 cm, 37 °C, ± 2 mm."),
    ("cp1252", "L’aorte n’a pas d’anévrisme – RAS"),
    ("mac-roman", "María García, clínica"), ("mac-roman", "Größe unverändert, Lungenödem möglich"),
    ("cp850", "Opacidad basal, corazón normal, ¿qué se ve en el niño?"),
    ("cp1250", "Serce w granicach normy, ognisk zapalnych nie stwierdza się; żebra całe, kąt lewy spłycony."),
    ("cp1250", "Plíce rozvinuté, bez čerstvých změn, srdeční stín nezvětšený, páteř s šípovitým zakřivením."),
    ("cp1250", "A tüdők légtartóak, a hörgők tágabbak, szívárnyék ötödnyivel nő; csőszerű képlet."),
    ("cp1251", "Корни лёгких не расширены, тень средостения не смещена, жидкости в плевре нет."),
    ("cp1251", "БЕЗ ПАТОЛОГИИ. Лёгочные поля прозрачны."),
    ("cp1253", "Οι πνεύμονες είναι ελεύθεροι, δεν υπάρχει συλλογή υγρού στην υπεζωκοτική κοιλότητα."),
    ("cp1254", "Kalp gölgesi büyümüş, sağ akciğerde yoğunluk artışı ve sıvı görülmüştür; kaburgalar düzgün."),
    ("gb18030", "双侧胸廓对称，纵隔居中，气管通畅，未见胸腔积液。"),
    ("gb18030", "CT of the chest: 左肺下叶实变, follow-up in 3 months 建议复查"),
    ("big5", "氣管位置居中，縱膈腔無腫大淋巴結，左側少量肋膜積液。"),
    ("cp932", "縦隔に腫大リンパ節はみられない。左肺尖部に陳旧性の変化あり。"),
    ("euc_jp", "縦隔に腫大リンパ節はみられない。左肺尖部に陳旧性の変化あり。"),
    ("cp949", "기관은 정중앙에 위치하며 늑골 골절은 없습니다. 추적 검사를 권합니다."),
    ("utf-16-le", "Größe unverändert"), ("utf-16-be", "Größe unverändert"),
]  # fmt: skip


@pytest.mark.parametrize(("encoding", "text"), TEXTS)
@pytest.mark.parametrize("num_rows", [1, 30])
def test_a_text_is_read_as_it_was_written_whatever_its_language(
    tmp_path: Path, encoding: str, text: str, num_rows: int
) -> None:
    whole = "id,report\n" + "".join(f"{number},{text} {number}\n" for number in range(num_rows))
    (tmp_path / "a.csv").write_bytes(whole.encode(encoding))
    found = encoding_of([tmp_path / "a.csv"])
    assert whole.encode(encoding).decode(found.name or "utf-8") == whole, found


@pytest.mark.parametrize(("encoding", "text"), [one for one in TEXTS if not one[0].startswith("utf-16")])
def test_a_broken_byte_in_one_row_makes_no_other_encoding_of_a_text(encoding: str, text: str) -> None:
    lines = [f"{text} {number}".encode(encoding) for number in range(30)]
    lines[11] += b"\x81"
    name = encoding_of_lines(lines).name
    assert lines[0].decode(name or "utf-8") == f"{text} 0"


def test_plain_letters_and_utf_8_need_no_encoding_and_most_lines_decide() -> None:
    assert encoding_of_lines([]).name is None
    assert encoding_of_lines(["Größe".encode()] * 5 + ["Größe".encode("cp1252")]).name is None


def test_what_may_be_two_encodings_is_said_where_it_is_written(tmp_path: Path) -> None:
    lines = "\n".join(f"What is it?,A naïve patient {number}" for number in range(5))
    (tmp_path / "a.csv").write_bytes(f"question,answer\n{lines}\n".encode("cp1252"))
    text, said = written(tmp_path, tmp_path)
    assert "is a guess" in said and "# cp" in text.split("encoding: ")[1].splitlines()[0]


def test_two_tables_of_one_layout_in_two_encodings_are_not_read_as_one(tmp_path: Path) -> None:
    for name, encoding in (("a.csv", "utf-8"), ("b.csv", "cp1252"), ("c.csv", "utf-8")):
        rows = "".join(f"Wo?,Am größten Herd {name} {number}.\n" for number in range(3))
        (tmp_path / name).write_bytes(f"question,answer\n{rows}".encode(encoding))
    text, _ = written(tmp_path, tmp_path)
    assert "#   not read: b.csv" in text and "path: a.csv" in text and "path: c.csv" in text and "path: b" not in text


@pytest.mark.parametrize("text", ["The patient’s heart isn’t enlarged.", "No change – stable.", "“Normal”, she says…"])
def test_quotes_and_dashes_of_windows_in_english_are_no_letters_of_another_system_and_no_guess(text: str) -> None:
    lines = [f"{text} {number}".encode("cp1252") for number in range(40)]
    lines[7] += b"\x90"
    found = encoding_of_lines(lines)
    assert (found.name, found.doubt) == ("cp1252", "")


@pytest.mark.parametrize("ending", [".csv.gz", ".csv"])
def test_a_packed_table_is_looked_into_for_its_encoding(tmp_path: Path, ending: str) -> None:
    rows = "".join(f"Wo?,Größe unverändert {number}\n" for number in range(9))
    data = f"question,answer\n{rows}".encode("cp1252")
    (tmp_path / f"a{ending}").write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
    text, said = written(tmp_path, tmp_path)
    assert "encoding: cp1252" in text and "9 of the 9 rows" in said
