"""The loader: plan, read and deliver batches."""
