"""All kinds that can be looked for, the groups they come in, and what finds them."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from polyforge.kernel.errors import Invalid
from polyforge.privacy import cards, codes, emails, national, network, passwords, phones, secrets
from polyforge.privacy.matches import Kind
from polyforge.privacy.numbers import NumberFinder
from polyforge.privacy.page import Finder

KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            *emails.KINDS,
            *phones.KINDS,
            *cards.KINDS,
            *codes.KINDS,
            *network.KINDS,
            *secrets.KINDS,
            *national.KINDS,
        )
    }
)
GROUPS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        group: tuple(kind.name for kind in KINDS.values() if kind.group == group)
        for group in dict.fromkeys(kind.group for kind in KINDS.values())
    }
)
"""Names that stand for several kinds."""


def expand(names: Iterable[str] | None) -> tuple[str, ...]:
    """The kinds that names of kinds and groups stand for, each once; all of them for None. Invalid for another name."""
    if names is None:
        return tuple(KINDS)
    kinds: dict[str, None] = {}
    for name in names:
        if name not in KINDS and name not in GROUPS:
            raise Invalid(f"there is no kind {name!r}; there are {', '.join([*GROUPS, *KINDS])}", param="kinds")
        kinds |= dict.fromkeys(GROUPS.get(name, (name,)))
    return tuple(kinds)


def finders(kinds: Iterable[str], regions: Sequence[str]) -> tuple[Finder, ...]:
    """What finds these kinds, each finder once."""
    wanted = frozenset(kinds)
    made: list[Finder] = []
    if emails.EMAIL.name in wanted:
        made.append(emails.EmailFinder())
    if numbers := [number for number in (cards.CARD_ID, *national.IDS) if number.kind.name in wanted]:
        made.append(NumberFinder(numbers))
    if phones.PHONE.name in wanted:
        made.append(phones.PhoneFinder(regions))
    if any(kind.name in wanted for kind in codes.KINDS):
        made.append(codes.CodeFinder(wanted))
    if network.IP.name in wanted or network.MAC.name in wanted:
        made.append(network.AddressFinder(ip=network.IP.name in wanted, mac=network.MAC.name in wanted))
    if network.URL.name in wanted:
        made.append(network.UrlFinder())
    if secrets.API_KEY.name in wanted or secrets.JWT.name in wanted:
        made.append(secrets.KeyFinder(keys=secrets.API_KEY.name in wanted, tokens=secrets.JWT.name in wanted))
    if secrets.PRIVATE_KEY.name in wanted:
        made.append(secrets.PemFinder())
    if secrets.PASSWORD.name in wanted:
        made.append(passwords.PasswordFinder())
    return tuple(made)
