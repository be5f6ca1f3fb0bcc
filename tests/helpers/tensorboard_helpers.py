"""Reads what a run wrote for TensorBoard."""


def pictures_of(folder, run):
    """The tags of a run's images."""
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    return EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload().Runs()[run]["images"]


def events_of(folder):
    """(step, value) of each scalar of all runs, by run and tag: "train/stream/lag_rows"; of a run without a folder by its tag."""
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    runs = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    return {
        f"{run}/{tag}".removeprefix("./"): [(e.step, e.value) for e in runs.Scalars(run, tag)]
        for run, tags in runs.Runs().items()
        for tag in tags["scalars"]
    }
