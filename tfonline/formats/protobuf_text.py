"""Protobuf schemas as a registry has them, the texts of .proto files, as descriptor sets. Imports no TensorFlow.

protoc is the one parser of .proto files that is kept up with the language. The package grpcio-tools has it as a part of Python.
"""

import base64
import importlib.util
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfonline.formats.schemas import Written
from tfonline.lifecycle import Exit, UserError

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

_FILE = "schema_of_the_messages.proto"  # none of the names that registries have for the files that it imports
_SECS = 60.0


def set_of_text(number: int, written: Written) -> bytes:
    """The descriptor set of a schema and of what it imports; its own file is the last one.

    Args:
      number: its id, for the words of an error.
      written: its text and those of the files that it imports, or the base64 of their FileDescriptorProtos.

    Raises:
      UserError: it is none (exit 65), or there is no protoc (66).
    """
    own = _described(written.schema)
    return _set_of_described(number, own, written) if own else _set_by_protoc(number, written)


def _set_by_protoc(number: int, written: Written) -> bytes:
    if importlib.util.find_spec("grpc_tools") is None:
        raise UserError(
            f"the schema with id {number} of the registry is the text of a .proto file, and the package grpcio-tools, which reads "
            "such, is not installed. Install it in the version of the requirements' lock, or give the descriptor set of the .proto "
            "file as message_schema.",
            Exit.NO_INPUT,
        )
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name).resolve()
        for file, text in {**written.references, _FILE: written.schema}.items():
            _write(number, folder, file, text)
        # As a process of its own: a mistake in what others wrote ends nothing but that.
        options = [f"-I{folder}", "--include_imports", f"--descriptor_set_out={folder / 'set'}", _FILE]
        command = [sys.executable, "-m", "grpc_tools.protoc", *options]
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=_SECS, check=False)
        if done.returncode:
            raise _unreadable(number, "; ".join(done.stderr.decode(errors="replace").split("\n")).strip("; "))
        return (folder / "set").read_bytes()


def _described(text: str) -> bytes:
    """The FileDescriptorProto whose base64 a text is; b'' where it is a .proto file's: such a text has spaces."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def _set_of_described(number: int, own: bytes, written: Written) -> bytes:
    from google.protobuf import descriptor_pb2
    from google.protobuf.message import DecodeError

    files = {name: _described(text) for name, text in written.references.items()}
    found = descriptor_pb2.FileDescriptorSet()
    try:
        for name, content in [*files.items(), ("", own)]:
            file = descriptor_pb2.FileDescriptorProto.FromString(content)
            file.name = name or file.name or _FILE
            _add_known(found, file.dependency)
            found.file.append(file)
    except (DecodeError, ImportError) as e:
        raise _unreadable(number, str(e)) from e
    return found.SerializeToString(deterministic=True)


def _add_known(found: "FileDescriptorSet", names: Sequence[str]) -> None:
    """Adds the files of google/protobuf/, such as timestamp.proto: no registry has them."""
    for name in names:
        if name.startswith("google/protobuf/") and name not in {file.name for file in found.file}:
            known = importlib.import_module(f"{name.removesuffix('.proto').replace('/', '.')}_pb2").DESCRIPTOR
            _add_known(found, [file.name for file in known.dependencies])
            known.CopyToProto(found.file.add())


def _write(number: int, folder: pathlib.Path, name: str, text: str) -> None:
    """Writes a file that is imported by this name; a name that leads out of the folder is refused."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise _unreadable(number, f"it imports {name!r}, which is no name of a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _unreadable(number: int, why: str) -> UserError:
    return UserError(
        f"the schema with id {number} of the registry cannot be read: {why}. Mend it there, or give the descriptor set of "
        "its .proto file as message_schema.",
        Exit.DATA,
    )
