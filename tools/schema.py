"""Writes the YAML of columns that a stream's rows ask for, and holds rows against one before they are trained from.

python tools/schema.py infer --input='data/day_*.csv.gz' --output=columns.yaml
python tools/schema.py infer --bootstrap_servers=host:9092 --topic=clicks --output=columns.yaml
python tools/schema.py infer --bootstrap_servers=host:9092 --topic=shop --format=avro --registry_url=http://host:8081
python tools/schema.py check --columns=columns.yaml --bootstrap_servers=host:9092 --topic=clicks

`infer` looks at rows and guesses: which column is the label, what the others hold, which tell rows apart, are constant or tell the
label before there is one. It writes a file that the trainer takes as it is, with the evidence of each guess as a comment. Read it,
and mend it where you know better.
"""

import argparse
import collections
import os
import pathlib
from typing import Any

import schema_guess
from command_line import Parser, at_least, run
from kafka_cli import add_connection_options, connection
from schema_check import check
from schema_described import of_described
from schema_evidence import Evidences
from schema_sample import PARQUET, Sample, messages_of_files, messages_of_topic, of_files, of_topic, text_of
from schema_yaml import Inferred, as_yaml, write

from tfonline.features.dictionaries import check_names
from tfonline.features.schema import load_schema
from tfonline.formats import FORMATS
from tfonline.formats.framing import FRAMINGS
from tfonline.formats.make import format_of, format_without_columns
from tfonline.lifecycle import Exit, UserError
from tfonline.settings.features import FeatureSettings
from tfonline.settings.stream import StreamSettings
from tfonline.stream.messages import Wanted

_ROWS = 100_000
_DESCRIBED = tuple(name for name, form in FORMATS.items() if not (form.lines or form.many))  # by a schema
_LEAK_AUC = 0.97
_LEAST_ROWS = 10
_MAX_REJECTED_RATIO = FeatureSettings().max_rejected_ratio


def infer(sample: Sample, label: str = "", leak_auc: float = _LEAK_AUC) -> Inferred:
    """Finds out what the columns of a sample may be.

    Args:
      sample: the rows.
      label: the label's key, where it is known.
      leak_auc: a column that alone tells the label with a larger AUC is ignored.

    Raises:
      UserError: too few rows, or no column looks like a label (exit 65); there is no column of this name (64).
    """
    if sample.num_rows < _LEAST_ROWS:
        bad = "".join(f" {place}: {why}." for place, why in sample.bad[:1])
        raise UserError(
            f"{sample.source} has {sample.num_rows} rows of format {sample.form}, and {sample.num_bad} that are none.{bad} "
            f"Expected are at least {_LEAST_ROWS}. Is it another --format?",
            Exit.DATA,
        )
    with Evidences(sample) as evidences:
        columns = {key: evidences.of(key) for key in sample.columns}
        candidates = dict(schema_guess.likely_labels(columns, sample.named))
        if label and label not in columns:
            raise UserError(f"--label={label} is no column. Expected one of {', '.join(columns)}.", Exit.FLAGS)
        if not (label or candidates):
            raise UserError(
                f"no column of {sample.source} looks like a label: one that is 0 or 1, or true or false, called label, click or "
                f"so. Say which one it is: --label=NAME, one of {', '.join(columns)}.",
                Exit.DATA,
            )
        key = label or next(iter(candidates))
        positive = candidates[key] if key in candidates else schema_guess.positives_of(columns[key])
        labels = [_label_of(value, positive) for value in sample.columns[key]]
        evidences.give_labels(labels)
        for other, column in columns.items():
            if other != key and column.num_values:
                column.auc = evidences.auc(column)
    others = {k: f"it could be the label as well as {key}" for k in candidates if k != key} if sample.named else {}
    guesses = {k: schema_guess.guess(column, others.get(k, ""), leak_auc) for k, column in columns.items() if k != key}
    for k in [k for k, guess in guesses.items() if guess.kind == "weight"][1:]:
        guesses[k] = schema_guess.Guess("number", notes=("another column is the weight already",))
    known = [value for value in labels if value is not None]
    return Inferred(
        sample, columns, key, positive, sum(known) / max(len(known), 1), guesses, _notes(sample, candidates, key, labels)
    )


def summary(found: Inferred) -> str:
    """What was found, for the console: counts by kind, and all that a person should look at."""
    kinds = collections.Counter(guess.kind or "left out" for guess in found.guesses.values())
    lines = [
        f"{found.sample.num_rows:,} rows of {found.sample.source}: {found.sample.form}, {len(found.columns)} columns",
        f"label: {found.label} ({found.label_rate:.2%} are 1)",
        "kinds: " + ", ".join(f"{kind} {number}" for kind, number in kinds.most_common()),
    ]
    lines += [f"note: {note}" for note in found.notes]
    for key, guess in found.guesses.items():
        lines += [f"{key}: {guess.kind or 'left out'}: {note}" for note in guess.notes]
    lines += [f"{key}: left out: {why}" for key, why in found.sample.unreachable.items()]
    lines += [f"no row: {place}: {why}" for place, why in found.sample.bad]
    return "\n".join(lines)


def _label_of(value: Any, positive: tuple[str, ...]) -> int | None:
    text = text_of(value)
    if positive:
        return int(text in positive)
    return {"0": 0, "1": 1, "false": 0, "true": 1}.get(text or "")


def _notes(sample: Sample, candidates: dict[str, Any], key: str, labels: list[int | None]) -> list[str]:
    notes = []
    if others := [k for k in candidates if k != key]:
        notes.append(f"other columns that could be the label: {', '.join(others[:5])}{', ...' * (len(others) > 5)} (--label=NAME).")
    if len(set(labels) - {None}) < 2:
        notes.append(f"the label {key} is the same in all rows: nothing can be learned from them.")
    elif labels.count(1) < 100:
        notes.append(f"only {labels.count(1)} rows have label 1: look at more rows (--rows) to trust AUCs and kinds.")
    if sample.num_bad:
        place, why = sample.bad[0]
        notes.append(f"{sample.num_bad:,} rows were passed over; the first is {place}: {why}.")
    return notes


def _sample(args: argparse.Namespace) -> Sample:
    if args.input:
        return of_files(args.input.split(","), args.format, args.rows)
    if args.format not in _DESCRIBED:
        return of_topic(connection(args), args.topic, args.format, args.rows)
    stream = StreamSettings(message_format=args.format, **_of_registry(args))
    form = format_without_columns(stream, args.framing, args.message_schema, args.message_type)
    return of_described(messages_of_topic(connection(args), args.topic, args.rows), form, f"topic {args.topic}")


def _of_registry(args: argparse.Namespace) -> dict[str, str]:
    return {"registry_url": args.registry_url, "registry_properties_file": args.registry_properties_file}


def _settings(args: argparse.Namespace) -> dict[str, str]:
    """What the YAML says of the messages, so that the trainer reads them as they were read here."""
    if args.format not in _DESCRIBED:
        return {}
    beside = pathlib.Path(args.output).resolve().parent
    file = os.path.relpath(pathlib.Path(args.message_schema).resolve(), beside) if args.message_schema else ""
    return {"framing": args.framing, "message_schema": file, "message_type": args.message_type}


def _run_infer(args: argparse.Namespace) -> int:
    found = infer(_sample(args), args.label, args.leak_auc)._replace(settings=_settings(args))
    name = args.topic or pathlib.Path(args.input.split(",")[0]).name.split(".")[0].strip("*_[]?") or "rows"
    schema = write(args.output, as_yaml(found, name), args.force)
    print(summary(found))
    try:
        check_names(schema)
    except UserError as e:
        print(f"note: with dictionaries, not with ids that come with the stream: {e}")
    print(f"schema: columns={len(schema.columns)} label={schema.label} rows={found.sample.num_rows} output={args.output}")
    return Exit.OK


def _run_check(args: argparse.Namespace) -> int:
    schema = load_schema(args.columns)
    stream = StreamSettings(message_format=args.format, input_files=args.input or "", **_of_registry(args))
    form = format_of(stream, schema, args.columns)
    if args.input:
        messages = messages_of_files(args.input.split(","), args.rows, Wanted(schema.columns, form.name))
    else:
        messages = messages_of_topic(connection(args), args.topic, args.rows, form.name)
    found = check(messages, schema, form, args.max_rejected_ratio, args.leak_auc)
    print(found.in_words())
    return Exit.DATA if found.mend else Exit.OK


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="schema.py", description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    about = {"infer": "rows to a YAML of columns", "check": "rows against a YAML of columns"}
    made = {name: commands.add_parser(name, help=text, description=text) for name, text in about.items()}
    files = "files of rows, several separated by commas: lines, plain or .gz, with a header or without, or Parquet"
    leak = f"a column whose AUC alone is larger is taken to tell the label (default {_LEAK_AUC})"
    for name, command in made.items():
        command.prog = f"schema.py {name}"
        command.add_argument("--input", metavar="FILE_OR_GLOB", help=files)
        command.add_argument("--topic", help="or a topic: half of the rows from its beginning, half from its end")
        command.add_argument("--rows", type=at_least(1), default=_ROWS, help=f"look at so many rows at most (default {_ROWS:,})")
        command.add_argument("--leak_auc", type=float, default=_LEAK_AUC, help=leak)
        command.add_argument("--registry_url", default="", help="of the schema registry, of messages in Confluent's frame")
        secrets = "key=value lines; the place for its secrets"
        command.add_argument("--registry_properties_file", default="", metavar="FILE", help=secrets)
        add_connection_options(command)
    infers = made["infer"]
    found_out = f"of the rows; left out: found out from them, where they are none of {', '.join(_DESCRIBED)}"
    infers.add_argument("--format", default="", choices=("", *FORMATS, PARQUET), help=found_out)
    framing = "what stands before an avro or protobuf message; left out: confluent with --registry_url, else none"
    infers.add_argument("--framing", default="", choices=("", *FRAMINGS), help=framing)
    of_schema = "the schema of avro messages (.avsc), or of protobuf messages the descriptor set of protoc"
    infers.add_argument("--message_schema", default="", metavar="FILE", help=of_schema)
    infers.add_argument("--message_type", default="", metavar="NAME", help="the full name of the type of protobuf messages")
    infers.add_argument("--label", default="", metavar="NAME", help="the label's key or path, where the guess is wrong")
    infers.add_argument("--output", default="columns.yaml", metavar="FILE", help="what is written (default columns.yaml)")
    infers.add_argument("--force", action="store_true", help="write over the --output that is there")
    checks = made["check"]
    checks.add_argument("--columns", required=True, metavar="FILE", help="the YAML of columns")
    checks.add_argument("--format", default="", choices=("", *FORMATS), help="of the messages; left out: the YAML's, else tsv")
    most = f"exit 65 where more than this share would be refused (default {_MAX_REJECTED_RATIO}, as the trainer's)"
    checks.add_argument("--max_rejected_ratio", type=float, default=_MAX_REJECTED_RATIO, metavar="X", help=most)
    args = parser.parse_args(argv)
    if bool(args.input) == bool(args.topic):
        made[args.command].error("expected one of: --input=FILE, --topic=TOPIC")
    if args.command == "infer":
        _check_described(args, infers)
    return args


def _check_described(args: argparse.Namespace, parser: Parser) -> None:
    """Ends the program where options of messages with a schema contradict each other, or stand beside another format."""
    if args.format not in _DESCRIBED:
        given = [name for name in ("framing", "message_schema", "message_type", "registry_url") if getattr(args, name)]
        if given:
            parser.error(f"--{given[0]} is for messages with a schema: say --format={' or '.join(_DESCRIBED)}, or leave it out")
        return
    if args.input:
        parser.error(f"--input has a message a line, which {args.format} messages are not: give a --topic")
    args.framing = args.framing or ("confluent" if args.registry_url else "none")
    if args.registry_url and args.framing == "none":
        parser.error("--registry_url is for messages with --framing=confluent")


def main(argv: list[str]) -> int:
    """Runs the command; returns the exit status."""
    args = _parse(argv)
    return {"infer": _run_infer, "check": _run_check}[args.command](args)


if __name__ == "__main__":
    run(main)
