"""All kinds that can be looked for, the groups they come in, and what finds them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Final

from polyforge.kernel.errors import Invalid
from polyforge.privacy import addresses, births, cards, codes, emails, national, network, passwords, phones, secrets
from polyforge.privacy.late import compile_all
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
            *births.KINDS,
            *addresses.KINDS,
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
    """What finds these kinds, each finder once, with its patterns compiled."""
    wanted = frozenset(kinds)
    made: list[Finder] = []
    for module, names, make in _MAKERS:
        if not wanted.isdisjoint(names):
            compile_all(vars(module))
            made.append(make(wanted, regions))
    return tuple(made)


def _names(*kinds: Kind) -> frozenset[str]:
    return frozenset(kind.name for kind in kinds)


def _numbers(wanted: frozenset[str], _regions: Sequence[str]) -> Finder:
    return NumberFinder(number for number in (cards.CARD_ID, *national.IDS) if number.kind.name in wanted)


def _addresses(wanted: frozenset[str], _regions: Sequence[str]) -> Finder:
    return network.AddressFinder(ip=network.IP.name in wanted, mac=network.MAC.name in wanted)


def _keys(wanted: frozenset[str], _regions: Sequence[str]) -> Finder:
    return secrets.KeyFinder(keys=secrets.API_KEY.name in wanted, tokens=secrets.JWT.name in wanted)


_MAKERS: Final[tuple[tuple[ModuleType, frozenset[str], Callable[[frozenset[str], Sequence[str]], Finder]], ...]] = (
    (emails, _names(emails.EMAIL), lambda _wanted, _regions: emails.EmailFinder()),
    (phones, _names(phones.PHONE), lambda _wanted, regions: phones.PhoneFinder(regions)),
    (national, _names(cards.CARD, *national.KINDS), _numbers),
    (codes, _names(*codes.KINDS), lambda wanted, _regions: codes.CodeFinder(wanted)),
    (births, _names(births.BIRTH), lambda _wanted, _regions: births.BirthFinder()),
    (addresses, _names(addresses.ADDRESS), lambda _wanted, _regions: addresses.PostalFinder()),
    (network, _names(network.IP, network.MAC), _addresses),
    (network, _names(network.URL), lambda _wanted, _regions: network.UrlFinder()),
    (secrets, _names(secrets.API_KEY, secrets.JWT), _keys),
    (secrets, _names(secrets.PRIVATE_KEY), lambda _wanted, _regions: secrets.PemFinder()),
    (passwords, _names(secrets.PASSWORD), lambda _wanted, _regions: passwords.PasswordFinder()),
)
