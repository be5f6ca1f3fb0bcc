"""Schemas by id: what is asked of a registry, what is kept, and which errors a person sees. The registry here is a few lines."""

import base64
import http.server
import json
import re
import threading

import pytest

from tfonline.config import of_flags
from tfonline.features.schema import Schema
from tfonline.formats.by_python import Refused
from tfonline.formats.make import format_of
from tfonline.formats.registry import Registry
from tfonline.formats.schemas import Schemas, Written
from tfonline.lifecycle import UserError
from tfonline.settings.stream import StreamSettings

TEXT = '{"type": "record", "name": "Row", "fields": [{"name": "x", "type": "string"}]}'


@pytest.fixture
def asked():
    """Answers requests by path, as (status, body) lists in turn; `asked.requests` has the paths and log-ins that came."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.requests.append((self.path, self.headers.get("Authorization")))
            answers = server.answers[self.path]
            status, body = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.answers = [], {}
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_registry_that_is_away_for_a_moment_is_asked_again(asked):
    asked.answers["/schemas/ids/7"] = [(503, {}), (500, {}), (200, {"schema": TEXT})]
    said, waits = [], []
    found = Registry(asked.url, {}, 60, said.append, lambda secs: waits.append(secs)).schema(7)
    assert found == Written("AVRO", TEXT, {})
    assert waits == [0.5, 1.0]
    assert len(said) == 2
    assert f"warning: the schema registry {asked.url} does not answer (HTTP 503: {{}}); again in 0.5 s" == said[0]


def test_a_stop_ends_the_wait_for_a_registry(asked):
    asked.answers["/schemas/ids/7"] = [(503, {})]
    with pytest.raises(UserError, match="asked to stop") as e:
        Registry(asked.url, {}, 60, lambda line: None, lambda secs: True).schema(7)
    assert e.value.code == 75


@pytest.mark.parametrize(
    ("status", "code", "text"), [(404, 75, "does not know"), (401, 77, "refuses the log-in"), (403, 77, "refuses")]
)
def test_a_refusal_is_not_asked_again(asked, status, code, text):
    asked.answers["/schemas/ids/7"] = [(status, {"error_code": 1})]
    with pytest.raises(UserError, match=text) as e:
        Registry(asked.url, {"basic.auth.user.info": "u:hush"}, 60, print).schema(7)
    assert e.value.code == code
    assert "hush" not in str(e.value)
    assert asked.requests == [("/schemas/ids/7", f"Basic {base64.b64encode(b'u:hush').decode()}")]


def test_what_a_schema_refers_to_is_fetched_before_it(asked):
    refer = lambda name: [{"name": name, "subject": f"{name}/s", "version": 2}]  # noqa: E731
    asked.answers |= {
        "/schemas/ids/7": [(200, {"schema": "top", "schemaType": "PROTOBUF", "references": refer("b")})],
        "/subjects/b%2Fs/versions/2": [(200, {"schema": "B", "references": refer("a")})],
        "/subjects/a%2Fs/versions/2": [(200, {"schema": "A"})],
    }
    found = Registry(asked.url, {}, 60, print).schema(7)
    assert found == Written("PROTOBUF", "top", {"a": "A", "b": "B"})
    assert list(found.references) == ["a", "b"]


def test_a_schema_is_kept_before_it_is_given_and_asked_for_once(tmp_path):
    folder, numbers = tmp_path / "model" / "schemas", []

    def ask(number):
        numbers.append(number)
        return Written("AVRO", TEXT, {})

    schemas = Schemas({}, folder, ask=ask)
    assert schemas.get(7) == schemas.get(7) == Written("AVRO", TEXT, {})
    assert numbers == [7]
    assert [file.name for file in folder.iterdir()] == ["7.json"]
    again = Schemas({}, folder)
    assert again.get(7).schema == TEXT
    assert again.about == {"7": {"kind": "AVRO", "schema": TEXT, "references": {}}}
    copied = Schemas({}, tmp_path / "other", also=folder)
    assert copied.get(7).schema == TEXT
    assert (tmp_path / "other" / "7.json").read_bytes() == (folder / "7.json").read_bytes()
    dry = Schemas({}, tmp_path / "dry", keep=False, ask=ask)
    assert dry.get(7).schema == TEXT
    assert not (tmp_path / "dry").exists()


def test_a_schema_that_cannot_be_had_is_an_error_or_its_rows_are_refused():
    with pytest.raises(UserError, match=r"id 8, and the model folder holds 7\. Give --registry_url") as e:
        Schemas({"7": Written("AVRO", TEXT, {})._asdict()}, needed=True).get(8)
    assert e.value.code == 64
    with pytest.raises(Refused, match="id 8; the model knows none"):
        Schemas().get(8)


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ({"registry_url": "http://u:hush@host:8081"}, "--registry_url holds an @, and flags are seen by all"),
        ({"registry_url": "host:8081"}, "--registry_url=host:8081 is no address. Expected one such as http://registry:8081"),
        ({"registry_url": "http://host:x"}, "is no address"),
    ],
)
def test_an_address_is_checked_and_never_holds_a_secret(flags, why):
    with pytest.raises(UserError, match=re.escape(why)) as e:
        of_flags(**flags)
    assert "hush" not in str(e.value)
    assert e.value.code == 64


def test_secrets_are_in_a_file_and_in_no_settings(tmp_path):
    (tmp_path / "file").write_text("# of the registry\nbasic.auth.user.info=u:hush\n")
    config = of_flags(registry_url="https://host/path", registry_properties_file=str(tmp_path / "file"))
    assert config.stream.registry_properties == {"basic.auth.user.info": "u:hush"}
    assert "hush" not in repr(config) + json.dumps(config.resolved())
    (tmp_path / "file").write_text("basic.auth.user=u:hush\n")
    with pytest.raises(UserError, match=r"file:1: basic\.auth\.user is no property of a registry") as e:
        of_flags(registry_properties_file=str(tmp_path / "file"))
    assert "hush" not in str(e.value)


COLUMNS = [{"name": "label", "kind": "label"}, {"name": "x", "kind": "category"}]


@pytest.mark.parametrize(
    ("yaml", "flags", "why"),
    [
        ({"framing": "confluent"}, {}, "framing, message_schema and message_type are for avro and protobuf, not tsv"),
        ({}, {"registry_url": "http://h"}, "--registry_url is for messages with framing: confluent, which tsv has not"),
        ({"format": "avro"}, {"registry_url": "http://h"}, "the YAML of columns does not say so"),
        ({"format": "avro", "framing": "confluent"}, {}, "framing: confluent needs --registry_url"),
        ({"format": "avro", "message_schema": "row.avsc"}, {}, "has no field label"),
        ({"format": "avro", "message_schema": "none.avsc"}, {}, "message_schema 'none.avsc' of --columns="),
        ({"format": "avro", "message_schema": "c.yaml"}, {}, "is empty"),
        ({"format": "avro", "message_schema": "no.avsc"}, {}, "it is no Avro schema"),
        ({"format": "protobuf", "message_schema": "row.avsc"}, {}, "it is no descriptor set"),
        ({"format": "avro"}, {"input_files": "a"}, "--input_files has a message a line, which avro messages are not"),
    ],
)
def test_settings_that_contradict_each_other_are_named(tmp_path, yaml, flags, why):
    (tmp_path / "row.avsc").write_text(TEXT)
    (tmp_path / "no.avsc").write_text('{"type": "recrd"}')
    (tmp_path / "c.yaml").write_text("")
    schema = Schema.model_validate({"name": "t", "columns": COLUMNS, **yaml})
    with pytest.raises(UserError, match=re.escape(why)) as e:
        format_of(StreamSettings(**flags), schema, tmp_path / "c.yaml")
    assert e.value.code == (66 if "none.avsc" in str(yaml) else 64)


def test_a_flag_wins_over_the_yaml():
    schema = Schema.model_validate({"name": "t", "columns": COLUMNS, "format": "csv"})
    assert format_of(StreamSettings(), schema).name == "csv"
    assert format_of(StreamSettings(message_format="json"), schema).name == "json"
    assert format_of(StreamSettings(message_format="tsv"), schema).name == "tsv"
