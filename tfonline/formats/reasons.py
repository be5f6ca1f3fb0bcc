"""Why a row is refused: the same numbers and words for the trainer, its files and what is served. Imports no TensorFlow."""

# A row's reason is the index here; 0 is a good row. Published models give the numbers, so a new reason goes to the end.
# `encoding`: bytes that RE2 does not take for UTF-8. It lets overlong forms and surrogates through: they are values like any other.
REASONS = (
    "", "empty", "encoding", "json", "fields", "label", "number", "tombstone", "type", "csv", "framing", "avro", "protobuf",
    "arrow", "key",
)  # fmt: skip

IN_WORDS = {
    "empty": "no byte at all",
    "encoding": "no UTF-8",
    "json": "no JSON list of plain strings, whole numbers and null, or no JSON object where those are expected",
    "fields": "more or fewer fields than there are columns, or a line end inside",
    "label": "the label is neither 0 nor 1, true nor false",
    "tombstone": "a message without a value: a tombstone, which says that its key is deleted",
    "csv": "no line of CSV",
    "framing": "no frame of Confluent's before the message, or one of a schema that the model does not know",
    "avro": "no Avro message of its schema",
    "protobuf": "no Protobuf message of its type",
    "arrow": "no Arrow IPC stream",
    "key": "no key by which its outcome could be found",
    "type": "a value that is an object or a list, or a text with a tab or a line end",
    "number": "a column of kind integer, number or time holds something else",
}
