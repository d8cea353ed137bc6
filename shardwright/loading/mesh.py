"""Find the ranks that share a data set, where other ranks are to read the same samples."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


def ranks_of(mesh: "DeviceMesh", *dimensions: str) -> tuple[int, int]:
    """Return `rank` and `world_size` for a `Loader` from the dimensions of a mesh that divide the data.

    `ranks_of(mesh, "dp")`, or `ranks_of(mesh, "dp_replicate", "dp_shard")` where data is divided over both, the first
    being the outer one. Peers in all other dimensions, such as tensor and pipeline parallelism, read the same samples.
    `Loader(..., dp_mesh=mesh["dp_replicate", "dp_shard"])` does the same.

    Args:
        mesh: a `torch.distributed.device_mesh.DeviceMesh` with named dimensions that this process is part of.
        dimensions: names of at least one dimension.

    Raises:
        ValueError: no dimension is named, or the mesh has none of that name; the message lists those that it has.
    """
    names = mesh.mesh_dim_names or ()
    if not dimensions:
        raise ValueError(f"no dimension is named; the mesh has {list(names)}, name those that divide the data")
    numbers = []
    for name in dimensions:
        if name not in names:
            raise ValueError(f"the mesh has no dimension {name!r}, it has {list(names)}")
        numbers.append(names.index(name))
    return _count_ranks(mesh, numbers)


def choose_ranks(dp_mesh: "DeviceMesh | None", rank: int, world_size: int) -> tuple[int, int]:
    """Return `rank` and `world_size` of a loader: as given, or those of this process in a mesh that divides the data.

    Raises:
        ValueError: both are given; or this process is not part of the mesh.
    """
    if dp_mesh is None:
        return rank, world_size
    if (rank, world_size) != (0, 1):
        raise ValueError(
            f"rank is {rank} and world_size {world_size} beside dp_mesh, which gives both; leave out one or the other"
        )
    if dp_mesh.get_coordinate() is None:
        raise ValueError(f"dp_mesh is {dp_mesh}, which this process is not part of; give the one that it is part of")
    return _count_ranks(dp_mesh, list(range(dp_mesh.ndim)))


def _count_ranks(mesh: "DeviceMesh", dimensions: list[int]) -> tuple[int, int]:
    """Return the number of this process, and of all, counted over some dimensions, the first being the outer one."""
    rank, world_size = 0, 1
    for dimension in dimensions:
        size = mesh.size(dimension)
        rank, world_size = rank * size + mesh.get_local_rank(dimension), world_size * size
    return rank, world_size
