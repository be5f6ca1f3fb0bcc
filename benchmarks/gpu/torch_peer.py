"""PyTorch at the same sizes, as its users would write it for speed, in a process without TensorFlow.

Tables with sparse gradients and SparseAdam, or with dense ones and the layers' fused Adam; autocast to bfloat16, or TF32.
"""

from benchmarks.gpu.sizes import SIZES, rows_per_sec
from benchmarks.speed.data import batches

_CASES = (("default", 1000), ("default", 16_384), ("default", 65_536), ("replaced", 16_384))


def measure(context: dict) -> dict[str, float]:
    """Samples/s by size, batch, precision and kind of gradient; features on the device."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = True
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = {}
    for size, rows in _CASES:
        rows = rows // context["shrink"]
        ready = [
            tuple(torch.from_numpy(x).to(device) for x in (label, ids.astype("int64"), values[:, :, None]))
            for label, ids, values in batches(rows, 2, SIZES[size].vocab)
        ]
        for precision in ("bfloat16", "float32"):
            for sparse in (True, False):
                step = make_step(size, precision, sparse, device)
                rate = rows_per_sec(lambda i, s=step, r=ready: s(*r[i % 2]), rows, lambda loss: loss.item(), context["secs"])
                kind = "sparse" if sparse else "dense"
                found[f"PyTorch: {size}, {precision}, {kind} gradients, batch {rows:,}, samples/s"] = rate
                del step
    return found


def make_step(size: str, precision: str, sparse: bool, device: str):
    """A train step of Wide & Deep: labels float32 [B], ids int64 [B, F] and values float32 [B, F, 1] to the loss."""
    import torch
    from torch import nn

    s = SIZES[size]

    class WideDeep(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide = nn.Embedding(s.vocab, 1, sparse=sparse)
            self.embedding = nn.Embedding(s.vocab, s.embedding, sparse=sparse)
            layers = [m for a, b in s.products()[:-1] for m in (nn.Linear(a, b), nn.ReLU())]
            self.tower = nn.Sequential(*layers, nn.Linear(s.layers[-1], 1))

        def forward(self, ids, values):
            wide, deep = self.wide(ids) * values, self.embedding(ids) * values
            return wide.sum((1, 2)) + self.tower(deep.flatten(1))[:, 0]

    model = WideDeep().to(device)
    tables = [*model.wide.parameters(), *model.embedding.parameters()]
    if sparse:
        optimizers = [torch.optim.SparseAdam(tables, lr=3.5e-4), torch.optim.Adam(model.tower.parameters(), lr=3.5e-4, fused=True)]
    else:
        optimizers = [torch.optim.Adam(model.parameters(), lr=3.5e-4, fused=True)]

    def step(label, ids, values):
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(ids, values)
        loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), label)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        return loss

    return step
