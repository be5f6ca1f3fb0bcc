"""Runs of the trainer that publish, in this process."""

from concurrent.futures import Future

from rows import make_rows

from tfonline.config import of_flags
from tfonline.publish import publisher as publisher_module
from tfonline.publish.versions import Versions
from tfonline.train import run

ROWS = make_rows(4000)


class AtOnce:
    """An executor that has done its work when it is asked for, so that which checkpoints get published does not depend on speed."""

    def __init__(self, *_):
        pass

    def submit(self, work, *arguments):
        future = Future()
        try:
            future.set_result(work(*arguments))
        except Exception as e:
            future.set_exception(e)
        return future

    def shutdown(self, wait):
        pass


def trainer(dictionary_dir, tmp_path, capsys, monkeypatch):
    """A function that trains on rows from a file; it returns the flags, what was said, and the versions."""
    monkeypatch.setattr(publisher_module, "ThreadPoolExecutor", AtOnce)
    settings = {"dictionary_dir": dictionary_dir, "model_dir": str(tmp_path / "model"), "export_dir": str(tmp_path / "export")}
    settings |= {"stop_at": "latest", "batch_size": 50, "window_rows": 200, "checkpoint_every_steps": 1, "checkpoint_secs": 0}
    settings |= {"export_every_windows": 5, "gate_rows": 400, "gate_min_auc": 0, "gate_calibration": 0, "gate_max_regression": 1}
    settings |= {"deep_layers": "8", "embedding_dim": 4, "report_secs": 0.001, "background_save": False}

    def train(rows=ROWS, **changed):
        (tmp_path / "rows.tsv").write_bytes(b"\n".join(rows))
        config = of_flags(**{**settings, "input_files": str(tmp_path / "rows.tsv"), **changed})
        run(config)
        return config, capsys.readouterr().out, Versions(config.serving.export_dir)

    return train
