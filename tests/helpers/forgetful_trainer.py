"""The trainer without what makes it exactly once: its checkpoints leave out the next offsets. It shows that the proof can fail."""

import sys

from tfonline.keep.checkpoints import Checkpoints
from tfonline.train import main

_begin = Checkpoints.begin


def begin_without_the_next_offsets(self, undisturbed) -> None:
    position = self._position
    known = position.next, position.window
    position.next, position.window = position.start, 0
    try:
        _begin(self, undisturbed)
    finally:
        position.next, position.window = known


Checkpoints.begin = begin_without_the_next_offsets

if __name__ == "__main__":
    main(sys.argv)
