"""Requests that TensorFlow Serving runs when it loads a version, so that the first that somebody waits for is not the slow one."""

import pathlib

import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from tfonline import formats
from tfonline.features.kinds import feature_kinds
from tfonline.features.schema import Schema

# Where TensorFlow Serving looks for them in a version (https://www.tensorflow.org/tfx/serving/saved_model_warmup).
FILE = pathlib.PurePath("assets.extra", "tf_serving_warmup_requests")
# What the model is served under. A warm-up request goes to the model that it lies beside, whatever its name; Serving only puts the
# time it took under it.
NAME = "tfonline"
_BATCHES = (1, 100)  # rows


def write(folder: pathlib.Path, schema: Schema, form: formats.Format) -> None:
    """Writes the warm-up requests of a SavedModel in `folder`: rows of missing values, for each signature.

    Raises:
      OSError, tf.errors.OpError: it cannot be written.
    """
    example = form.example
    messages = {
        "serving_default": example(schema.columns),
        "unlabelled": example(schema.unlabelled),
    }
    columns = {
        name: tf.constant([kind.served_missing], kind.served_dtype)
        for kind in feature_kinds()
        for name in schema.of_kind(kind.name)
    }
    requests = []
    for signature, message in messages.items():
        requests += [_request(signature, {"message": tf.constant([message] * size)}) for size in _BATCHES]
    (folder / FILE).parent.mkdir()
    with tf.io.TFRecordWriter(str(folder / FILE)) as file:
        for request in [*requests, _request("columns", columns)]:
            file.write(request.SerializeToString(deterministic=True))


def _request(signature: str, inputs: dict[str, tf.Tensor]) -> PredictionLog:
    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = NAME, signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return log
