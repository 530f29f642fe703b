"""What a user's state held before some time, read from what it holds now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter

from features.session import Session

__all__ = ["ignored_until", "owned_until"]


def ignored_until(session: Session, before: int) -> tuple[Mapping[str, Sequence[int]], int]:
    """Return what was ignored before a time, and when the last list was shown.

    What later lists and deeds have changed is read from the kept lists and the
    history; a deed at the very time of a list is taken for one that followed it.
    """
    kept, latest = session.ignored.items, session.ignored.latest
    touches = list(zip(session.history.items, session.history.times, strict=True))
    undone = {item for item, time in touches if time >= before}
    changed = {item for item, (_, last) in kept.items() if last >= before}
    changed |= undone - kept.keys()
    if not changed and latest < before:
        return kept, latest
    touched = {item: time for item, time in sorted(touches, key=itemgetter(1)) if time < before}
    lists, shown = session.impressions, dict[str, tuple[int, int, int]]()
    for time, items in zip(lists.times, lists.items, strict=True):
        for item in changed.intersection(items):
            since, hidden, last = shown.get(item, (0, 0, 0))
            times = items.count(item)
            if time >= before:
                shown[item] = since, hidden + times, last
            else:
                since += times if time > touched.get(item, -1) else 0
                shown[item] = since, hidden, max(last, time)
    found = {item: entry for item, entry in kept.items() if item not in changed}
    for item, (since, hidden, last) in shown.items():
        count = since if item in undone else kept[item][0] - max(1, hidden)
        if count > 0 and last:  # else nothing is known, or the lists do not reach so far
            found[item] = (count, last)
    if latest >= before:
        known = [*lists.times, *(last for _, last in found.values())]
        latest = max((time for time in known if time < before), default=0)
    return found, latest


def owned_until(session: Session, before: int) -> Mapping[str, Sequence[int]]:
    """Return what was owned before a time, as the state then kept it."""
    kept, history = session.owned.items, session.history
    taken: dict[str, list[tuple[int, int]]] = {
        item: [] for item, entry in kept.items() if entry[4] >= before
    }
    if not taken:
        return kept
    for place, item in enumerate(history.items):
        if item in taken and history.signs[place] > 0:
            taken[item].append((history.visits[place], history.times[place]))
    found = dict(kept)
    for item, times in taken.items():
        entry = _entry_until(found.pop(item), times, before)
        if entry is not None:
            found[item] = entry
    return found


def _entry_until(
    entry: Sequence[int], taken: Sequence[tuple[int, int]], before: int
) -> tuple[int, int, int, int, int, int] | None:
    """Return an item's entry among the owned as it was before a time, None where it had none.

    Parameters
    ----------
    entry
        As it is now: see :class:`features.parts.owned.Owned`.
    taken
        Visit and time of each taking that the history still holds.
    before
        The time.
    """
    count, first, earlier, earlier_visit, _, last_visit = entry
    seen: dict[int, int] = {}
    for visit, time in taken:
        if time < before:
            seen[visit] = max(seen.get(visit, 0), time)
    if 0 < earlier < before:
        seen.setdefault(earlier_visit, earlier)
    if not seen and first < before:  # the history does not reach so far
        seen[earlier_visit or last_visit] = first
    if not seen:
        return None
    *past, final = sorted(seen)
    hidden = {visit for visit, _ in taken} - seen.keys()
    until = max((seen[visit] for visit in past), default=0)
    last = max(seen.values())
    return max(1, count - len(hidden)), first, until, past[-1] if past else 0, last, final
