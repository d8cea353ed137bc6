"""Find the ranks that share a data set, where other ranks are to read the same samples."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


def ranks_of(mesh: "DeviceMesh", *dimensions: str) -> tuple[int, int]:
    """Return `rank` and `world_size` for a `Loader` from the dimensions of a mesh that divide the data.

    `ranks_of(mesh, "dp")`, or `ranks_of(mesh, "dp_replicate", "dp_shard")` where data is divided over both, the first
    being the outer one. Peers in all other dimensions, such as tensor and pipeline parallelism, read the same samples.

    Args:
        mesh: a `torch.distributed.device_mesh.DeviceMesh` with named dimensions that this process is part of.
        dimensions: names of at least one dimension.

    Raises:
        ValueError: no dimension is named, or the mesh has none of that name; the message lists those that it has.
    """
    names = mesh.mesh_dim_names or ()
    if not dimensions:
        raise ValueError(f"no dimension is named; the mesh has {list(names)}, name those that divide the data")
    rank, world_size = 0, 1
    for name in dimensions:
        if name not in names:
            raise ValueError(f"the mesh has no dimension {name!r}, it has {list(names)}")
        size = mesh.size(names.index(name))
        rank, world_size = rank * size + mesh.get_local_rank(name), world_size * size
    return rank, world_size
