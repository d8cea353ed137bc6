"""Read and write what crosses a stage boundary: tables, dropped rows, tars of bytes."""
