"""From scores to a table and a paired bootstrap."""

import numpy as np

from tfonline.evaluate.progressive import exact_auc, log_losses, sigmoid

HEAD = 5 / 7  # of the rows; the metrics are of the rest
_RESAMPLES = 500
_TENTHS = 10


def entropy(rate: float) -> float:
    """Of a coin that shows 1 at this rate, nats: the log loss of the best constant."""
    return float(-(rate * np.log(rate) + (1 - rate) * np.log(1 - rate)))


def metrics(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """AUC, log loss, normalised entropy and calibration, exact: logits and labels float32 [n]."""
    loss = float(log_losses(logits, labels).mean())
    return {
        "auc": exact_auc(logits, labels),
        "log_loss": loss,
        "ne": loss / entropy(float(labels.mean())),
        "calibration": float(sigmoid(logits).mean() / labels.mean()),
    }


def of_tenths(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The calibration of each tenth of the rows by score, the lowest scores first: float64 [10], NaN of one without a click."""
    tenths = np.array_split(np.argsort(logits, kind="stable"), _TENTHS)
    p = sigmoid(logits)
    return np.array([p[rows].mean() / labels[rows].mean() if labels[rows].any() else np.nan for rows in tenths])


def worst_tenth(logits: np.ndarray, labels: np.ndarray) -> float:
    """How far the calibration of the worst tenth by score is from 1; infinite where a tenth has no click."""
    found = np.abs(of_tenths(logits, labels) - 1)
    return float(np.where(np.isnan(found), np.inf, found).max())


def worst_tenth_by_chance(logits: np.ndarray, draws: int = 200) -> float:
    """The median of `worst_tenth` where labels are drawn by the scores' own probabilities: of scores that are right."""
    p, random = sigmoid(logits), np.random.default_rng(1)
    return float(np.median([worst_tenth(logits, (random.random(len(p)) < p).astype(np.float32)) for _ in range(draws)]))


def table(runs: dict[str, list[np.ndarray]], speed: dict[str, float], labels: np.ndarray) -> list[str]:
    """A Markdown table: a line a learner, means over its seeds and half the spread of the AUC; the best AUC first.

    `worst tenth` is `worst_tenth` over the last 2/7.
    """
    head = int(len(labels) * HEAD)
    rows = []
    for name, scores in runs.items():
        last = [metrics(s[head:], labels[head:]) for s in scores]
        whole = [metrics(s, labels) for s in scores]
        mean = {k: np.mean([m[k] for m in last]) for k in last[0]}
        aucs = [m["auc"] for m in last]
        spread = f" ± {(max(aucs) - min(aucs)) / 2:.4f}" if len(aucs) > 1 else ""
        cells = [name, f"{mean['auc']:.4f}{spread}", *(f"{mean[k]:.4f}" for k in ("log_loss", "ne")), f"{mean['calibration']:.3f}"]
        cells.append(f"{np.mean([worst_tenth(s[head:], labels[head:]) for s in scores]):.3f}")
        cells += [f"{np.mean([m[k] for m in whole]):.4f}" for k in ("auc", "log_loss")] + [f"{speed[name]:,.0f}"]
        rows.append((mean["auc"], f"| {' | '.join(cells)} |"))
    return [
        "| learner | AUC, last 2/7 | log loss | NE | calibration | worst tenth | AUC, all | log loss, all | rows/s |",
        "|---|---|---|---|---|---|---|---|---|",
        *(line for _, line in sorted(rows, reverse=True)),
    ]


def paired_bootstrap(one: np.ndarray, other: np.ndarray, labels: np.ndarray) -> dict[str, tuple[float, float, float]]:
    """How much better `one` is: {auc, log_loss: (margin, low, high)}, the 95 % interval over resampled rows of the last 2/7.

    Args:
      one: float32 [n], or of several seeds [seeds, n]: the mean of their margins.
      other: float32 [n].
      labels: float32 [n].
    """
    head = int(len(labels) * HEAD)
    ones, other, labels = np.atleast_2d(one)[:, head:], other[head:], labels[head:]
    loss = log_losses(other, labels) - np.mean([log_losses(one, labels) for one in ones], axis=0)

    def auc_margin(rows: np.ndarray | slice) -> float:
        return float(np.mean([exact_auc(one[rows], labels[rows]) for one in ones])) - exact_auc(other[rows], labels[rows])

    random = np.random.default_rng(1)
    margins = []
    for _ in range(_RESAMPLES):
        rows = random.integers(0, len(labels), len(labels))
        margins.append((auc_margin(rows), loss[rows].mean()))
    low, high = np.percentile(margins, [2.5, 97.5], axis=0)
    return {"auc": (auc_margin(slice(None)), low[0], high[0]), "log_loss": (float(loss.mean()), low[1], high[1])}
