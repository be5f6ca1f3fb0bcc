"""Opens what a run reads from, and where it writes rows that it refuses: topics, files, and the format of their messages."""

import copy
import os
from typing import TYPE_CHECKING, Any

from tfonline import config as flags
from tfonline.flags import wrong
from tfonline.lifecycle import Liveness, Stop
from tfonline.report.console import Console
from tfonline.settings.stream import StreamSettings
from tfonline.stream.broker import KafkaTopic
from tfonline.stream.dead_letters import DeadLetters

if TYPE_CHECKING:
    from tfonline.features.schema import Schema
    from tfonline.formats import Format
    from tfonline.keep.checkpoint_contents import Contents
    from tfonline.stream.readers import Reader


def open_stream(
    config: flags.Config,
    schema: "Schema",
    topic: KafkaTopic | None,
    saved: "Contents | None",
    chief: bool,
    num_workers: int,
    liveness: Liveness,
    console: Console,
) -> tuple[Any, "Reader"]:
    """The admin side of the stream, and what reads its rows."""
    from tfonline.stream.file_source import FileSource, open_files
    from tfonline.stream.messages import Wanted
    from tfonline.stream.readers.choose import open_reader

    stream = config.stream
    if topic:
        with liveness, liveness.waiting():
            return topic, open_reader(stream, topic, num_workers, console.saying("reader"), keys=bool(config.labels.label_topic))
    wanted = Wanted(schema.columns, stream.message_format or schema.format)
    if chief:
        journal = config.windows.replay_journal
        source = open_files(stream.input_files, config.keeping.model_dir, saved, journal, console.saying("files"), wanted)
    else:
        source = FileSource(stream.input_files, wanted=wanted)  # in the chief's order once that is known
    return source, source.reader


def open_format(config: flags.Config, schema: "Schema", stop: Stop, console: Console) -> "Format":
    """The messages' format, with the processes that decode them, if any.

    Schemas of a registry are kept in the model folder; a replay finds those beside its journal.
    """
    from tfonline.formats.by_python import ByPython
    from tfonline.formats.decoders import Decoders
    from tfonline.formats.make import format_of
    from tfonline.formats.schemas import FOLDER

    folder = os.path.join(config.keeping.model_dir, FOLDER)
    replay, keep = config.windows.replay_journal, not config.reporting.dry_run
    also = os.path.join(os.path.dirname(replay), FOLDER) if replay else ""
    form = format_of(config.stream, schema, config.features.columns, folder, keep, also, console.saying("registry"), stop.wait)
    if form.many and config.workers.partition_groups > 1:
        raise wrong(f"--partition_groups is for messages of one row each, and those of {form.name} have many. Leave it out.")
    if number := config.stream.decoder_processes:
        if not isinstance(form, ByPython):
            raise wrong(
                f"--decoder_processes={number} is for messages that Python decodes, and those of {form.name} are decoded by "
                "TensorFlow, on all cores. Leave it out."
            )
        form = copy.copy(form)  # another run of this process may have none
        form.decoders = Decoders(form, number)
    return form


def open_topic(stream: StreamSettings, name: str, stop: Stop, console: Console) -> KafkaTopic:
    """Raises UserError where the topic is missing (exit 66), or the broker cannot be reached."""
    servers, secs = stream.bootstrap_servers, stream.broker_timeout_secs
    return KafkaTopic(servers, name, stream.group, stream.read_properties, secs, stop, console.saying("broker"))


def open_dead_letters(stream: StreamSettings, name: str, stop: Stop, console: Console) -> DeadLetters:
    """Opened at the start: better to end now, where the topic is missing, than at the first refused row."""
    open_topic(stream, name, stop, console)
    servers, secs = stream.bootstrap_servers, stream.broker_timeout_secs
    return DeadLetters(servers, name, stream.topic, stream.read_properties, secs, stop, console.saying("dead_letters"))
