from __future__ import annotations

from pathlib import Path

import pytest

from indexing.errors import DamagedFileError
from indexing.readers.encodings import decode
from tests.fakes.files import extract_one

CHINESE = [
    "你好，世界。",
    "中国",
    "机器学习",
    "机器学习 深度学习",
    "本公司二〇二一年的收入为十五亿元，比上年增长百分之十二。",
    "第三季度 revenue 增长 5%\n详见附表。",
    "有朋自远方来，不亦乐乎？人不知而不愠，不亦君子乎？" * 3,
]
WESTERN = [
    "café",
    "naïve façade, déjà vu",
    "Übergröße für Mädchen",
    "señor, ¿cómo está?",
    "It’s “quoted” — €5",
    "El año pasado creció más rápido. " * 20,
]


@pytest.mark.parametrize("text", CHINESE)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-32"])
def test_chinese(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding), "a.txt") == text


@pytest.mark.parametrize("text", WESTERN)
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_western(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding), "a.txt") == text


def test_four_byte_gb18030_among_common_words() -> None:
    text = "这个字很少见：\U00020000。它在字典里有，我们平时都不用它。" * 2
    assert decode(text.encode("gb18030"), "a.txt") == text


RUSSIAN = "Это простой текст на русском языке, в котором достаточно слов для уверенного решения. " * 5
KOREAN = "이것은 한국어로 쓰인 간단한 글입니다. 오늘은 날씨가 좋아서 공원에 갔습니다. " * 5
JAPANESE = "これは日本語で書かれた文章です。今日は天気がいいので公園に行きました。" * 5


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r"])
def test_russian_by_statistics(encoding: str) -> None:
    assert decode(RUSSIAN.encode(encoding), "a.txt") == RUSSIAN


@pytest.mark.parametrize("length", [12, 20, 40, 150])
@pytest.mark.parametrize(
    ("text", "encoding"),
    [(KOREAN, "euc-kr"), (JAPANESE, "shift-jis"), (JAPANESE, "euc-jp"), (RUSSIAN, "cp1251")],
)
def test_others_are_right_or_refused(text: str, encoding: str, length: int) -> None:
    data = text[:length].encode(encoding)
    try:
        found = decode(data, "a.txt")
    except DamagedFileError as error:
        found = data.decode(encoding) if "could not be told" in str(error) else str(error)
    assert found == text[:length]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"abc\x00def", "NUL"),
        ("文字".encode("utf-16-le"), "could not be told|NUL|encoding"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "NUL"),
        (b"\xff\xfeabc", "mark"),
        (bytes(range(1, 32)) * 20, "control"),
        ("中文文件在这里被截断".encode()[:-1], "broken bytes"),
        ("好好学习".encode() + b"\xff" + "天天向上".encode(), "broken bytes"),
        (b"\xfd\xfc\xff\xfa\x81\xff\x83" * 30, "could not be told"),
    ],
)
def test_never_mojibake(data: bytes, reason: str) -> None:
    with pytest.raises(DamagedFileError, match=reason):
        decode(data, "a.txt")


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("gb2312", "gb18030"),
        ("GBK", "gbk"),
        ("iso-8859-1", "cp1252"),
        ("big5", "big5"),
        ("windows-1251", "cp1251"),
    ],
)
def test_html_declares_its_charset(tmp_path: Path, declared: str, encoding: str) -> None:
    word = {"big5": "繁體", "windows-1251": "Привет", "iso-8859-1": "“Größe”"}.get(declared, "简体")
    page = (
        f'<html><head><meta http-equiv=x content="text/html; charset={declared}"></head><p>{word}</p></html>'
    )
    path = tmp_path / "a.html"
    path.write_bytes(page.encode(encoding))
    assert extract_one(path).text == word


def test_a_wrong_declaration_does_not_win_over_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_bytes('<meta charset="iso-8859-1"><p>中文 é</p>'.encode())
    assert extract_one(path).text == "中文 é"


def test_gb18030_file(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_bytes("# 标题\r\n\r\n正文在这里。\r\n".encode("gb18030"))
    found = extract_one(path)
    assert found.text == "# 标题\n\n正文在这里。\n"
    assert found.title == "标题"
