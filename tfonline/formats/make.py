"""The format of a run's messages, as the flags and the YAML of columns say. Imports no TensorFlow."""

import os
import pathlib
import time
from collections.abc import Callable

from tfonline.features.schema import Schema
from tfonline.flags import wrong
from tfonline.formats import Format, find
from tfonline.formats.avro import Avro
from tfonline.formats.avro_writing import schema_of_columns
from tfonline.formats.of_batches import OfBatches
from tfonline.formats.protobuf import Protobuf
from tfonline.formats.protobuf_type import set_of_columns
from tfonline.formats.registry import Registry
from tfonline.formats.schemas import Schemas
from tfonline.lifecycle import Exit, UserError
from tfonline.settings.stream import StreamSettings

# A registry is away for less than the broker may be: the watch over the rows would end the run meanwhile, for another reason.
_MOST_PATIENCE_SECS = 10.0


def format_of(
    stream: StreamSettings,
    schema: Schema,
    columns_file: str | os.PathLike = "",
    folder: str | os.PathLike = "",
    keep: bool = True,
    also: str | os.PathLike = "",
    say: Callable[[str], None] = print,
    wait: Callable[[float], bool] = lambda secs: bool(time.sleep(secs)),
) -> Format:
    """The format that messages have.

    Args:
      stream: the flags; --message_format='': the schema says it.
      schema: of the columns.
      columns_file: the YAML that it was read from, beside which message_schema is.
      folder: keeps the schemas of a registry; '': nothing does.
      keep: whether new ones are written there.
      also: another folder of such schemas, see Schemas.
      say: gets lines for the person who runs it.
      wait: see Registry.

    Raises:
      UserError: the settings contradict each other, or name no schema (exit 64); a file cannot be read (66).
    """
    name = stream.message_format or schema.format
    form = find(name)
    if not isinstance(form, OfBatches):
        if not stream.message_format and (schema.framing != "none" or schema.message_schema or schema.message_type):
            raise wrong(
                f"--columns={columns_file}: framing, message_schema and message_type are for avro and protobuf, not {name}."
            )
        if stream.registry_url:
            raise wrong(f"--registry_url is for messages with framing: confluent, which {name} has not. Leave it out.")
        if stream.input_files and not form.lines:
            raise _no_file(name)
        return form
    if stream.input_files:
        raise _no_file(name)
    schemas = _schemas(stream, schema.framing, folder, keep, also, say, wait)
    content = _read(schema.message_schema, columns_file)
    if not content and schema.framing == "none":
        # Of all columns, once: who decodes rows without a label meets messages with one, too.
        content = schema_of_columns(schema.columns).encode() if name == Avro.name else set_of_columns(schema.columns)
    place = f"message_schema {schema.message_schema!r} of --columns={columns_file}"
    made = _made(name, content, schema.message_type, schema.framing, schemas, place)
    if unknown := made.unknown(schema.columns):
        unknown_fields = ", ".join(unknown)
        raise wrong(f"{place} has no field {unknown_fields}. Correct the columns' names, or say under which `path` a column is.")
    return made


def format_without_columns(
    stream: StreamSettings, framing: str, message_schema: str, message_type: str, say: Callable[[str], None] = print
) -> OfBatches:
    """The format of Avro or Protobuf messages of which nobody has said yet which columns they have.

    Args:
      stream: the flags; message_format is one of the two.
      framing: one of FRAMINGS.
      message_schema: a file, see Schema; '': there is none.
      message_type: see Schema.
      say: gets lines for the person who runs it.

    Raises:
      UserError: as format_of.
    """
    if framing == "none" and not message_schema:
        raise wrong(
            f"{stream.message_format} messages without a frame need --message_schema=FILE, the schema that they were written by. "
            "With Confluent's frame give --framing=confluent and --registry_url."
        )
    if framing == "confluent" and not stream.registry_url:
        raise wrong("--framing=confluent needs --registry_url: messages name their schemas by id.")
    schemas = _schemas(stream, framing, "", False, "", say, lambda secs: bool(time.sleep(secs)))
    schemas.say = lambda line: None  # which fields a schema has is what is asked here: one that lacks some is no news
    content, place = _read(message_schema, ""), f"--message_schema={message_schema}"
    return _made(stream.message_format, content, message_type, framing, schemas, place)


def _made(name: str, content: bytes, message_type: str, framing: str, schemas: Schemas, place: str) -> OfBatches:
    try:
        if name == Avro.name:
            return Avro(_text(content), framing, schemas)
        return Protobuf(content, message_type, framing, schemas)
    except ValueError as e:
        raise wrong(f"{place}: {e}.") from e


def _no_file(name: str) -> UserError:
    return wrong(f"--input_files has a message a line, which {name} messages are not. Send them to a topic.")


def _schemas(
    stream: StreamSettings,
    framing: str,
    folder: str | os.PathLike,
    keep: bool,
    also: str | os.PathLike,
    say: Callable[[str], None],
    wait: Callable[[float], bool],
) -> Schemas:
    if framing == "none":
        if stream.registry_url:
            raise wrong("--registry_url is for messages with framing: confluent, and the YAML of columns does not say so.")
        return Schemas()
    patience_secs, ask = min(_MOST_PATIENCE_SECS, stream.broker_timeout_secs / 2), None
    if stream.registry_url:
        ask = Registry(stream.registry_url, stream.registry_properties, patience_secs, say, wait).schema
    schemas = Schemas({}, folder, keep, also, ask, needed=True, say=say)
    if not ask and not len(schemas):
        raise wrong("framing: confluent needs --registry_url: messages name their schemas by id, and the model folder holds none.")
    return schemas


def _read(name: str, columns_file: str | os.PathLike) -> bytes:
    """The content of a file beside the YAML of columns, or of this name where there is no YAML; b'' where there is no name."""
    if not name:
        return b""
    place = f"message_schema {name!r} of --columns={columns_file}" if columns_file else f"--message_schema={name}"
    try:
        if content := (pathlib.Path(columns_file).parent / name).read_bytes():
            return content
        raise wrong(f"{place} is empty.")
    except OSError as e:
        raise UserError(f"{place} cannot be read ({e.strerror}).", Exit.NO_INPUT) from e


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ValueError("it is no Avro schema: not UTF-8 text") from None
