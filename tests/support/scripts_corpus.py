"""Texts in more than forty scripts, and the cases that break careless code; all written for these tests.

`PROSE` holds a short text for each script, by its ISO 15924 code (Arabic twice): the language of its tag, and
some sentences or, for scripts that few read, some words in them. `HARD` holds single cases by what they show.
"""

import unicodedata
from typing import NamedTuple

__all__ = ["HARD", "PROSE", "ScriptText"]


class ScriptText(NamedTuple):
    """A text and the language that it is tagged as."""

    language: str
    text: str


PROSE: dict[str, ScriptText] = {
    "Latn": ScriptText(
        "en",
        "The keeper isn't asleep: he counts 1,234.56 litres of oil, twice. “Is it enough?” — “Barely.”",
    ),
    "Cyrl": ScriptText(
        "ru", "Смотритель маяка ждёт рассвета. «Где корабль?» — спросила она. В 7:30 ничего не видно."
    ),
    "Grek": ScriptText("el", "Ο φαροφύλακας περιμένει την αυγή. Πού είναι το πλοίο; Κανείς δεν το είδε."),
    "Armn": ScriptText("hy", "Փարոսի պահապանը սպասում է լուսաբացին։ Որտե՞ղ է նավը։ Ոչ ոք չգիտի։"),
    "Geor": ScriptText("ka", "შუქურის მცველი გარიჟრაჟს ელოდება. სად არის გემი? არავინ იცის."),
    "Hebr": ScriptText("he", 'שומר המגדלור מחכה לזריחה. איפה הספינה? צה״ל ו־5 דולרים, כ"כ פשוט. שָׁלוֹם.'),
    "Arab": ScriptText("ar", "ينتظر حارس المنارة الفجر. أين السفينة؟ رأى ٣٬٤٥٦ طائرًا، ولم يَرَ أحدًا."),
    "Aran": ScriptText("ur", "مینار کا محافظ صبح کا انتظار کرتا ہے۔ جہاز کہاں ہے؟"),
    "Arab-fa": ScriptText("fa", "نگهبان فانوس دریایی منتظر سپیده است. کتاب‌ها را می‌خواند؛ کشتی کجاست؟"),
    "Syrc": ScriptText("syr", "ܢܛܘܪܐ ܕܢܘܗܪܐ ܡܣܟܐ ܠܨܦܪܐ. ܫܠܳܡܳܐ ܥܰܠܟܽܘܢ."),
    "Thaa": ScriptText("dv", "ދިވެހިރާއްޖެއިން ކަނޑު ފެނޭ. އަލިއަޅާ، ފަތިސް ގަޑި."),
    "Nkoo": ScriptText("nqo", "ߒߞߏ ߦߋ߫ ߛߓߍ߫ ߟߋ߬ ߘߌ߫. ߛߐ߲߬ߜߐ߬ߡߊ ߣߊ߬ߣߊ ߸ ߁߂߃."),
    "Adlm": ScriptText("ff-Adlm", "𞤀𞤣𞤤𞤢𞤥 𞤆𞤵𞤤𞤢𞤪. 𞤐𞤣𞤭𞤴𞤢𞤥 𞤲𞤣𞤫𞤪 𞤥𞤢𞥄𞤴𞤮 𞥑𞥒𞥓."),
    "Deva": ScriptText(
        "hi", "दीपस्तंभ का रखवाला भोर की प्रतीक्षा करता है। क्षत्रिय और विज्ञान के शब्द, १२३ जहाज़ कहाँ हैं?"
    ),
    "Beng": ScriptText("bn", "বাতিঘরের রক্ষক ভোরের অপেক্ষা করে। জাহাজ কোথায়? কেউ জানে না, ১২৩ দিন।"),
    "Guru": ScriptText("pa", "ਚਾਨਣ ਮੁਨਾਰੇ ਦਾ ਰਾਖਾ ਸਵੇਰ ਦੀ ਉਡੀਕ ਕਰਦਾ ਹੈ। ਜਹਾਜ਼ ਕਿੱਥੇ ਹੈ?"),
    "Gujr": ScriptText("gu", "દીવાદાંડીનો રખેવાળ સવારની રાહ જુએ છે. વહાણ ક્યાં છે?"),
    "Orya": ScriptText("or", "ବତୀଘରର ରକ୍ଷକ ସକାଳକୁ ଅପେକ୍ଷା କରେ। ଜାହାଜ କେଉଁଠି?"),
    "Taml": ScriptText("ta", "கலங்கரை விளக்கக் காவலர் விடியலுக்காகக் காத்திருக்கிறார். கப்பல் எங்கே?"),
    "Telu": ScriptText("te", "దీపస్తంభం కాపలాదారు తెల్లవారుజాము కోసం ఎదురు చూస్తాడు. ఓడ ఎక్కడ?"),
    "Knda": ScriptText("kn", "ದೀಪಸ್ತಂಭದ ಕಾವಲುಗಾರ ಬೆಳಗಿಗಾಗಿ ಕಾಯುತ್ತಾನೆ. ಹಡಗು ಎಲ್ಲಿದೆ?"),
    "Mlym": ScriptText("ml", "വിളക്കുമാടത്തിന്റെ കാവൽക്കാരൻ പ്രഭാതം കാത്തിരിക്കുന്നു. കപ്പൽ എവിടെ?"),
    "Sinh": ScriptText("si", "ප්‍රදීපාගාරයේ මුරකරු අලුයම බලා සිටී. ශ්‍රී ලංකාවේ නැව කොහේද?"),
    "Thai": ScriptText("th", "คนเฝ้าประภาคารรอรุ่งอรุณ เรืออยู่ที่ไหน เขานับเงินได้ ๑๒๓ บาท ทำน้ำแข็งเก็บไว้"),
    "Laoo": ScriptText("lo", "ຄົນເຝົ້າປະພາຄານລໍຖ້າຕອນເຊົ້າ. ເຮືອຢູ່ໃສ? ນ້ຳໃນແມ່ນ້ຳຂອງ ໒໕ ກິໂລ."),
    "Mymr": ScriptText("my", "မီးပြတိုက်စောင့်သည် မိုးလင်းကို စောင့်နေသည်။ သင်္ဘော ဘယ်မှာလဲ။ မြန်မာစာ ၁၂၃။"),
    "Khmr": ScriptText("km", "អ្នកយាមប៉មភ្លើងរង់ចាំព្រឹកព្រលឹម។ កប៉ាល់នៅឯណា? ខ្មែរស្រុក ១២៣។"),
    "Tibt": ScriptText("bo", "བོད་ཡིག་གི་ཚིག་གྲུབ་ཐུང་ངུ་ཞིག །གྲུ་གཟིངས་ག་པར་ཡོད་དམ། རྒྱ་མཚོ་ཆེན་པོ།"),
    "Mong": ScriptText("mn-Mong", "ᠮᠣᠩᠭᠣᠯ ᠪᠢᠴᠢᠭ᠌ ᠦᠨ ᠦᠰᠦᠭ᠂ ᠬᠠᠭᠠᠨ\u202fᠤ ᠣᠷᠳᠣ᠃ ᠰᠠᠷ᠎ᠠ᠃"),
    "Hang": ScriptText("ko", "등대지기는 새벽을 기다린다. 배는 어디에 있나? 아무도 모른다, 3.5킬로미터."),
    "Hans": ScriptText("zh-Hans", "守灯塔的人等待黎明。“船在哪里？”没有人知道，2026年11月。𠮷野家在这里。"),
    "Hant": ScriptText("zh-Hant", "守燈塔的人等待黎明。「船在哪裡？」沒有人知道。"),
    "Jpan": ScriptText(
        "ja", "灯台守は夜明けを待つ。コーヒーを飲みながら、「船はどこだ？」とつぶやいた。ｶﾞｷﾞｸﾞと人々。"
    ),
    "Bopo": ScriptText("zh-Bopo", "ㄅㄆㄇㄈ ㄉㄥ ㄊㄚˇ，ㄏㄞˇ ㄅㄧㄢ。"),
    "Yiii": ScriptText("ii", "ꆈꌠꁱꂷ ꀀꀁꀂ。ꊿꄿ ꑌꇐ？"),
    "Ethi": ScriptText("am", "የመብራት ቤቱ ጠባቂ ንጋትን ይጠብቃል። መርከቡ የት አለ፧ ማንም አያውቅም፣ ፻፳፫።"),
    "Cher": ScriptText("chr", "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ ᎠᏆᏚᎵᎭ. ꮳꮃꭹ ᎤᏍᏗ, ᎣᏏᏲ!"),
    "Cans": ScriptText("iu", "ᖃᐅᔨᒪᔭᕗᑦ ᐃᓄᒃᑎᑐᑦ. ᐅᒥᐊᖅ ᓇᓂ? ᐅᓪᓗᖅ."),
    "Tfng": ScriptText("zgh", "ⵜⴰⵎⴰⵣⵉⵖⵜ ⴷ ⵜⵓⵜⵍⴰⵢⵜ. ⵎⴰⵏⵉ ⵜⴰⵏⴰⵡⵜ?"),
    "Vaii": ScriptText("vai", "ꕙꔤ ꗋꔻꔤ ꔫꕢ꘎ ꖸ ꔰ꘍"),
    "Olck": ScriptText("sat", "ᱥᱟᱱᱛᱟᱲᱤ ᱯᱟᱹᱨᱥᱤ ᱾ ᱚᱞ ᱪᱤᱠᱤ ᱑᱒᱓ ᱿"),
    "Java": ScriptText("jv-Java", "ꦱꦏꦺꦲꦶꦁꦩꦤꦸꦁꦱ꧈ ꦲꦏ꧀ꦱꦫꦗꦮ꧉"),
    "Bali": ScriptText("ban-Bali", "ᬅᬓ᭄ᬱᬭᬩᬮᬶ᭞ ᬲᬸᬓ᭄ᬲ᭄ᬫ᭟"),
    "Tglg": ScriptText("fil-Tglg", "ᜊᜌ᜔ᜊᜌᜒᜈ᜔ ᜈᜅ᜔ ᜊᜌᜈ᜔᜶"),
    "Osma": ScriptText("so-Osma", "𐒖𐒍𐒈𐒑𐒛𐒒𐒕𐒀 𐒈𐒝𐒑𐒛𐒐𐒘 𐒡𐒢."),
    "Copt": ScriptText("cop", "ⲡⲟⲩⲟⲉⲓⲛ ⲙⲡⲕⲟⲥⲙⲟⲥ⳾ ⲡϫⲟⲓ ⲧⲱⲛ;"),
    "Goth": ScriptText("got", "𐌻𐌹𐌿𐌷𐌰𐌸 𐌾𐌰𐌷 𐌼𐌰𐍂𐌴𐌹."),
    "Runr": ScriptText("non-Runr", "ᚱᚢᚾᚨᛉ᛫ᛊᛏᚨᛁᚾᚨ᛫ᚹᚱᛁᛏᚢ"),
    "Ogam": ScriptText("pgl", "᚛ᚋᚐᚊᚔ ᚋᚒᚉᚑᚔ᚜"),
    "Cakm": ScriptText("ccp", "𑄌𑄋𑄴𑄟𑄳𑄦 𑄞𑄌𑄴𑅁"),
    "Lana": ScriptText("nod", "ᨣᩤᩴᨾᩮᩬᩥᨦ ᨯᩦᨩᩱ"),
    "Talu": ScriptText("khb", "ᦅᧄᦺᦑᦟᦹᧉ ᦎᦷᦺᦑ"),
}

HARD: dict[str, str] = {
    "nothing": "",
    "one space": " ",
    "white space only": " \t\r\n \u00a0\u2003\u3000\u2028",
    "line ends of all kinds": "one\r\ntwo\rthree\nfour\u2028five\u2029six\x85seven\x0beight\x0cnine\r\n",
    "tabs and ends": "\t\tleading\tand trailing \t ",
    "combining marks": "e\u0301\u0323 Z\u0351\u036bal\u0363go\u0322 \u01d6\u0304",
    "decomposed Vietnamese": unicodedata.normalize("NFD", "Người giữ hải đăng chờ bình minh."),
    "a mark after a space": "a \u0301b\n\u0301c",
    "a mark first": "\u0301 first",
    "many marks": "o" + "\u0300" * 300 + "h",
    "family": "👨‍👩‍👧‍👦 family, 👩🏽‍🚀👩🏽‍🚀",
    "flags": "🇩🇪🇫🇷🇯 half, 🏴󠁧󠁢󠁳󠁣󠁴󠁿 tagged, 🏳️‍🌈",
    "keycaps and selectors": "1️⃣#️⃣ ☎︎ ☎️ ©️",
    "emoji in words": "I❤️NY ok👍🏿.",
    "a joiner alone": "\u200d \u200d\u0301 a\u200d",
    "conjoining jamo": "\u1112\u1161\u11ab\u1100\u1173\u11af 한글 \u1100\u1100\u1161",
    "Devanagari conjuncts": "क्ष्म्य र्‍य क्‌ष श्री स्त्री",
    "Bengali ya-phalaa": "অ্যাপ র‍্যাব কর্তৃপক্ষ",
    "Malayalam chillu": "അവൻ അവന്‍ ന്‍റെ",
    "Thai marks": "น้ำ กำ เปี่ยม ใจ ไทยๆ ฯลฯ",
    "Khmer coeng": "ស្ត្រី ក្រុង ខ្ញុំ",
    "Burmese stacks": "သင်္ဘော မန္တလေး ကျွန်ုပ် ပစ္စည်း",
    "Tibetan stacks": "སྐྱོང་ བརྒྱད། རྩྭ",
    "bidi controls": "abc \u202eשלום\u202c (\u2067عربي\u2069) \u200fend\u200e",
    "mixed directions": "The word שלום means 1,000 سلام!",
    "zero width": "zero\u200bwidth \u2060joined\u2060 soft\u00adhyphen \ufeffmark",
    "Arabic number sign": "\u0600١٢٣ \u06dd!",
    "mathematical letters": "𝐀𝐁𝑥² + 𝔉(ℝ) = ½·𝟙𝟚",
    "surrogate range neighbours": "\ud7ff\ue000\ufffd\U0010ffff",
    "controls": "a\x01b\x1b[0m\x7f",
    "apostrophes": "l'homme d’aujourd’hui isn't 'quoted' rock'n'roll '90s dogs'",
    "hyphens and dashes": "well-known – co\u2011op—yes -5 1990-2000",
    "numbers": "1,234.56 1.234,56 1\u202f234 12:30 3/4 1e-5 €5 50% v1.2.3 ,5 5, 1'000",
    "addresses": "https://example.org/a_b?c=d&e=%20#f mail@example.org C:\\dir\\file.txt",
    "acronyms": "e.g. U.S.A. Ph.D. A.B",
    "underscores": "snake_case __init__ _ ___",
    "Catalan and Hebrew middles": 'col·lecció צה״ל ג׳ירף כ"כ',
    "ideographs off the plane": "𠮷𩸽𪚥 𰻝",
    "ideographs with selectors": "葛󠄀城市 辻󠄁",
    "kana marks": "か\u3099き\u309aカ\u3099 ｶﾞﾊﾟ ー〜々〆ヶ",
    "a very long word": "Donau" + "dampfschiff" * 30,
    "much punctuation": "?!?!...---***(((<<<>>>)))",
    "private use": "\ue123\uf8ff \U000f0000",
    "unassigned": "\u0378 \U000e01f0x",
}
