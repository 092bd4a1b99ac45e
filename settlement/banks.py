"""The banks of Kazakhstan by the three digits that an IBAN names its bank with.

A table of our own: the libraries' tables are stale (914 is Bereke since it left Sberbank). A code
that is not listed may be a new bank: say so, refuse nothing.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Bank:
    """A bank: its BIC (ISO 9362, eight characters) and the name that payment orders carry."""

    bic: str
    name: str


BANKS: Final = {
    "070": Bank("KKMFKZ2A", 'РГУ "Комитет казначейства МФ РК"'),
    "125": Bank("NBRKKZKX", 'РГУ "Национальный Банк Республики Казахстан"'),
    "551": Bank("KSNVKZKA", 'АО "Фридом Банк Казахстан"'),
    "563": Bank("KPSTKZKA", 'АО "Казпочта"'),
    "601": Bank("HSBKKZKX", 'АО "Народный Банк Казахстана"'),
    "722": Bank("CASPKZKA", 'АО "Kaspi Bank"'),
    "821": Bank("KINCKZKA", 'АО "Bank RBK"'),
    "832": Bank("CITIKZKA", 'АО "Ситибанк Казахстан"'),
    "849": Bank("NURSKZKX", 'АО "Нурбанк"'),
    "856": Bank("KCJBKZKX", 'АО "Банк ЦентрКредит"'),
    "886": Bank("INLMKZKA", 'АО "Home Credit Bank"'),
    "896": Bank("ZAJSKZ22", 'АО "Заман-Банк"'),
    "913": Bank("BKCHKZKA", 'АО "Банк Китая в Казахстане"'),
    "914": Bank("BRKEKZKA", 'АО "Bereke Bank"'),
    "948": Bank("EURIKZKA", 'АО "Евразийский банк"'),
    "949": Bank("ATYNKZKA", 'АО "Altyn Bank"'),
    "965": Bank("IRTYKZKA", 'АО "ForteBank"'),
    "972": Bank("HCSKKZKA", 'АО "Отбасы банк"'),
    "998": Bank("TSESKZKA", 'АО "Alatau City Bank"'),
}


def bank_of(iban: str) -> Bank | None:
    """The bank that keeps an account of Kazakhstan, or None for a code that is not listed."""
    return BANKS.get(iban[4:7])
