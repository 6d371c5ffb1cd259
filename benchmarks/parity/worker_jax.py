"""The JAX peer: reads the spec and the bundle, then takes as many steps as each line of its input says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from daypack.spec import parse_spec
from parity.process import forget_peak, own_peak_rss_bytes
from parity.reference import Reference, batches_of

BATCHES = 8


def main() -> None:
    setting = json.loads(sys.stdin.readline())
    spec = parse_spec(setting["spec"])
    reference = Reference(spec, plain=setting["plain"])
    batches = batches_of(Path(setting["bundle"]), spec, BATCHES)
    reference.step(batches[0])  # compiles
    forget_peak()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        seconds = [reference.step(batches[n % BATCHES])[1] for n in range(int(line))]
        print(json.dumps({"seconds": seconds, "peak_rss_bytes": own_peak_rss_bytes()}), flush=True)


if __name__ == "__main__":
    main()
