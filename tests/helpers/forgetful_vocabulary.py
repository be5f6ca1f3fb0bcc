"""The trainer with a resume that forgets how often values without a row were seen. It shows that the proof can fail."""

import sys

from tfonline.lifecycle import block_signals
from tfonline.train import main


def forget() -> None:
    import tensorflow as tf

    from tfonline.keep.checkpoints import Checkpoints

    restore = Checkpoints.restore

    def restore_without_the_counters(self) -> list[str]:
        said = restore(self)
        [learner] = (part for part in self._parts if part.name == "learner")
        misses = learner.variables()["admission/misses"]
        misses.assign(tf.zeros_like(misses))
        return said

    Checkpoints.restore = restore_without_the_counters


if __name__ == "__main__":
    block_signals()  # before TensorFlow starts threads, or a SIGTERM ends the process at once
    forget()
    main(sys.argv)
