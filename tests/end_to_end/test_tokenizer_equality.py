"""Our tokenizers give the ids of the ``tokenizers`` package and of open_clip."""

from __future__ import annotations

import html
import itertools
import re
import unicodedata

import ftfy
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer
from tokenizers import Tokenizer
from tokenizers.models import WordPiece as TheirWordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from agriclip_edge import Bundle
from agriclip_edge.text.clip_tokenizer import ClipBpe, clean
from agriclip_edge.text.tokenizer import WordPiece
from export.open_clip_model import standard_merges

CROPS = "maize|bean|cassava|mango|sugarcane|pearl millet|teff|groundnut|açaí|jalapeño|quinoa|rooibos|café arabica"
PARTS = "leaf|fruit|stem|root|seedling|canopy|ear|pod|flower"
STATES = "healthy {}|{} with rust|{} with anthracnose|wilting {}|{} eaten by fall armyworm|over-ripe {}|{} (stage V6)"
TEMPLATES = ("{}", "a photo of {}", "A close-up photo of a {}, taken in the field.")

# Where we follow BERT's own code and Python's Unicode tables, and the package does not.
AGED = "\u166d\u1734\u1885\u1886"  # their Unicode categories were corrected since the package's tables
LATE = range(0x2B820, 0x2B920)  # CJK extension E: the package's range begins 0x100 too late

IDEOGRAPHS = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\U00020000-\U0002a6df]")

HARD = {
    "empty": "",
    "spaces": " \t\r\n\v\f ",
    "control characters": "ma\x00i\x01z\x1be \x7fleaf\x80\x9f",
    "line breaks": "leaf\nrust\r\nblight\rspot",
    "line separators": "leaf\u2028rust\u2029blight\x85spot\x1cend",
    "spaces of all kinds": "a\u00a0b\u2003c\u3000d\u202fe\u205ff\u1680g\u180eh",
    "zero width": "le\u200baf ru\u200dst bli\ufeffght \u2060spot \u00adsoft",
    "directions": "\u202eleaf\u202c \u200frust \u2066spot\u2069",
    "accents": "Maïs Zuckerrübe piña brûlée Ærø Ångström ħ Ł ø",
    "accents apart": "Mai\u0308s pin\u0303a a\u0301\u0302\u0303\u0304",
    "accents alone": "\u0301 \u0308\u0308",
    "Vietnamese": "lúa gạo bị đạo ôn ở Đồng bằng sông Cửu Long",
    "Turkish": "İSTANBUL ISPARTA ığdır i̇",
    "German": "GROẞE STRASSE straße",
    "Greek": "ΣΟΦΟΣ σοφός ΐ Ἀθῆναι",
    "Russian": "ПШЕНИЦА Ёлка й и\u0306",
    "Chinese": "水稻稻瘟病叶片 玉米rust锈病",
    "rare Chinese": "\U00020000\U0002a6df\U0002a700\U0002b740\U0002b920\U0002ceaf\uf900\U0002f800",
    "Japanese": "トマトの葉 ガ か\u3099 ｶﾞ",
    "Korean": "벼 도열병 \u1112\u1161\u11ab",
    "Hindi": "धान की पत्ती में झुलसा क\u094dष",
    "Bengali": "ধানের পাতা",
    "Tamil": "நெல் இலை",
    "Thai": "ใบข้าวโพด",
    "Amharic": "የጤፍ ቅጠል፣ ዝገት።",
    "Arabic": "أوراق القمح المصابة بالصَّدَأ ؟ ١٢٣",
    "Persian": "برگ\u200cهای گندم",
    "Hebrew": "עֲלֵה חִטָּה",
    "emoji": "🌽🍂 👩🏽‍🌾 🇰🇪 ❤️ ☘︎ 1️⃣",
    "symbols": "± × ÷ ° µ Ω ™ © € £ ¥ § ¶ † ‡ ← ∞ ≤ ½ ² ₂ № ℃",
    "width": "ＦＵＬＬ　ｗｉｄｔｈ，！ ﬁ ﬂ ŉ ǆ",
    "punctuation": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ¡¿«»‹›“”‘’–—…・。、「」",
    "names of special tokens": "[CLS] [SEP] [PAD] [UNK] [MASK] ##ing ## # [unused0]",
    "numbers": "0 12 3.5 1,000,000 2026-11-22 10⁻³ Ⅳ ④ ٣ १२",
    "long word": "a" * 100,
    "too long word": "a" * 101,
    "far too long word": "ab" * 5_000,
    "long word of accents": "e\u0301" * 60,
    "long unknown word": "\u16a0" * 150,
    "many words": "leaf rust " * 200,
    "replacement": "leaf\ufffdrust",
    "private use": "\ue000\uf8ff\U000f0000\U0010fffd",
    "not characters": "\ufffe\uffff\ufdd0\U0001fffe",
    "not assigned": "\u0378\u0e5c\U000e0fff",
    "tags": "\U000e0001\U000e0061",
    "mathematical letters": "𝐦𝐚𝐢𝐳𝐞 𝓁𝑒𝒶𝒻 𝟙𝟚",
    "Deseret": "𐐀𐐁 𐐨",
    "Cherokee": "ᎠᎡ ꭰ",
}


@pytest.fixture(scope="module")
def vocabulary(default_bundle: object) -> list[str]:
    bundle = Bundle.open()
    assert bundle.manifest.text is not None
    return bundle.read(bundle.manifest.text.vocabulary).decode().removesuffix("\n").split("\n")


@pytest.fixture(scope="module")
def ours(vocabulary: list[str]) -> WordPiece:
    return WordPiece("\n".join(vocabulary).encode())


@pytest.fixture(scope="module")
def theirs(vocabulary: list[str]) -> Tokenizer:
    """BERT's uncased tokenizer as MiniLM uses it, without the special tokens that it would find in a text."""
    ids = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(TheirWordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    special = [(token, ids[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    return tokenizer


def promised(character: str) -> bool:
    """Whether Unicode 3.2 had it: younger characters depend on the age of each side's tables."""
    return unicodedata.ucd_3_2_0.category(character) not in ("Cn", "Co", "Cs") and character not in AGED


PROMISED = [chr(code) for code in range(0x30000) if promised(chr(code))]


def same(text: str, ours: WordPiece, theirs: Tokenizer) -> None:
    """Both give the same ids; the text is shown by its code points when they do not."""
    assert ours.encode(text) == theirs.encode(text).ids, ascii(text)


def test_the_vocabulary_is_that_of_bert(vocabulary: list[str]) -> None:
    assert len(vocabulary) == 30522
    assert len(set(vocabulary)) == 30522


def test_every_label_that_ships(ours: WordPiece, theirs: Tokenizer) -> None:
    bundle = Bundle.open()
    wordings = [
        wording
        for entry in bundle.manifest.packs
        for label in bundle.pack(entry.name).labels
        for wording in (label.text, label.parent, *label.synonyms)
    ]
    assert len(wordings) > 300
    for template, wording in itertools.product(TEMPLATES, wordings):
        same(template.format(wording), ours, theirs)


def test_phrases_of_the_field(ours: WordPiece, theirs: Tokenizer) -> None:
    things = [f"{crop} {part}" for crop, part in itertools.product(CROPS.split("|"), PARTS.split("|"))]
    for template, state, thing in itertools.product(TEMPLATES, STATES.split("|"), things):
        same(template.format(state.format(thing)), ours, theirs)


@pytest.mark.parametrize("text", HARD.values(), ids=list(HARD))
def test_hard_texts(text: str, ours: WordPiece, theirs: Tokenizer) -> None:
    same(text, ours, theirs)
    same(text.upper(), ours, theirs)
    same(f"leaf{text}rust {text},{text}", ours, theirs)


@given(st.text(st.sampled_from(PROMISED), max_size=40))
def test_any_text(ours: WordPiece, theirs: Tokenizer, text: str) -> None:
    same(text, ours, theirs)


@given(st.lists(st.sampled_from([*"aeiou rst,.#[]", "##", "leaf", "\u0301", "\u200d", "稲", "ß", "İ"]), max_size=20))
def test_any_text_of_likely_trouble(ours: WordPiece, theirs: Tokenizer, text: list[str]) -> None:
    same("".join(text), ours, theirs)


def test_every_character(ours: WordPiece, theirs: Tokenizer) -> None:
    """Every character that is promised, alone and between letters; of ideographs one in 16."""
    characters = [one for one in PROMISED if ord(one) % 16 == 0 or not IDEOGRAPHS.match(one)]
    assert len(characters) > 18_000
    different = [
        character
        for character in characters
        if ours.encode(f"{character} a{character}b") != theirs.encode(f"{character} a{character}b").ids
    ]
    assert different == []


def test_the_late_ideographs_are_words_here(ours: WordPiece, theirs: Tokenizer) -> None:
    """If this fails, the package has mended its range, and LATE can go."""
    for code in LATE:
        assert ours.encode(f"a{chr(code)}") == ours.encode(f"a {chr(code)}")
        assert theirs.encode(f"a{chr(code)}").ids != ours.encode(f"a{chr(code)}")


# CLIP's byte pairs against open_clip's own tokenizer. Mojibake apart, whose repair we leave out; a text that ftfy would
# repair is found by asking ftfy itself.


@pytest.fixture(scope="module")
def clip_ours() -> ClipBpe:
    return ClipBpe(standard_merges())


@pytest.fixture(scope="module")
def clip_theirs() -> SimpleTokenizer:
    return SimpleTokenizer()


def same_clip(text: str, ours: ClipBpe, theirs: SimpleTokenizer) -> None:
    expected = [theirs.sot_token_id, *theirs.encode(text), theirs.eot_token_id]
    assert ours.encode(text) == expected, ascii(text)


def mojibake(text: str) -> bool:
    return any(ftfy.fix_encoding(part) != part for part in (text, html.unescape(text), clean(text)))


def test_clip_ids_are_those_of_open_clip(clip_ours: ClipBpe, clip_theirs: SimpleTokenizer) -> None:
    assert clip_ours.ids == clip_theirs.encoder
    assert len(clip_ours) == 49408


def test_clip_phrases_of_the_field(clip_ours: ClipBpe, clip_theirs: SimpleTokenizer) -> None:
    things = [f"{crop} {part}" for crop, part in itertools.product(CROPS.split("|"), PARTS.split("|"))]
    for template, state, thing in itertools.product(TEMPLATES, STATES.split("|"), things):
        same_clip(template.format(state.format(thing)), clip_ours, clip_theirs)


@pytest.mark.parametrize("text", HARD.values(), ids=list(HARD))
def test_clip_hard_texts(text: str, clip_ours: ClipBpe, clip_theirs: SimpleTokenizer) -> None:
    for written in (text, text.upper(), f"leaf{text}rust {text},{text}"):
        same_clip(written, clip_ours, clip_theirs)


@given(st.text(st.sampled_from(PROMISED), max_size=40))
def test_clip_any_text(clip_ours: ClipBpe, clip_theirs: SimpleTokenizer, text: str) -> None:
    assume(not mojibake(text))
    same_clip(text, clip_ours, clip_theirs)


TROUBLE = [
    *"aeiou rst,.#&;'’“ﬁＡſ",
    "&amp;",
    "&eacute;",
    "&NTILDE;",
    "&#233;",
    "<b>",
    "'LL",
    "<end_of_text>",
    "\x1b[1m",
]


@given(st.lists(st.sampled_from([*TROUBLE, "leaf", "\u0301", "\u200d", "稲", "ß", "İ", "Σ", "\u0345"]), max_size=20))
def test_clip_any_text_of_likely_trouble(clip_ours: ClipBpe, clip_theirs: SimpleTokenizer, text: list[str]) -> None:
    assume(not mojibake("".join(text)))
    same_clip("".join(text), clip_ours, clip_theirs)


def test_clip_every_character(clip_ours: ClipBpe, clip_theirs: SimpleTokenizer) -> None:
    """Every character that is promised, between letters and before capitals; of ideographs one in 64."""
    characters = [one for one in PROMISED if ord(one) % 64 == 0 or not IDEOGRAPHS.match(one)]
    assert len(characters) > 8_000
    for start in range(0, len(characters), 16):
        text = " ".join(f"a{one}b {one}" for one in characters[start : start + 16])
        if not mojibake(text):
            same_clip(text, clip_ours, clip_theirs)
