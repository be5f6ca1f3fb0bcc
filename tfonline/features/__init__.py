"""From raw messages to the network's inputs: the one definition of the features, for training and for serving.

Everything here is vectorised over a batch and runs inside a tf.data graph; a row is never mapped in Python. Nothing here knows of
windows, of the broker or of a network.
"""
