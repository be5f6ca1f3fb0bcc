"""A copy of the trainer's Wide & Deep network and its optimizers in PyTorch, with what was tried beside them."""

import dataclasses
import math

import numpy as np
import torch
from torch import nn

from benchmarks.quality.trial_inputs import BATCH, FIELDS, Inputs, batches, mean_of, ring

_SHARE, _PRIOR_INFORMATION = 0.3, 50.0  # of the average, as in the trainer


@dataclasses.dataclass(frozen=True)
class Variant:
    """One set of settings; the defaults are those of configs/criteo.flags.

    Attributes:
      inputs: of the tower beside the embeddings, names of Inputs.
      smooth: `ids`, `pairs`: their lifts are made with a prior that is learned, a column or a pair.
      layers: widths of the ReLU layers.
      activation: `relu` or `swiglu` or `mish`.
      gate: `static`: each input times a learned number; `rows`: times `2 sigmoid` of a low-rank layer of the counted inputs.
      cross_rank: of DCN-v2 cross layers in parallel to the tower; 0: none.
      cross_layers: so many.
      heads: towers that learn apart over shared embeddings; the score is the mean of their logits.
      dropout: of the embeddings.
      rate: of Adam.
      rate_end: the rate falls to this share of it, by half each `rate_rows` rows.
      betas: of Adam.
      epsilon: of Adam.
      decay: weight decay of the dense layers, as in AdamW.
      embedding: by which the embeddings learn: `adam`, `adagrad`, `rowwise`, `ftrl`, `sgd`.
      embedding_rate: of it.
      embedding_dim: width.
      embedding_l2: of the rows touched.
      average_rows: see the trainer.
      average_embeddings: over so many updates of a row; 0: none.
      wide_rate: of FTRL.
      wide_l2: of FTRL.
      smoothing: of labels: y becomes `y (1 - s) + s / 2`.
      replay: so many earlier batches are learned again after each; the dense layers alone learn from them.
      replay_rows: they are of the last so many rows; 0: of all.
      joint: in one step with the new batch, and not in steps of their own.
      epoch: each window of so many rows is learned again when it ends; 0: none.
      epoch_all: the embeddings and the wide side learn from it, too.
      noise: standard deviation of noise upon the counted inputs while learning.
    """

    inputs: tuple[str, ...] = ("history", "pairs", "numeric")
    smooth: str = ""
    layers: tuple[int, ...] = (512,)
    activation: str = "relu"
    gate: str = ""
    cross_rank: int = 0
    cross_layers: int = 2
    heads: int = 1
    dropout: float = 0.0
    rate: float = 5e-4
    rate_end: float = 1.0
    rate_rows: int = 30_000
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    decay: float = 0.0
    embedding: str = "adam"
    embedding_rate: float = 5e-4
    embedding_dim: int = 8
    embedding_l2: float = 0.0
    average_rows: int = 25_000
    average_embeddings: int = 0
    wide_rate: float = 0.003
    wide_l2: float = 1e-8
    smoothing: float = 0.0
    replay: int = 0
    replay_rows: int = 0
    joint: bool = False
    epoch: int = 0
    epoch_all: bool = False
    noise: float = 0.0


class Mix(nn.Module):
    """Lifts by learned priors: `log((c + k p) / (v - c + k (1 - p))) - logit p`; of pairs the means of the columns."""

    def __init__(self, what: str):
        super().__init__()
        self.pairs = what == "pairs"
        width = len(ring(10)[0]) if self.pairs else FIELDS
        self.width = width
        self.log_prior = nn.Parameter(torch.full([width], math.log(5.0) / 20))  # times 20: Adam's steps are as large as weights'
        self.mean = torch.from_numpy(mean_of(*ring(10))) if self.pairs else None

    def forward(self, counts: torch.Tensor) -> torch.Tensor:
        """Of Inputs.id_counts or pair_counts."""
        rows, clicks, share = counts[:, : self.width], counts[:, self.width : -1], counts[:, -1:]
        prior = (self.log_prior * 20).exp()
        found = ((clicks + prior * share) / (rows - clicks + prior * (1 - share))).log() - share.logit()
        return found @ self.mean.to(found.device) if self.pairs else found


class Swiglu(nn.Module):
    """A layer times a gate."""

    def __init__(self, inputs: int, units: int):
        super().__init__()
        self.value, self.gate = nn.Linear(inputs, units), nn.Linear(inputs, units)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs] to [B, units]."""
        return self.value(x) * nn.functional.silu(self.gate(x))


class Tower(nn.Module):
    """All dense layers: of embeddings [B, 39 D] and counted inputs [B, w] to logits [B, heads]."""

    def __init__(self, v: Variant, counted: int):
        super().__init__()
        self.v = v
        self.mixes = nn.ModuleList(Mix(of) for of in v.smooth.split(",") if of)
        counted += sum({"ids": 0, "pairs": FIELDS}[of] for of in v.smooth.split(",") if of)
        width = FIELDS * v.embedding_dim + counted
        self.towers = nn.ModuleList(self._tower(width) for _ in range(v.heads))
        if v.gate == "static":
            self.gates = nn.Parameter(torch.zeros(width))
        if v.gate == "rows":
            self.low, self.high = nn.Linear(counted, 16), nn.Linear(16, width)
            nn.init.zeros_(self.high.weight)
            nn.init.zeros_(self.high.bias)
        if v.cross_rank:
            self.down = nn.ModuleList(nn.Linear(width, v.cross_rank, bias=False) for _ in range(v.cross_layers))
            self.up = nn.ModuleList(nn.Linear(v.cross_rank, width) for _ in range(v.cross_layers))
            self.crossed = nn.Linear(width, 1)
            nn.init.zeros_(self.crossed.weight)

    def _tower(self, width: int) -> nn.Sequential:
        layers = []
        for units in self.v.layers:
            if self.v.activation == "swiglu":
                layers.append(Swiglu(width, units))
            else:
                layers += [nn.Linear(width, units), nn.Mish() if self.v.activation == "mish" else nn.ReLU()]
            width = units
        tower = nn.Sequential(*layers, nn.Linear(width, 1))
        for layer in tower.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        return tower

    def forward(self, embeddings: torch.Tensor, counted: torch.Tensor, raw: list[torch.Tensor], learns: bool) -> torch.Tensor:
        """With `raw`, what each part of `smooth` is made of; `learns`: with dropout and noise."""
        for mix, counts in zip(self.mixes, raw, strict=True):
            if mix.pairs:
                counted = torch.cat([counted, mix(counts)], dim=1)
            else:
                counted = torch.cat([mix(counts), counted[:, FIELDS:]], dim=1)  # in place of the history's lifts
        if learns and self.v.dropout:
            embeddings = nn.functional.dropout(embeddings, self.v.dropout)
        if learns and self.v.noise:
            counted = counted + self.v.noise * torch.randn_like(counted)
        x = torch.cat([embeddings, counted], dim=1)
        if self.v.gate == "static":
            x = x * 2 * torch.sigmoid(self.gates)
        if self.v.gate == "rows":
            x = x * 2 * torch.sigmoid(self.high(torch.relu(self.low(counted))))
        logits = torch.cat([tower(x) for tower in self.towers], dim=1)
        if self.v.cross_rank:
            crossed = x
            for down, up in zip(self.down, self.up, strict=True):
                crossed = x * up(down(crossed)) + crossed
            logits = logits + self.crossed(crossed)
        return logits


class Rows:
    """The embeddings, with an optimizer that touches the rows of a batch alone."""

    def __init__(self, v: Variant, num_ids: int, device: str):
        self.kind, self.rate, self.l2 = v.embedding, v.embedding_rate, v.embedding_l2
        self.betas, self.epsilon = v.betas, v.epsilon
        self.weights = (0.01 * torch.randn(num_ids, v.embedding_dim)).to(device)
        shape = [num_ids, 1 if v.embedding == "rowwise" else v.embedding_dim]
        self.squares = torch.zeros(shape, device=device)
        self.means = torch.zeros_like(self.weights) if v.embedding in ("adam", "ftrl") else None
        self.step = 0
        self.average, self.over = (self.weights.clone() if v.average_embeddings else None), v.average_embeddings
        self.touched = torch.zeros([num_ids, 1], device=device) if self.average is not None else None

    def update(self, ids: torch.Tensor, g: torch.Tensor) -> None:
        """With the gradient of distinct ids."""
        self.step += 1
        w = self.weights[ids]
        if self.l2:
            g = g + self.l2 * w
        if self.kind == "adam":
            b1, b2 = self.betas
            m = self.means[ids] * b1 + (1 - b1) * g
            s = self.squares[ids] * b2 + (1 - b2) * g * g
            self.means[ids], self.squares[ids] = m, s
            rate = self.rate * math.sqrt(1 - b2**self.step) / (1 - b1**self.step)
            w = w - rate * m / (s.sqrt() + self.epsilon)
        elif self.kind == "ftrl":  # by the sum of the batch
            g = g * BATCH
            n = self.squares[ids] + 1
            after = n + g * g
            z = self.means[ids] + g - (after.sqrt() - n.sqrt()) / self.rate * w
            z = torch.where(self.squares[ids] == 0, z - w * n.sqrt() / self.rate, z)  # it starts from its first weight
            self.means[ids], self.squares[ids] = z, after - 1
            w = -z * self.rate / after.sqrt()
        elif self.kind == "sgd":
            w = w - self.rate * g
        else:
            s = self.squares[ids] + (g * g if self.kind == "adagrad" else (g * g).mean(dim=1, keepdim=True))
            self.squares[ids] = s
            w = w - self.rate * g / (s.sqrt() + 1e-10)
        self.weights[ids] = w
        if self.average is not None:
            t = self.touched[ids] + 1
            self.touched[ids] = t
            old = self.average[ids]
            self.average[ids] = old + (w - old) / torch.clamp(0.3 * t, 1, self.over)


class Wide:
    """A weight an id and a bias, by FTRL on the sum over a batch."""

    def __init__(self, v: Variant, num_ids: int, device: str):
        self.rate, self.l2 = v.wide_rate, v.wide_l2
        self.weights = torch.cat([0.01 * torch.randn(num_ids), torch.zeros(1)]).to(device)  # the bias is the last
        self.n, self.z = torch.ones_like(self.weights), torch.zeros_like(self.weights)

    def update(self, ids: torch.Tensor, g: torch.Tensor) -> None:
        """With the gradient of distinct ids."""
        n = self.n[ids]
        after = n + g * g
        z = self.z[ids] + g - (after.sqrt() - n.sqrt()) / self.rate * self.weights[ids]
        self.n[ids], self.z[ids] = after, z
        self.weights[ids] = -z / (after.sqrt() / self.rate + 2 * self.l2)


def run(v: Variant, inputs: Inputs, seed: int, device: str = "cpu") -> np.ndarray:
    """Logits float32 [n], each given before its batch was learned from."""
    torch.manual_seed(seed)
    counted = torch.from_numpy(np.concatenate([inputs.get(name) for name in v.inputs], axis=1)).to(device)
    raw = [torch.from_numpy(np.array(inputs.get(f"{of[:-1]}_counts"))).to(device) for of in v.smooth.split(",") if of]
    labels, all_ids = torch.from_numpy(inputs.labels).to(device), torch.from_numpy(inputs.ids).to(device)
    rows, wide = Rows(v, inputs.num_ids, device), Wide(v, inputs.num_ids, device)
    tower, average = Tower(v, counted.shape[1]).to(device), Tower(v, counted.shape[1]).to(device)
    average.load_state_dict(tower.state_dict())
    dense, averages = list(tower.parameters()), list(average.parameters())
    adam = torch.optim.AdamW(dense, v.rate, v.betas, v.epsilon, v.decay, foreach=True)
    shift, information, seen = torch.zeros([], device=device), torch.zeros([], device=device), 0.0
    past = _Past(v, inputs.n, device)
    bias = torch.full([1], inputs.num_ids, device=device)
    found = torch.empty(inputs.n, device=device)
    random = np.random.default_rng(seed)

    def learn(part: slice | np.ndarray) -> None:
        """A step of all weights on some rows."""
        y = labels[part]
        target = y * (1 - v.smoothing) + v.smoothing / 2
        distinct, places = torch.unique(all_ids[part], return_inverse=True)
        of_rows = rows.weights[distinct].requires_grad_()
        of_wide = torch.cat([wide.weights[distinct], wide.weights[-1:]]).requires_grad_()
        embeddings = of_rows[places].flatten(1)
        of_sides = of_wide[places].sum(1) + of_wide[-1]
        past.keep(part, embeddings.detach(), of_sides.detach())
        logits = tower(embeddings, counted[part], [r[part] for r in raw], True) + of_sides[:, None]
        loss = _loss(logits, target)
        if v.joint:
            again = random.integers(earliest(part), part.stop, BATCH * v.replay)
            loss = (loss + v.replay * loss_again(again)) / (1 + v.replay)
        of_rows_g, of_wide_g, *gradients = torch.autograd.grad(loss, [of_rows, of_wide, *dense])
        _step(adam, dense, gradients)
        rows.update(distinct, of_rows_g)
        wide.update(torch.cat([distinct, bias]), of_wide_g / v.heads * len(y) * (1 + v.joint * v.replay))

    def earliest(part: slice) -> int:
        """The first row that is learned again."""
        return max(part.stop - v.replay_rows, 0) if v.replay_rows else 0

    def loss_again(part: np.ndarray) -> torch.Tensor:
        """Of earlier rows, with the embeddings and the wide side's logits that they had."""
        embeddings, of_sides = past.of(part)
        logits = tower(embeddings, counted[part], [r[part] for r in raw], True) + of_sides[:, None]
        return _loss(logits, labels[part] * (1 - v.smoothing) + v.smoothing / 2)

    def learn_again(part: np.ndarray) -> None:
        """A step of the dense layers on earlier rows."""
        _step(adam, dense, torch.autograd.grad(loss_again(part), dense))

    for part in batches(inputs.n):
        ids = all_ids[part]
        with torch.no_grad():
            table = rows.weights if rows.average is None else rows.average
            scores = average(table[ids].flatten(1), counted[part], [r[part] for r in raw], False).mean(1)
            scores = scores + wide.weights[ids].sum(1) + wide.weights[-1] + shift
        found[part] = scores
        if v.rate_end != 1:
            falls = v.rate_end + (1 - v.rate_end) * 0.5 ** (part.start / v.rate_rows)
            adam.param_groups[0]["lr"], rows.rate = v.rate * falls, v.embedding_rate * falls
        learn(part)
        for _ in range(0 if v.joint else v.replay):
            learn_again(random.integers(earliest(part), part.stop, BATCH))
        if v.epoch and part.stop % v.epoch == 0:
            for again in batches(v.epoch):
                again = np.arange(part.stop - v.epoch + again.start, part.stop - v.epoch + again.stop)
                (learn if v.epoch_all else learn_again)(again)
        b = len(scores)
        p = scores.sigmoid()
        seen = min(seen + b, v.average_rows / _SHARE)
        share = min(1.0, b / (_SHARE * seen))
        information = (1 - share) * information + (p * (1 - p)).sum()
        shift = shift - (p - labels[part]).sum() / (information + _PRIOR_INFORMATION)
        with torch.no_grad():
            torch._foreach_lerp_(averages, dense, share)
    return found.cpu().numpy()


class _Past:
    """What the tower got of earlier rows, where they are learned again."""

    def __init__(self, v: Variant, n: int, device: str):
        self.on = bool(v.replay or (v.epoch and not v.epoch_all))
        n = n if self.on else 0
        self.embeddings, self.sides = torch.zeros([n, FIELDS * v.embedding_dim], device=device), torch.zeros(n, device=device)

    def keep(self, part: slice, embeddings: torch.Tensor, sides: torch.Tensor) -> None:
        if self.on:
            self.embeddings[part], self.sides[part] = embeddings, sides

    def of(self, part: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return self.embeddings[part], self.sides[part]


def _loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Of each head its own; the sum over heads of the means."""
    target = target[:, None].expand_as(logits)
    return nn.functional.binary_cross_entropy_with_logits(logits, target) * logits.shape[1]


def _step(adam: torch.optim.Optimizer, dense: list, gradients: list) -> None:
    for weight, gradient in zip(dense, gradients, strict=True):
        weight.grad = gradient
    adam.step()
