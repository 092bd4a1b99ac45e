"""Output descriptors that receive (BIP-382 wpkh, BIP-386 tr), and their checksum (BIP-380)."""

import re
from dataclasses import dataclass
from typing import Final

INPUT_CHARSET: Final = (
    "0123456789()[],'/*abcdefgh@:$%{}IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~ijklmnopqrstuvwxyzABCDEFGH`#"
    '"\\ '
)
CHECKSUM_CHARSET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
GENERATOR: Final = (0xF5DEE51989, 0xA9FDCA3312, 0x1BAB10E32D, 0x3706B1677A, 0x644D626FFD)
CHECKSUM_SIZE: Final = 8
RANGED: Final = re.compile(
    r"(?P<kind>wpkh|tr)\((?:\[(?P<root>[0-9a-fA-F]{8})(?P<path>(?:/[0-9]{1,10}[hH'])*)\])?"
    # BIP-389 writes both branches in one: the first of them receives.
    r"(?P<key>[1-9A-HJ-NP-Za-km-z]{100,120})/(?:0|<0;1>)/\*\)"
)


class DescriptorError(ValueError):
    """The text is no descriptor that this gateway takes; the message never repeats it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """One account key's receiving addresses; ``root`` and ``path`` are its origin, where given.

    ``path`` holds BIP-32 child numbers without the hardened bit, all of them hardened.
    """

    kind: str
    key: str
    root: str
    path: tuple[int, ...]


def parse_descriptor(text: str) -> Descriptor:
    """Read ``wpkh([origin]key/0/*)#checksum`` or ``tr(…)``. Raises DescriptorError."""
    body, mark, checksum = text.partition("#")
    if not mark:
        raise DescriptorError("The descriptor comes without its checksum (# and eight characters).")
    if any(one not in INPUT_CHARSET for one in body) or checksum != descriptor_checksum(body):
        raise DescriptorError("The descriptor's checksum is wrong: copy all of it once more.")
    match = RANGED.fullmatch(body)
    if match is None:
        raise DescriptorError(
            "Only wpkh(…/0/*) and tr(…/0/*) of one account's public key are taken."
        )
    path = tuple(int(step[:-1]) for step in (match["path"] or "").split("/")[1:])
    return Descriptor(
        kind=match["kind"], key=match["key"], root=(match["root"] or "").lower(), path=path
    )


def write_descriptor(one: Descriptor) -> str:
    """The descriptor in the one form that this gateway keeps, with its checksum."""
    steps = "".join(f"/{step}h" for step in one.path)
    origin = f"[{one.root}{steps}]" if one.root else ""
    body = f"{one.kind}({origin}{one.key}/0/*)"
    return f"{body}#{descriptor_checksum(body)}"


def descriptor_checksum(body: str) -> str:
    """BIP-380's checksum of a descriptor without one; ValueError for an unknown character."""
    state, group, size = 1, 0, 0
    for one in body:
        number = INPUT_CHARSET.index(one)
        state = _step(state, number & 31)
        group, size = group * 3 + (number >> 5), size + 1
        if size == 3:
            state, group, size = _step(state, group), 0, 0
    if size:
        state = _step(state, group)
    for _ in range(CHECKSUM_SIZE):
        state = _step(state, 0)
    state ^= 1
    shifts = range(5 * (CHECKSUM_SIZE - 1), -1, -5)
    return "".join(CHECKSUM_CHARSET[state >> shift & 31] for shift in shifts)


def _step(state: int, value: int) -> int:
    top = state >> 35
    state = (state & 0x7FFFFFFFF) << 5 ^ value
    for bit, constant in enumerate(GENERATOR):
        if top >> bit & 1:
            state ^= constant
    return state
