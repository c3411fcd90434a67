"""Small words: conjunctions, before which a line likes to break, articles and titles, after which not."""

__all__ = ["ARTICLES", "CONJUNCTIONS", "TITLES"]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


TITLES = _set("Dr Mr Mrs Ms Prof Hr Fr St Sr Sra Srta Sig Mme Mlle Nr No vs bzw ca")

CONJUNCTIONS = {
    "da": _set("og eller men fordi hvis når at som"),
    "de": _set("und oder aber denn sondern dass weil wenn ob als bevor nachdem obwohl damit"),
    "en": _set("and or but so because if when while that which who although before after"),
    "es": _set("y e o u pero sino porque si cuando que aunque mientras como donde"),
    "fr": _set("et ou mais donc car que qui parce si quand lorsque comme puisque où"),
    "it": _set("e ed o ma perché se quando che mentre come dove anche"),
    "nl": _set("en of maar want omdat als toen dat die terwijl hoewel"),
    "no": _set("og eller men fordi hvis når at som"),
    "pl": _set("i a albo lub ale bo że żeby gdy kiedy jeśli który która które"),
    "pt": _set("e ou mas porque se quando que enquanto como onde embora"),
    "ru": _set("и а но или что чтобы если когда потому который которая которые хотя"),
    "sv": _set("och eller men för om när att som därför medan"),
}

ARTICLES = {
    "de": _set("der die das den dem des ein eine einen einem einer eines zum zur im am"),
    "en": _set("a an the of to in my your his her our their no"),
    "es": _set("el la los las un una unos unas de del al a en mi tu su"),
    "fr": _set("le la les un une des du de au aux à en mon ton son ma ta sa ne"),
    "it": _set("il lo la i gli le un uno una di del della al alla a in da"),
    "nl": _set("de het een van in op mijn"),
    "pt": _set("o a os as um uma de do da dos das no na ao à em"),
}
