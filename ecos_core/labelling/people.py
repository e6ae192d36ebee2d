"""Who labelled: one person is one annotator, whether a file names him by number, mail address or name.

Label Studio writes a user as ``7`` in one export, as ``{"id": 7, "email": …}`` in another and as ``7`` or a mail
address in a table. What a file shows to be the same person is kept with the hand-off that it answers, so that the
order of imports does not matter; numbers of one server say nothing about another's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ecos_core.names import tidy

UNNAMED = "unnamed"
_NUMBER = re.compile(r"(?:user )?(\d+)(?:\.0+)?")


def person(text: object) -> str:
    """One spelling of a name: NFC, single spaces; a bare number is ``user N``, a mail address in small letters."""
    name = tidy(str(text))
    if number := _NUMBER.fullmatch(name.casefold()):
        return f"user {int(number[1])}"
    return name.casefold() if "@" in name else name


def _key(name: str) -> str:
    return person(name).casefold()


def _is_account(name: str) -> bool:
    return "@" in name or _NUMBER.fullmatch(name.casefold()) is not None


class People:
    """The annotators of one hand-off. ``links``: a name in small letters -> the better name of the same person;
    ``spelled``: names whose spelling is kept, such as those of the people that the tasks were shared out among."""

    def __init__(self, links: Mapping[str, str] | None = None, spelled: Iterable[str] = ()) -> None:
        self.links = dict(links or {})
        self._spelled = {_key(name): tidy(name) for name in (*self.links.values(), *spelled)}

    @property
    def spelled(self) -> list[str]:
        """The names whose spelling is kept, sorted."""
        return sorted(self._spelled.values())

    def spell(self, names: Iterable[str]) -> None:
        """Keep the spelling of these names."""
        for name in names:
            self._spelled.setdefault(_key(name), tidy(name))

    def same(self, names: Sequence[str]) -> None:
        """All of these are one person."""
        best = self._last(_key(names[0]))
        for name in names[1:]:
            other = self._last(_key(name))
            if other != best:
                if _is_account(best) and not _is_account(other):
                    best, other = other, best
                self._spelled.setdefault(_key(names[0]), person(names[0]))
                self.links[other] = self._spelled.setdefault(best, best)

    def call(self, account: str, name: str) -> None:
        """From now on this account is called ``name``; another name that it was given is forgotten."""
        self._spelled[_key(name)] = tidy(name)
        key = _key(account)
        while _is_account(following := self.links.get(key, "")) and following:
            key = _key(following)
        if key != _key(name) and self._last(_key(name)) != key:
            self.links[key] = tidy(name)

    def name(self, text: str) -> str:
        """The one name of whoever is meant, as it was first written."""
        key = self._last(_key(text))
        return self._spelled.setdefault(key, person(text) if key == _key(text) else key)

    def _last(self, key: str) -> str:
        seen = {key}
        while (following := self.links.get(key)) is not None and _key(following) not in seen:
            key = _key(following)
            seen.add(key)
        return key
