"""Circles of objects each of which needs the next one: found in linear time."""

from collections.abc import Iterable, Mapping

from database_handler.migrations.schema.snapshot import ObjectId

__all__ = ["circles"]


def circles(edges: set[tuple[ObjectId, ObjectId]]) -> dict[ObjectId, ObjectId]:
    """Return one node for each, the same for those from which one can get to each other and back."""
    ahead: dict[ObjectId, list[ObjectId]] = {}
    back: dict[ObjectId, list[ObjectId]] = {}
    for one, other in sorted(edges):
        ahead.setdefault(one, []).append(other)
        back.setdefault(other, []).append(one)
    found: dict[ObjectId, ObjectId] = {}
    for last in reversed(_finished([*ahead, *back], ahead, {})):
        for node in _finished([last], back, found):
            found[node] = last
    return found


def _finished(
    starts: Iterable[ObjectId],
    edges: Mapping[ObjectId, list[ObjectId]],
    known: Mapping[ObjectId, ObjectId],
) -> list[ObjectId]:
    """Return the nodes to get to that are not known, each after those to get to from it."""
    seen, done = set(known), list[ObjectId]()
    for start in starts:
        stack = [] if start in seen else [(start, iter(edges.get(start, ())))]
        seen.add(start)
        while stack:
            node, rest = stack[-1]
            following = next((other for other in rest if other not in seen), None)
            if following is None:
                done.append(node)
                stack.pop()
            else:
                seen.add(following)
                stack.append((following, iter(edges.get(following, ()))))
    return done
