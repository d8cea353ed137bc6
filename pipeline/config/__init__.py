"""Read and check `params.yaml`."""
