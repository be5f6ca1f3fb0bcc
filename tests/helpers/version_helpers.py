"""Models that are files, and what stands in a version of one."""

from tfonline.publish.versions import MANIFEST


def model(text):
    """Writes a model that is told apart by its text."""

    def write(folder):
        (folder / "variables").mkdir(parents=True)
        (folder / "saved_model.pb").write_text(text)
        (folder / "variables" / "variables.index").write_text(text * 2)

    return write


def files_of(versions, number):
    return {path.name: path.stat() for path in versions.path(number).rglob("*") if path.is_file() and path.name != MANIFEST}


def text_of(versions, number):
    return (versions.path(number) / "saved_model.pb").read_text()
