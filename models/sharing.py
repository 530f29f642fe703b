"""One head that many partitions teach, in many processes, and nobody's lessons counted twice.

The weights are a sum: the prior, and of each partition what its examples moved. A partition's
part is written by the one process that reads it, which also keeps it over restarts; all others
read it and *replace* what they knew of it. So parts may come late, twice or in any order, and a
partition may change hands, and still each example moves the weights once (a state-based counter
with one entry a writer: Shapiro et al. 2011, doi:10.1007/978-3-642-24550-3_29). AdaGrad's sums of
squared gradients are sums over partitions too, so that steps are as small as if one process had
seen every example, and a weight whose feature was seen elsewhere often moves little here: that is
asynchronous gradient descent with AdaGrad over replicas (Downpour: Dean et al. 2012, "Large scale
distributed deep networks").

Between two exchanges the others learn too, unheard. Each process takes it that they meet what it
meets and counts its own squared gradients for all of them, else they would together go too far at
first (why delays ask for smaller steps: McMahan and Streeter 2014, "Delay-tolerant algorithms for
asynchronous distributed online learning"). Once it has heard them, the true sums stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from features.card import AsOf
from models.head import Head, HeadState
from stream.errors import ModelError

__all__ = ["Pool", "Share", "Told", "decode_told"]

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


class Told(Struct, frozen=True):
    """What the process that reads a partition tells the others.

    Attributes
    ----------
    as_of
        Stamp on the events topic: what was learned up to it is in the parts.
    heads
        Head name to what the partition has added to it.
    """

    as_of: AsOf
    heads: dict[str, HeadState]


def decode_told(raw: bytes) -> Told:
    """Read what a partition's owner told; raises msgspec.MsgspecError where it is none."""
    return msgspec.json.decode(raw, type=Told)


class Pool:
    """A head, and what each partition has added to it.

    Parameters
    ----------
    head
        Untaught; its weights are the prior that every process begins with.

    Examples
    --------
    >>> make = lambda: Head(["near"], segments=1, learning_rate=0.5, l2=0.0)
    >>> here, there = Pool(make()), Pool(make())
    >>> share = Share(there, partition=1)
    >>> share.learn(np.ones((3, 1), np.float32), np.zeros(3, np.int32), [True] * 3)
    >>> for _ in range(2):  # heard twice, it counts once
    ...     here.put(1, share.state())
    >>> here.settle()
    >>> bool(np.allclose(here.head.matrix(), there.head.matrix()))
    True
    """

    def __init__(self, head: Head) -> None:
        self.head = head
        self._names = head.all_names
        self._prior, _ = head.vectors()
        self._moved: dict[int, F64] = {}
        self._squares: dict[int, F64] = {}
        self._examples: dict[int, int] = {}
        self._teaching: int | None = None
        self._before = head.vectors()

    @property
    def examples(self) -> int:
        """Examples behind the weights, of all partitions."""
        return sum(self._examples.values())

    def crowd(self, processes: float) -> None:
        """Say how many processes learn at once, this one included."""
        self._account()
        self.head.crowd = max(1.0, processes)

    def enter(self, partition: int) -> None:
        """Have what is learned from here on be this partition's."""
        if partition != self._teaching:
            self._account()
            self._teaching = partition

    def _account(self) -> None:
        """Book what has been learned since it was last booked, as the teaching partition's."""
        if self._teaching is None:
            return
        weights, squares = self.head.vectors()
        moved, summed = self._of(self._teaching)
        moved += weights - self._before[0]
        summed += (squares - self._before[1]) / self.head.crowd
        self._before = weights, squares
        self._teaching = None

    def _of(self, partition: int) -> tuple[F64, F64]:
        if partition not in self._moved:
            self._moved[partition] = np.zeros_like(self._prior)
            self._squares[partition] = np.zeros_like(self._prior)
        return self._moved[partition], self._squares[partition]

    def settle(self) -> None:
        """Make the head what all parts come to: the same parts, the same bits."""
        self._account()
        weights, squares = self._prior.copy(), np.zeros_like(self._prior)
        for partition in sorted(self._moved):
            weights += self._moved[partition]
            squares += self._squares[partition]
        self.head.assume(weights, squares)
        self._before = weights, squares

    def put(self, partition: int, part: HeadState) -> None:
        """Replace what is known of a partition; to be followed by :meth:`settle`.

        Raises
        ------
        ModelError
            It does not pass :meth:`check`.
        """
        self.check(part)
        self._account()
        names = self._names
        self._moved[partition] = np.array([part.weights.get(name, 0.0) for name in names])
        self._squares[partition] = np.array([part.squares.get(name, 0.0) for name in names])
        self._examples[partition] = part.examples

    def check(self, part: HeadState) -> None:
        """Look whether a part fits this head.

        Raises
        ------
        ModelError
            It is of another version, with other features or with whole weights.
        """
        if not part.moved:
            raise ModelError(
                "the learner's checkpoint has whole weights: it is of an older version"
            )
        unknown = sorted(set(part.weights) - set(self._names))
        if unknown:
            raise ModelError(
                f"the learner's checkpoint has unknown features: {', '.join(unknown[:5])}",
                "it was written by another version; delete the key and let it learn anew",
            )

    def part(self, partition: int) -> HeadState:
        """Return what a partition has added."""
        self._account()
        moved, squares = self._of(partition)
        weights, sums = (
            {n: v for n, v in zip(self._names, values.tolist(), strict=True) if v}
            for values in (moved, squares)
        )
        return HeadState(weights, sums, self._examples.get(partition, 0), moved=True)

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget what partitions have added; to be followed by :meth:`settle`."""
        self._account()
        for partition in partitions:
            self._moved.pop(partition, None)
            self._squares.pop(partition, None)
            self._examples.pop(partition, None)

    def count(self, partition: int, examples: int) -> None:
        """Say how many examples a partition has learned from."""
        self._examples[partition] = examples


class Share:
    """A pool as one of its partitions teaches it: used like a :class:`models.head.Head`.

    Parameters
    ----------
    pool
        What all partitions of this process teach.
    partition
        Whose lessons these are.

    Attributes
    ----------
    examples
        Examples of this partition alone.
    """

    def __init__(self, pool: Pool, partition: int) -> None:
        self._pool, self._partition = pool, partition
        self._examples = 0

    @property
    def examples(self) -> int:
        """Examples of this partition alone."""
        return self._examples

    @examples.setter
    def examples(self, examples: int) -> None:
        self._examples = examples
        self._pool.count(self._partition, examples)

    def learn(self, x: F32, segment: I32, y: Sequence[bool]) -> None:
        """Learn from n examples in order; see :meth:`models.head.Head.learn`."""
        self._pool.enter(self._partition)
        self._pool.head.learn(x, segment, y)
        self.examples += len(y)

    def choose(self, x: F32, group: int, chosen: int) -> float:
        """Learn from one choice among n; see :meth:`models.head.Head.choose`."""
        self._pool.enter(self._partition)
        loss = self._pool.head.choose(x, group, chosen)
        self.examples += 1
        return loss

    def score(self, x: F32, segment: I32) -> F64:
        """Return the log-odds of n pairs by all that is known: (n,)."""
        return self._pool.head.score(x, segment)

    def matrix(self) -> F64:
        """Return the effective weights by all that is known, (G, F)."""
        return self._pool.head.matrix()

    def state(self) -> HeadState:
        """Return this partition's part: what a checkpoint needs, and what others read."""
        return self._pool.part(self._partition)

    def restore(self, state: HeadState) -> None:
        """Continue from a checkpoint.

        Raises
        ------
        ModelError
            It is of another version.
        """
        self._pool.put(self._partition, state)
        self._pool.settle()
        self._examples = state.examples
