"""What a subscriber was told of the numbers 1, 2, 3 …, which are published one after the other. Pure.

The promise: each number once and in order, or a reset before anything later. So a number that is
missing without a reset is lost and not told; and after a reset the subscriber begins anew.
"""

from __future__ import annotations


class Watch:
    """One subscriber, over all of its connections.

    Attributes:
        last: the number that came last.
        lost: numbers that never came, and no reset said so.
        twice: numbers that came again.
        disordered: numbers that came after a later one, for the first time.
        resets: how often it was told that something is missing.
    """

    def __init__(self) -> None:
        self.last = 0
        self.lost = 0
        self.twice = 0
        self.disordered = 0
        self.resets = 0
        self._missing: set[int] = set()
        self._anew = False

    def reset(self) -> None:
        """It was told that messages are missing: those that come now need not follow."""
        self.resets += 1
        self._anew = True

    def take(self, number: int) -> None:
        """A message came."""
        if self._anew or not self.last:
            self._anew = False
        elif number in self._missing:
            self._missing.discard(number)
            self.disordered += 1
            return
        elif number <= self.last:
            self.twice += 1
            return
        else:
            self._missing.update(range(self.last + 1, number))
        self.last = number

    def end(self, published: int) -> None:
        """Nothing comes any more; count what is missing."""
        tail = 0 if self._anew else max(0, published - self.last)  # one may come before its publisher knows
        self.lost = len(self._missing) + tail
