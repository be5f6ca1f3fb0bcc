"""Holds one network to the contract of networks: python -m benchmarks.networks.contract --network=dcn_v2 [other flags].

It ends with exit code 0 where the network holds it, and else says what does not hold.
"""

import dataclasses
import os
import sys

from benchmarks.commands import ROOT

sys.path.insert(0, str(ROOT / "tests"))


def main() -> None:
    """Checks the network on two specs: single values, some of them scaled; and lists, with two labels."""
    from contracts.networks import NUM_IDS, SPEC, check_network

    from tfonline.config import parse
    from tfonline.features.spec import Attended, Spec
    from tfonline.model.networks.find import make_network

    model = dataclasses.replace(parse(sys.argv).model, embedding_dim=3, deep_layers="8,4")
    lists = Spec.of(
        NUM_IDS, num_fields=5, scaled_fields=0, lists=(3, 3), heads=("click", "conversion"),
        attended=(Attended((3, 6), 1, ((6, 9),)),),
    )  # fmt: skip
    for spec in (lists,) if model.network in ("din", "esmm") else (SPEC, lists):
        check_network(make_network, model, spec)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
