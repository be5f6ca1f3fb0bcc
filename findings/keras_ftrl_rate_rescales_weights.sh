#!/usr/bin/env bash
# Keras's Ftrl: a changed learning rate changes the weights that were learned, at their next update, gradient or not.
#
# Expected: a learning rate says how far the next updates go. To lower it, by a schedule or after a restart, leaves the weights where
#   they are, as it does with SGD, Adagrad and Adam.
# What happens: Ftrl keeps no weight. It keeps a sum `linear`, in units of 1 / rate, and makes the weight of it at each update. By
#   another rate the same sum is another weight: w_after = w_before * rate_after / rate_before, even where the gradient is 0.
# Seen: Keras 3.15.1 on TensorFlow 2.21.0, Python 3.11: at a tenth of the rate and a gradient of 0 the weight 0.4442 becomes 0.0444.
#   A schedule that decays does it at each step. (The TensorFlow kernel ResourceSparseApplyFtrlV2 does the same, tensorflow#33842.)
# Whom it hurts: who trains wide or linear models for click-through rates by Ftrl, and lowers the rate: a model that was learned well
#   predicts badly from the next step on, without an error. It looks as if the new data were bad.
# What to do: no schedule for Ftrl. To change the rate, set linear = -(w (sqrt(accumulator) / rate + 2 l2) + sign(w) l1), with beta 0.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
"${PYTHON:-python3}" -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow==2.21.0 keras==3.15.1
cat > "$here/try.py" <<'PY'
import keras
import numpy as np


def after_a_tenth_of_the_rate(optimizer):
    """A weight after 50 steps, and after one more with a gradient of 0 at a tenth of the rate."""
    weight = keras.Variable([0.0])
    optimizer.build([weight])
    for _ in range(50):
        optimizer.apply([np.array([-0.3], "float32")])
    before = float(weight.value[0])
    optimizer.learning_rate = float(optimizer.learning_rate) / 10
    optimizer.apply([np.array([0.0], "float32")])
    return before, float(weight.value[0])


print("keras", keras.__version__, "on", keras.backend.backend())
for name, optimizer in {
    "SGD": keras.optimizers.SGD(0.05),
    "Adagrad": keras.optimizers.Adagrad(0.05),
    "Ftrl": keras.optimizers.Ftrl(0.05, initial_accumulator_value=1.0),
}.items():
    before, after = after_a_tenth_of_the_rate(optimizer)
    print(f"{name:<8} weight {before:.4f}, after a gradient of 0 at a tenth of the rate {after:.4f}: times {after / before:.3f}")
    expected = 0.1 if name == "Ftrl" else 1.0
    assert abs(after / before - expected) < 0.01, f"{name} behaves otherwise now"
print("as described")
PY
TF_CPP_MIN_LOG_LEVEL=3 "$here/venv/bin/python" "$here/try.py"
