"""From scores to shares of the way from the frozen model to the oracle. Imports no TensorFlow."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from benchmarks.delayed.schedule import Way
from tfonline.evaluate.progressive import exact_auc, log_losses, sigmoid

_CHOSEN = ("wait", "daily batch", "es_dfm")  # of these one time to wait is chosen


class Metrics(NamedTuple):
    """Of some rows.

    Attributes:
      auc: area under the ROC curve.
      log_loss: mean, nats.
      calibration: mean prediction / mean label.
    """

    auc: float
    log_loss: float
    calibration: float


class Judged(NamedTuple):
    """A way to learn, a number a seed each.

    Attributes:
      metrics: of the second half of the stream, [seeds, 3].
      shares: of the way from frozen to oracle there, in AUC and in log loss, [seeds, 2].
      first_half: the same shares of the first half.
    """

    metrics: np.ndarray
    shares: np.ndarray
    first_half: np.ndarray


def metrics(logits: np.ndarray, clicks: np.ndarray) -> Metrics:
    """Exact ones: logits float32 [n], clicks bool [n]."""
    labels = clicks.astype(np.float32)
    return Metrics(
        exact_auc(logits, labels), float(log_losses(logits, labels).mean()), float(sigmoid(logits).mean() / labels.mean())
    )


def words(of: Metrics) -> str:
    """Metrics on a line."""
    return f"auc {of.auc:.4f}, log loss {of.log_loss:.4f}, calibration {of.calibration:.3f}"


def judged(scores: Mapping[Way, list[np.ndarray]], clicks: np.ndarray) -> dict[Way, Judged]:
    """Each way, and of those that wait the time that was best on the first half alone.

    Args:
      scores: logits float32 [rows] a seed, by way; frozen and oracle among them.
      clicks: bool [rows], of the stream.
    """
    half = len(clicks) // 2
    by_half = [
        {way: np.array([metrics(s[part], clicks[part]) for s in seeds]) for way, seeds in scores.items()}
        for part in (slice(None, half), slice(half, None))
    ]
    shares = [_shares(of) for of in by_half]
    return {way: Judged(by_half[1][way], shares[1][way], shares[0][way]) for way in scores}


def _shares(of: Mapping[Way, np.ndarray]) -> dict[Way, np.ndarray]:
    frozen, oracle = (next(of[way] for way in of if way.name == name)[:, :2] for name in ("frozen", "oracle"))
    return {way: (found[:, :2] - frozen) / (oracle - frozen) for way, found in of.items()}


def chosen(found: Mapping[Way, Judged]) -> dict[str, Way]:
    """By name the way; of several times to wait the one whose shares' mean was best on the first half."""
    best: dict[str, Way] = {}
    for way, of in found.items():
        if way.name not in best or of.first_half.mean() > found[best[way.name]].first_half.mean():
            best[way.name] = way
    return best


def table(found: Mapping[Way, Judged]) -> list[str]:
    """A Markdown table: means over seeds, and half their spread behind a share."""
    of_name = chosen(found)
    lines = [
        "| way to learn | AUC | log loss | predicted / observed | of the way in AUC | in log loss | first half, mean of the two |",
        "|---|---|---|---|---|---|---|",
    ]
    for way, of in found.items():
        auc, log_loss, calibration = of.metrics.mean(axis=0)
        mark = " (chosen)" if way.name in _CHOSEN and of_name[way.name] == way else ""
        shares = [f"{of.shares[:, i].mean():.2f} ± {np.ptp(of.shares[:, i]) / 2:.2f}" for i in range(2)]
        cells = [way.label + mark, f"{auc:.4f}", f"{log_loss:.4f}", f"{calibration:.3f}", *shares, f"{of.first_half.mean():.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def closing_line(found: Mapping[Way, Judged]) -> str:
    """The smaller one of the shares in AUC and in log loss, means over seeds; and the calibration of the best policy."""
    of_name = {name: found[way] for name, way in chosen(found).items()}
    policies = [name for name in ("fnw", "fnc", "es_dfm", "wait") if name in of_name]
    share = {name: of_name[name].shares.mean(axis=0).min() for name in policies}
    best = max(policies, key=share.__getitem__, default="oracle")
    shares = " ".join(f"{name}={share[name]:.2f}" for name in policies)
    calibration, naive = (of_name[name].metrics[:, 2].mean() if name in of_name else np.nan for name in (best, "naive"))
    return f"{shares} calibration={calibration:.3f} naive_calibration={naive:.3f}"


def plain(of: Judged) -> dict[str, list]:
    """For JSON."""
    return {name: value.tolist() for name, value in of._asdict().items()}
