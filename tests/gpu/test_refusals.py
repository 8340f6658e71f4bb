"""What could cost a process its devices: each in a process of its own, with a deadline."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SECONDS = 120


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


BLOCKING = """
import weft
weft.Fabric("cuda:0x1").close()
try:
    weft.Fabric("cuda:0x2")
except weft.ConfigError as error:
    assert "CUDA_LAUNCH_BLOCKING" in str(error), error
    print("refused")
"""


@pytest.mark.gpu1
def test_launches_that_block_are_refused_when_a_fabric_is_opened() -> None:
    done = run(BLOCKING, CUDA_LAUNCH_BLOCKING="1")
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr
    assert run(BLOCKING, CUDA_LAUNCH_BLOCKING="0").stdout == ""


# The second tensors lie where the first did, mapped anew for their owner alone.
REMAPPED = """
import torch, weft

def once(fabric, bucket):
    rooms = [torch.ones(16 << 20, device=d) for d in fabric.devices]
    at = tuple(room.data_ptr() for room in rooms)
    for device in fabric.devices:
        torch.cuda.synchronize(device)
    if bucket:
        fabric.all_reduce([list(room.split(4 << 20)) for room in rooms])
    else:
        fabric.all_reduce(rooms, algorithm=ALGORITHM)
    for device in fabric.devices:
        torch.cuda.synchronize(device)
    assert all(bool((room == 2).all()) for room in rooms)
    fabric.settle()  # it lets go of the tensors
    return at

with weft.Fabric("cuda:0,1", timeout=5.0) as fabric:
    places = []
    for _ in range(4):
        places.append(once(fabric, BUCKET))
        torch.cuda.empty_cache()
    assert len(set(places)) < len(places), "nothing was mapped anew"
print("reached")
"""


@pytest.mark.gpu2
@pytest.mark.parametrize("algorithm", ["two_shot", "push_two_shot", "bucket"])
def test_memory_that_is_mapped_anew_at_the_same_place_is_reached_again(algorithm: str) -> None:
    program = REMAPPED.replace("ALGORITHM", repr(algorithm)).replace(
        "BUCKET", str(algorithm == "bucket")
    )
    done = run(program, PYTORCH_CUDA_ALLOC_CONF="expandable_segments:True")
    assert (done.returncode, done.stdout) == (0, "reached\n"), done.stderr
