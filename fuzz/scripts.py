"""The scripts of Unicode that have characters, by the names that `\\p{Script=...}` of the package regex knows."""

import regex

__all__ = ["SCRIPTS"]

_NAMES = """
Adlam Ahom Anatolianhieroglyphs Arabic Armenian Avestan Balinese Bamum Bassavah Batak Bengali Beriaerfe
Bhaiksuki Bopomofo Brahmi Braille Buginese Buhid Canadianaboriginal Carian Caucasianalbanian Chakma Cham
Cherokee Chorasmian Common Coptic Cuneiform Cypriot Cyprominoan Cyrillic Deseret Devanagari Divesakuru Dogra
Duployan Egyptianhieroglyphs Elbasan Elymaic Ethiopic Garay Georgian Glagolitic Gothic Grantha Greek Gujarati
Gunjalagondi Gurmukhi Gurungkhema Hangul Hani Hanifirohingya Hanunoo Hatran Hebrew Hiragana Imperialaramaic
Inherited Inscriptionalpahlavi Inscriptionalparthian Javanese Jurchen Kaithi Kannada Katakana Kawi Kayahli
Kharoshthi Khitansmallscript Khmer Khojki Khudawadi Kiratrai Laoo Latin Lepcha Limbu Lineara Linearb Lisu
Lycian Lydian Mahajani Makasar Malayalam Mandaic Manichaean Marchen Masaramgondi Medefaidrin Meeteimayek
Mendekikakui Meroiticcursive Meroitichieroglyphs Miao Modi Mongolian Mroo Multani Myanmar Nabataean Nagmundari
Nandinagari Newa Newtailue Nkoo Nushu Nyiakengpuachuehmong Ogham Olchiki Oldhungarian Olditalic
Oldnortharabian Oldpermic Oldpersian Oldsogdian Oldsoutharabian Oldturkic Olduyghur Olonal Oriya Osage Osmanya
Pahawhhmong Palmyrene Paucinhau Phagspa Phoenician Protocuneiform Psalterpahlavi Rejang Runic Samaritan
Saurashtra Seal Sharada Shavian Siddham Sidetic Signwriting Sinhala Sogdian Sorasompeng Soyombo Sundanese
Sunuwar Sylotinagri Syriac Tagalog Tagbanwa Taile Taitham Taiviet Taiyo Takri Tamil Tangsa Tangut Telugu
Thaana Thai Tibetan Tifinagh Tirhuta Todhri Tolongsiki Toto Tulutigalari Ugaritic Unknown Vaii Vithkuqi Wancho
Warangciti Yezidi Yiii Zanabazarsquare
"""


def _known(script: str) -> bool:
    """Whether the regex that is here knows it: each release brings the newest of Unicode."""
    try:
        regex.compile(rf"\p{{Script={script}}}")
    except regex.error:
        return False
    return True


SCRIPTS = tuple(script for script in _NAMES.split() if _known(script))
