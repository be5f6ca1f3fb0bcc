"""The peers, in .venv-peers: python -m benchmarks.speed.peers torch|deepctr|pandas [ROWS.tsv]. Prints JSON.

PyTorch as its users would write it for speed: sparse gradients for the tables, SparseAdam on them, fused Adam on the layers, and
autocast for bfloat16. DeepCTR: its WDL by one compiled step. pandas: the replaced system's consumer, a Python function a row.
"""

import itertools
import json
import os
import pathlib
import sys

from benchmarks.speed.data import EMBEDDING, FIELDS, LAYERS, VOCAB, batches, median_secs, precisions


def torch_training() -> dict[str, float]:
    """Rows/s of Wide & Deep in PyTorch, by batch size and precision."""
    import torch
    from torch import nn

    class WideDeep(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide = nn.Embedding(VOCAB, 1, sparse=True)
            self.embedding = nn.Embedding(VOCAB, EMBEDDING, sparse=True)
            widths = (FIELDS * EMBEDDING, *LAYERS)
            layers = [m for a, b in itertools.pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
            self.tower = nn.Sequential(*layers, nn.Linear(LAYERS[-1], 1))

        def forward(self, ids, values):
            wide, deep = self.wide(ids) * values, self.embedding(ids) * values
            return wide.sum((1, 2)) + self.tower(deep.flatten(1))[:, 0]

    found = {}
    for precision in precisions():
        model = WideDeep()
        sparse = torch.optim.SparseAdam([*model.wide.parameters(), *model.embedding.parameters()], lr=3.5e-4)
        dense = torch.optim.Adam(model.tower.parameters(), lr=3.5e-4, fused=True)

        def step(label, ids, values, model=model, optimizers=(sparse, dense), low=precision == "bfloat16"):
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                logits = model(ids, values)
            loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), label)
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            return loss.item()

        for rows in (100, 1000, 16_384):
            ready = [
                (torch.from_numpy(label), torch.from_numpy(ids).long(), torch.from_numpy(values)[:, :, None])
                for label, ids, values in batches(rows)
            ]
            secs = median_secs(lambda i, step=step, ready=ready: step(*ready[i % 8]), at_least=3)
            found[f"PyTorch {precision} {rows}, rows/s"] = rows / secs
    return found


def deepctr_training() -> dict[str, float]:
    """Rows/s of DeepCTR's WDL at the same sizes, by batch size."""
    os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    import tensorflow as tf
    import tf_keras
    from deepctr.feature_column import SparseFeat
    from deepctr.models import WDL

    columns = [SparseFeat(f"C{j}", VOCAB // FIELDS, embedding_dim=EMBEDDING) for j in range(FIELDS)]
    model = WDL(columns, columns, dnn_hidden_units=LAYERS)
    optimizer = tf_keras.optimizers.legacy.Adam(3.5e-4)

    @tf.function(reduce_retracing=True)
    def step(batch, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf_keras.losses.binary_crossentropy(y[:, None], model(batch, training=True)))
        optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True))
        return loss

    found = {}
    for rows in (100, 1000, 16_384):
        ready = [
            ({f"C{j}": tf.constant(ids[:, j] % (VOCAB // FIELDS)) for j in range(FIELDS)}, tf.constant(label))
            for label, ids, _ in batches(rows)
        ]
        secs = median_secs(lambda i, ready=ready: step(*ready[i % 8]).numpy(), at_least=3)
        found[f"DeepCTR WDL {rows}, rows/s"] = rows / secs
    return found


def pandas_features(path: str) -> dict[str, float]:
    """Rows/s of the replaced system's feature engineering: pandas, `apply` over the rows."""
    import pandas

    lines = pathlib.Path(path).read_text().splitlines()[:4000]
    frame = pandas.DataFrame([line.split("\t") for line in lines])
    seen = {f"C{j}_{v}": i for i, (j, v) in enumerate(sorted({(j, v) for j in range(26) for v in frame[14 + j]}))}

    def transform(row):
        ids, values = [], []
        for j in range(13):
            ids.append(j)
            values.append((float(row[1 + j] or 0) - 0.0) / 1000.0)
        for j in range(26):
            ids.append(seen.get(f"C{j}_{row[14 + j]}", j))
            values.append(1.0)
        return ids, values, int(row[0])

    secs = median_secs(lambda _: frame.apply(transform, axis=1), at_least=3, secs=1)
    return {"features, pandas apply (1 core), rows/s": len(lines) / secs}


if __name__ == "__main__":
    part = {"torch": torch_training, "deepctr": deepctr_training, "pandas": pandas_features}[sys.argv[1]]
    print(json.dumps(part(*sys.argv[2:])))
