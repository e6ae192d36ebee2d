"""Greedy k-center (Gonzalez 1985) of many clusters at once, in two Triton kernels a pick.

The rows of all clusters lie one after the other, without padding, cut into tiles of one cluster each. A pick in
every cluster is ``_advance`` (a tile brings its rows up to date with its cluster's last pick and finds its
farthest row) and ``_choose`` (a cluster takes the farthest of its tiles' rows). Picks and counters stay on the
device, so that the arguments of a launch never change: where there are many steps a block of them is captured in a
CUDA graph and replayed. Nothing returns to the host before the last pick, and a cluster that has all its picks costs
nothing more.

The floor is picks x bytes of the features / memory bandwidth: every step reads all features of the clusters that
still pick. Squared distances are float32 sums of ``(x - c)^2`` of the numbers held, float32 or bfloat16: no
cancellation, exactly 0 for equal rows; ties go to the lowest row.

With TRITON_INTERPRET=1 in the environment the kernels run, slowly, on the CPU.
"""

# Triton's interpreter knows `tl.constexpr` by its object: annotations must not be strings here.
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl

TILE_ROWS = 128
BLOCK_COLUMNS = 64
WARPS = 8
BLOCK_TILES = 2048
STEPS_A_GRAPH = 16
GRAPH_FROM = 256  # steps; a capture waits for the device and empties its cache
_END = tl.constexpr(1 << 62)  # after every row


@triton.jit
def _advance(  # type: ignore[no-untyped-def]
    points,  # [N, D]
    nearest,  # float32 [N]: squared distance to the nearest pick; -1 at a pick
    tile_group,
    tile_start,
    tile_end,
    current,  # int64 [G]: the row picked last
    made,  # int32 [G]: how many are picked
    wanted,
    tile_top,  # out, float32 [T]: the tile's largest distance
    tile_row,  # out, int64 [T]: the lowest row that has it
    D: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    tile = tl.program_id(0)
    group = tl.load(tile_group + tile)
    if tl.load(made + group) >= tl.load(wanted + group):
        return
    centre = tl.load(current + group)
    end = tl.load(tile_end + tile)
    rows = tl.load(tile_start + tile) + tl.arange(0, TILE)
    inside = rows < end
    squares = tl.zeros([TILE, BLOCK], tl.float32)
    for start in range(0, D, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        held = columns < D
        theirs = tl.load(points + centre * D + columns, mask=held, other=0.0).to(tl.float32)
        ours = tl.load(
            points + rows[:, None] * D + columns[None, :], mask=inside[:, None] & held[None, :], other=0.0
        ).to(tl.float32)
        apart = ours - theirs[None, :]
        squares += apart * apart
    known = tl.load(nearest + rows, mask=inside, other=-2.0)
    now = tl.where(rows == centre, -1.0, tl.minimum(known, tl.sum(squares, axis=1)))
    tl.store(nearest + rows, now, mask=inside)
    top = tl.max(now, axis=0)
    tl.store(tile_top + tile, top)
    tl.store(tile_row + tile, tl.min(tl.where(now == top, rows, _END), axis=0))


@triton.jit
def _choose(  # type: ignore[no-untyped-def]
    tile_top,
    tile_row,
    first_tile,  # int32 [G + 1]
    current,
    made,
    wanted,
    place,  # int64 [G]: where the group's picks begin in order and squared
    order,  # out, int64: rows picked
    squared,  # out, float32: each pick's squared distance to the nearest pick before it
    BLOCK: tl.constexpr,
):
    group = tl.program_id(0)
    count = tl.load(made + group)
    if count >= tl.load(wanted + group):
        return
    start, end = tl.load(first_tile + group), tl.load(first_tile + group + 1)
    best = tl.full([BLOCK], -2.0, tl.float32)
    row = tl.full([BLOCK], _END, tl.int64)
    while start < end:
        tiles = start + tl.arange(0, BLOCK)
        top = tl.load(tile_top + tiles, mask=tiles < end, other=-2.0)
        better = top > best  # a later tile has higher rows, so a tie changes nothing
        best = tl.where(better, top, best)
        row = tl.where(better, tl.load(tile_row + tiles, mask=tiles < end, other=_END), row)
        start += BLOCK
    largest = tl.max(best, axis=0)
    chosen = tl.min(tl.where(best == largest, row, _END), axis=0)
    slot = tl.load(place + group) + count
    tl.store(order + slot, chosen)
    tl.store(squared + slot, largest)
    tl.store(current + group, chosen)
    tl.store(made + group, count + 1)


@dataclass(frozen=True)
class _State:
    """What the launches read and write on the device; T tiles, G groups."""

    points: torch.Tensor
    nearest: torch.Tensor
    tiles: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    first_tile: torch.Tensor
    wanted: torch.Tensor
    place: torch.Tensor
    current: torch.Tensor
    made: torch.Tensor
    order: torch.Tensor
    squared: torch.Tensor
    tile_top: torch.Tensor
    tile_row: torch.Tensor

    def step(self) -> None:
        """The next pick of every group that has not all of its own."""
        progress = (self.current, self.made, self.wanted)
        tops = (self.tile_top, self.tile_row)
        width = self.points.shape[1]
        _advance[(len(self.tile_top),)](
            self.points,
            self.nearest,
            *self.tiles,
            *progress,
            *tops,
            width,
            TILE_ROWS,
            BLOCK_COLUMNS,
            num_warps=WARPS,
        )
        _choose[(len(self.made),)](
            *tops, self.first_tile, *progress, self.place, self.order, self.squared, BLOCK_TILES
        )


def search(
    points: torch.Tensor, nearest: torch.Tensor, sizes: list[int], firsts: torch.Tensor, picks: list[int]
) -> list[tuple[Any, Any]]:
    """Rows, int64 [k], and squared distances, float32 [k], of ``picks[g]`` >= 1 picks of each group.

    ``points`` [N, d] on the device, the ``sizes[g]`` rows of the groups one after the other, float32 or bfloat16
    and contiguous; ``nearest`` float32 [N]: squared distance to what is covered, infinite where nothing is, -1
    at rows never to be picked (overwritten); ``firsts`` int64 [G]: the first pick as a row of its group.
    """
    state, starts = _state(points, nearest, sizes, firsts, picks)
    with torch.cuda.device(points.device if points.is_cuda else -1):
        _steps(state, max(picks) - 1)
    order, squared = state.order.cpu().numpy(), state.squared.cpu().numpy()
    ends = np.cumsum(picks)
    return [
        (order[end - count : end] - start, squared[end - count : end])
        for start, end, count in zip(starts, ends, picks, strict=True)
    ]


def _state(
    points: torch.Tensor, nearest: torch.Tensor, sizes: list[int], firsts: torch.Tensor, picks: list[int]
) -> tuple[_State, Any]:
    ends = np.cumsum(sizes)
    starts = ends - sizes
    tiles = -(-np.asarray(sizes) // TILE_ROWS)
    first_tile = np.concatenate([[0], np.cumsum(tiles)])
    groups = np.repeat(np.arange(len(sizes)), tiles)
    tile_starts = starts[groups] + (np.arange(len(groups)) - first_tile[groups]) * TILE_ROWS
    places = np.cumsum(picks) - picks

    def on_device(values: Any, kind: torch.dtype) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values), dtype=kind, device=points.device)

    current = on_device(starts, torch.int64) + firsts
    place = on_device(places, torch.int64)
    order = torch.zeros(sum(picks), dtype=torch.int64, device=points.device)
    squared = torch.zeros(sum(picks), device=points.device)
    order[place], squared[place] = current, nearest[current]
    state = _State(
        points=points,
        nearest=nearest,
        tiles=(
            on_device(groups, torch.int32),
            on_device(tile_starts, torch.int64),
            on_device(ends[groups], torch.int64),
        ),
        first_tile=on_device(first_tile, torch.int32),
        wanted=on_device(picks, torch.int32),
        place=place,
        current=current,
        made=torch.ones(len(sizes), dtype=torch.int32, device=points.device),
        order=order,
        squared=squared,
        tile_top=torch.empty(len(groups), device=points.device),
        tile_row=torch.empty(len(groups), dtype=torch.int64, device=points.device),
    )
    return state, starts


def _steps(state: _State, steps: int) -> None:
    """At least ``steps`` steps; those after a group's last pick change nothing."""
    if not state.points.is_cuda or steps < GRAPH_FROM:
        for _ in range(steps):
            state.step()
        return
    # The first steps compile the kernels, on a stream of their own as a capture wants it, and count as any other.
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(STEPS_A_GRAPH):
            state.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(STEPS_A_GRAPH):
            state.step()
    for _ in range(-(-(steps - STEPS_A_GRAPH) // STEPS_A_GRAPH)):
        graph.replay()
