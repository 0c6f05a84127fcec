"""The blocks of the demo town as a tiling of the plane, and the outlines of what is put together from them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from backend.demo.paper import STEP, Block, Rect, Vertex


class Faces:
    """The blocks as a tiling: every edge between two of them is the same run of vertices for both."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        on_x: dict[int, set[int]] = defaultdict(set)
        on_y: dict[int, set[int]] = defaultdict(set)
        for block in blocks:
            for x, y in block.ground.corners():
                on_x[x].add(y)
                on_y[y].add(x)
        self._on_x = {x: sorted(ys) for x, ys in on_x.items()}
        self._on_y = {y: sorted(xs) for y, xs in on_y.items()}
        self.rings: dict[int, list[Vertex]] = {block.index: self._ring(block.ground) for block in blocks}

    def _ring(self, r: Rect) -> list[Vertex]:
        return (
            [(x, r.y0) for x in _run(self._on_y[r.y0], r.x0, r.x1)]
            + [(r.x1, y) for y in _run(self._on_x[r.x1], r.y0, r.y1)]
            + [(x, r.y1) for x in reversed([*_run(self._on_y[r.y1], r.x0, r.x1)[1:], r.x1])]
            + [(r.x0, y) for y in reversed([*_run(self._on_x[r.x0], r.y0, r.y1)[1:], r.y1])]
        )

    def neighbours(self) -> dict[int, set[int]]:
        """Blocks that share an edge."""
        owner = {edge: index for index, ring in self.rings.items() for edge in _edges(ring)}
        found: dict[int, set[int]] = defaultdict(set)
        for (a, b), index in owner.items():
            other = owner.get((b, a))
            if other is not None:
                found[index].add(other)
        return found

    def outline(self, blocks: Iterable[int]) -> list[list[Vertex]]:
        """Rings around the union of ``blocks``: what is left when shared edges cancel out. Nothing is computed, so
        nothing can leave a sliver."""
        edges: dict[Vertex, list[Vertex]] = defaultdict(list)
        directed = {edge for index in blocks for edge in _edges(self.rings[index])}
        for a, b in sorted(directed):
            if (b, a) not in directed:
                edges[a].append(b)
        rings = []
        while edges:
            start = min(edges)
            ring = [start]
            while True:
                ends = edges[ring[-1]]
                following = ends.pop()
                if not ends:
                    del edges[ring[-1]]
                if following == start:
                    break
                ring.append(following)
            rings.append(ring)
        return rings

    def is_one_ring(self, blocks: Iterable[int]) -> bool:
        """Whether the union is one piece without holes that nowhere touches itself."""
        blocks = list(blocks)
        if not blocks:
            return False
        rings = self.outline(blocks)
        return len(rings) == 1 and len(set(rings[0])) == len(rings[0])


def _edges(ring: list[Vertex]) -> Iterator[tuple[Vertex, Vertex]]:
    return zip(ring, ring[1:] + ring[:1], strict=True)


def _run(corners: list[int], low: int, high: int) -> list[int]:
    """Places from ``low`` (included) to ``high`` (excluded) at which an edge has a vertex."""
    marks = set(corners[bisect_right(corners, low) : bisect_left(corners, high)])
    marks.update(range(low // STEP * STEP + STEP, high, STEP))
    return [low, *sorted(marks)]
