"""How well the model predicts rows that it has not yet learned from. Knows scores and labels only; needs no TensorFlow."""
