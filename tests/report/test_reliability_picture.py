"""What a picture of the scores' reliability shows beside its points."""

import io

import numpy as np
from PIL import Image

from tfonline.report.reliability import reliability_png


def test_a_label_stands_in_the_title_as_far_as_there_is_room():
    def title(label):
        """Of a picture, grey, [22, WIDTH]."""
        png = reliability_png([(4.0, 0.5, 0.5)], label)
        return np.asarray(Image.open(io.BytesIO(png)).convert("L"))[8:30]

    assert not (title("buy") == title("rent")).all()
    cut = title("W" * 400)
    assert (cut == title("W" * 50)).all()
    assert cut[:, [*range(7), *range(-7, 0)]].min() == cut.max()  # nothing is drawn at the edges
