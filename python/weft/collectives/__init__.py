"""The collectives of a `Fabric`, all ranks from one thread: element i of each list is rank i's.

What they share
  streams       one a rank, each of the rank's device: a `weft.Stream` or, for CUDA, what that
                class takes for one. The operation follows what is on it, and what is put on it
                later follows the operation. None: on simulated devices streams of the fabric's
                own, on CUDA torch's current stream for torch's tensors, else the default stream.
                Streams that are being captured into a CUDA graph, all or none, record the
                operation; the tensors must then live as long as that graph.
  timeout       seconds a wait may take; None is the fabric's.
  max_blocks    the most workers (thread blocks) a rank; None leaves it to weft.
  algorithm     "auto", or one by name: if it cannot serve the call, InvalidArgument says why.
  async_op      return a `Work` at once, also on host and simulated memory.
Tensors are NumPy arrays or CPU tensors, lent to simulated ranks for the call, or anything with
`__dlpack__` on the rank's device; contiguous ones are not copied. Dtypes: bool, uint8, int8, int16,
int32, int64, float8_e4m3fn, float8_e5m2, float16, bfloat16, float32, float64; floats below 32 bits
are added in float32. Outputs that are not given are made, of the kind of the inputs.

Each returns the list of outputs, or a `Work`. Raises, having changed nothing: WorldSizeError,
ShapeMismatch, DTypeMismatch, DeviceMismatch, AliasError, ReadOnlyBuffer, InvalidArgument,
FabricPoisoned, FabricClosed. While it runs: CollectiveTimeout, CollectiveAborted.
"""

from __future__ import annotations

from weft.collectives.exchanges import Exchanges
from weft.collectives.moves import Moves
from weft.collectives.reductions import Reductions

__all__ = ["Collectives"]


class Collectives(Reductions, Moves, Exchanges):
    """Every collective; `weft.Fabric` is one."""
